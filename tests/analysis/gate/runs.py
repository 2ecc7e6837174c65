"""Runs of a small GPU node, written by hand: each followed metric is one number that a test may move."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import store
from bench.analysis.gate.baselines import Baseline
from bench.analysis.gate.expectations import Baselined
from bench.analysis.gate.metrics import Pin
from bench.analysis.gate.rule import judged
from bench.analysis.gate.samples import REMEMBERED, Speeds, pins
from bench.analysis.gate.tolerances import Settings
from bench.analysis.gate.verdict import Gate, MetricVerdict
from bench.analysis.run_entry import run_entry
from bench.analysis.run_index import RunIndex
from bench.schema import CONFIRM, FIRST_ROUND, SUSTAINED, Cache, DeviceInfo, End, Environment, Measurement, Run
from bench.work import Work

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
READ, TRIAD, GEMM, LASTING = "memory.dram.read", "memory.dram.triad", "gemm.bfloat16", "gemm.bfloat16.sustained"
LOOP, VECTOR, GEMV, DECODE = "tensor.bfloat16.loop", "vector.float32.loop", "gemv.bfloat16", "attention.decode"
H2D, LAUNCH, CACHE = "host.h2d", "launch.synchronous", "cache.last.read"


@dataclass(frozen=True)
class Planted:
    """A case with the seconds that it usually takes."""

    probe: str
    version: int
    params: Mapping[str, object]
    work: Work
    seconds: float
    saturates: str = ""
    regime: str = "burst"

    @property
    def pin(self) -> Pin:
        return (self.probe, self.version, tuple(self.params.items())), self.regime == SUSTAINED


_TENSOR = {"unit": "tensor", "dtype": "bfloat16"}
_MATRIX = Planted(
    "peak", 2, {"kind": "gemm", "dtype": "bfloat16", "shape": "cube-8192"}, Work(flops=1.1e12, **_TENSOR), 1.4e-3,
    "tensor.bfloat16.library",
)  # fmt: skip
CASES = {
    READ: Planted(
        "bandwidth", 3, {"mix": "read", "bytes": 2**31, "cache": "cold"}, Work(bytes=2.0**31), 5e-4, "dram"
    ),
    TRIAD: Planted(
        "bandwidth", 3, {"mix": "triad", "bytes": 2**31, "cache": "cold"}, Work(bytes=2.0**31), 5e-4, "dram"
    ),
    CACHE: Planted(
        "bandwidth", 3, {"mix": "read", "bytes": 2**24, "cache": "hot"}, Work(bytes=2.0**24, channel="l2"), 2e-6, "l2"
    ),
    GEMM: _MATRIX,
    LASTING: replace(_MATRIX, regime=SUSTAINED, seconds=1.6e-3),
    LOOP: Planted(
        "peak", 2, {"kind": "tensor loop", "dtype": "bfloat16"}, Work(flops=2e12, **_TENSOR), 2e-3,
        "tensor.bfloat16.loop",
    ),
    VECTOR: Planted(
        "peak", 2, {"kind": "loop", "dtype": "float32"}, Work(flops=1e11, unit="vector", dtype="float32"), 1.6e-3,
        "vector.float32.loop",
    ),
    GEMV: Planted(
        "gemm", 1, {"dtype": "bfloat16", "batch": 1, "n": 14336, "k": 4096, "strided": 0},
        Work(flops=1.2e8, bytes=1.2e8, **_TENSOR), 2.8e-5,
    ),
    DECODE: Planted(
        "attention", 1, {"phase": "decode", "layout": "gqa", "batch": 8, "keys": 2048, "backend": "default"},
        Work(flops=1e8, bytes=6.7e7, **_TENSOR), 2e-5,
    ),
    H2D: Planted(
        "hostcopy", 1, {"path": "h2d", "memory": "pinned", "bytes": 2**29}, Work(bytes=2.0**29, channel="h2d"), 1e-2,
        "h2d",
    ),
    LAUNCH: Planted("launch", 1, {"way": "synchronous"}, Work(), 5e-6),
}  # fmt: skip
GATED = (READ, TRIAD, CACHE, GEMM, LASTING, LOOP, VECTOR, GEMV, DECODE, H2D)


def gpu(index: int = 0, **more) -> DeviceInfo:
    """A GPU that no table knows, so that no datasheet judges it."""
    fields = {
        "id": f"cuda:{index}", "name": "Some GPU", "product": "some-gpu", "uuid": f"GPU-{index}",
        "memory_bytes": 2**36, "caches": (Cache("l2", 2**25),), "launches": ("synchronous",),
        "units": {"float32": "vector", "bfloat16": "tensor"}, "loops": {"float32": 512},
        "tensor_loops": {"bfloat16": ()}, "facts": {"driver": "570.86.15", "power_limit_w": "700"},
    }  # fmt: skip
    return DeviceInfo(**fields | more)


# One repetition of a metric on a device: its slowness (1.1 takes a tenth longer), and what else differs of its record.
Told = tuple[float, Mapping[str, object]]


def run(
    number: int = 0,
    slow: Mapping[str, float | Sequence[float]] = {},
    again: Mapping[str, float | Sequence[float]] = {},
    *,
    devices: Sequence[DeviceInfo] = (gpu(),),
    only: Mapping[str, Mapping[str, float | Sequence[float]]] = {},
    without: Sequence[str] = (),
    marks: Mapping[str, Mapping[str, object]] = {},
    cases: Mapping[str, Planted] = CASES,
    complete: bool = True,
    clock_hz: float | None = None,
    **about,
) -> Run:
    """A gate's Run of day `number`. slow: metric -> factor on its seconds, or one for each of three repetitions.

    again: metric -> likewise, of the re-measurements, a warming one ten times slower before them. only: device -> slow
    of that device alone. marks: metric -> fields of its records. All comes back through the file format.
    """
    found = []
    for info in devices:
        for name, case in cases.items():
            if name in without:
                continue
            told = _each(only.get(info.id, {}).get(name, slow.get(name, 1.0)))
            turns = [(FIRST_ROUND + place, factor) for place, factor in enumerate(told)]
            if name in again:
                turns += [(CONFIRM, 10.0), *((CONFIRM + 1 + p, f) for p, f in enumerate(_each(again[name])))]
            for repetition, factor in turns:
                fields = {"clock_hz": (clock_hz,) * 6} if clock_hz else {}
                found.append(one(case, repetition, factor, device=info.id, **fields | dict(marks.get(name, {}))))
    fields = {
        "suite": "0.1.0", "run_id": f"{number:032x}", "started": when(number), "command": ("bench", "gate"),
        "budget": "gate quick", "seed": 0, "product": "some-gpu", "simulated": False, "devices": tuple(devices),
        "host": "node", "libraries": {"torch": "2.9.0"},
    }  # fmt: skip
    end = End("complete", 0, when(number)) if complete else None
    return through_file(Run(Environment(**fields | about), tuple(found), end))


def when(number: float) -> str:
    return (FIRST + timedelta(days=number)).isoformat().replace("+00:00", "Z")


def _each(told: float | Sequence[float]) -> Sequence[float]:
    return (told,) * 3 if isinstance(told, float | int) else told


def one(case: Planted, repetition: int, factor: float = 1.0, **more) -> Measurement:
    fields = {
        "probe": case.probe, "version": case.version, "device": "cuda:0", "params": case.params, "work": case.work,
        "saturates": case.saturates, "regime": case.regime, "repetition": repetition, "launches": 1,
        "seconds": (case.seconds * factor,) * 6, "started": when(0), "stop_reason": "6 samples",
    }  # fmt: skip
    return Measurement(**fields | more)


def unmeasured(why: str) -> dict[str, object]:
    return {"skip": why, "seconds": (), "launches": 0, "stop_reason": "skipped"}


def invalid(why: str) -> dict[str, object]:
    return {"validity": "invalid", "reasons": (why,)}


def suspect(why: str) -> dict[str, object]:
    return {"validity": "suspect", "reasons": (why,)}


def changed(made: Run, metric: str, repetitions: Sequence[int], **fields) -> Run:
    """The Run with other fields in some repetitions of one metric's case."""
    pin = CASES[metric].pin
    return replace(
        made,
        measurements=tuple(
            replace(m, **fields) if m.repetition_key[:2] == pin and m.repetition in repetitions else m
            for m in made.measurements
        ),
    )


