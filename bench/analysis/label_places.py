"""Where names stand in a roofline so that none lies on another: sizes in pixels, of a plot as large as labels need.

render/roofline.js lays out what a reader chooses by the same rules.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from bench.analysis.viewport import Line, Viewport

# Pixels of the plot that labels are laid out for; a larger one only gives them more room.
WIDTH, HEIGHT = 740, 440
# How near two slopes may come before they share a label; a character and a line of text; a marker.
_NEAR, _CHARACTER, _LINE, _MARKER = 22, 6.8, 15.0, 14.0
# Where a name may stand beside its marker, as parts of its own size.
_SIDES = {"bottom center": (0, 1), "middle right": (1, 0), "middle left": (-1, 0), "top center": (0, -1)}
# A box: its middle, width and height.
Box = tuple[float, float, float, float]
AnyLine = TypeVar("AnyLine", bound=Line)


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
