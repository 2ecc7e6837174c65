"""What arithmetic reaches per unit and dtype: the instruction loop and the best GEMM, beside the datasheet."""

from collections.abc import Iterator, Sequence

from bench import units
from bench.analysis import names, tidy
from bench.analysis.rows import usable
from bench.analysis.selections import gemms, gemms_over_loops, lesser_loops
from bench.report.phrases import listed, sentence
from bench.report.plots import rows, theme
from bench.report.sections import Plots, RunView, Sentences, plot, reached, sustained
from bench.roofline import Roof
from bench.work import RoofKey

GROUP = "Compute"
# The cubes that everyone quotes, beside which a winning shape is read, and their markers.
_CUBES = {"cube-4096": "triangle-up-open", "cube-8192": "star-open", "cube-16384": "pentagon-open"}
_METHODS = {"loop": ("circle", theme.SERIES[0]), "library": ("square", theme.SERIES[1])}


def findings(view: RunView) -> Sentences:
    lost, lead = view.fit.missing, view.roof(view.fit.info.headline)
    if lead:
        yield f"{names.roof(lead.key)} reaches {reached(view, lead)}."
        yield from sustained(view, lead.key)
    floats = [roof for roof in view.fit.roofline.roofs if units.rate(roof.key) == "FLOP/s"]
    best = max(floats, key=lambda roof: roof.rate, default=None)
    if lead and best and best.key != lead.key:
        times = f"{units.digits(best.rate / lead.rate)} times {names.roof(lead.key)}"
        yield f"Highest rate: {names.roof(best.key)}, {units.rate_text(best.rate, best.key)}, {times}."
    if keys := [key for key in lost if RoofKey(key).is_compute]:
        yield f"No roof for {listed(list(map(names.roof, keys)), 3)}: {lost[keys[0]]}."


def notes(view: RunView) -> Sentences:
    fit, compute = view.fit, [roof for roof in view.fit.roofline.roofs if roof.is_compute]
    if shares := [f"{names.quantity(key)} {units.percent(share)}" for key, share in gemms_over_loops(fit).items()]:
        yield f"Best GEMM as a share of the same unit's instruction loop: {listed(shares)}."
    lead = fit.roofs.get(fit.info.headline)
    if lead and "shape" in (won := lead.winner.params):
        dtype, size = won.get("dtype"), "×".join(str(won.get(name, "?")) for name in ("m", "n", "k"))
        quoted = [
            f"{names.shape(row.shape)} {units.rate_text(row.flop_rate, lead.roof.key)}"
            for row in tidy.each(usable(gemms(view.rows, _CUBES), dtype=dtype))
            if row.shape != won["shape"] and not row.params.get("variant")
        ]
        beside = f"; beside it {listed(quoted)}" if quoted else ""
        yield f"Best {names.dtype(str(dtype))} shape: {won['shape']} ({size}){beside}."
    for roof in compute:
        exact = fit.roofs.get(roof.key.replace(".fast_accum", ""))
        if ".fast_accum" in roof.key and exact:
            times = f"{units.digits(roof.rate / exact.roof.rate)} times {names.roof(exact.roof.key)}"
            yield f"{names.roof(roof.key)}, whose sums are kept less precisely, reaches {times}."
    # loops beside the roofs, and dtypes without a loop, each cause once
    for row in tidy.each(lesser_loops(view.rows)):
        full = fit.roofs.get(f"tensor.{row.dtype}.loop")
        share = f", {units.percent(row.flop_rate / full.roof.rate)} of the full-rate loop" if full else ""
        rate = units.rate_text(row.flop_rate, row.work.compute)
        yield f"{row.instruction}, not the full-rate path, claims no roof: {rate}{share}."
    skipped = view.rows[(view.rows["probe"] == "peak") & (view.rows["skip"] != "")]
    for reason, part in skipped.groupby("skip", sort=False):
        loops = [params for params in part["params"] if params.get("kind") == "tensor loop"]
        if loops:
            yield sentence(f"{listed([names.dtype(str(params.get('dtype'))) for params in loops])}: {reason}")


def plots(view: RunView) -> Plots:
    """A row per unit and dtype: the loop, the best GEMM and the datasheet, with intervals; open: what claims none."""
    roofs = sorted(view.fit.roofline.roofs, key=lambda roof: roof.rate)
    found = [(names.quantity(roof.key), view.fit.roofs[roof.key]) for roof in roofs if roof.is_compute]
    if not found:
        return
    quantities = list(dict.fromkeys(name for name, _ in found))
    traces = list(rows.claimed(view.theory, found))
    for method, look in _METHODS.items():
        part = [row for row in found if row[1].roof.method == method]
        traces += rows.measured(names.METHODS[method], part, *look, view.theory)
    traces += [*rows.sustained(view.fit, found), *_points(view, quantities)]
    rates = [x for trace in traces for x in trace["x"]]
    axis = theme.log_axis("FLOP/s (OP/s for integers)", min(rates) / 1.6, max(rates) * 1.6)
    caption = (
        "Open: suspect. Tall: sustained, after the clock has settled. Beside the roofs: the cubes that everyone quotes,"
        " and instructions that are not the chip's full-rate path and claim no roof."
    )
    yield from plot("peak-0", "Compute peaks by unit and dtype", rows.figure(axis, quantities, traces), caption)


def _points(view: RunView, quantities: Sequence[str]) -> Iterator[dict]:
    """What claims no roof: the quoted cubes where no square stands on them, and loops of lesser instructions."""
    cubes, loops = gemms(view.rows, _CUBES), lesser_loops(view.rows)
    loops = loops.assign(what=[f"{name}, not the full-rate path: claims no roof" for name in loops["instruction"]])
    groups = [("loop of a lesser instruction", "x-thin-open", theme.SERIES[0], loops)]
    for shape, part in cubes.groupby("shape", sort=False):
        name = names.shape(shape)
        groups.insert(-1, (f"GEMM {name}", _CUBES[shape], theme.SERIES[3], part.assign(what=name)))
    for *look, part in groups:
        places = [
            rows.place(quantity, Roof(row.work.compute, row.flop_rate), row.what, f"<br>n = {row.n}")
            for row in tidy.each(part[part["saturates"] == ""])
            if (quantity := names.quantity(row.work.compute)) in quantities
        ]
        if places:
            yield rows.marks(look[0], places, *look[1:], 8)
