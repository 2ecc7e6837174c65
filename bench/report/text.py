"""The Run as a table in the terminal: roof, value, interval, theory, percent, and what to doubt."""

from collections.abc import Iterator, Sequence
from statistics import median

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench import units
from bench.analysis.compare import compare, datasheet
from bench.analysis.fit import Fit
from bench.report.checks import sentences
from bench.report.words import unreached
from bench.schema import Run
from bench.stats import Estimate

# One line per GPU is enough beyond these; the report has every number of every GPU.
_FULL_TABLES = 2
# A sibling that is slower than the median by more, interval and all, is named.
_APART = 0.03


def run_table(run: Run, fits: Sequence[Fit]) -> Group:
    """Everything that a person wants to see when a Run ends."""
    parts: list = []
    if run.environment.simulated:
        parts.append(Text("SIMULATED: numbers from a datasheet, not from a machine", style="bold magenta"))
    if run.end and run.end.status != "complete":
        parts.append(
            Text(f"INCOMPLETE: the Run was {run.end.status}; what is missing was not measured", style="yellow")
        )
    parts += [Text(f"warning: {warning}", style="yellow") for warning in run.warnings]
    if left := unreached(run):
        parts.append(Text(left, style="dim"))
    parts += [Text(line, style="red" if "failed" in line else "") for line in sentences(run.checks)]
    parts += [_device_table(fit) for fit in fits[:_FULL_TABLES]]
    if len(fits) > _FULL_TABLES:
        parts.append(_siblings(fits))
    return Group(*parts)


def _device_table(fit: Fit) -> Group:
    theory = datasheet(fit.info)
    gaps = {gap.ours.key: gap for gap in compare(fit.roofline, theory)} if theory else {}
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        title=f"{fit.info.name} ({fit.info.id})",
        title_justify="left",
    )
    table.caption, table.caption_justify = "±: 95 % interval from n ≥ 5 repetitions, else their range", "left"
    table.add_column("roof", overflow="fold")
    lasting = fit.sustained
    # both columns of theory beside it would fold every name at 80 columns; the datasheet's rates are in the report
    for heading in ("measured", "±", "n", *(("sustained", "of theory") if lasting else ("theory", "%"))):
        table.add_column(heading, justify="right", no_wrap=True)
    for roof in fit.roofline.roofs:
        gap = gaps.get(roof.key)
        table.add_row(
            roof.key + (" !" if roof.caution else ""),
            units.rate_text(roof.rate, roof.key),
            _spread(roof.estimate),
            str(roof.n),
            _sustained(fit, roof.key) if lasting else units.rate_text(gap.theirs.rate, roof.key) if gap else "",
            units.percent(gap.ratio) if gap else "",
            style="bold" if roof.key in (fit.info.headline, "dram") else "",
        )
    ridge = fit.headline
    if ridge:
        value, compute = ridge.estimate, ridge.compute.rsplit(".", 1)[0]
        wanted = theory.ridge(compute) if theory and compute in theory and "dram" in theory else None
        doubtful = any(fit.roofline.roof(key).caution for key in (ridge.compute, ridge.memory))
        table.add_row(
            "ridge point" + (" !" if doubtful else ""),
            units.intensity(value.value),
            _spread(value),
            str(value.n),
            _sustained_ridge(fit) if lasting else units.intensity(wanted) if wanted else "",
            units.percent(value.value / wanted) if wanted else "",
            style="bold",
        )
    for dtype, knee in fit.knees.items():
        value = knee.intensity
        table.add_row(f"{dtype} ladder's knee", units.intensity(value.value), _spread(value), str(value.n), "", "")
    if not table.row_count and not fit.missing:
        measured = any(case.seconds for case in fit.cases)
        what = "these probes claim no roof; their points are in the report" if measured else "nothing was measured"
        return Group(Text(f"{fit.info.name} ({fit.info.id}): {what}"))
    lines: list = [table]
    doubts: dict[str, list[str]] = {}
    for roof in fit.roofline.roofs:
        if roof.caution:
            doubts.setdefault(roof.caution, []).append(roof.key)
    for caution, keys in list(doubts.items())[:4]:
        which = keys[0] if len(keys) == 1 else f"{len(keys)} roofs"
        lines.append(Text(f"  ! {which}: {caution}", style="yellow"))
    if len(doubts) > 4:
        lines.append(Text(f"  ! and {len(doubts) - 4} more, in the report", style="yellow"))
    lines += [Text(f"  missing {key}: {cause}", style="yellow") for key, cause in fit.missing.items()]
    return Group(*lines)


def _sustained(fit: Fit, key: str) -> str:
    found = fit.sustained.roofs.get(key) if fit.sustained else None
    return units.rate_text(found.roof.rate, key) if found else ""


def _sustained_ridge(fit: Fit) -> str:
    ridge = fit.sustained.headline if fit.sustained else None
    return units.intensity(ridge.estimate.value) if ridge else ""


def _spread(value: Estimate) -> str:
    """The farther end of the interval (range of n below five), as a share of the value; both ends are in the report."""
    if value.n == 1:
        return "–"
    farther = max(value.high / value.value - 1, 1 - value.low / value.value)
    # rounding alone would print a dozen zeros
    return units.percent(farther, 2) if farther > 1e-5 else "0 %"


def _siblings(fits: Sequence[Fit]) -> Group:
    """One row per GPU: its headline roofs, and below who is slow among its siblings."""
    keys = ["dram", fits[0].info.headline]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"all {len(fits)} devices", title_justify="left")
    table.add_column("device", no_wrap=True)
    for key in keys:
        table.add_column(key, justify="right", no_wrap=True)
        table.add_column("of best", justify="right", no_wrap=True)
    best = {key: max((fit.roofline.roof(key).rate for fit in fits if key in fit.roofline), default=0.0) for key in keys}
    for fit in fits:
        row = [fit.info.id]
        for key in keys:
            roof = fit.roofline.find(key)
            row += [units.rate_text(roof.rate, key), units.percent(roof.rate / best[key])] if roof else ["", ""]
        table.add_row(*row)
    return Group(table, *_slow(fits, keys))


def _slow(fits: Sequence[Fit], keys: Sequence[str]) -> Iterator[Text]:
    for key in keys:
        have = [(fit.info.id, fit.roofline.roof(key)) for fit in fits if key in fit.roofline]
        middle = median(roof.rate for _, roof in have) if have else 0.0
        for device, roof in have:
            if roof.high < middle * (1 - _APART):
                below = units.percent(1 - roof.rate / middle, 2)
                yield Text(f"  ! {device}: {key} is {below} below the median of its siblings", style="bold yellow")
