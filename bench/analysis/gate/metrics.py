"""What is gated: each metric's case, direction, unit and tolerance, in one place.

A metric is one case with fixed parameters. Where a probe searches (the shape of a GEMM, the settings of a copy) the
baseline's winner is the case from then on, by name: the best of a search is biased upwards and may be another one next
time. Names never contain the hardware's. A dozen metrics gate a GPU, because false alarms add up; the others warn.

Tolerances are judgements (section 14 of the reference this project started from) until `calibrate` has measured the
machine's own noise. A metric under a power cap has wider ones than memory, whose clock is fixed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

from bench import units
from bench.schema import Cache, DeviceInfo, Key
from bench.work import RoofKey, Work

# A case and its regime: whether it is measured after the clock has settled under lasting load.
Pin = tuple[Key, bool]


# Amount -> (SI base unit, text for people).
_UNITS = {"bytes": ("B/s", units.bandwidth), "flops": ("FLOP/s", units.flops), "seconds": ("s", units.seconds)}
# (domain, amount) -> family, where it is not called as the domain is.
_FAMILIES = {("arithmetic", "bytes"): "caches", ("library", "bytes"): "memory", ("cache", "bytes"): "caches"}
_FAMILIES |= {("arithmetic", "flops"): "compute", ("library", "flops"): "compute", ("link", "bytes"): "links"}


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
        return _UNITS[self.amount][0]

    @property
    def better(self) -> str:
        return "lower" if self.amount == "seconds" else "higher"

    @property
    def family(self) -> str:
        """What of a device it rests on: one fault there moves all of the family."""
        return _FAMILIES.get((self.domain, self.amount), self.domain)

    def value(self, speed: float) -> float:
        """In its unit; speed: work, or launches, per second."""
        return 1 / speed if self.amount == "seconds" else speed

    def change(self, ratio: float) -> float:
        """A ratio of speeds as a signed share in its unit: a longer time is above 0, a lower rate below."""
        return (ratio if self.better == "higher" else 1 / ratio) - 1

    def text(self, speed: float) -> str:
        """A speed in the metric's unit, for people."""
        return _UNITS[self.amount][1](self.value(speed))

    def speed(self, work: Work, seconds: float) -> float:
        """Of one launch; more is better, whatever the metric's direction."""
        return (1.0 if self.amount == "seconds" else getattr(work, self.amount)) / seconds


_USUAL = Tolerance(warn=0.03, floor=0.05, siblings=0.10)
# (domain, amount) -> what differs from the usual.
_TOLERANCES = {
    ("memory", "bytes"): Tolerance(warn=0.015, floor=0.02, siblings=0.05),
    ("cache", "bytes"): Tolerance(warn=0.02, floor=0.03, siblings=0.05),
    ("library", "bytes"): Tolerance(warn=0.03, floor=0.03, siblings=0.07),
    ("latency", "seconds"): Tolerance(warn=0.10, floor=0.20, siblings=0.20, least=5e-7),
}
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
        loops = {"units": units, "loops": dict.fromkeys(dtypes, 0), "tensor_loops": dict.fromkeys(dtypes, ())}
        memory = {"memory_bytes": 0, "caches": (Cache("last", 0),), "onchip": dict.fromkeys(("shared", "l1"), 0)}
        ways = {"launches": ("synchronous", "back to back", "graph"), "algorithms": ("ring", "default"), "ranks": 2}
        found |= metrics(DeviceInfo(id="", name="", product="", **loops, **memory, **ways)).keys()
    return frozenset(found)


def _metric(name: str, domain: str, probe: str, where: Mapping[str, Any], amount: str = "bytes", **more: Any) -> Metric:
    tolerance = _TOLERANCES.get((domain, amount), _USUAL)
    return Metric(name=name, domain=domain, probe=probe, where=where, amount=amount, tolerance=tolerance, **more)


def _memory(info: DeviceInfo) -> Iterator[Metric]:
    for mix in ("read", "write", "copy", "triad"):
        where, gates = {"mix": mix, "cache": "cold"}, mix in ("read", "triad")
        yield _metric(f"memory.dram.{mix}", "memory", "bandwidth", where, saturates="dram", gates=gates)
    if info.caches:
        where, last = {"mix": "read", "cache": "hot"}, info.caches[-1].name
        yield _metric("cache.last.read", "cache", "bandwidth", where, saturates=last, gates=True)
    for channel in info.onchip:
        yield _metric(f"onchip.{channel}.read", "arithmetic", "onchip", {"memory": channel})


