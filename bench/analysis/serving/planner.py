"""One model on one machine under one request: each step timed once, each number made with where it comes from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench.analysis.serving.capacity import Capacity, capacity
from bench.analysis.serving.machine import FIXED, FORMULA, PROVENANCE, Machine
from bench.analysis.serving.request import Request
from bench.analysis.serving.step import StepTime, decoding, mixing, prefilling, timed
from bench.transformer import Model, Precision, Ranks, resident_weights


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
    bar = _bar(value, unit, [(1, step)])
    return Answer(name, value, unit, step.limit, step.origin, about, step.shares[FIXED], step.shares, note, *bar)


def mixed_of(name: str, value: float, unit: str, parts: list[tuple[float, StepTime]], note: str = "", **about: Any):
    """A number that is made of several steps, each so many times: shares are weighted by their time."""
    total = math.fsum(count * step.seconds for count, step in parts) or 1.0
    shares: dict[str, float] = {}
    for count, step in parts:
        for label, part in step.parts.items():
            shares[label] = shares.get(label, 0.0) + count * part / total
    heaviest = max(parts, key=lambda each: each[0] * each[1].seconds)[1]
    origin = max((step.origin for count, step in parts if count), key=PROVENANCE.index, default=FORMULA)
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

    def __init__(self, model: Model, machine: Machine, request: Request):
        host = machine.host if math.isnan(request.host) else request.host
        self.model = model
        self.machine = machine.using(mode=request.mode, host=host, quantising=request.quantising)
        self.request = request
        self._steps: dict[Any, StepTime] = {}

    def decode(
        self, batch: int, context: float, ranks: Ranks | None = None, precision: Precision | None = None
    ) -> StepTime:
        return self._timed("decode", (batch, int(context), 1), decoding, ranks, precision)

    def prefill(
        self, new: int, cached: int = 0, ranks: Ranks | None = None, precision: Precision | None = None
    ) -> StepTime:
        return self._timed("prefill", (new, cached), prefilling, ranks, precision)

    def mixed(self, batch: int, context: float, chunk: int, cached: int = 0) -> StepTime:
        return self._timed("mixed", (batch, int(context), chunk, cached), mixing, None, None)

    def _timed(
        self, kind: str, numbers: tuple, make: Any, ranks: Ranks | None, precision: Precision | None
    ) -> StepTime:
        key = (kind, numbers, ranks, precision)
        if key not in self._steps:
            self._steps[key] = timed(
                self.model,
                self.machine,
                precision or self.request.precision,
                make(*numbers),
                ranks or self.request.ranks,
                self.request.routing,
            )
        return self._steps[key]

    def verify(self, batch: int, context: float, rows: int) -> StepTime:
        """A speculative step: `rows` tokens of each sequence at once. All rows are sampled; the KV is read once."""
        return self._timed("decode", (batch, int(context), rows), decoding, None, None)

    def fits(self, context: int, ranks: Ranks | None = None, precision: Precision | None = None) -> Capacity:
        request = self.request
        return capacity(
            self.model,
            self.machine,
            precision or request.precision,
            context,
            ranks or request.ranks,
            request.usable,
            self.reserve,
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
    def kv(self) -> float:
        """KV bytes per token of one sequence, over all layers."""
        return self.model.kv_bytes_per_token(self.request.precision.kv)

    @property
    def weights(self) -> float:
        """Bytes of all resident weights."""
        return resident_weights(self.model, self.request.precision)
