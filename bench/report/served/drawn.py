"""Lines over a size, bars beside each other: what the figures of serving's probes are made of."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.report import frame
from bench.report.figures import style
from bench.report.figures.sweeps import hovers, level

SECONDS, TIMES, PERCENT, COUNT, BYTES = "seconds", "times", "percent", "count", "bytes"
_TITLES = {SECONDS: "Time per launch", TIMES: "Times as fast", PERCENT: "Percent of the roof that binds"}


def numbered(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    """With a column for each of these params, without the rows where one is no number above 0."""
    rows = rows.assign(**{name: frame.param(rows, name) for name in names})
    kept = [all(_number(row[name]) for name in names) for _, row in rows.iterrows()]
    rows = rows[pd.Series(kept, index=rows.index, dtype=bool)]
    return rows.astype(dict.fromkeys(names, float))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def sweep(
    groups: Mapping[str, pd.DataFrame],
    over: str,
    drawn: str,
    kind: str,
    title: str = "",
    y_title: str = "",
    *,
    even: str = "",
    dashed: Iterable[str] = (),
) -> go.Figure | None:
    """A line per group, column `drawn` over column `over`, which is logarithmic. even: what 1 means, drawn as a line.

    Groups whose names stand in `dashed` share the colour of the group before them, dotted and with crosses.
    """
    groups = {name: part.sort_values(over) for name, part in groups.items() if len(part)}
    if not groups:
        return None
    seen = pd.concat(groups.values())
    fig = style.figure(380)
    low, high = seen[over].min(), seen[over].max()
    fig.update_xaxes(style.log_axis(title or over, low / 1.3, high * 1.3, style.plain, 2 if high < 2e4 * low else 10))
    # ticks such as "500 µs" are wide, and a title over them would not be read
    fig.update_yaxes(_y_axis(seen[drawn], kind, y_title or _TITLES.get(kind, ""), bool(even)), automargin=True)
    if even:
        level(fig, 1, even, style.MUTED, "dash")
    colour = -1
    for number, (name, part) in enumerate(groups.items()):
        paired = name in dashed and number > 0
        colour = colour if paired else colour + 1
        look, marker = style.SERIES[colour % len(style.SERIES)], style.MARKERS[colour % len(style.MARKERS)]
        marker = "x" if paired else marker
        values = 100 * part[drawn] if kind == PERCENT else part[drawn]
        fig.add_trace(
            style.line(
                style.safe(name), part[over], values, look, hovers(part) if "params" in part else None,
                mode="lines+markers" if len(part) > 1 else "markers",
                marker={
                    "symbol": [style.symbol(marker, validity) for validity in part["validity"]],
                    "size": 7, "color": look,
                },
                line={"color": look, "width": 1.6, "dash": "dot" if paired else "solid"},
            )
        )  # fmt: skip
    return fig


def _y_axis(values: pd.Series, kind: str, title: str, even: bool) -> dict:
    low, high = values.min(), values.max()
    if kind == PERCENT:
        return style.axis(title, range=[0, 100 * max(0.05, min(high * 1.15, 2.0))], ticksuffix=" %")
    if kind == TIMES:
        low, high = (min(low, 1.0), max(high, 1.0)) if even else (low, high)
        if high > 8 * low:
            return style.log_axis(title, low / 1.3, high * 1.4, style.plain)
        return style.axis(title, range=[0, high * 1.2])
    if kind == BYTES:
        return style.size_axis(title, low / 2, high * 2)
    label = (lambda value: units.seconds(value, 1)) if kind == SECONDS else style.plain
    return style.log_axis(title, low / 1.6, high * 1.8, label)


def bars(
    places: Sequence[str], traces: Mapping[str, tuple[Sequence[float], Sequence[str]]], title: str, *, stacked: bool
) -> go.Figure | None:
    """Horizontal bars at `places`, from top to bottom; a trace is (values, hovers). stacked: as shares of 100 %."""
    if not places:
        return None
    rows = len(places) * (1 if stacked else len(traces))
    fig = style.figure(130 + (26 if stacked else 22) * rows, barmode="stack" if stacked else "group")
    more = {"range": [0, 100], "ticksuffix": " %"} if stacked else {"rangemode": "tozero"}
    fig.update_xaxes(style.axis(title, **more))
    places = [style.safe(place) for place in places]
    fig.update_yaxes(
        style.axis("", type="category", categoryorder="array", categoryarray=places[::-1], automargin=True)
    )
    for number, (name, (values, hover)) in enumerate(traces.items()):
        fig.add_trace(
            go.Bar(
                name=style.safe(name), x=list(values), y=places, orientation="h",
                marker={"color": style.SERIES[number % len(style.SERIES)]}, opacity=1 - 0.35 * (number // 7),
                customdata=list(hover), hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
    return fig


def faster(times: float) -> str:
    """A ratio in words: "is 2.00 times as fast as", or "takes 3.00 times as long as" where it is no gain."""
    if times >= 1:
        return f"is {units.digits(times)} times as fast as"
    return f"takes {units.digits(1 / times)} times as long as"


def ratio(rows: pd.DataFrame, base: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """The rows that have a partner in `base` with the same columns `on`, with `times`: how much faster than it.

    A pair is as sound as the less sound of the two.
    """
    if rows.empty or base.empty:
        return rows.iloc[:0].assign(times=[])
    partners = base.drop_duplicates(list(on)).set_index(list(on))[["seconds", "validity"]]
    partners = partners.rename(columns={"seconds": "seconds_base", "validity": "validity_base"})
    found = rows.join(partners, on=list(on), how="inner")
    doubt = [
        one if one != "valid" else other for one, other in zip(found["validity"], found["validity_base"], strict=True)
    ]
    return found.assign(times=found["seconds_base"] / found["seconds"], validity=doubt)
