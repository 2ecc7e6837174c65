"""What several devices of one product have of one quantity: the median, the ends, and how many have it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.analysis.fit import Fit
from bench.analysis.rows import countable
from bench.stats import Estimate


@dataclass(frozen=True)
class Typical:
    """found: of each device that has the quantity; of: how many devices there are. ranks: how many measured it
    together, once for all of them, else 0. valid: whether what every device has rests on valid measurements.
    """

    found: tuple[Estimate, ...]
    of: int
    ranks: int = 0
    valid: bool = True

    @property
    def median(self) -> float:
        return median(each.value for each in self.found)

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the most of the devices."""
        values = [each.value for each in self.found]
        return min(values), max(values)


def peers(fit: Fit, fits: Sequence[Fit]) -> list[Fit]:
    """Every device of its product, itself among them: medians over others would say nothing."""
    return [each for each in fits if each.info.name == fit.info.name]


def roof(peers: Sequence[Fit], key: str) -> Typical | None:
    """The rate of a roof; None where no device has it."""
    found = [each.roofs[key] for each in peers if key in each.roofs]
    if not found:
        return None
    ranks = [int(count) for each in found if countable(count := each.winner.params.get("ranks"))]
    valid = all(each.winner.validity == "valid" for each in found)
    return Typical(tuple(each.roof.estimate for each in found), len(peers), max(ranks, default=0), valid)


def ridge(peers: Sequence[Fit]) -> Typical | None:
    """The headline ridge; None where no device has one."""
    found = tuple(each.headline.estimate for each in peers if each.headline)
    return Typical(found, len(peers)) if found else None
