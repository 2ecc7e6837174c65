"""Seconds of one step of a model on a machine, operator by operator, and what a faster part would buy.

A step is a sequence of kernels: its time is the sum over kernels of the larger of compute and memory time, plus what
starting each costs, plus communication, plus the host time that the device waits for. The whole-step roofline, which
most texts use, is a lower bound of it: printed beside it, never in its place.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bench.analysis.serving import ServingError
from bench.analysis.serving.machine import (
    ASSUMED,
    COMMUNICATION,
    COMPUTE,
    FIXED,
    MEMORY,
    KernelTime,
    Machine,
    least_sure,
)
from bench.transformer import Model, Operation, Precision, Ranks, Step, operations, streamed_weights
from bench.work import ITEMSIZE, move

LABELS = (COMPUTE, MEMORY, FIXED, COMMUNICATION)


@dataclass(frozen=True)
class Row:
    """One operator of a step: `operation.count` launches of `timed`."""

    operation: Operation
    timed: KernelTime

    @property
    def seconds(self) -> float:
        return self.operation.count * self.timed.seconds


@dataclass(frozen=True)
class StepTime:
    """A step, timed. tokens: rows of the GEMMs; devices: that take part; host: seconds that they wait for the host;
    streamed: bytes of weights that a device reads; phase: "decode", "prefill" or "mixed".
    """

    rows: tuple[Row, ...]
    host: float
    tokens: int
    devices: int
    machine: Machine
    streamed: float = 0.0
    phase: str = "decode"

    @cached_property
    def seconds(self) -> float:
        return self.total(lambda timed: timed.seconds) + self.host

    def total(self, part: Callable[[KernelTime], float]) -> float:
        """Over all launches."""
        return math.fsum(row.operation.count * part(row.timed) for row in self.rows)

    @cached_property
    def parts(self) -> dict[str, float]:
        """Seconds by label; the start of every kernel, and the host, are fixed."""
        parts = dict.fromkeys(LABELS, 0.0)
        for row in self.rows:
            parts[row.timed.bound] += row.operation.count * row.timed.busy
            parts[FIXED] += row.operation.count * row.timed.fixed
        parts[FIXED] += self.host
        return parts

    @cached_property
    def shares(self) -> dict[str, float]:
        """The elasticities of the step: twice the compute roof removes half of the compute share."""
        return {label: part / self.seconds for label, part in self.parts.items()}

    @cached_property
    def largest(self) -> Row:
        """The operator that takes most."""
        return max(self.rows, key=lambda row: row.seconds)

    @cached_property
    def limit(self) -> str:
        """The roof that binds most of the step: the key that most seconds wait for, "overhead" where starting wins."""
        waits: dict[str, float] = {"overhead": self.parts[FIXED]}
        for row in self.rows:
            waits[row.timed.limit] = waits.get(row.timed.limit, 0.0) + row.operation.count * row.timed.busy
        return max(waits, key=waits.get)

    @cached_property
    def origin(self) -> str:
        """As sure as the least sure operator that takes a hundredth of the step or more, and as any collective: an
        assumed one may be short only because it was assumed.
        """
        counted = (
            row.timed.origin
            for row in self.rows
            if row.seconds >= 0.01 * self.seconds or (row.operation.kind == "collective" and row.seconds)
        )
        return least_sure(counted, self.machine.origin)

    @cached_property
    def range(self) -> tuple[float, float] | None:
        """Seconds between which a real step lies, if it is off as a layer of its phase was in the self-check."""
        checked = self.machine.errors.get(self.phase)
        return checked.bar(self.seconds) if checked else None

    @property
    def bar(self) -> tuple[float, float] | None:
        """The range, as an error bar: what is assumed was not checked and has none."""
        return self.range if self.origin != ASSUMED else None

    @property
    def bounds(self) -> dict[str, float]:
        """What always holds of a step's kernels, starts and communication left out, from the least to the most."""
        compute, memory = self.total(lambda timed: timed.compute), self.total(lambda timed: timed.memory)
        return {
            "whole-step roofline": max(compute, memory),
            "sum of maxima": self.total(lambda timed: max(timed.compute, timed.memory)),
            "sum of compute and memory": compute + memory,
        }

    @property
    def mfu(self) -> float:
        """Share of the compute roofs that the step's FLOP ask for."""
        return self.total(lambda timed: timed.compute) / self.seconds

    @property
    def mbu(self) -> float:
        """Share of the memory roof that weights and KV ask for (activations are not needed traffic)."""
        cache = (row for row in self.rows if row.operation.kind == "attention decode")
        read = self.streamed / self.machine.bandwidth + sum(row.operation.count * row.timed.memory for row in cache)
        return read / self.seconds


