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
    rows = view.siblings
    burst = rows[rows["regime"] == ""]
    shown = {*view.headlines, *burst.loc[burst["outlier"], "key"]}.intersection(burst["key"])
    records = rows.assign(
        interval=[interval(row, partial(units.rate_text, key=row.key)) for row in tidy.each(rows)],
        verdict=rows["outlier"].map({True: "outlier", False: ""}),
        mark=[("" if not row.outlier else FAIL if row.ratio < 1 else WARN) for row in tidy.each(rows)],
    ).to_dict("records")
    columns = (
        Column("roof", "key", _name, by="regime"),
        Column("device", text=names.device),
        Column("measured", "rate", units.rate_text, by="key", unit="B/s or FLOP/s"),
        *map(Column, ("interval", "n")),
        Column("median of the others", "median", units.rate_text, by="key", unit="B/s or FLOP/s"),
        Column("others", "siblings"),
        Column("% of median", "ratio", units.percent),
        Column("verdict", mark="mark"),
    )
    return Section(
        "devices",
        "Devices beside one another",
        "Is one of these devices slower than its siblings?",
        findings=_findings(view),
        plots=plot("devices", "Percent of the median of the others", strip(burst, list(shown))),
        tables=[table("devices-table", "Every roof of every device", records, *columns)],
    )


def _name(key: str, regime: str) -> str:
    return f"{names.roof(key)}, {regime}" if regime else names.roof(key)


def _findings(view: RunView) -> Iterator[str | Finding]:
    rows = view.siblings
    if rows.empty:
        yield f"{many(len(view.fits), 'device')}, and no roof that two of them share."
        return
    outliers, shared = rows[rows["outlier"]], rows.groupby(["key", "regime"]).ngroups
    if len(outliers):
        # the worst first: a page leads with three
        for device, part in sorted(outliers.groupby("device"), key=lambda each: -(each[1]["ratio"] - 1).abs().max()):
            off = f"{len(part)} of {many(shared, 'shared roof')}: {span(part['ratio'], signed)}"
            yield Finding(f"{names.device(device)} is an outlier in {off}.", FAIL if part["ratio"].min() < 1 else WARN)
        return
    spreads = rows.groupby(["key", "regime"], sort=False)["rate"].agg(lambda rates: rates.max() / rates.min() - 1)
    key, regime = spreads.idxmax()
    widest = f"the widest spread is {units.percent(spreads.max(), 2)}, in {_name(key, regime)}"
    yield f"No outlier in {many(shared, 'shared roof')}; {widest}."
