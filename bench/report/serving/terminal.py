"""Serving answers as tables for the terminal: the limits asked for first, then each question with its numbers."""

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench import units
from bench.analysis.serving.answers import Answers
from bench.analysis.serving.planner import Answer
from bench.report.serving.tables import between, binds, signed, spelt
from bench.report.words import many

# Questions whose every number matters to who asks once; the others have curves, which --json and the page hold.
_SHOWN = {
    "latency floor": 6,
    "time to first token": 6,
    "critical batch": 4,
    "capacity": 8,
    "cost and energy": 4,
    "tensor parallel": 4,
}
_PARETO = 16


def answers_table(found: Answers) -> Group:
    """Everything a person wants to know first; --json holds the rest."""
    ranks = found.request.ranks
    head = f"{found.model.name} on {ranks.devices} × {found.machine.name}"
    precision = found.request.precision
    parts: list = [
        Text(f"{head}: {precision.weights.name} weights, {precision.kv.name} KV, {found.machine.origin}", style="bold")
    ]
    parts += [*_limits(found), Text(_checked(found))]
    parts.append(_pareto(found))
    parts += [Text(line) for line in _dips(found)]
    for question, most in _SHOWN.items():
        rows = found[question][:most]
        if rows:
            parts.append(_table(question, rows))
    parts += [Text(f"no answer to {question}: {why}", style="yellow") for question, why in found.missing.items()]
    if found.partial:
        parts.append(
            Text("partial: what is marked assumed rests on documented defaults; --json names the probes to run")
        )
    return Group(*parts)


def _limits(found: Answers) -> list:
    """What batch meets the limits on how many devices, what stops the next one, and what it gives."""
    limits, request = found.request.sla, found.request
    asked = (
        f"TTFT p{100 * limits.quantile:.0f} up to {units.seconds(limits.ttft)}, {1 / limits.tpot:.3g} tokens/s per user"
    )
    batches = [each for each in found["sla"] if each.name == "sla batch"]
    if not batches:
        return [Text(f"{asked}: {found.missing.get('sla', 'no batch meets them')}")]
    head = Text(f"{asked}, prompts of {request.prompt} and outputs of {request.output} tokens:")
    best = next((each for each in batches if each.about.get("best")), None)
    if best is None:
        return [head, Text(f"  no batch: {batches[0].note}")]
    on = f" on {many(best.about['devices'], 'device')}" if len(batches) > 1 else ""
    return [
        head,
        Text(f"  batch {best.value:.0f}{on}; {best.about['stops']} stops the next one"),
        _layouts(found, batches),
    ]


def _layouts(found: Answers, batches: list[Answer]) -> Table:
    """A row per number of devices: what they serve within the limits if all users may start at once, and if not."""
    quantile = found.request.sla.quantile
    table = _titled("within these limits, if all may start at once (in brackets: if not)")
    for heading in ("devices", "batch", "stops", "tokens/s in all", "TPOT", f"TTFT p{100 * quantile:.0f}", "origin"):
        table.add_column(heading, justify="left" if heading in ("stops", "origin") else "right")
    for batch in batches:
        count = batch.about["devices"]
        mine = {each.name: each for each in found["sla"] if each.about["devices"] == count}

        def said(name: str, mine: dict[str, Answer] = mine) -> str:
            each = mine.get(name)
            return _ranged(spelt(each.value, each.unit), between(each)).replace(" tokens/s", "") if each else "–"

        apart = mine["sla batch, users out of phase"]
        table.add_row(
            str(count), f"{batch.value:.0f} ({apart.value:.0f})", f"{batch.about['stops']} ({apart.about['stops']})",
            said("sla output"), said("sla tpot"), said("sla ttft tail"), batch.origin,
        )  # fmt: skip
    return table


def _checked(found: Answers) -> str:
    """What the numbers' error bars rest on."""
    errors = found.machine.errors
    if not errors:
        return "error bars: none; no whole layer was measured here to check the predictions against (the layer probe)"
    spans = (
        f"{phase} {signed(each.low)} to {signed(each.high)} ({many(each.points, 'point')})"
        for phase, each in errors.items()
    )
    return f"self-check, predicted against a measured layer: {', '.join(spans)}; ranges are what that leaves open"


def _pareto(found: Answers) -> Table:
    table = _titled("throughput against latency, by batch; tokens/s")
    ranged = bool(found.machine.errors)
    for heading in ("batch", "per user", "in all", "TPOT", *["by the self-check"] * ranged, "binds", "origin"):
        table.add_column(heading, justify="left" if heading in ("binds", "origin") else "right", no_wrap=True)
    for each in found["pareto"][:_PARETO]:
        about = each.about
        table.add_row(
            str(about["batch"]),
            units.digits(about["tokens_per_user"]),
            units.digits(each.value),
            units.seconds(about["tpot_s"]),
            *[_tpot(each)] * ranged,
            binds(each.bound),
            each.origin,
        )
    return table


def _table(question: str, rows: tuple[Answer, ...]) -> Table:
    table = _titled(question)
    for heading in ("what", "for", "value", "binds", "origin"):
        table.add_column(heading, justify="right" if heading == "value" else "left", overflow="fold")
    for each in rows:
        about = ", ".join(f"{name} {value}" for name, value in each.about.items() if isinstance(value, int | str))
        table.add_row(
            each.name, about, _ranged(spelt(each.value, each.unit), between(each)), binds(each.bound), each.origin
        )
    return table


def _dips(found: Answers) -> list[str]:
    """What looks wrong and is measured."""
    dips = [str(each.about["batch"]) for each in found["pareto"][:_PARETO] if each.note]
    return (
        [f"batch {', '.join(dips)} takes less time than a smaller one: so were its products measured"] if dips else []
    )


def _ranged(text: str, span: str) -> str:
    return f"{text} ({span})" if span else text


def _tpot(each: Answer) -> str:
    """The error bar of a system's rate as one of the time between its tokens."""
    batch = each.about["batch"]
    return units.between(batch / each.high, batch / each.low, units.seconds) if each.low == each.low else ""


def _titled(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, title=title, title_justify="left")
