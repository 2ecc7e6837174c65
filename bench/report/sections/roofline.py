"""The roofline: what this machine allows, where it becomes compute-bound, and what it did, of one device at a time."""

from bench import units
from bench.analysis import names, tidy
from bench.analysis.datasheet import datasheet
from bench.analysis.user_kernels import place
from bench.analysis.viewport import claimed_ridge
from bench.report.document import Plot, Section
from bench.report.phrases import many, plain, spread
from bench.report.plots.points import possible
from bench.report.plots.roofline import common, roofline
from bench.report.sections import Plots, RunView, Sentences
from bench.report.sections.datasheet import top
from bench.work import RoofKey

_CAPTION = (
    "Solid: measured, with its interval at the free end. Dashed: datasheet. Dash-dotted or open: suspect, or too few"
    " repetitions. Rings: above the roof. Dotted: sustained, when the clock has settled under load."
)
_QUESTION = "What does this machine allow at every arithmetic intensity?"
_FORMULA = "attainable FLOP/s = min(peak, bandwidth × FLOP/B); a ridge is where both are equal."


def section(view: RunView) -> Section:
    """The lead of a Run's page."""
    plots = tuple(_plots(view))
    moved = int((view.rows["seconds"].notna() & ~(view.rows["intensity"] > 0)).sum())
    outside = f"{many(moved, 'case')} without arithmetic (copies, collectives): in their own sections."
    title = f"Roofline of {names.device(view.fit.info.id)}" if view.several else "Roofline"
    findings = list(_findings(view))
    if not plots:
        findings = ["No roofline: it needs a memory roof and a compute roof, measured or claimed."]
        findings += [f"{names.roof(key)} is missing: {plain(why)}." for key, why in view.fit.missing.items()][:1]
    notes = [outside] * bool(moved and plots)
    return Section("roofline", title, _QUESTION, _FORMULA, findings, plots, [top(view)], notes)


def _plots(view: RunView) -> Plots:
    """The shown device with the reader's kernels; every other device as a variant of it."""
    drawn = []
    for fit in (view.fit, *(other for other in view.fits if other is not view.fit)):
        rows, kernels = tidy.burst(view.cases[fit.info.id]), [place(fit, each.kernel) for each in view.kernels]
        siblings = [other for other in view.fits if other is not fit]
        figure = roofline(fit, datasheet(fit.info), rows, siblings, kernels, None if drawn else view.baseline)
        drawn += [(names.device(fit.info.id), figure)]
    (_, figure), *others = drawn
    if figure is not None:
        variants = tuple((name, each) for name, each in others if each is not None)
        common(figure, [each for _, each in variants])
        yield Plot("fig-roofline", "Roofline", figure, _CAPTION, " ".join(_label(view)), variants)


def _findings(view: RunView) -> Sentences:
    ridge, lasting = view.fit.headline, view.fit.lasting_headline
    if ridge is None:
        yield "No ridge: DRAM and the headline roof were not both measured in the same round."
        return
    value, dtype = ridge.estimate, names.dtype(RoofKey(ridge.compute).dtype)
    at, span = units.intensity(value.value), spread(value, units.digits)
    yield f"{dtype} work becomes compute-bound at {at} ({span}); below it DRAM is the limit."
    if lasting:
        at, span = units.intensity(lasting.estimate.value), spread(lasting.estimate, units.digits)
        yield f"Under lasting load at {at} ({span}), {units.percent(lasting.estimate.value / value.value)} of burst."
    if claim := claimed_ridge(view.fit, view.theory):
        name, share = names.claim(view.theory.roofs[0].evidence), units.percent(value.value / claim)
        yield f"By the {name} that ridge lies at {units.intensity(claim)}; measured: {share} of it."


def _label(view: RunView) -> Sentences:
    """For who cannot see the figure: every roof, the ridge, how many points, and some of the reader's kernels."""
    roofs = (f"{names.roof(roof.key)} {units.rate_text(roof.rate, roof.key)}" for roof in view.fit.roofline.roofs)
    yield f"Roofline of {view.fit.info.name}: {', '.join(roofs)}."
    yield from _findings(view)
    points = view.rows[view.rows["seconds"].notna() & (view.rows["intensity"] > 0)]
    yield f"{many(len(points), 'measured point')}, {int(points['above'].sum())} above the roof."
    for each in view.kernels[:12]:
        share = f"{units.percent(each.share)} of {names.limiter(each.limit)}" if each.share else "no roof here"
        yield f"{each.kernel.name}: {', '.join(filter(None, (share, possible(each))))}."
