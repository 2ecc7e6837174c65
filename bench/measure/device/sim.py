"""A datasheet as a device: every probe at full size on torch's meta tensors, behind a virtual clock.

`sim:SKU[,option=value...]`, options:

    gpus=N                N GPUs of one node
    seed=N                seed of the noise
    noise=WITHIN:BETWEEN  log-normal noise of samples and of repetitions (0.002:0.007 is realistic)
    overhead=SECONDS      fixed cost per launch (2us)
    soft=P                a rounded knee: compute and memory time joined as a P-norm
    drift=SHARE           slower by this share per minute of virtual time
    sustained=FACTOR      what is left of the compute roofs in the sustained regime (0.9)
    ROOF[@GPU]=FACTOR     a planted fault: dram@3=0.9 makes GPU 3's memory 10 % slow
    throttle=CAUSE[@GPU]  thermal, power_brake (both invalidate) or power_cap (slower, valid)
    cost=CASE:GRAPH:PLAN:START   what the wall pays beside the samples: for each case (allocation, check, telemetry),
                          each capture of a graph, each shape of attention that a library plans for, each group of
                          processes that starts (20ms:2ms:400ms:3s is realistic)

What comes out proves the plumbing, never a machine: a Run of it is marked as simulated.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench import units
from bench.measure.device import chips
from bench.measure.device.protocol import Device, DeviceError, Kernel, Sample, Unsupported, torch_dtype
from bench.measure.device.timer import SHORT
from bench.measure.device.validity import judge
from bench.roofline import Roofline
from bench.schema import SUSTAINED, Cache, Case, DeviceInfo
from bench.theory import Product, UnknownProduct, product
from bench.work import RoofKey, Work

# Cause of a throttle -> the share of the tensor and vector rates that it leaves; the counter that stands for it.
_THROTTLES = {
    "thermal": (0.7, "throttled_hw_thermal_s"),
    "power_brake": (0.5, "throttled_power_brake_s"),
    "power_cap": (0.85, "throttled_power_cap_s"),
}
# A GPU's FMA loops are described by accumulators; 2048 threads x 8 chains on every SM.
_CHAINS = 2048 * 8
# Options of one number -> its type, least and most.
_NUMBERS = {
    "gpus": (int, 1, 1024),
    "seed": (int, 0, 2**63),
    "soft": (float, 1, 1e6),
    "drift": (float, -1, 1),
    "sustained": (float, 1e-6, 1),
}


class Blank(Device):
    """A dry run's device, to prepare cases on: tensors without memory (meta), a list of the kernels asked for."""

    def __init__(self, info: DeviceInfo):
        self.info = info
        self.kernels: list[Kernel] = []

    def empty(self, *shape: int, dtype: str) -> Any:
        import torch

        return torch.empty(shape, dtype=torch_dtype(dtype), device="meta")

    random = empty

    def host(self, *shape: int, dtype: str, memory: str) -> Any:
        return self.empty(*shape, dtype=dtype)

    def duplex(self, one: Callable[[], Any], other: Callable[[], Any]) -> Callable[[], Any]:
        return partial(_both, one, other)

    def rotation(self, launch_bytes: float, cache: str) -> int:
        return 1  # what has no memory has no cache to go around

    def load(self, kernel: Kernel) -> Callable[..., None]:
        if kernel not in self.kernels:
            self.kernels.append(kernel)
        return partial(_touch, kernel)

    def all_reduce(self, tensor: Any, algorithm: str) -> Callable[[], Any]:
        return partial(_touch, None, tensor)


def _touch(kernel: Kernel | None, *arguments: Any) -> None:
    """A launch on meta tensors computes nothing; an audit reads its arguments."""


def _both(one: Callable[[], Any], other: Callable[[], Any]) -> None:
    one()
    other()


@dataclass(frozen=True)
class HostCosts:
    """Seconds of wall time that no sample shows: per case, per captured graph, per plan of a library, per start."""

    case: float = 0.0
    graph: float = 0.0
    plan: float = 0.0
    start: float = 0.0

    def __str__(self) -> str:
        return ":".join(f"{seconds:g}s" for seconds in (self.case, self.graph, self.plan, self.start))


@dataclass(frozen=True)
class SimOptions:
    """What the text behind sim:SKU asks for."""

    gpus: int = 1
    seed: int = 0
    within: float = 0.0
    between: float = 0.0
    overhead: float = 0.0
    soft: float = math.inf
    drift: float = 0.0
    sustained: float = 1.0
    faults: tuple[tuple[str, int | None, float], ...] = ()
    throttles: tuple[tuple[str, int | None], ...] = ()
    cost: HostCosts = HostCosts()


