"""What several devices of one product have of one quantity: the median, the ends, and how many have it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.analysis.fit import Fit, RoofFit
from bench.analysis.rows import countable
from bench.stats import Estimate


@dataclass(frozen=True)
class Typical:
    """found: of each device that has the quantity; of: how many devices there are. together: the one roof of them all,
    if all of them measured it as ranks and so it was recorded once.
    """

    found: tuple[Estimate, ...]
    of: int
    together: RoofFit | None = None

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
    ranks = found[0].winner.params.get("ranks")
    together = found[0] if len(found) == 1 and countable(ranks) and ranks >= len(peers) else None
    return Typical(tuple(each.roof.estimate for each in found), len(peers), together)


def ridge(peers: Sequence[Fit]) -> Typical | None:
    """The headline ridge; None where no device has one."""
    found = tuple(each.headline.estimate for each in peers if each.headline)
    return Typical(found, len(peers)) if found else None