def _arithmetic(info: DeviceInfo) -> Iterator[Metric]:
    leading = info.headline.dtype
    for unit, kind, dtypes, gated in (
        ("vector", "loop", info.loops, "float32"),
        ("tensor", "tensor loop", info.tensor_loops, leading),
    ):
        for dtype in dtypes:
            key, where = RoofKey.of(unit, dtype, method="loop"), {"kind": kind, "dtype": dtype}
            yield _metric(key, "arithmetic", "peak", where, "flops", saturates=key, gates=dtype == gated)


def _library(info: DeviceInfo) -> Iterator[Metric]:
    # a device without tensor cores takes seconds for what they do in milliseconds
    leading, large = info.headline.dtype, info.headline.unit == "tensor"
    narrow = next((dtype for dtype in _NARROWEST if info.units.get(dtype) == "tensor"), "")
    for dtype, unit in info.units.items():
        variant = "fast_accum" if dtype == "float8_e4m3" else ""
        where = {"kind": "gemm", "dtype": dtype} | ({"variant": variant} if variant else {})
        gemm = partial(_metric, domain="library", probe="peak", where=where, amount="flops")
        gemm = partial(gemm, saturates=".".join(filter(None, (unit, dtype, variant, "library"))))
        gemm = partial(gemm, prefer=("shape", _SHAPES if large else _SHAPES[::-1]))
        yield gemm(f"gemm.{dtype}", gates=dtype in (leading, narrow))
        if dtype == leading and info.regime != "steady":
            # heat, a power cap and a brake only show once the clock has settled under load
            yield gemm(f"gemm.{dtype}.sustained", gates=True, sustained=True)
    where = {"dtype": leading, "batch": 1, "n": 14336, "k": 4096, "strided": 0}
    yield _metric(f"gemv.{leading}", "library", "gemm", where, gates=True)
    where = {"phase": "decode", "layout": "gqa", "batch": 8, "backend": "default"}
    keys = ("keys", (16384, 2048, 256) if large else (2048, 256))
    yield _metric("attention.decode", "library", "attention", where, prefer=keys, gates=True)
    where = {"phase": "prefill", "layout": "mha", "batch": 1, "causal": True, "backend": "default"}
    keys = ("keys", (8192, 2048, 256) if large else (1024, 256))
    yield _metric("attention.prefill", "library", "attention", where, "flops", prefer=keys)


def _links(info: DeviceInfo) -> Iterator[Metric]:
    for path in ("h2d", "d2h"):
        where = {"path": path, "memory": "pinned"}
        yield _metric(f"host.{path}", "link", "hostcopy", where, saturates=path, gates=True)
    for way in info.launches:
        yield _metric(f"launch.{way.replace(' ', '_')}", "latency", "launch", {"way": way}, "seconds")
    if "ring" not in info.algorithms:  # one device, or a host's ranks, which share its memory: no link that could break
        return
    for algorithm in info.algorithms:
        ring, where = algorithm == "ring", {"algorithm": algorithm, "ranks": info.ranks}
        reduce = partial(_metric, probe="allreduce", together=True)
        claim = {"saturates": "link" if ring else "", "prefer": ("bytes", (2**30, 2**27, 2**24)), "gates": ring}
        yield reduce(f"allreduce.{algorithm}", "link", where=where, **claim)
        small = where | {"bytes": 8192}
        yield reduce(f"allreduce.{algorithm}.small", "latency", where=small, amount="seconds")


@dataclass(frozen=True)
class Candidate:
    """A case that may stand for a metric. rate: how fast its rounds were, where it was measured."""

    pin: Pin
    saturates: str
    rate: float = 0.0

    @cached_property
    def params(self) -> Mapping[str, Any]:
        return dict(self.pin[0][2])


def candidates_of(metric: Metric, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The cases that a metric could be of."""
    kind, where = (metric.probe, metric.sustained), metric.where.items()
    alike = [each for each in candidates if (each.pin[0][0], each.pin[1]) == kind]
    return [each for each in alike if all(each.params.get(name) == value for name, value in where)]


def pinned(metric: Metric, candidates: Sequence[Candidate]) -> Pin | None:
    """The case that a metric is from now on: what claimed its roof, else the preferred one, else the only one."""
    fitting = candidates_of(metric, candidates)
    claiming = [each for each in fitting if metric.saturates and each.saturates == metric.saturates]
    if claiming:
        return max(claiming, key=lambda each: each.rate).pin
    name, values = metric.prefer
    preferred = (each.pin for value in values for each in fitting if each.params.get(name) == value)
    return next(preferred, fitting[0].pin if fitting and not metric.saturates and not values else None)
