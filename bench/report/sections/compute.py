"""Compute: what arithmetic reaches per unit and dtype, and over arithmetic intensity."""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import pandas as pd

from bench import units
from bench.analysis import names, tidy
from bench.analysis.selections import gemms, gemms_over_loops, intensities, lesser_loops, loop_ridge
from bench.analysis.tidy import usable
from bench.report.phrases import listed, many, sentence, spread
from bench.report.plots import rows, sweep, theme
from bench.report.sections import Plots, ProbeSection, Sentences, plot
from bench.roofline import Roof
from bench.work import RoofKey

# The cubes that everyone quotes, beside which a winning shape is read, and their markers.
_CUBES = {"cube-4096": "triangle-up-open", "cube-8192": "star-open", "cube-16384": "pentagon-open"}
_METHODS = {"loop": ("circle", theme.SERIES[0]), "library": ("square", theme.SERIES[1])}


class PeakSection(ProbeSection):
    """What arithmetic reaches: the instruction loop and the best GEMM, beside the datasheet."""

    probe, group = "peak", "Compute"

    def findings(self) -> Sentences:
        lost, lead = self.fit.missing, self.view.roof(self.fit.info.headline)
        if lead:
            yield f"{names.roof(lead.key)} reaches {self.reached(lead)}."
            yield from self.sustained(lead.key)
        floats = [roof for roof in self.fit.roofline.roofs if units.rate(roof.key) == "FLOP/s"]
        best = max(floats, key=lambda roof: roof.rate, default=None)
        if lead and best and best.key != lead.key:
            times = f"{units.digits(best.rate / lead.rate)} times {names.roof(lead.key)}"
            yield f"Highest rate: {names.roof(best.key)}, {units.rate_text(best.rate, best.key)}, {times}."
        if keys := [key for key in lost if RoofKey(key).is_compute]:
            yield f"No roof for {listed(list(map(names.roof, keys)), 3)}: {lost[keys[0]]}."

    def notes(self) -> Sentences:
        shares = [f"{names.quantity(key)} {units.percent(share)}" for key, share in gemms_over_loops(self.fit).items()]
        if shares:
            yield f"Best GEMM as a share of the same unit's instruction loop: {listed(shares)}."
        yield from self._best_shape()
        for roof in self.fit.roofline.roofs:
            exact = self.fit.roofs.get(roof.key.replace(".fast_accum", ""))
            if ".fast_accum" in roof.key and exact:
                times = f"{units.digits(roof.rate / exact.roof.rate)} times {names.roof(exact.roof.key)}"
                yield f"{names.roof(roof.key)}, whose sums are kept less precisely, reaches {times}."
        # loops beside the roofs, and dtypes without a loop, each cause once
        for row in tidy.each(lesser_loops(self.rows)):
            full = self.fit.roofs.get(f"tensor.{row.dtype}.loop")
            share = f", {units.percent(row.flop_rate / full.roof.rate)} of the full-rate loop" if full else ""
            rate = units.rate_text(row.flop_rate, row.work.compute)
            yield f"{row.instruction}, not the full-rate path, claims no roof: {rate}{share}."
        skipped = self.rows[(self.rows["probe"] == "peak") & (self.rows["skip"] != "")]
        for reason, part in skipped.groupby("skip", sort=False):
            if loops := [params for params in part["params"] if params.get("kind") == "tensor loop"]:
                yield sentence(f"{listed([names.dtype(str(params.get('dtype'))) for params in loops])}: {reason}")

    def _best_shape(self) -> Sentences:
        lead = self.fit.roofs.get(self.fit.info.headline)
        if lead and "shape" in (won := lead.winner.params):
            dtype, size = won.get("dtype"), "×".join(str(won.get(name, "?")) for name in ("m", "n", "k"))
            quoted = [
                f"{names.shape(row.shape)} {units.rate_text(row.flop_rate, lead.roof.key)}"
                for row in tidy.each(usable(gemms(self.rows, _CUBES), dtype=dtype))
                if row.shape != won["shape"] and not row.params.get("variant")
            ]
            beside = f"; beside it {listed(quoted)}" if quoted else ""
            yield f"Best {names.dtype(str(dtype))} shape: {won['shape']} ({size}){beside}."

    def plots(self) -> Plots:
        """A row per unit and dtype: the loop, the best GEMM and the datasheet, with intervals."""
        roofs = sorted(self.fit.roofline.roofs, key=lambda roof: roof.rate)
        found = [(names.quantity(roof.key), self.fit.roofs[roof.key]) for roof in roofs if roof.is_compute]
        if not found:
            return
        quantities = list(dict.fromkeys(name for name, _ in found))
        traces = list(rows.claimed(self.view.theory, found))
        for method, look in _METHODS.items():
            part = [row for row in found if row[1].roof.method == method]
            traces += rows.measured(names.METHODS[method], part, *look, self.view.theory)
        traces += [*rows.sustained(self.fit, found), *self._points(quantities)]
        rates = [x for trace in traces for x in trace["x"]]
        axis = theme.log_axis("FLOP/s (OP/s for integers)", min(rates) / 1.6, max(rates) * 1.6)
        caption = (
            "Open: suspect. Tall: sustained, after the clock has settled. Beside the roofs: the cubes that everyone"
            " quotes, and instructions that are not the chip's full-rate path and claim no roof."
        )
        yield from plot("peak-0", "Compute peaks by unit and dtype", rows.figure(axis, quantities, traces), caption)

    def _points(self, quantities: Sequence[str]) -> Iterator[dict]:
        """What claims no roof: the quoted cubes where no square stands on them, and loops of lesser instructions."""
        cubes, loops = gemms(self.rows, _CUBES), lesser_loops(self.rows)
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


