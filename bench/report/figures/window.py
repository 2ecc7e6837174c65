"""The frame of a roofline and the roofs within it: which there are, how far each binds, which one leads, and by which
of their sides (precision, method, level, regime, probe) a reader shows and hides what is drawn.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.fit import Fit
from bench.report import names
from bench.roofline import Roof, Roofline

# A GEMV in INT8 has 2 FLOP/B, STREAM's add 1/12: the frame starts a little below that on every machine.
_LEFT = 1 / 20
_STEPS = 24
# Channels that no kernel computes from.
_LINKS = ("link", "h2d", "d2h", "duplex")
# Levels that one selector shows and hides: both directions of the host link are one question.
_LEVELS = {"h2d": "host", "d2h": "host", "duplex": "host"}


@dataclass(frozen=True)
class Window:
    """The frame's edges (FLOP/B, FLOP/s), set by the machine's roofs and not by its points."""

    left: float
    right: float
    bottom: float
    top: float

    def holds(self, x: float, y: float) -> bool:
        return self.left <= x <= self.right and self.bottom <= y <= self.top


@dataclass(frozen=True)
class Facets:
    """What a trace is of; an empty side is shown whatever is selected. kind: its legend entry; group: what a click on
    it isolates.
    """

    kind: str
    group: str
    dtype: str = ""
    method: str = ""
    level: str = ""
    regime: str = ""
    probe: str = ""

    def within(self, chosen: Mapping[str, Sequence[str]]) -> bool:
        """Whether a selection (side -> its values; a side left out is free) shows it."""
        return all((value := getattr(self, side)) == "" or value in values for side, values in chosen.items())


def facets(key: str, kind: str, regime: str = "") -> Facets:
    """Of a roof, by its key."""
    if "." not in key:
        claimed = "datasheet" if kind in ("datasheet", "assumed peak") else ""
        return Facets(kind, names.quantity(key), method=claimed, level=level(key), regime=regime)
    _, dtype, *rest = key.split(".")
    return Facets(kind, names.quantity(key), dtype, rest[-1] if rest else "", regime=regime)


def level(channel: str) -> str:
    return _LEVELS.get(channel, channel)


def window(fit: Fit, theory: Roofline | None) -> Window | None:
    """None without a memory roof and a compute roof, measured or claimed."""
    memory, compute = ceilings(fit.roofline)
    claimed_memory, claimed_compute = ceilings(theory) if theory else ((), ())
    slopes = [roof.rate for roof in (*memory, *claimed_memory)]
    peaks = [roof.rate for roof in (*compute, *claimed_compute)]
    slow = next((roof.rate for roof in (*memory, *claimed_memory) if roof.key == "dram"), min(slopes, default=0.0))
    if not slopes or not peaks:
        return None
    # snapped outwards, so that two Runs of one machine have one frame and can be laid over each other
    return Window(_LEFT, _up(max(peaks) / slow * 20), 1 / _up(4 / (slow * _LEFT)), _up(max(peaks) * 1.8))


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


def grid(low: float, high: float) -> list[float]:
    return [low * (high / low) ** (k / _STEPS) for k in range(_STEPS + 1)] if high > low else []


def extent(roof: Roof, memory: Sequence[Roof], compute: Sequence[Roof], frame: Window) -> tuple[float, float]:
    """Where a roof binds: a slope up to the highest compute roof, a plateau from its ridge with DRAM on."""
    if roof.is_compute:
        slope = next((m.rate for m in memory if m.key == "dram"), max((m.rate for m in memory), default=0.0))
        return max(frame.left, roof.rate / slope if slope else frame.left), frame.right
    tallest = max((c.rate for c in compute), default=frame.top)
    return frame.left, min(frame.right, tallest / roof.rate)


def curve(roof: Roof, xs: Sequence[float], rate: float | None = None) -> list[float]:
    rate = rate or roof.rate
    return [rate if roof.is_compute else rate * x for x in xs]


def leading(fit: Fit) -> set[str]:
    return {"dram", fit.info.headline}
