"""Lines over a size, bars beside each other: what the figures of serving's probes are made of."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.report import frame
from bench.report.figures import style
from bench.report.figures.sweeps import hovers, level

SECONDS, TIMES, PERCENT, COUNT, BYTES, FACTOR = "seconds", "times", "percent", "count", "bytes", "factor"
_MOST = 1e15
_TITLES = {SECONDS: "Time per launch", TIMES: "Times as fast", PERCENT: "Percent of the roof that binds"}


def numbered(rows: pd.DataFrame, *names: str) -> pd.DataFrame:
    """With a column for each of these params, without the rows where one is no number above 0."""
    kept = [all(countable(params.get(name)) for name in names) for params in rows["params"]]
    rows = rows[pd.Series(kept, index=rows.index, dtype=bool)]
    return rows.assign(**{name: frame.param(rows, name) for name in names}).astype(dict.fromkeys(names, float))


def countable(value: object) -> bool:
    """A Run of a newer version may hold anything; an axis takes neither infinity nor what no float holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MOST


def amount(text: object) -> float:
    """A note as a number, NaN where it is none or infinite."""
    try:
        value = float(str(text))
    except ValueError:
        return float("nan")
    return value if math.isfinite(value) else float("nan")


def methods(rows: pd.DataFrame) -> list[str]:
    """How these cases were computed, as their notes say."""
    return list(dict.fromkeys(str(notes["method"]) for notes in rows["notes"] if "method" in notes))


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
    """A line per group, column `drawn` over column `over`, which is logarithmic. even: what 1 (or 100 %) means.

    Groups whose names stand in `dashed` share the colour of the group before them, dotted and with crosses.
    """
    groups = {
        name: found.sort_values(over)
        for name, part in groups.items()
        if len(found := part[part[drawn].between(0, _MOST, inclusive="neither")])
    }
    if not groups:
        return None
    seen = pd.concat(groups.values())
    fig = style.figure(380)
    low, high = seen[over].min(), seen[over].max()
    fig.update_xaxes(style.log_axis(title or over, low / 1.3, high * 1.3, style.plain, 2 if high < 2e4 * low else 10))
    # ticks such as "500 µs" are wide, and a title over them would not be read
    y_axis = _y_axis(seen[drawn], kind, y_title or _TITLES.get(kind, ""), bool(even))
    fig.update_yaxes(y_axis | {"automargin": True})
    if even:
        level(fig, 100 if kind == PERCENT else 1, even, style.MUTED, "dash")
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
    return fig.made()


def _y_axis(values: pd.Series, kind: str, title: str, even: bool) -> dict:
    low, high = values.min(), values.max()
    if kind == PERCENT:
        # a roof that is far above everything would leave the lines on the floor
        high = max(high, 1.0) if even and high > 0.5 else high
        return style.axis(title, range=[0, 100 * max(0.05, min(high * 1.15, 2.0))], ticksuffix=" %")
    if kind == FACTOR:
        low, high = min(low, 0.95), max(high, 1.05)
        return style.axis(title, range=[low - 0.1 * (high - low), high + 0.15 * (high - low)])
    if kind == TIMES:
        low, high = (min(low, 1.0), max(high, 1.0)) if even else (low, high)
        if high > 8 * low:
            return style.log_axis(title, low / 1.3, high * 1.4, style.plain)
        return style.axis(title, range=[0, high * 1.2])
    if kind == BYTES:
        return style.size_axis(title, low / 2, high * 2)
    label = (lambda value: units.seconds(value, 1)) if kind == SECONDS else style.plain
    wide = 1.0 if high > 3 * low else 1.5  # or a single tick would be all
    return style.log_axis(title, low / 1.6 / wide, high * 1.8 * wide, label)


def bars(
    places: Sequence[str],
    traces: Mapping[str, tuple[Sequence[float], Sequence[str]]],
    title: str,
    *,
    stacked: bool,
    kind: str = COUNT,
) -> go.Figure | None:
    """Horizontal bars at `places`, from top to bottom; a trace is (values, hovers). stacked: as shares of 100 %."""
    if not places:
        return None
    rows = len(places) * (1 if stacked else len(traces))
    fig = style.figure(130 + (26 if stacked else 22) * rows, barmode="stack" if stacked else "group")
    shown = list(traces.items())
    fig.update_xaxes(_bar_axis(title, [value for values, _ in traces.values() for value in values], stacked, kind))
    # two bars at one place would be stacked
    places = [
        style.safe(place if (again := list(places[:at]).count(place)) == 0 else f"{place} ({again + 1})")
        for at, place in enumerate(places)
    ]
    fig.update_yaxes(
        style.axis("", type="category", categoryorder="array", categoryarray=places[::-1], automargin=True)
    )
    for number, (name, (values, hover)) in enumerate(shown) if stacked else reversed(list(enumerate(shown))):
        fig.add_trace(
            style.bar(
                name=style.safe(name), x=list(values), y=places, orientation="h",
                marker={"color": style.SERIES[number % len(style.SERIES)]},
                customdata=list(hover), hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
    # categories run from the bottom, and so do the bars of a group
    return fig.made().update_layout(legend_traceorder="normal" if stacked else "reversed")


def _bar_axis(title: str, values: Sequence[float], stacked: bool, kind: str) -> dict:
    if stacked:
        return style.axis(title, range=[0, 100], ticksuffix=" %")
    high = max((value for value in values if value == value), default=0.0)
    if kind != SECONDS or not high > 0:
        return style.axis(title, rangemode="tozero")
    # four to nine steps of a round length
    digit = 10.0 ** math.floor(math.log10(high))
    step = next(digit * part for part in (0.2, 0.5, 1.0) if high / (digit * part) <= 10)
    step = step if high / step >= 4 else digit / 5
    ticks = [step * number for number in range(int(high / step) + 1)]
    text = ["0", *(units.seconds(tick, 2) for tick in ticks[1:])]
    return style.axis(title, range=[0, high * 1.08], tickvals=ticks, ticktext=text)


def faster(times: float) -> str:
    """A ratio in words: "is 2.00 times as fast as", or "takes 3.00 times as long as" where it is no gain."""
    if times >= 1:
        return f"is {units.digits(times)} times as fast as"
    return f"takes {units.digits(1 / times)} times as long as"


def lighter(pairs: pd.DataFrame) -> list[float]:
    """Of rows with partners, how many times fewer bytes each needs; NaN where it needs none."""
    both = zip(pairs["work"], pairs["work_base"], strict=True)
    return [base.bytes / own.bytes if own.bytes else float("nan") for own, base in both]


def ratio(rows: pd.DataFrame, base: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """The rows that have a partner in `base` with the same columns `on`, with `times`: how much faster than it, and
    what the partner has as `seconds_base`, `share_base` and `work_base`.

    A pair is as sound as the less sound of the two.
    """
    if rows.empty or base.empty:
        return rows.iloc[:0].assign(times=[], seconds_base=[], share_base=[], work_base=[])
    partners = base.drop_duplicates(list(on)).set_index(list(on))[["seconds", "validity", "share", "work"]]
    partners = partners.add_suffix("_base")
    found = rows.join(partners, on=list(on), how="inner")
    doubt = [
        one if one != "valid" else other for one, other in zip(found["validity"], found["validity_base"], strict=True)
    ]
    return found.assign(times=found["seconds_base"] / found["seconds"], validity=doubt)