def parse(text: str) -> tuple[Product, SimOptions]:
    """The product and the options of "sim:h200-sxm,gpus=8,dram@3=0.9". Raises DeviceError."""
    sku, *words = text.removeprefix("sim:").split(",")
    try:
        chosen = product(sku)
    except UnknownProduct as error:
        raise DeviceError(str(error)) from None
    options = SimOptions()
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value:
            raise DeviceError(f"{text}: {word!r} is not name=value")
        try:
            options = replace(options, **_option(options, name.strip(), value.strip(), chosen.roofline))
        except ValueError as error:
            raise DeviceError(f"{text}: {word!r}: {error}") from None
    for name, gpu, *_ in options.faults + options.throttles:
        if gpu is not None and gpu >= options.gpus:
            count = f"{options.gpus} GPUs" if options.gpus > 1 else "1 GPU"
            raise DeviceError(f"{text}: {name}@{gpu}: this node has {count}, numbered from 0")
    return chosen, options


def _option(options: SimOptions, name: str, value: str, roofline: Roofline) -> dict[str, Any]:
    """The fields that name=value sets. Raises ValueError."""
    if name in _NUMBERS:
        return {name: _number(value, *_NUMBERS[name])}
    if name == "noise":
        within, _, between = value.partition(":")
        return {"within": _number(within, float, 0, 1), "between": _number(between or "0", float, 0, 1)}
    if name == "overhead":
        return {"overhead": units.duration(value)}
    if name == "cost":
        words = value.split(":")
        if len(words) > 4:
            raise ValueError("must be four durations at most: CASE:GRAPH:PLAN:START")
        return {"cost": HostCosts(*map(units.duration, words))}
    if name == "throttle":
        cause, _, gpu = value.partition("@")
        if cause not in _THROTTLES:
            raise ValueError(f"unknown cause; choose from {', '.join(_THROTTLES)}")
        return {"throttles": (*options.throttles, (cause, _gpu(gpu)))}
    roof, _, gpu = name.partition("@")
    if not any(_matches(r.key, roof) for r in roofline.roofs):
        keys = ", ".join(sorted({r.quantity for r in roofline.roofs}))
        known = "gpus, seed, noise, overhead, soft, drift, sustained, throttle, cost"
        raise ValueError(f"neither an option ({known}) nor one of its roofs ({keys})")
    return {"faults": (*options.faults, (roof, _gpu(gpu), _number(value, float, 1e-6, 1e6)))}


def _number(text: str, kind: type, low: float, high: float) -> Any:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"must be a {'whole ' * (kind is int)}number") from None
    if not low <= value <= high:
        raise ValueError(f"must lie between {low:g} and {high:g}")
    return value


def _gpu(text: str) -> int | None:
    return _number(text, int, 0, 1024) if text else None


def _matches(key: str, roof: str) -> bool:
    return key == roof or key.startswith(f"{roof}.")


def open_simulated(text: str) -> list["SimDevice"]:
    """One device per simulated GPU. Raises DeviceError."""
    chosen, options = parse(text)
    return [SimDevice(chosen, options, index) for index in range(options.gpus)]


