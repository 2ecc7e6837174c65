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

import pandas as pd
from scipy.special import stdtrit

from bench.analysis.fit import Fit, RoofFit
from bench.schema import SUSTAINED
from bench.stats import mad

COLUMNS = ("device", "key", "rate", "low", "high", "n", "median", "ratio", "ratio_low", "ratio_high", "outlier")
COLUMNS += ("siblings", "faster", "behind")
# Off by more than this share of the siblings' median. Chips of one product differ by some percent under a power limit.
OUTLIER = 0.03
# Beyond so many deviations among the siblings: a deviation that is known from eight devices is often too small by half.
DEVIATIONS = 4.0
# Chance of any outlier in a healthy node, over all its devices and roofs, as far as repetitions scatter by chance.
LEVEL = 0.01
# The variance of a median of many is larger than that of their mean by this (a normal distribution's pi / 2).
_MEDIAN = math.pi / 2


def siblings(fits: Sequence[Fit], regime: str = "") -> pd.DataFrame:
    """A row per device and roof that another device of the same product has too. regime: "sustained", or all others.

    n: repetitions of the device's own roof. median: of the other devices, so many as `siblings` says (of three devices:
    of all); ratio: over it. outlier: this device is off, not its siblings. Of two devices nobody can tell: the slower
    one is, because faults make slow. faster: the median of the faster half of all. behind: below it by more than
    OUTLIER beyond noise, of a roof without an outlier: the devices differ, though none alone does.
    """
    groups = list(_groups(fits, regime))
    level = LEVEL / max(1, sum(len(group.members) for group in groups))
    rows = [row for group in groups for row in group.rows(level)]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"outlier": bool, "behind": bool})


@dataclass(frozen=True)
class _Group:
    """One roof of all devices of a product that have it, two at least."""

    key: str
    members: tuple[tuple[str, RoofFit], ...]

    def rows(self, level: float) -> Iterator[tuple]:
        found = list(self._rows(level))
        split = len(self.members) > 2 and not any(outlier for *_, outlier, _ in found)
        faster = self._faster
        for at, (row, (_, fitted)) in enumerate(zip(found, self.members, strict=True)):
            others = [other for place, (_, other) in enumerate(self.members) if place != at]
            gap = math.log(faster / fitted.roof.rate)
            # where nothing was repeated the gap itself is all that tells
            noise = self._noise(fitted, others, level) if self._repeated else math.log1p(DEVIATIONS * OUTLIER)
            yield *row, faster, split and gap > math.log1p(OUTLIER) + noise

    @property
    def _faster(self) -> float:
        rates = sorted((fitted.roof.rate for _, fitted in self.members), reverse=True)
        return median(rates[: (len(rates) + 1) // 2])

    @property
    def _repeated(self) -> bool:
        return any(len(fitted.rates) > 1 for _, fitted in self.members)

    def _rows(self, level: float) -> Iterator[tuple]:
        for at, (device, fitted) in enumerate(self.members):
            others = [other for place, (_, other) in enumerate(self.members) if place != at]
            # the median of two others would lie halfway to the one of them that is off
            beside = others if len(others) != 2 else (fitted, *others)
            roof, centre = fitted.roof, median(other.roof.rate for other in beside)
            ratio, low, high = roof.rate / centre, roof.low / centre, roof.high / centre
            outlier = (
                abs(ratio - 1) > max(OUTLIER, DEVIATIONS * self.spread)
                and abs(math.log(ratio)) > self._noise(fitted, others, level)
                and (ratio < 1 or len(others) > 1)
            )
            own = roof.rate, roof.low, roof.high, roof.n
            yield device, self.key, *own, centre, ratio, low, high, outlier, len(others)

    @property
    def spread(self) -> float:
        """What the devices scatter by, as a share; of two nothing is known."""
        rates = [fitted.roof.rate for _, fitted in self.members]
        return mad(rates) / median(rates) if len(rates) > 2 else 0.0

    def _noise(self, fitted: RoofFit, others: Sequence[RoofFit], level: float) -> float:
        """How far chance alone may move the logarithm of a ratio.

        One device's handful of repetitions knows its scatter badly, that of all siblings together well. Where nothing
        was repeated only the devices tell of it, and twice the usual limits hold.
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


def _groups(fits: Sequence[Fit], regime: str) -> Iterator[_Group]:
    """A slice or another product is no sibling."""
    found: dict[tuple, list[tuple[str, RoofFit]]] = {}
    for fit in fits:
        for key, fitted in _roofs(fit, regime).items():
            found.setdefault((key, fit.info.name, fit.info.memory_bytes), []).append((fit.info.id, fitted))
    for (key, *_), members in found.items():
        if len(members) > 1:
            yield _Group(key, tuple(members))


def _roofs(fit: Fit, regime: str) -> dict[str, RoofFit]:
    if regime != SUSTAINED:
        return dict(fit.roofs)
    return dict(fit.sustained.roofs) if fit.sustained else {}


def _logs(fitted: RoofFit) -> list[float]:
    return [math.log(rate) for rate in fitted.rates.values()]
