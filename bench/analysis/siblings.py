"""Whether a device keeps pace with its siblings: every roof beside the median of the others, and who is an outlier.

Decided here once, for the terminal, the page and the gate alike. What could make a wrong outlier, and what is done:
- Chips of one product differ by some percent: OUTLIER, and more where the siblings scatter more among themselves.
- Noise of the measurement: the repetitions of all siblings together say how much a roof scatters, or its own where they
  scatter more, and the ratio must be beyond that at a level which is divided by the number of comparisons. Its own
  interval, of a handful of repetitions and for one comparison, is narrower and asks for nothing more.
- A node that falls into two halves (a link to the near and to the far socket) has no outlier: the deviation among all
  of them is as large as the gap. Its slower devices are "behind", which is worth a look and says of none that it is
  broken.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median, variance
from typing import NamedTuple

from scipy.special import stdtrit

from bench.analysis.fit import Fit, RoofFit
from bench.schema import SUSTAINED, DeviceInfo
from bench.stats import Estimate, mad

# Off by more than this share of the siblings' median. Chips of one product differ by some percent under a power limit.
OUTLIER = 0.03
# Beyond so many deviations among the siblings: a deviation that is known from eight devices is often too small by half.
DEVIATIONS = 4.0
# Chance of any outlier in a healthy node, over all its devices and roofs, as far as repetitions scatter by chance.
LEVEL = 0.01
# The variance of a median of many is larger than that of their mean by this (a normal distribution's pi / 2).
_MEDIAN = math.pi / 2


class SiblingRoof(NamedTuple):
    """A roof of one device beside that of the others."""

    device: str
    key: str
    rate: float
    low: float
    high: float
    n: int  # repetitions of the device's own roof
    median: float  # of the other devices; of three devices: of all
    ratio: float  # over that median
    ratio_low: float
    ratio_high: float
    outlier: bool  # this device is off, not its siblings; of two, where nobody can tell, the slower: faults make slow
    siblings: int  # how many others there are
    faster: float  # the median of the faster half of all
    behind: bool  # below that by more than OUTLIER beyond noise, of a roof without an outlier: the devices differ


def siblings(fits: Sequence[Fit], regime: str = "") -> tuple[SiblingRoof, ...]:
    """One per device and roof that another device of the same product has too. regime: "sustained", or all others."""
    groups = list(_groups(fits, regime))
    level = LEVEL / max(1, sum(len(group.members) for group in groups))
    return tuple(row for group in groups for row in group.rows(level))


@dataclass(frozen=True)
class _RoofOfSiblings:
    """One roof of all devices of a product that have it, two at least."""

    key: str
    members: tuple[tuple[str, RoofFit], ...]

    def rows(self, level: float) -> Iterator[SiblingRoof]:
        found = list(self._rows(level))
        rates = sorted((fitted.roof.rate for _, fitted in self.members), reverse=True)
        faster = median(rates[: (len(rates) + 1) // 2])
        split = len(self.members) > 2 and not any(outlier for *_, outlier, _ in found)
        repeated = any(len(fitted.rates) > 1 for _, fitted in self.members)
        for row, (_, fitted, others) in zip(found, self._beside(), strict=True):
            # where nothing was repeated the gap itself is all that tells
            noise = self._noise(fitted, others, level) if repeated else math.log1p(DEVIATIONS * OUTLIER)
            behind = split and math.log(faster / fitted.roof.rate) > math.log1p(OUTLIER) + noise
            yield SiblingRoof(*row, faster, behind)

    def _beside(self) -> Iterator[tuple[str, RoofFit, list[RoofFit]]]:
        """Every device with its roof and those of all others."""
        for at, (device, fitted) in enumerate(self.members):
            yield device, fitted, [other for place, (_, other) in enumerate(self.members) if place != at]

    def _rows(self, level: float) -> Iterator[tuple]:
        for device, fitted, others in self._beside():
            # the median of two others would lie halfway to the one of them that is off
            compared = others if len(others) != 2 else (fitted, *others)
            roof, centre = fitted.roof, median(other.roof.rate for other in compared)
            ratio = roof.rate / centre
            outlier = (
                abs(ratio - 1) > max(OUTLIER, DEVIATIONS * self.spread)
                and abs(math.log(ratio)) > self._noise(fitted, others, level)
                and (ratio < 1 or len(others) > 1)
            )
            yield (
                device, self.key, roof.rate, roof.low, roof.high, roof.n, centre, ratio, roof.low / centre,
                roof.high / centre, outlier, len(others),
            )  # fmt: skip

    @property
    def spread(self) -> float:
        """What the devices scatter by, as a share; of two nothing is known."""
        rates = [fitted.roof.rate for _, fitted in self.members]
        return mad(rates) / median(rates) if len(rates) > 2 else 0.0

    def _noise(self, fitted: RoofFit, others: Sequence[RoofFit], level: float) -> float:
        """How far chance alone may move the logarithm of a ratio. One device's handful of repetitions knows its scatter
        badly, that of all siblings together well. Where nothing was repeated only the devices tell of it, and twice the
        usual limits hold.
        """
        known = [_logs(each) for each in (fitted, *others) if len(each.rates) > 1]
        degrees = sum(len(logs) - 1 for logs in known)
        if not degrees:
            return math.log1p(2 * max(OUTLIER, DEVIATIONS * self.spread))
        pooled = sum((len(logs) - 1) * variance(logs) for logs in known) / degrees
        own = variance(_logs(fitted)) if len(fitted.rates) > 1 else 0.0
        wider = _MEDIAN if len(others) > 2 else 1.0
        error = math.sqrt(
            max(pooled, own) / len(fitted.rates)
            + pooled * wider * fmean(1 / len(each.rates) for each in others) / len(others)
        )
        return float(stdtrit(degrees, 1 - level / 2)) * error


def _groups(fits: Sequence[Fit], regime: str) -> Iterator[_RoofOfSiblings]:
    found: dict[tuple, list[tuple[str, RoofFit]]] = {}
    for fit in fits:
        roofs = fit.roofs if regime != SUSTAINED else fit.sustained.roofs if fit.sustained else {}
        for key, fitted in roofs.items():
            found.setdefault((key, sibling_key(fit.info)), []).append((fit.info.id, fitted))
    return (_RoofOfSiblings(key, tuple(members)) for (key, _), members in found.items() if len(members) > 1)


def sibling_key(info: DeviceInfo) -> tuple[str, int]:
    """What siblings have in common: a slice or another product is none."""
    return info.name, info.memory_bytes


def _logs(fitted: RoofFit) -> list[float]:
    return [math.log(rate) for rate in fitted.rates.values()]


@dataclass(frozen=True)
class Typical:
    """What several devices of one product have of one quantity. found: of each that has it; of: how many devices there
    are. together: the one roof of them all, if all of them measured it as ranks and so it was recorded once.
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


def typical_roof(peers: Sequence[Fit], key: str) -> Typical | None:
    """The rate of a roof; None where no device has it."""
    found = [each.roofs[key] for each in peers if key in each.roofs]
    if not found:
        return None
    ranks = found[0].winner.params.get("ranks")
    together = found[0] if len(found) == 1 and isinstance(ranks, int | float) and ranks >= len(peers) else None
    return Typical(tuple(each.roof.estimate for each in found), len(peers), together)


def typical_ridge(peers: Sequence[Fit]) -> Typical | None:
    """The headline ridge; None where no device has one."""
    found = tuple(each.headline.estimate for each in peers if each.headline)
    return Typical(found, len(peers)) if found else None
