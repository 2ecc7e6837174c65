"""The devices beside one another: every roof of each, burst and sustained, against the median of the others."""

from collections.abc import Iterator
from functools import partial

from bench import units
from bench.analysis import names, tidy
from bench.report.document import FAIL, WARN, Column, Finding, Section, table
from bench.report.phrases import interval, many, signed
from bench.report.plots.rows import strip
from bench.report.sections import RunView, plot, span


def section(view: RunView) -> Section | None:
    """None for one device."""
    if not view.several:
        return None
    rows, records = view.siblings, []
    burst = rows[rows["regime"] == ""]
    shown = {*view.headlines, *burst.loc[burst["outlier"], "key"]}.intersection(burst["key"])
    for row in tidy.each(rows):
        mark = "" if not row.outlier else FAIL if row.ratio < 1 else WARN
        about = {"interval": interval(row, partial(units.rate_text, key=row.key)), "mark": mark}
        records.append(row._asdict() | about | {"verdict": "outlier" if row.outlier else ""})
    rate = {"text": units.rate_text, "by": "key", "unit": "B/s or FLOP/s"}
    columns = [Column("roof", "key", _name, by="regime"), Column("device", text=names.device)]
    columns += [Column("measured", "rate", **rate), "interval", "n", Column("median of the others", "median", **rate)]
    columns += [Column("others", "siblings"), Column("% of median", "ratio", units.percent)]
    columns += [Column("verdict", mark="mark")]
    made = table("devices-table", "Every roof of every device", records, *columns)
    drawn = plot("devices", "Percent of the median of the others", strip(burst, list(shown)))
    question = "Is one of these devices slower than its siblings?"
    return Section("devices", "Devices beside one another", question, "", _findings(view), drawn, [made])


def _name(key: str, regime: str) -> str:
    return f"{names.roof(key)}, {regime}" if regime else names.roof(key)


def _findings(view: RunView) -> Iterator[str | Finding]:
    rows = view.siblings
    if rows.empty:
        yield f"{many(len(view.fits), 'device')}, and no roof that two of them share."
        return
    outliers, shared = rows[rows["outlier"]], rows.groupby(["key", "regime"]).ngroups
    # the worst first: a page leads with three
    for device, part in sorted(outliers.groupby("device"), key=lambda each: -(each[1]["ratio"] - 1).abs().max()):
        off = f"{len(part)} of {many(shared, 'shared roof')}: {span(part['ratio'], signed)}"
        yield Finding(f"{names.device(device)} is an outlier in {off}.", FAIL if part["ratio"].min() < 1 else WARN)
    if outliers.empty:
        spreads = rows.groupby(["key", "regime"], sort=False)["rate"].agg(lambda rates: rates.max() / rates.min() - 1)
        widest = f"the widest spread is {units.percent(spreads.max(), 2)}, in {_name(*spreads.idxmax())}"
        yield f"No outlier in {many(shared, 'shared roof')}; {widest}."