class IntensitySection(ProbeSection):
    """The FMA sweep: performance over arithmetic intensity, the knee of its own, and the ridge beside it."""

    probe, group = "intensity", "Compute"

    @cached_property
    def seen(self) -> pd.DataFrame:
        return intensities(self.rows)

    def findings(self) -> Sentences:
        knees = self.fit.knees
        if not knees:
            count = many(len(self.seen), "point")
            yield f"No knee: it needs six points of the same repetition, of {count} with a time."
            return
        for dtype, knee in knees.items():
            name, value = names.dtype(dtype), knee.intensity
            yield f"The {name} FMA sweep bends at {units.intensity(value.value)} ({spread(value, units.digits)})."
            if ridge := loop_ridge(self.fit, dtype):
                other, off = ridge.estimate, units.percent(abs(value.value / ridge.estimate.value - 1), 2)
                meet = "overlap" if value.low <= other.high and value.high >= other.low else "do not meet"
                meet = f", intervals {meet}" * (min(value.n, other.n) > 1)
                beside = f"{units.intensity(other.value)}: {off} off{meet}"
                yield f"{name} peak over bandwidth, measured separately, is {beside}."
            sharp = knee.sharpness
            corner = f"rounded corner, p = {units.digits(sharp, 2)}" if sharp < 1e3 else "sharp corner"
            below, above = units.bandwidth(knee.memory), units.flops(knee.compute)
            yield f"Below the {name} knee memory binds at {below}, above it arithmetic at {above}; {corner}."
        if few := [names.dtype(dtype) for dtype in self.seen["dtype"].unique() if dtype not in knees]:
            yield f"Too few points for a knee: {listed(few)}."

    def plots(self) -> Plots:
        """The sweep per dtype with asymptotes, its knee and the ridge of separate roofs; float32 is shown at first."""
        traces = []
        if self.seen.empty:
            return
        shown = sorted(self.seen["dtype"].unique(), key=lambda dtype: (dtype != "float32", dtype))
        for index, dtype in enumerate(shown):
            about = {"legendgroup": theme.safe(dtype), "visible": "legendonly" if index else True}
            traces += [trace | about for trace in self._dtype_traces(dtype, index)]
        over = partial(theme.log_axis, "Arithmetic intensity (FLOP/B)", text=theme.plain)
        fig = sweep.figure(traces, over, partial(theme.log_axis, "Performance (FLOP/s)"))
        if knee := self.fit.knees.get(shown[0]):
            text = f"<b>{theme.safe(names.dtype(shown[0]))} knee {units.intensity(knee.intensity.value)}</b>"
            look = {"colour": theme.SERIES[0], "xanchor": "right", "xshift": -8, "name": "knee"}
            fig.add_note(text, theme.log(knee.intensity.value), theme.log(knee.compute), **look)
        caption = "Thin lines: the two asymptotes fitted to a dtype. Bars: intervals. Other dtypes: by the legend."
        yield from plot("intensity-0", "Performance over arithmetic intensity", fig.made(), caption)

    def _dtype_traces(self, dtype: str, index: int) -> Iterator[dict]:
        part, name, marks = self.seen[self.seen["dtype"] == dtype], theme.safe(names.dtype(dtype)), []
        low, high = part["intensity"].min() / 1.5, part["intensity"].max() * 1.5
        curve = sweep.curve(f"{names.dtype(dtype)} FMA sweep", part, "intensity", "flop_rate", index, mode="markers")
        colour, dash = curve["line"]["color"], theme.DASHES[index % len(theme.DASHES)]
        yield curve
        if knee := self.fit.knees.get(dtype):
            xs, ys = [low, knee.intensity.value, high], [knee.memory * low, knee.compute, knee.compute]
            look = {"line": {"color": colour, "width": 1.2, "dash": dash}, "hoverinfo": "skip", "showlegend": False}
            yield theme.scatter(mode="lines", name=f"{name} asymptotes", x=xs, y=ys, **look)
            marks.append((f"{name} knee", knee.intensity, knee.compute, "line-ns-open", colour))
        ridge = loop_ridge(self.fit, dtype)
        if ridge and low < ridge.estimate.value < high:
            rate = self.fit.roofs[ridge.compute].roof.rate
            marks.append((f"{name} ridge: loop / DRAM", ridge.estimate, rate, "diamond-open", theme.INK))
        for what, value, rate, symbol, look in marks:
            text = f"<b>{what}</b><br>{units.intensity(value.value)}<br>{spread(value, units.digits)}<extra></extra>"
            ends = theme.error([value.value], [value.low], [value.high], look)
            marker = {"symbol": symbol, "size": 11, "color": look, "line": {"width": 1.5}}
            about = {"name": what, "mode": "markers", "marker": marker, "error_x": ends, "hovertemplate": text}
            yield theme.scatter(x=[value.value], y=[rate], **about)
