"""How many sequences fit, what stops the next one, and how many devices a model needs at least.

Memory per device: the driver's bytes x the share that an engine uses, less a reserve for contexts, graphs and
activations. What would make it wrong: fragmentation of a cache that is not paged, an engine whose activations exceed
its reserve, a driver that reports more than it hands out; the capacity probe allocates to find out.
"""

import math
from dataclasses import dataclass

from bench import units
from bench.analysis.serving.errors import ServingError
from bench.analysis.serving.machine import Machine
from bench.analysis.serving.step import check_layout, divides
from bench.transformer import Model, Precision, Ranks, kv_on_rank, resident_weights

USABLE = 0.9  # the default share of common engines
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
    page: int = 16,
    beside: float = 0.0,
) -> Capacity:
    """What fits at a context. page: tokens that a sequence's cache is rounded up to; beside: bytes of a draft model."""
    check_layout(model, ranks)
    if context < 0:
        raise ServingError(f"a context cannot be negative: {context}")
    if not 0 < usable <= 1:
        raise ServingError(f"the usable share of the memory must be above 0 and at most 1, not {usable:g}")
    room = machine.memory_bytes * usable - reserve
    weights = resident_weights(model, precision, ranks) + beside
    # a stage holds its layers of every micro-batch; where attention is data-parallel, a rank holds its own sequences
    sequence = kv_on_rank(model, precision.kv, context, ranks, page) / (ranks.pipeline * ranks.replicas)
    return Capacity(room, weights, sequence, context, largest_batch(room, weights, sequence), ranks.devices)


def smallest(
    model: Model, machine: Machine, precision: Precision, context: int, usable: float = USABLE, reserve: float = 0.0
) -> int | None:
    """The fewest tensor-parallel devices that hold the model and one sequence; None where no cut of it does."""
    for count in range(1, model.heads + 1):
        ranks = Ranks(tensor=count)
        if divides(model, ranks) and capacity(model, machine, precision, context, ranks, usable, reserve).batch:
            return count
    return None


def check_fit(
    model: Model,
    machine: Machine,
    precision: Precision,
    found: Capacity,
    usable: float = USABLE,
    reserve: float = 0.0,
) -> None:
    """Raises ServingError where not even one sequence fits: by how much, and how many devices would do."""
    if found.batch:
        return
    enough = smallest(model, machine, precision, found.context, usable, reserve)
    advice = f"{enough} devices would do" if enough else "no number of devices that divides its heads would do"
    raise ServingError(
        f"{model.name} ({precision.weights.name} weights, {precision.kv.name} KV, context {found.context}) needs "
        f"{units.size(found.weights + found.sequence)} per device on {found.devices}; "
        f"{machine.name} leaves {units.size(found.room)}: {units.size(found.short)} short; {advice}"
    )


def binds(memory: int, user: int, compute: float) -> str:
    """Which limit stops the batch first: "memory" (nothing more fits), "user rate" (the SLA), "compute" (the knee)."""
    limits = {"memory": memory, "user rate": user, "compute": compute}
    return min(limits, key=limits.get)
