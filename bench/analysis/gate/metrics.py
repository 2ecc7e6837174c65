"""What is gated: each metric's case, direction, unit and tolerance, in one place.

A metric is one case with fixed parameters. Where a probe searches (the shape of a GEMM, the settings of a copy) the
baseline's winner is the case from then on, by name: the best of a search is biased upwards and may be another one next
time. Names never contain the hardware's. A dozen metrics gate a GPU, because false alarms add up; the others warn.

Tolerances are judgements (section 14 of the reference this project started from) until `calibrate` has measured the
machine's own noise. A metric under a power cap has wider ones than memory, whose clock is fixed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bench import units
from bench.schema import Cache, DeviceInfo, Key
from bench.work import RoofKey, Work

# A case and its regime: whether it is measured after the clock has settled under lasting load.
Pin = tuple[Key, bool]


@dataclass(frozen=True)
class Tolerance:
    """Shares of the reference. floor: the least drop from own history that counts as one; warn: worth a word.

    siblings: how far below the median of its siblings a device may be. least: seconds below which no time matters.
    """

    warn: float
    floor: float
    siblings: float
    least: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number that is followed. amount: what is divided by seconds ("bytes", "flops"), "seconds" for a time.

    domain: "memory", "cache", "arithmetic", "library", "link" or "latency", which tells causes apart. where: the params
    that its case must have; saturates: the roof that it must claim, if any; prefer: (param, values) to choose by where
    nothing was searched. gates: whether it can fail a gate, or only warn. together: whether all devices of a node make
    it, so that none of them is to blame by itself.
    """

    name: str
    domain: str
    probe: str
    where: Mapping[str, Any]
    amount: str
    tolerance: Tolerance
    gates: bool = False
    sustained: bool = False
    together: bool = False
    saturates: str = ""
    prefer: tuple[str, tuple[Any, ...]] = ("", ())

    @property
    def unit(self) -> str:
        """SI base unit of its value."""
        return {"bytes": "B/s", "flops": "FLOP/s", "seconds": "s"}[self.amount]

    @property
    def better(self) -> str:
        return "lower" if self.amount == "seconds" else "higher"

    @property
    def family(self) -> str:
        """What of a device it rests on: one fault there moves all of the family."""
        if self.domain in ("arithmetic", "library"):
            streamed = "caches" if self.domain == "arithmetic" else "memory"
            return streamed if self.amount == "bytes" else "compute"
        return {"cache": "caches", "link": "links"}.get(self.domain, self.domain)

    def value(self, speed: float) -> float:
        """In its unit; speed: work, or launches, per second."""
        return 1 / speed if self.amount == "seconds" else speed

    def change(self, ratio: float) -> float:
        """A ratio of speeds as a signed share in its unit: a longer time is above 0, a lower rate below."""
        return (ratio if self.better == "higher" else 1 / ratio) - 1

    def text(self, speed: float) -> str:
        """A speed in the metric's unit, for people."""
        value = self.value(speed)
        if self.amount == "seconds":
            return units.seconds(value)
        return units.flops(value) if self.amount == "flops" else units.bandwidth(value)

    def speed(self, work: Work, seconds: float) -> float:
        """Of one launch; more is better, whatever the metric's direction."""
        return (1.0 if self.amount == "seconds" else getattr(work, self.amount)) / seconds


_MEMORY = Tolerance(warn=0.015, floor=0.02, siblings=0.05)
_CACHE = Tolerance(warn=0.02, floor=0.03, siblings=0.05)
_LOOP = Tolerance(warn=0.03, floor=0.05, siblings=0.10)
_GEMM = Tolerance(warn=0.03, floor=0.05, siblings=0.10)
_STREAMED = Tolerance(warn=0.03, floor=0.03, siblings=0.07)
_LINK = Tolerance(warn=0.03, floor=0.05, siblings=0.10)
_LATENCY = Tolerance(warn=0.10, floor=0.20, siblings=0.20, least=5e-7)