class SimDevice(Blank):
    """One simulated GPU; the Device protocol over a virtual clock. One process plays every GPU of a node."""

    def __init__(self, chosen: Product, options: SimOptions, index: int = 0):
        self._options = options
        self._throttles = [cause for cause, gpu in options.throttles if gpu in (None, index)]
        self._roofline = _planted(chosen.roofline, options, index, self._throttles)
        self._random = random.Random(f"{options.seed}:{index}")
        self._clock = options.cost.start
        self._repetition, self._captured = 1.0, True
        self._planned: set[Any] = set()
        self._timed: tuple[Work | None, float] = (None, 0.0)
        self._product = chosen
        info = DeviceInfo(
            id=f"sim:{chosen.sku}:{index}",
            name=f"simulated {chosen.sku}",
            product=f"sim-{chosen.sku}",
            sku=chosen.sku,
            uuid=f"SIM-{chosen.sku}-{index}",
            memory_bytes=chosen.memory_bytes,
            caches=(Cache("l2", chosen.l2_bytes),),
            units=chosen.units(),
            loops={roof.key.dtype: chosen.sms * _CHAINS for roof in self._roofline.roofs if roof.key.unit == "vector"},
            algorithms=("ring", "default") if options.gpus > 1 else (),
            ranks=options.gpus,
            simulated=True,
            facts={"simulated": "virtual clock over the datasheet; not a measurement", "options": text_of(options)},
            **chips.features(chosen.capability, chosen.sms),
        )
        super().__init__(info)

    def begin(self, case: Case) -> None:
        self._clock += self._options.cost.case
        self._captured = False
        if lacking := self._roofline.missing(case.work):
            raise Unsupported(f"the datasheet states no {' and no '.join(lacking)}")
        if not (case.work.flops or case.work.bytes or (case.timing and self._options.overhead)):
            raise Unsupported("a datasheet states no latency")
        self._repetition = math.exp(self._random.gauss(0, self._options.between)) if self._options.between else 1.0

    def time(self, case: Case, launches: Sequence[Callable[[], Any]], count: int) -> Sample:
        # a case is timed hundreds of times: to find its roofs each time would take longer than all that follows
        if case.work is not self._timed[0]:
            self._timed = case.work, self._roofline.seconds(case.work)
        seconds = self._timed[1] * self._repetition
        if self._options.within:
            # a batch of n launches averages nothing away: samples of one repetition share their disturbances
            seconds *= math.exp(self._random.gauss(0, self._options.within))
        seconds *= (1 + self._options.drift) ** (self._clock / 60)
        if case.regime == SUSTAINED and RoofKey(self._roofline.limit(case.work)).is_compute:
            seconds /= self._options.sustained
        self._clock += seconds * count + self._charged(launches, seconds, count)
        return Sample(seconds)

    def _charged(self, launches: Sequence[Callable[[], Any]], seconds: float, count: int) -> float:
        """What a case's first launches cost the host: a plan where a library makes one, a graph where they go in."""
        cost, charged = self._options.cost, 0.0
        # what is planned shape by shape is attention: [batch, heads, tokens, head dimension]
        shapes = [tuple(x.shape) for x in getattr(launches[0], "args", ()) if getattr(x, "ndim", 0) == 4]
        if shapes and tuple(shapes) not in self._planned:
            self._planned.add(tuple(shapes))
            charged += cost.plan
        if not self._captured and count > 1 and seconds < SHORT:
            self._captured = True
            charged += cost.graph
        return charged

    def rest(self, seconds: float) -> None:
        self._clock += seconds

    def now(self) -> float:
        return self._clock

    def telemetry(self) -> Mapping[str, Any]:
        """What its driver would count if it drew its rated power all the time, and were throttled all the time."""
        throttled, now = self._throttles, self._clock
        counters = {key: now if cause in throttled else 0.0 for cause, (_, key) in _THROTTLES.items()}
        return counters | {"at_s": now, "energy_j": self._product.tdp_watts * now}

    def watch(self) -> AbstractContextManager[dict[str, Any]]:
        return nullcontext({"n": 1, "power_w": [self._product.tdp_watts] * 3})

    judge = staticmethod(judge)


def _planted(roofline: Roofline, options: SimOptions, index: int, throttles: Sequence[str]) -> Roofline:
    """The datasheet with this GPU's faults, overhead and knee."""

    def factor(key: RoofKey) -> float:
        product = math.prod(f for roof, gpu, f in options.faults if gpu in (None, index) and _matches(key, roof))
        if key.is_compute:
            product *= math.prod(_THROTTLES[cause][0] for cause in throttles)
        return product

    roofs = tuple(replace(r, rate=r.rate * factor(r.key), low=math.nan, high=math.nan) for r in roofline.roofs)
    return replace(roofline, roofs=roofs, overhead=options.overhead, sharpness=options.soft)


def text_of(options: SimOptions) -> str:
    """The options that are not the default, as they are typed."""
    default = SimOptions()
    chosen = {name: value for name, value in vars(options).items() if value != getattr(default, name)}
    within, between = chosen.pop("within", 0.0), chosen.pop("between", 0.0)
    faults, throttles, cost = (chosen.pop(name, ()) for name in ("faults", "throttles", "cost"))
    words = [f"{name}={value:g}" for name, value in chosen.items()]
    words += [f"noise={within:g}:{between:g}"] if within or between else []
    words += [f"{roof}{_at(gpu)}={factor:g}" for roof, gpu, factor in faults]
    words += [f"throttle={cause}{_at(gpu)}" for cause, gpu in throttles]
    words += [f"cost={cost}"] if cost else []
    return ", ".join(words) or "none"


def _at(gpu: int | None) -> str:
    return "" if gpu is None else f"@{gpu}"
