"""Roofs named where they are, each label clear of the others and of the points: plateaus in the right margin, slopes
along their line.

What is drawn is chosen by the reader, so a figure also carries the labels as data, from which report.js makes them
again as `notes` does.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import units
from bench.analysis.fit import Fit
from bench.report import names
from bench.report.figures import style
from bench.report.figures.window import Window, ceilings, extent, leading, links
from bench.roofline import Roof, Roofline

# The share of the frame's height that a label's two lines take: roofs nearer than that share one.
_LABEL = 28 / 552
# Sustained over burst nearer to 1 than this is the same line to the eye.
_VISIBLE = 0.02
_METHODS = {"loop": "loop", "library": "GEMM", "datasheet": "datasheet"}


@dataclass(frozen=True)
class Label:
    """What a roof is called, and where (FLOP/B, FLOP/s). trace: the meta of its line; word and method are joined where
    roofs share a label; both: the text while burst and sustained are drawn together.
    """

    trace: str
    key: str
    group: str
    word: str
    method: str
    text: str
    both: str
    lead: bool
    slope: bool
    x: float
    y: float


def labels(fit: Fit, theory: Roofline | None, frame: Window) -> tuple[Label, ...]:
    """Of every roof that can be drawn; of what is drawn twice (burst and sustained, measured and claimed) the first."""
    lasting = fit.sustained.roofline if fit.sustained else None
    found = []
    for what, roofline in (("roof", fit.roofline), ("sustained", lasting), ("theory", theory)):
        if roofline is not None:
            memory, compute = ceilings(roofline)
            slopes = memory or ceilings(fit.roofline)[0]
            found += [
                _label(fit, what, roof, slopes, compute, frame)
                for roof in (*sorted(compute, key=lambda roof: roof.rate), *memory, *links(roofline))
            ]
    return tuple(found)


def _label(fit: Fit, what: str, roof: Roof, memory: Sequence[Roof], compute: Sequence[Roof], frame: Window) -> Label:
    lead = roof.key in leading(fit) and what != "theory"
    rate = units.rate_text(roof.rate, roof.key)
    both = _rates(fit, roof) if what == "roof" else rate
    word = names.dtype(roof.key.split(".")[1]) if roof.is_compute else names.channel(roof.key)
    method = _METHODS.get(roof.method, roof.method) if roof.is_compute else ""
    after = {"roof": "", "sustained": " sustained", "theory": "" if roof.is_compute else " datasheet"}[what]
    left, right = extent(roof, memory, compute, frame)
    left = max(left, frame.bottom / roof.rate) if not roof.is_compute else left
    # where a slope begins nothing else is yet; DRAM, which leads, has its own place further up
    x = frame.right if roof.is_compute else left * (right / left) ** (0.3 if roof.key == "dram" else 0.2)
    return Label(
        trace=f"{what} {roof.key}",
        key=roof.key,
        group=names.quantity(roof.key),
        word=word,
        method=method,
        text=f"{rate}{after}",
        both=f"{both}{after}",
        lead=lead,
        slope=not roof.is_compute,
        x=x,
        y=roof.rate if roof.is_compute else roof.rate * x,
    )


def notes(found: Sequence[Label], shown: Callable[[str], bool], frame: Window) -> Iterator[dict]:
    """Annotations of what is shown, by the metas of the lines."""
    near = (frame.top / frame.bottom) ** _LABEL
    kept: list[Label] = []
    for label in found:
        twin = any(
            other.key == label.key or (label.trace.startswith("theory") and other.group == label.group)
            for other in kept
        )
        if shown(label.trace) and not twin:
            kept.append(label)
    for slope in (False, True):
        for cluster in _clusters([label for label in kept if label.slope is slope], near):
            yield _note(cluster, slope, lambda label: shown(f"sustained {label.key}"))


def _note(cluster: Sequence[Label], slope: bool, lasting: Callable[[Label], bool]) -> dict:
    # one of them states the number: the one that leads, or the highest, which the others stay below
    first = next((label for label in cluster if label.lead), cluster[-1])
    ordered = sorted(cluster, key=lambda label: label is not first)
    methods = list(dict.fromkeys(label.method for label in ordered))
    word = " · ".join(dict.fromkeys(label.word for label in ordered))
    # where loops and GEMMs meet, the dtypes are enough: hovers tell them apart
    head = f"{word} {methods[0]}".strip() if len(methods) == 1 else word
    below = "≤ " if len(cluster) > 1 and not first.lead and not slope else ""
    text = f"{head}{' ' if slope else '<br>'}{below}{first.both if lasting(first) else first.text}"
    return style.note(
        f"<b>{text}</b>" if first.lead else text,
        style.log(first.x),
        style.log(first.y),
        xanchor="center" if slope else "left",
        yanchor="bottom" if slope else "middle",
        align="left",
        name="slope label" if slope else "roof label",
        xshift=0 if slope else 8,
        font={"size": 12, "color": style.MEMORY if slope else style.COMPUTE},
    )


def _rates(fit: Fit, roof: Roof) -> str:
    """A roof's rate, and the sustained one where that visibly differs; two labels would lie on one another."""
    text = units.rate_text(roof.rate, roof.key)
    other = fit.sustained.roofs.get(roof.key) if fit.sustained and roof.key in leading(fit) else None
    if other is None or abs(other.roof.rate / roof.rate - 1) < _VISIBLE:
        return text
    lasting = units.rate_text(other.roof.rate, roof.key)
    value, _, unit = text.partition(" ")
    return f"{value if lasting.endswith(f' {unit}') else text}, sustained {lasting}"


def _clusters(found: Sequence[Label], near: float) -> list[list[Label]]:
    """Those whose labels would lie on one another, together; slopes stand apart as their rates do."""
    clusters: list[list[Label]] = []
    for label in sorted(found, key=lambda label: label.y / label.x if label.slope else label.y):
        height = label.y / label.x if label.slope else label.y
        first = clusters[-1][0] if clusters else None
        if first and height <= (first.y / first.x if label.slope else first.y) * near:
            clusters[-1].append(label)
        else:
            clusters.append([label])
    return clusters