# Where nothing was searched: what keeps a device busy for milliseconds, and no longer.
_SHAPES = ("cube-8192", "cube-4096", "cube-2048", "cube-1024")
_NARROWEST = ("float4", "float8_e4m3")


def metrics(info: DeviceInfo) -> dict[str, Metric]:
    """Everything that is followed of a device, by name; what it lacks simply has no case."""
    found = (*_memory(info), *_arithmetic(info), *_library(info), *_links(info))
    return {metric.name: metric for metric in found}


@cache
def names() -> frozenset[str]:
    """Every metric that some device may have: what a file of tolerances for a mixed fleet may name."""
    dtypes = ("float64", "float32", "tf32", "float16", "bfloat16", "float8_e4m3", "float4", "int8", "int32")
    found: set[str] = set()
    for leading in ("bfloat16", "float16", "float32"):
        # the units of a dtype decide which one a device is bought for
        units = {dtype: "tensor" if dtype == leading else "vector" for dtype in dtypes}
        device = DeviceInfo(
            id="",
            name="",
            product="",
            memory_bytes=0,
            caches=(Cache("last", 0),),
            units=units,
            loops=dict.fromkeys(dtypes, 0),
            tensor_loops=dict.fromkeys(dtypes, ()),
            onchip=dict.fromkeys(("shared", "l1"), 0),
            launches=("synchronous", "back to back", "graph"),
            algorithms=("ring", "default"),
            ranks=2,
        )
        found |= metrics(device).keys()
    return frozenset(found)


def _memory(info: DeviceInfo) -> Iterator[Metric]:
    for mix in ("read", "write", "copy", "triad"):
        yield Metric(
            name=f"memory.dram.{mix}",
            domain="memory",
            probe="bandwidth",
            where={"mix": mix, "cache": "cold"},
            saturates="dram",
            amount="bytes",
            tolerance=_MEMORY,
            gates=mix in ("read", "triad"),
        )
    if info.caches:
        yield Metric(
            name="cache.last.read",
            domain="cache",
            probe="bandwidth",
            where={"mix": "read", "cache": "hot"},
            saturates=info.caches[-1].name,
            amount="bytes",
            tolerance=_CACHE,
            gates=True,
        )
    for channel in info.onchip:
        yield Metric(
            name=f"onchip.{channel}.read",
            domain="arithmetic",
            probe="onchip",
            where={"memory": channel},
            amount="bytes",
            tolerance=_LOOP,
        )


def _arithmetic(info: DeviceInfo) -> Iterator[Metric]:
    for dtype in info.loops:
        yield Metric(
            name=RoofKey.of("vector", dtype, method="loop"),
            domain="arithmetic",
            probe="peak",
            where={"kind": "loop", "dtype": dtype},
            saturates=RoofKey.of("vector", dtype, method="loop"),
            amount="flops",
            tolerance=_LOOP,
            gates=dtype == "float32",
        )
    leading = _leading(info)
    for dtype in info.tensor_loops:
        yield Metric(
            name=RoofKey.of("tensor", dtype, method="loop"),
            domain="arithmetic",
            probe="peak",
            where={"kind": "tensor loop", "dtype": dtype},
            saturates=RoofKey.of("tensor", dtype, method="loop"),
            amount="flops",
            tolerance=_LOOP,
            gates=dtype == leading,
        )


