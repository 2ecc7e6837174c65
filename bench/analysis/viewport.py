"""The part of the roofline plane that a machine's roofs span, and which of its roofs bound arithmetic."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.analysis.fit import Fit
from bench.roofline import Roof, Roofline
from bench.work import RoofKey

# A GEMV in INT8 has 2 FLOP/B, STREAM's add 1/12: the frame starts a little below that on every machine.
_LEFT = 1 / 20
# A kernel of the reader's this far beyond the machine's frame widens it; one further out stands at the edge.
_WIDENS = 30.0
# Channels that no kernel computes from.
_LINKS = ("link", "h2d", "d2h", "duplex")


@dataclass(frozen=True)
class Viewport:
    """The frame's edges (FLOP/B, FLOP/s), set by the machine's roofs and not by what it measured."""

    left: float
    right: float
    bottom: float
    top: float

    @property
    def decades(self) -> tuple[float, float]:
        return math.log10(self.right / self.left), math.log10(self.top / self.bottom)

    def holds(self, x: float, y: float, more: float = 1) -> bool:
        return self.left <= x * more and x <= self.right * more and self.bottom <= y * more and y <= self.top * more

    def widened(self, points: Iterable[tuple[float, float]]) -> "Viewport":
        """To hold these points, as far as the roofs stay the greater part of it."""
        near = [at for at in points if self.holds(*at, _WIDENS) and not self.holds(*at)]
        xs, ys = zip((self.right / 2, self.top / 2), *near, strict=True)
        left, right = min(self.left, *(x / 2 for x in xs)), max(self.right, *(x * 2 for x in xs))
        return Viewport(left, right, min(self.bottom, *(y / 4 for y in ys)), max(self.top, *(y * 2 for y in ys)))

    def clamped(self, x: float, y: float) -> tuple[float, float, str]:
        """(x, y, which way out it lies): a place within the frame, and "left", "right", "down", "up" or ""."""
        out = "left" if x < self.left else "right" if x > self.right else ""
        out = out or ("down" if y < self.bottom else "up" if y > self.top else "")
        inset = 1.08 if out else 1
        x, y = max(x, self.left * inset), max(y, self.bottom * inset)
        return min(x, self.right / inset), min(y, self.top / inset), out


def viewport(fit: Fit, theory: Roofline | None) -> Viewport | None:
    """None without a memory roof and a compute roof, measured or claimed."""
    every = [roof for roofline in (fit.roofline, theory) if roofline for side in ceilings(roofline) for roof in side]
    slopes, peaks = [r for r in every if not r.is_compute], [r.rate for r in every if r.is_compute]
    if not slopes or not peaks:
        return None
    slow = next((roof.rate for roof in slopes if roof.key == "dram"), min(roof.rate for roof in slopes))
    # snapped outwards, so that two Runs of one machine have one frame and can be laid over each other
    return Viewport(_LEFT, _up(max(peaks) / slow * 20), 1 / _up(4 / (slow * _LEFT)), _up(max(peaks) * 1.8))


def _up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... from a value on."""
    decade = 10.0 ** math.floor(math.log10(value))
    return next(step * decade for step in (1, 2, 5, 10) if step * decade >= value * (1 - 1e-9))


def ceilings(roofline: Roofline) -> tuple[tuple[Roof, ...], tuple[Roof, ...]]:
    """The memory roofs under which arithmetic is drawn, slowest first, and the compute roofs."""
    memory = [roof for roof in roofline.roofs if not roof.is_compute and roof.key not in _LINKS]
    return tuple(sorted(memory, key=lambda roof: roof.rate)), tuple(roof for roof in roofline.roofs if roof.is_compute)


def links(roofline: Roofline) -> tuple[Roof, ...]:
    """The roofs of host link and NVLink, which a reader may ask for as slopes of their own."""
    return tuple(roof for roof in roofline.roofs if roof.key in _LINKS)


def brief(value: float, digits: int = 5) -> float:
    """A coordinate to so many digits: five are more than any screen shows, and a third of the text."""
    return float(f"{value:.{digits}g}")


@dataclass(frozen=True)
class Line:
    """A roof as a line of a figure. trace: what it is ("roof", "sustained", "datasheet") and its key."""

    trace: str
    key: str
    rate: float

    @property
    def what(self) -> str:
        return self.trace.partition(" ")[0]

    @property
    def is_compute(self) -> bool:
        return RoofKey(self.key).is_compute


def spans(lines: Sequence[Line], frame: Viewport) -> dict[str, tuple[float, float]]:
    """From where to where each line binds among those that are shown, left to right; not those that do so nowhere.

    Slopes end at the highest roof, plateaus begin at the slope of the leading memory of their kind.
    """
    tallest = max((line.rate for line in lines if line.is_compute), default=frame.top)
    slopes = sorted((line for line in lines if not line.is_compute), key=lambda line: (line.key != "dram", line.rate))
    found = {}
    for line in lines:
        low, high = max(frame.left, frame.bottom / line.rate), min(frame.right, tallest / line.rate)
        if line.is_compute:
            under = next((slope for slope in slopes if slope.what == line.what), slopes[0] if slopes else None)
            low, high = max(frame.left, line.rate / under.rate if under else 0.0), frame.right
        if low < high:
            found[line.trace] = (low, high)
    return found


def curve(roof: Roof | Line, xs: Iterable[float]) -> list[float]:
    return [roof.rate if roof.is_compute else brief(roof.rate * x) for x in xs]
