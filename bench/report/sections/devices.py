"""The devices beside one another: every roof of each, burst and sustained, against the median of the others."""

from collections.abc import Iterator

from bench import units
from bench.analysis import tidy
from bench.report import names
from bench.report.document import FAIL, WARN, Column, Finding, Section, findings, table
from bench.report.phrases import many
from bench.report.plots.rows import strip
from bench.report.sections import RunView, plot


def section(view: RunView) -> Section | None:
    """None for one device."""
    if not view.several:
        return None
    rows = view.siblings
    burst = rows[rows["regime"] == ""]
    shown = [key for key in dict.fromkeys(burst["key"]) if key in names.HEADLINES or _is_headline(key, view)]
    shown += [key for key in dict.fromkeys(burst.loc[burst["outlier"], "key"]) if key not in shown]
    records = [
        row._asdict()
        | {"name": _name(row.key, row.regime), "gpu": names.device(row.device), "interval": _interval(row)}
        | ({"verdict": "outlier", "mark": FAIL if row.ratio < 1 else WARN} if row.outlier else {})
        for row in tidy.each(rows)
    ]
    columns = (
        Column("roof", "name"),
        Column("device", "gpu"),
        Column("measured", "rate", units.rate_text, by="key", unit="B/s or FLOP/s"),
        Column("interval", "interval"),
        Column("n", "n", number=True),
        Column("median of the others", "median", units.rate_text, by="key", unit="B/s or FLOP/s"),
        Column("others", "siblings", number=True),
        Column("% of median", "ratio", units.percent, number=True),
        Column("verdict", "verdict", mark="mark"),
    )
    return Section(
        "devices",
        "Devices beside one another",
        "Is one of these devices slower than its siblings?",
        findings=findings(_findings(view)),
        plots=tuple(plot("devices", "Percent of the median of the others", strip(burst, shown))),
        tables=(table("devices-table", "Every roof of every device", records, *columns),),
    )


def _name(key: str, regime: str) -> str:
    return f"{names.roof(key)}, {regime}" if regime else names.roof(key)


def _is_headline(key: str, view: RunView) -> bool:
    return any(key == fit.info.headline for fit in view.fits)


def _interval(row) -> str:
    return (
        "one repetition"
        if row.n == 1
        else units.between(row.low, row.high, lambda value: units.rate_text(value, row.key))
    )


def _findings(view: RunView) -> Iterator[str | Finding]:
    rows = view.siblings
    if rows.empty:
        yield f"{many(len(view.fits), 'device')}, and no roof that two of them share."
        return
    outliers, shared = rows[rows["outlier"]], rows.groupby(["key", "regime"]).ngroups
    if len(outliers):
        for device, part in outliers.groupby("device", sort=False):
            low, high = part["ratio"].min() - 1, part["ratio"].max() - 1
            ends = [f"{'−' if share < 0 else '+'}{units.percent(abs(share), 2)}" for share in (low, high)]
            span = ends[0] if len(part) == 1 else " to ".join(ends)
            text = f"{names.device(str(device))} is an outlier in {len(part)} of {many(shared, 'shared roof')}: {span}."
            yield Finding(text, FAIL if low < 0 else WARN)
        return
    spreads = rows.groupby(["key", "regime"], sort=False)["rate"].agg(lambda rates: rates.max() / rates.min() - 1)
    key, regime = spreads.idxmax()
    yield (
        f"No outlier in {many(shared, 'shared roof')}; the widest spread is {units.percent(spreads.max(), 2)}, in"
        f" {_name(key, regime)}."
    )