def timed(
    model: Model,
    machine: Machine,
    precision: Precision,
    step: Step,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    routing: str = "uniform",
) -> StepTime:
    """One step of `model`, timed. A pipeline's stages follow one another: a token meets all layers either way."""
    asked = operations(model, precision, step, ranks, routing)
    if machine.quantising == "kernel":
        asked += tuple(_narrowed(asked, precision))
    rows = tuple(Row(operation, machine.seconds(operation)) for operation in asked)
    weights = streamed_weights(model, precision, step.tokens, routing, ranks)
    phase = "mixed" if step.decode and step.prefill else "decode" if step.decode else "prefill"
    return StepTime(rows, machine.host, step.tokens, ranks.devices, machine, weights, phase)


def _narrowed(asked: Iterable[Operation], precision: Precision) -> Iterator[Operation]:
    """The kernel before each product of narrow numbers that makes its rows narrow, where an engine does not fuse it."""
    for each in asked:
        dtype = each.params.get("dtype", precision.activations.math)
        if ITEMSIZE[dtype] < precision.activations.bytes:
            size = each.params["m"] * each.params["k"] * (precision.activations.bytes + ITEMSIZE[dtype])
            yield Operation(f"quantising for {each.name}", "stream", each.count, move(size), {"bytes": size})


def decoding(batch: int, context: int, queries: int = 1) -> Step:
    """A step in which `batch` sequences of `context` tokens each produce one, or verify `queries` drafted ones."""
    if batch < 1 or batch != int(batch):
        raise ServingError(f"a batch must be a whole number of 1 or more, not {batch:g}")
    if context < 0:
        raise ServingError(f"a context cannot be negative: {context}")
    return Step(decode=((batch, max(1, context)),), queries=queries)


def prefilling(new: int, cached: int = 0, finishes: bool = True) -> Step:
    """A step that runs `new` tokens of one prompt after `cached` ones."""
    if new < 1:
        raise ServingError(f"a prompt must have one new token or more, not {new}")
    if cached < 0:
        raise ServingError(f"a cached prefix cannot be negative: {cached}")
    return Step(prefill=((new, cached, finishes),))


def mixing(batch: int, context: int, chunk: int, cached: int = 0) -> Step:
    """A decode step that carries `chunk` tokens of a prompt."""
    return Step(decode=decoding(batch, context).decode, prefill=prefilling(chunk, cached, finishes=False).prefill)


def check_layout(model: Model, ranks: Ranks) -> None:
    """Raises ServingError, one line, where a model cannot be cut into these ranks."""
    if why := undivided(model, ranks):
        raise ServingError(why)


def undivided(model: Model, ranks: Ranks) -> str:
    """Why a model cannot be cut into these ranks, or ""."""
    try:
        ranks.check(model)
    except ValueError as error:
        return str(error)
    return ""


def layouts(model: Model, counts: Iterable[int]) -> list[Ranks]:
    """The numbers of tensor-parallel devices that a model can be cut into, of these."""
    return [ranks for ranks in (Ranks(tensor=count) for count in counts) if not undivided(model, ranks)]