def through_file(made: Run) -> Run:
    return store.parse("".join(f"{line}\n" for line in store.raw_lines(made)).encode(), "test.jsonl")


def put(path: Path, made: Run) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in store.raw_lines(made)))
    return path


def past(*runs: Run) -> RunIndex[Speeds]:
    return RunIndex({f"{place}.jsonl": run_entry(made, REMEMBERED) for place, made in enumerate(runs)}, {})


def blessed(made: Run, own: bool = True, index: int = 0) -> Baseline:
    return Baseline(made, made.environment.devices[index], own, Path("baseline.jsonl"))


def gated(made: Run, before: Sequence[Run] = (), baseline: Run | None = None, own: bool = True, **settings) -> Gate:
    """The Run judged. baseline: of each of its devices, by place. settings: tolerances by metric."""
    known = {
        info.id: Baselined(
            blessed(baseline, own, place if own else 0) if baseline else None,
            Settings({name.replace("_", "."): value for name, value in settings.items()}),
        )
        for place, info in enumerate(made.environment.devices)
    }
    return judged(made, known, past(*before))


def of(gate: Gate, metric: str, device: str = "cuda:0") -> MetricVerdict:
    (found,) = [v for v in gate.verdicts if v.metric.name == metric and v.device == device]
    return found


def pins_of(made: Run, index: int = 0) -> dict[str, Pin]:
    return pins(made, made.environment.devices[index])
