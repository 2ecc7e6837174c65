"""The roofline plane: the part of it that a machine's roofs span, where they bind and meet, and where names stand so
that none lies on another.

Sizes of labels are in pixels, of a plot as large as labels need; render/roofline.js lays out what a reader chooses by
the same rules.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from bench.analysis.fit import Fit, RoofFit
from bench.roofline import Roof, Roofline
from bench.schema import SUSTAINED
from bench.stats import Estimate, estimate
from bench.work import RoofKey

# A GEMV in INT8 has 2 FLOP/B, STREAM's add 1/12: the frame starts a little below that on every machine.
_LEFT = 1 / 20
# A kernel of the reader's this far beyond the machine's frame widens it; one further out stands at the edge.
_WIDENS = 30.0
# Channels that no kernel computes from.
_LINKS = ("link", "h2d", "d2h", "duplex")
# Pixels of the plot that labels are laid out for; a larger one only gives them more room.
WIDTH, HEIGHT = 740, 440
# How near two slopes may come before they share a label; a character and a line of text; a marker.
_NEAR, _CHARACTER, _LINE, _MARKER = 22, 6.8, 15.0, 14.0
# Where a name may stand beside its marker, as parts of its own size.
_SIDES = {"bottom center": (0, 1), "middle right": (1, 0), "middle left": (-1, 0), "top center": (0, -1)}
# A box: its middle, width and height.
Box = tuple[float, float, float, float]


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
class Ceiling:
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


def spans(lines: Sequence[Ceiling], frame: Viewport) -> dict[str, tuple[float, float]]:
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


def curve(roof: Roof | Ceiling, xs: Iterable[float]) -> list[float]:
    return [roof.rate if roof.is_compute else brief(roof.rate * x) for x in xs]


AnyLine = TypeVar("AnyLine", bound=Ceiling)


def apart(places: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Middles of boxes of these sizes along an axis from 0 to HEIGHT, in order, as near to where they belong as they
    can be without overlap: midway between those pushed one way and those pushed the other.
    """
    sizes = [size * min(1, HEIGHT / sum(sizes)) for size in sizes]
    packed = [below - size / 2 for below, size in zip(accumulate(sizes), sizes, strict=True)]
    free = [min(max(place - least, 0), HEIGHT - sum(sizes)) for place, least in zip(places, packed, strict=True)]
    down, up = accumulate(free, max), reversed([*accumulate(reversed(free), min)])
    return [least + (one + other) / 2 for least, one, other in zip(packed, down, up, strict=True)]


def clusters(slopes: Sequence[AnyLine], frame: Viewport) -> list[list[AnyLine]]:
    """Slopes so near to one another that a name would lie on the next line share a label; the fastest first."""
    near = 10 ** (frame.decades[1] * _NEAR / HEIGHT)
    found: list[list[AnyLine]] = []
    for line in sorted(slopes, key=lambda line: -line.rate):
        if found and found[-1][-1].rate <= line.rate * near:
            found[-1].append(line)
        else:
            found.append([line])
    return found


def beside(places: Sequence[tuple[float, float]], texts: Mapping[int, str], frame: Viewport) -> list[str]:
    """Where the text of each place (FLOP/B, FLOP/s) stands beside its marker: within the frame, and where the fewest
    others are. texts: by the number of the place, lines parted by <br>.
    """
    across, up = WIDTH / frame.decades[0], HEIGHT / frame.decades[1]
    spots = [(across * math.log10(x / frame.left), up * math.log10(frame.top / y)) for x, y in places]
    taken: list[Box] = [(x, y, _MARKER, _MARKER) for x, y in spots]
    found = ["bottom center"] * len(places)
    for k, text in texts.items():
        lines = text.split("<br>")
        w, h = _CHARACTER * max(map(len, lines)), _LINE * len(lines)
        boxes = {
            side: (spots[k][0] + right * (w / 2 + 9), spots[k][1] + down * (h / 2 + 8), w, h)
            for side, (right, down) in _SIDES.items()
        }
        found[k] = min(boxes, key=lambda side: _trouble(boxes[side], taken))
        taken.append(boxes[found[k]])
    return found


def _trouble(box: Box, taken: Sequence[Box]) -> tuple[bool, int]:
    """Of a text there: whether it leaves the frame, and on how many others it lies."""
    x, y, w, h = box
    inside = w / 2 <= x <= WIDTH - w / 2 and h / 2 <= y <= HEIGHT - h / 2
    return not inside, sum(2 * abs(x - x2) < w + w2 and 2 * abs(y - y2) < h + h2 for x2, y2, w2, h2 in taken)


@dataclass(frozen=True)
class RidgePoint:
    """Two roofs that meet at an intensity (FLOP/B) and a rate (FLOP/s). what: "roof" for measured ones, "sustained" or
    "datasheet", of which the estimate has no repetition; lead: the headline over DRAM.
    """

    what: str
    compute: str
    memory: str
    intensity: Estimate
    rate: float
    lead: bool


def ridges(fit: Fit, theory: Roofline | None, frame: Viewport) -> Iterator[RidgePoint]:
    """Every ridge within a frame that can be asked for, the first to lead: burst before sustained before claimed."""
    machines: list[tuple[str, Roofline, Mapping[str, RoofFit]]] = [("roof", fit.roofline, fit.roofs)]
    machines += [(SUSTAINED, fit.sustained.roofline, fit.sustained.roofs)] if fit.sustained else []
    machines += [("datasheet", theory, {})] if theory else []
    for what, roofline, roofs in machines:
        memory, compute = ceilings(roofline)
        slopes = sorted(memory, key=lambda roof: (roof.key != "dram", roof.rate))
        # under lasting load and by the datasheet one memory is enough: nobody asks for them over a level of cache
        for slope in slopes if what == "roof" else slopes[:1]:
            for flat in sorted(compute, key=lambda roof: (roof.key not in fit.leading, -roof.rate)):
                ratio = flat.rate / slope.rate
                rounds = roofs[flat.key].over(roofs[slope.key]) if roofs else []
                value = estimate(rounds) if rounds else None if roofs else Estimate(ratio, ratio, ratio, 0)
                if value and frame.left < value.value < frame.right:
                    leads = slope.key == "dram" and flat.key in fit.leading
                    yield RidgePoint(what, flat.key, slope.key, value, flat.rate, leads)


def met(found: Sequence[RidgePoint], shown: set[str]) -> list[RidgePoint]:
    """Those of which both lines ("roof dram") are shown, over the memory of the first: a machine has many, a reader
    asks for one.
    """
    known = [each for each in found if {f"{each.what} {each.compute}", f"{each.what} {each.memory}"} <= shown]
    return [each for each in known if each.memory == known[0].memory]


def claimed_ridge(fit: Fit, theory: Roofline | None) -> float | None:
    """The datasheet's headline ridge over DRAM (FLOP/B)."""
    quantity = fit.info.headline.quantity
    return theory.ridge(quantity) if theory and quantity in theory and "dram" in theory else None
