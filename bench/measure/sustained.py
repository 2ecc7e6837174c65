"""Load that lasts: when a device has settled under it, and what a power cap that comes and goes averages to.

A GPU at its power limit goes on losing clock for some ten seconds, ever more slowly: 2 to 4 % between the sixth second
and the thirtieth. So "settled" is no time that has passed but two windows of two seconds in which clock and power stay
where they are; these two then are the measurement. A controller that swings around its limit never comes to rest: its
clock is averaged over whole swings.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from bench.measure.device.protocol import Device, Sample

# Seconds of a window, and of load after which no more is waited for; how much of a visit an estimate should assume.
WINDOW, LONGEST, USUAL = 2.0, 30.0, 3 * 2.0
# Two stretches in a row are level where their clocks differ by less, per window of their length, chance included: what
# scatters is no proof of rest. Longer stretches are tried, up to STRETCH windows each, because short ones scatter more.
CLOCK, STRETCH = 0.002, 4
# Their powers may differ by this share, or by what the energy counter's step leaves open.
POWER = 0.01
# Windows in which a swing must show.
SWINGING = 4
# The longest step of NVML's energy counter (arXiv 2312.02741).
ENERGY_STEP = 0.1
# A swing: how far the clock goes (coefficient of variation), and how alike it is one period later (autocorrelation).
SWING, ALIKE = 0.005, 0.6


@dataclass(frozen=True)
class Window:
    """Samples of two seconds of load, one after the other. before: the device's counters when it began."""

    samples: tuple[Sample, ...]
    launched: int
    before: Mapping[str, Any]

    @property
    def levels(self) -> list[float]:
        """The clock of each sample; where the device has none, the rate of its launches."""
        clocks = [sample.clock_hz for sample in self.samples]
        return clocks if all(clocks) else [1 / sample.seconds for sample in self.samples]


@dataclass(frozen=True)
class Load:
    """What counts of a load that lasted: its windows, the samples of whole swings, what swings, what is doubtful."""

    windows: tuple[Window, ...]
    samples: tuple[Sample, ...]
    period: float = 0.0
    doubt: str = ""


def load(device: Device, timed: Callable[[], Sample], launches: int, until: float) -> Load:
    """Keeps a device busy until it has settled. launches: of a sample. until: device time by which to end anyway."""
    begun, windows = device.now(), []
    while True:
        windows.append(_window(device, timed, launches))
        if level(windows, device.telemetry()):
            return _counted(windows[-2:], launches)
        last = windows[-SWINGING:]
        if len(last) == SWINGING and (period := cycle([one for window in last for one in window.levels])):
            return _counted(last, launches, period)
        spent = device.now() - begun
        if spent + WINDOW > LONGEST or device.now() + WINDOW > until:
            doubt = f"the clock had not settled after {spent:.1f} s of load"
            return _counted(windows[-2:], launches, doubt=doubt)


def level(windows: Sequence[Window], after: Mapping[str, Any]) -> bool:
    """Whether clock and power have come to rest: the last windows beside as many before them, at some length.

    after: the counters at the end of the last one.
    """
    for length in range(1, min(len(windows) // 2, STRETCH) + 1):
        before, last = windows[-2 * length : -length], windows[-length:]
        one, other = ([level for window in stretch for level in window.levels] for stretch in (before, last))
        chance = 2 * math.hypot(_error(one), _error(other))
        if abs(fmean(other) / fmean(one) - 1) + chance > length * CLOCK:
            continue
        powers = [_power(*pair) for pair in pairwise((before[0].before, last[0].before, after))]
        allowed = max(POWER, ENERGY_STEP / (length * WINDOW))
        if None in powers or abs(powers[1] / powers[0] - 1) <= allowed:
            return True
    return False


def cycle(levels: Sequence[float]) -> float:
    """Samples after which a series repeats itself, 0 where it does not swing.

    The lag of the first peak of the autocorrelation behind its first dip below zero.
    """
    n, centre = len(levels), fmean(levels) if levels else 0.0
    spread = [each - centre for each in levels]
    power = sum(each * each for each in spread)
    if n < 8 or math.sqrt(power / n) < SWING * centre:
        return 0.0
    # each lag by the pairs that it has, or a long one would seem less alike
    alike = [sum(a * b for a, b in zip(spread, spread[lag:], strict=False)) / (n - lag) * n / power for lag in range(n)]
    # a lag as long as half of the series has so few pairs that noise looks alike
    most = 2 * n // 5
    dip = next((lag for lag in range(most) if alike[lag] < 0), 0)
    peak = max(range(dip, most + 1), key=alike.__getitem__) if dip else 0
    return float(peak) if peak and alike[peak] > ALIKE else 0.0


def _window(device: Device, timed: Callable[[], Sample], launches: int) -> Window:
    before, begun, samples = device.telemetry(), device.now(), []
    while not samples or device.now() - begun < WINDOW:
        samples.append(timed())
    return Window(tuple(samples), sum(sample.count or launches for sample in samples), before)


def _counted(windows: Sequence[Window], launches: int, period: float = 0.0, doubt: str = "") -> Load:
    """period: samples of a swing, 0 for none."""
    samples = [sample for window in windows for sample in window.samples]
    whole = int(len(samples) // period * period) if period else len(samples)
    length = fmean((sample.count or launches) * sample.seconds for sample in samples)
    return Load(tuple(windows), tuple(samples[-whole:]), period * length, doubt)


def _error(values: Sequence[float]) -> float:
    """Of a mean, relative to it."""
    return stdev(values) / math.sqrt(len(values)) / fmean(values) if len(values) > 1 else 0.0


def _power(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """Watts between two readings of the energy counter; None where there is none or it stood still."""
    if any(key not in each for key in ("energy_j", "at_s") for each in (before, after)):
        return None
    spent, time = after["energy_j"] - before["energy_j"], after["at_s"] - before["at_s"]
    return spent / time if spent > 0 and time > 0 else None
