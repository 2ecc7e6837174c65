"""Supply: named roofs, and the one place where demand over supply becomes time.

    >>> machine = Roofline("h200", (Roof("dram", 4.8e12), Roof("tensor.bfloat16.datasheet", 989.4e12)))
    >>> machine.ridge("tensor.bfloat16", "dram")
    206.125
    >>> machine.attainable(10.0, "tensor.bfloat16", "dram")
    48000000000000.0

The model is Williams, Waterman, Patterson: "Roofline" (CACM 52/4, 2009): attainable = min(peak, bandwidth * intensity).
"""

import math
from dataclasses import dataclass
from functools import cached_property

from bench.stats import Estimate
from bench.work import RoofKey, Work

# The method that states a unit's roof where a Roofline has several: a vector unit is stated by the loop that never
# leaves registers, a tensor unit by the best library GEMM, because that is what a kernel that moves tiles can reach.
METHODS = {"vector": ("loop", "library", "datasheet"), "tensor": ("library", "loop", "datasheet")}


class MissingRoof(KeyError):
    """The Roofline has no roof for what a Work asks."""

    def __str__(self) -> str:
        return self.args[0]


@dataclass(frozen=True)
class Roof:
    """One ceiling: FLOP/s for a compute key `unit.dtype[.variant].method`, B/s for a channel.

    low and high bound it (95 % interval, or range of n repetitions; equal to the rate for a datasheet), n counts
    the repetitions behind it, evidence says where it comes from, caution why it may be wrong.
    """

    key: RoofKey
    rate: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    evidence: str = ""
    caution: str = ""

    def __post_init__(self):
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"roof {self.key}: the rate must be positive and finite, not {self.rate}")
        for bound in ("low", "high"):
            if math.isnan(getattr(self, bound)):
                object.__setattr__(self, bound, self.rate)
        object.__setattr__(self, "key", RoofKey(self.key))

    @property
    def is_compute(self) -> bool:
        return self.key.is_compute

    @property
    def method(self) -> str:
        return self.key.method

    @property
    def quantity(self) -> RoofKey:
        return self.key.quantity

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.rate, self.low, self.high, self.n)


@dataclass(frozen=True)
class Roofline:
    """A machine as its roofs, a fixed cost per launch (seconds) and the sharpness of the knee.

    sharpness p joins compute and memory time as a p-norm: infinity is the textbook's max(), a real kernel's
    imperfect overlap rounds it.
    """

    name: str
    roofs: tuple[Roof, ...]
    overhead: float = 0.0
    sharpness: float = math.inf

    @cached_property
    def _by_key(self) -> dict[str, Roof]:
        return {roof.key: roof for roof in self.roofs}

    def __contains__(self, key: str) -> bool:
        return self.find(key) is not None

    def find(self, key: str) -> Roof | None:
        """The roof of that exact key, or of that quantity by the unit's preferred method.

        A variant without a roof of its own ("tensor.float8_e4m3.fast_accum" on a datasheet) is under its dtype's.
        """
        if key in self._by_key:
            return self._by_key[key]
        key = RoofKey(key)
        for quantity in (key, RoofKey.of(key.unit, key.dtype)):
            for method in METHODS.get(key.unit, ()):
                if f"{quantity}.{method}" in self._by_key:
                    return self._by_key[f"{quantity}.{method}"]
        return None

    def roof(self, key: str) -> Roof:
        """As find; raises MissingRoof."""
        roof = self.find(key)
        if roof is None:
            raise MissingRoof(
                f"{self.name} has no roof for {key!r}; it has {', '.join(sorted(self._by_key)) or 'none'}"
            )
        return roof

    def missing(self, work: Work) -> tuple[RoofKey, ...]:
        """The roofs that a Work asks for and this machine lacks."""
        return tuple(key for key in work.asks if key not in self)

    def compute_seconds(self, work: Work) -> float:
        return work.flops / self.roof(work.compute).rate if work.flops else 0.0

    def memory_seconds(self, work: Work) -> float:
        return work.bytes / self.roof(work.channel).rate if work.bytes else 0.0

    def seconds(self, work: Work) -> float:
        """max(flops / compute roof, bytes / bandwidth roof) + overhead, with the knee rounded by the sharpness."""
        slow, fast = sorted((self.compute_seconds(work), self.memory_seconds(work)), reverse=True)
        if fast and math.isfinite(self.sharpness):
            slow *= (1 + (fast / slow) ** self.sharpness) ** (1 / self.sharpness)
        return slow + self.overhead

    def limit(self, work: Work) -> str:
        """What binds: the key of a roof, or "overhead" where the launch costs more than either."""
        times = {"overhead": self.overhead}
        if work.bytes:
            times[self.roof(work.channel).key] = self.memory_seconds(work)
        if work.flops:
            times[self.roof(work.compute).key] = self.compute_seconds(work)
        return max(times, key=times.get)

    def ridge(self, compute: str, memory: str = "dram") -> float:
        """Intensity (FLOP/B) from which on the compute roof binds."""
        return self.roof(compute).rate / self.roof(memory).rate

    def attainable(self, intensity: float, compute: str, memory: str = "dram") -> float:
        """FLOP/s that a kernel of that intensity can reach."""
        return min(self.roof(compute).rate, self.roof(memory).rate * intensity)
