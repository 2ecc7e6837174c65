"""Roofs named where they are, each label clear of the others."""

from collections.abc import Iterator, Sequence

from bench import units
from bench.analysis.fit import Fit
from bench.report import names
from bench.report.figures import style
from bench.report.figures.window import Window, ceilings, extent, leading
from bench.report.words import spread
from bench.roofline import Roof, Roofline

# The share of the frame's height that a label takes: roofs nearer than that share one.
_LABEL = 15 / 500
# Sustained over burst nearer to 1 than this is the same line to the eye.
_VISIBLE = 0.02


def labels(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[dict]:
    """Roofs named where they are: plateaus at the right end, slopes along the line (report.js turns those)."""
    memory, compute = ceilings(fit.roofline)
    for cluster in _clusters(compute, (frame.top / frame.bottom) ** _LABEL):
        # one of them states the number: the headline, or the highest, which the others stay below
        lead = next((roof for roof in cluster if roof.key in leading(fit)), None)
        rate = (lead or cluster[-1]).rate
        ordered = sorted(cluster, key=lambda roof: roof is not lead)
        words = dict.fromkeys(names.dtype(roof.key.split(".")[1]) for roof in ordered)
        # where loops and GEMMs meet, the dtypes are enough: hovers tell them apart
        kinds = list(dict.fromkeys(names.METHODS.get(roof.method, roof.method) for roof in ordered))
        text = (
            f"{' · '.join(words)}{f' {kinds[0]}' if len(kinds) == 1 else ''}"
            f" {'≤ ' if len(cluster) > 1 and not lead else ''}{_rates(fit, ordered[0], rate)}"
        )
        # a claim just above would strike the words through: they stand above both lines
        claims = [theory.find(roof.quantity) for roof in cluster] if theory else []
        above = max([rate, *(claim.rate for claim in claims if claim and claim.rate < 1.5 * rate)])
        yield style.note(
            f"<b>{text}</b>" if lead else text,
            style.log(frame.right * 0.9),
            style.log(above),
            xanchor="right",
            name="roof label",
            font={"size": 12, "color": style.COMPUTE},
            bgcolor=style.PAPER,
            yshift=2,
        )
    for cluster in _clusters(memory or (ceilings(theory)[0] if theory else ()), (frame.top / frame.bottom) ** _LABEL):
        roof = next((roof for roof in cluster if roof.key == "dram"), cluster[-1])
        left, right = extent(roof, memory, compute, frame)
        x = left * (right / left) ** (0.3 if roof.key == "dram" else 0.2)
        which = " · ".join(names.channel(each.key) for each in sorted(cluster, key=lambda each: each is not roof))
        text = f"{which} {_rates(fit, roof)}"
        yield style.note(
            f"<b>{text}</b>" if roof.key == "dram" else text,
            style.log(x),
            style.log(roof.rate * x),
            xanchor="center",
            yanchor="bottom",
            name="slope label",
            font={"size": 12, "color": style.MEMORY},
        )
    ridge = fit.headline
    if ridge:
        value = ridge.estimate
        text = f"<b>ridge {units.intensity(value.value)}</b><br>{spread(value, units.digits)}"
        yield style.note(
            text,
            style.log(value.value),
            style.log(fit.roofs[ridge.compute].roof.rate),
            xanchor="right",
            yanchor="bottom",
            align="right",
            name="ridge label",
            xshift=-10,
            yshift=4,
        )


def _rates(fit: Fit, roof: Roof, rate: float | None = None) -> str:
    """A roof's rate, and the sustained one where that visibly differs; two labels would lie on one another."""
    text = units.rate_text(rate or roof.rate, roof.key)
    other = fit.sustained.roofs.get(roof.key) if fit.sustained and roof.key in leading(fit) else None
    if other is None or abs(other.roof.rate / roof.rate - 1) < _VISIBLE:
        return text
    lasting = units.rate_text(other.roof.rate, roof.key)
    value, _, unit = text.partition(" ")
    return f"{value if lasting.endswith(f' {unit}') else text}, sustained {lasting}"


def _clusters(roofs: Sequence[Roof], near: float) -> list[list[Roof]]:
    """Roofs whose labels would lie on one another, together."""
    clusters: list[list[Roof]] = []
    for roof in sorted(roofs, key=lambda roof: roof.rate):
        if clusters and roof.rate <= clusters[-1][0].rate * near:
            clusters[-1].append(roof)
        else:
            clusters.append([roof])
    return clusters
