"""One model on one machine under one request: what fits, each step timed once, each number with where it comes from.

Memory per device: the driver's bytes x the share that an engine uses, less a reserve for contexts, graphs and
activations. What would make it wrong: fragmentation of a cache that is not paged, an engine whose activations exceed
its reserve, a driver that reports more than it hands out; the capacity probe allocates to find out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench import units
from bench.analysis.serving import ServingError
from bench.analysis.serving.machine import FIXED, Machine, least_sure
from bench.analysis.serving.request import USABLE, ServingRequest
from bench.analysis.serving.step import StepTime, check_layout, decoding, layouts, mixing, prefilling, timed
from bench.transformer import Model, Precision, Ranks, Step, kv_on_rank, resident_weights

# Tokens that a sequence's cache is rounded up to.
PAGE = 16
_MOST = 1 << 20


def largest_batch(room: float, weights: float, sequence: float) -> int:
    """Sequences that fit beside the weights; 0 where the weights do not fit. Bytes, all of the same devices."""
    return max(0, math.floor((room - weights) / sequence)) if sequence else (_MOST if room >= weights else 0)


@dataclass(frozen=True)
class Capacity:
    """Bytes on each device. room: usable; weights; sequence: of one sequence at `context`; batch: that fits."""

    room: float
    weights: float
    sequence: float
    context: int
    batch: int
    devices: int

    @property
    def short(self) -> float:
        """Bytes per device that the weights and one sequence lack; 0 where they fit."""
        return max(0.0, self.weights + self.sequence - self.room)


def capacity(
    model: Model,
    machine: Machine,
    precision: Precision,
    context: int,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    usable: float = USABLE,
    reserve: float = 0.0,
) -> Capacity:
    """What fits at a context."""
    check_layout(model, ranks)
    if context < 0:
        raise ServingError(f"a context cannot be negative: {context}")
    if not 0 < usable <= 1:
        raise ServingError(f"the usable share of the memory must be above 0 and at most 1, not {usable:g}")
    room = machine.memory_bytes * usable - reserve
    weights = resident_weights(model, precision, ranks)
    # a stage holds its layers of every micro-batch; where attention is data-parallel, a rank holds its own sequences
    sequence = kv_on_rank(model, precision.kv, context, ranks, PAGE) / (ranks.pipeline * ranks.replicas)
    return Capacity(room, weights, sequence, context, largest_batch(room, weights, sequence), ranks.devices)


@dataclass(frozen=True)
class Answer:
    """One number. unit: in the field's words; about: what it holds for; bound: the roof or the limit that binds it.

    fixed: the share that is start-up and host time; shares: of compute, memory, fixed, communication, where it is a
    time. origin: "measured", "formula" or "assumed", the least sure of what it is made of. low, high: the bar that
    the self-check of the same Run gives it, NaN where it checked no such step, or where a bar would say nothing.
    """

    name: str
    value: float
    unit: str
    bound: str
    origin: str
    about: Mapping[str, Any] = field(default_factory=dict)
    fixed: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    low: float = math.nan
    high: float = math.nan


def of_step(name: str, value: float, unit: str, step: StepTime, note: str = "", **about: Any) -> Answer:
    """A number that is made of one step: it inherits what binds the step."""
    return mixed_of(name, value, unit, [(1, step)], note, **about)


def mixed_of(
    name: str, value: float, unit: str, parts: list[tuple[float, StepTime]], note: str = "", **about: Any
) -> Answer:
    """A number that is made of several steps, each so many times: shares are weighted by their time."""
    total = math.fsum(count * step.seconds for count, step in parts) or 1.0
    shares: dict[str, float] = {}
    for count, step in parts:
        for label, part in step.parts.items():
            shares[label] = shares.get(label, 0.0) + count * part / total
    heaviest = max(parts, key=lambda part: part[0] * part[1].seconds)[1]
    origin = least_sure(step.origin for count, step in parts if count)
    bar = _bar(value, unit, parts)
    return Answer(name, value, unit, heaviest.limit, origin, about, shares.get(FIXED, 0.0), shares, note, *bar)


# Units of numbers that grow with the time of the steps they are made of, and of those that shrink with it.
_TIMES, _RATES = ("s", "USD per 1e6 tokens", "J per 1e6 tokens"), ("tokens/s", "requests/s")


def _bar(value: float, unit: str, parts: list[tuple[float, StepTime]]) -> tuple[float, float]:
    """The value if every step were as far off as the self-check's furthest on either side; NaN where that is unknown.

    Nothing but a number that is proportional to the time of its steps has a bar.
    """
    used = [(count, step) for count, step in parts if count]
    if unit not in (*_TIMES, *_RATES) or not used or any(step.bar is None for _, step in used):
        return math.nan, math.nan
    total = math.fsum(count * step.seconds for count, step in used)
    short, long = (math.fsum(count * step.bar[side] for count, step in used) / total for side in (0, 1))
    return (value * short, value * long) if unit in _TIMES else (value / long, value / short)


class Planner:
    """Times steps of one model on one machine, each once."""

    def __init__(self, model: Model, machine: Machine, request: ServingRequest):
        host = machine.host if math.isnan(request.host) else request.host
        self.model = model
        self.machine = machine.using(mode=request.mode, host=host, quantising=request.quantising)
        self.request = request
        self._steps: dict[Any, StepTime] = {}

    def step(self, step: Step, ranks: Ranks | None = None, precision: Precision | None = None) -> StepTime:
        """Any step, with the request's ranks and precision where no others are given."""
        made = precision or self.request.precision, step, ranks or self.request.ranks
        if made not in self._steps:
            self._steps[made] = timed(self.model, self.machine, *made, self.request.routing)
        return self._steps[made]

    def decode(
        self, batch: int, context: float, ranks: Ranks | None = None, precision: Precision | None = None
    ) -> StepTime:
        return self.step(decoding(batch, int(context)), ranks, precision)

    def prefill(self, new: int, cached: int = 0, ranks: Ranks | None = None) -> StepTime:
        return self.step(prefilling(new, cached), ranks)

    def mixed(self, batch: int, context: float, chunk: int, cached: int = 0) -> StepTime:
        return self.step(mixing(batch, int(context), chunk, cached))

    def verify(self, batch: int, context: float, rows: int) -> StepTime:
        """A speculative step: `rows` tokens of each sequence at once. All rows are sampled; the KV is read once."""
        return self.step(decoding(batch, int(context), rows))

    def fits(self, context: int, ranks: Ranks | None = None, precision: Precision | None = None) -> Capacity:
        made = precision or self.request.precision, context, ranks or self.request.ranks
        return capacity(self.model, self.machine, *made, self.request.usable, self.reserve)

    def check_fit(self, found: Capacity) -> None:
        """Raises ServingError where not even one sequence fits: by how much, and how many devices would do."""
        if found.batch:
            return
        model, precision = self.model, self.request.precision
        cuts = layouts(model, range(1, model.heads + 1))
        enough = next((ranks.tensor for ranks in cuts if self.fits(found.context, ranks).batch), None)
        advice = f"{enough} devices would do" if enough else "no number of devices that divides its heads would do"
        raise ServingError(
            f"{model.name} ({precision.weights.name} weights, {precision.kv.name} KV, context {found.context}) needs "
            f"{units.size(found.weights + found.sequence)} per device on {found.devices}; "
            f"{self.machine.name} leaves {units.size(found.room)}: {units.size(found.short)} short; {advice}"
        )

    @property
    def reserve(self) -> float:
        """Bytes of a device that neither weights nor KV may take."""
        return self.machine.reserve if math.isnan(self.request.reserve) else self.request.reserve

    @property
    def mean_context(self) -> int:
        """Tokens that a sequence has read back on average while it decodes."""
        return self.request.prompt + self.request.output // 2

    @cached_property
    def most(self) -> int:
        """Sequences that fit when each has grown to its full length."""
        return self.fits(self.request.prompt + self.request.output).batch

    @property
    def weights(self) -> float:
        """Bytes of all resident weights."""
        return resident_weights(self.model, self.request.precision)

    @property
    def math_dtype(self) -> str:
        """The dtype that the weights are multiplied in."""
        return self.request.precision.multiplied(self.request.precision.weights)