def _library(info: DeviceInfo) -> Iterator[Metric]:
    # a device without tensor cores takes seconds for what they do in milliseconds
    leading, large = _leading(info), info.headline.unit == "tensor"
    narrow = next((dtype for dtype in _NARROWEST if info.units.get(dtype) == "tensor"), "")
    for dtype, unit in info.units.items():
        variant = "fast_accum" if dtype == "float8_e4m3" else ""
        key = ".".join(filter(None, (unit, dtype, variant, "library")))
        searched: dict[str, Any] = {
            "domain": "library",
            "probe": "peak",
            "where": {"kind": "gemm", "dtype": dtype} | ({"variant": variant} if variant else {}),
            "amount": "flops",
            "tolerance": _GEMM,
            "saturates": key,
            "prefer": ("shape", _SHAPES if large else _SHAPES[::-1]),
        }
        yield Metric(name=f"gemm.{dtype}", gates=dtype in (leading, narrow), **searched)
        if dtype == leading and info.regime != "steady":
            # heat, a power cap and a brake only show once the clock has settled under load
            yield Metric(name=f"gemm.{dtype}.sustained", gates=True, sustained=True, **searched)
    yield Metric(
        name=f"gemv.{leading}",
        domain="library",
        probe="gemm",
        where={"dtype": leading, "batch": 1, "n": 14336, "k": 4096, "strided": 0},
        amount="bytes",
        tolerance=_STREAMED,
        gates=True,
    )
    yield Metric(
        name="attention.decode",
        domain="library",
        probe="attention",
        where={"phase": "decode", "layout": "gqa", "batch": 8, "backend": "default"},
        prefer=("keys", (16384, 2048, 256) if large else (2048, 256)),
        amount="bytes",
        tolerance=_STREAMED,
        gates=True,
    )
    yield Metric(
        name="attention.prefill",
        domain="library",
        probe="attention",
        where={"phase": "prefill", "layout": "mha", "batch": 1, "causal": True, "backend": "default"},
        prefer=("keys", (8192, 2048, 256) if large else (1024, 256)),
        amount="flops",
        tolerance=_GEMM,
    )


def _links(info: DeviceInfo) -> Iterator[Metric]:
    for path in ("h2d", "d2h"):
        yield Metric(
            name=f"host.{path}",
            domain="link",
            probe="hostcopy",
            where={"path": path, "memory": "pinned"},
            saturates=path,
            amount="bytes",
            tolerance=_LINK,
            gates=True,
        )
    for way in info.launches:
        yield Metric(
            name=f"launch.{way.replace(' ', '_')}",
            domain="latency",
            probe="launch",
            where={"way": way},
            amount="seconds",
            tolerance=_LATENCY,
        )
    if "ring" not in info.algorithms:  # one device, or a host's ranks, which share its memory: no link that could break
        return
    for algorithm in info.algorithms:
        yield Metric(
            name=f"allreduce.{algorithm}",
            domain="link",
            probe="allreduce",
            together=True,
            where={"algorithm": algorithm, "ranks": info.ranks},
            saturates="link" if algorithm == "ring" else "",
            prefer=("bytes", tuple(2**p for p in (30, 27, 24))),
            amount="bytes",
            tolerance=_LINK,
            gates=algorithm == "ring",
        )
        yield Metric(
            name=f"allreduce.{algorithm}.small",
            domain="latency",
            probe="allreduce",
            together=True,
            where={"algorithm": algorithm, "ranks": info.ranks, "bytes": 8192},
            amount="seconds",
            tolerance=_LATENCY,
        )


def _leading(info: DeviceInfo) -> str:
    """The dtype that this device is bought for: of its headline roof."""
    return info.headline.dtype


@dataclass(frozen=True)
class Candidate:
    """A case that may stand for a metric. rate: how fast its rounds were, where it was measured."""

    pin: Pin
    saturates: str
    rate: float
    params: Mapping[str, Any]


def candidates_of(metric: Metric, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The cases that a metric could be of."""
    return [
        each
        for each in candidates
        if each.pin[0][0] == metric.probe
        and each.pin[1] == metric.sustained
        and all(each.params.get(name) == value for name, value in metric.where.items())
    ]


def pinned(metric: Metric, candidates: Sequence[Candidate]) -> Pin | None:
    """The case that a metric is from now on: what claimed its roof, else the preferred one, else the only one."""
    fitting = candidates_of(metric, candidates)
    claiming = [each for each in fitting if metric.saturates and each.saturates == metric.saturates]
    if claiming:
        return max(claiming, key=lambda each: each.rate).pin
    name, values = metric.prefer
    for value in values:
        for each in fitting:
            if each.params.get(name) == value:
                return each.pin
    return fitting[0].pin if fitting and not metric.saturates and not values else None
