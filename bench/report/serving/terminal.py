"""Serving answers as tables for the terminal: the limits asked for first, then each question with its numbers."""

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench import units
from bench.analysis.serving.answers import Answers
from bench.analysis.serving.planner import Answer
from bench.report.serving.tables import between, signed

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
    parts += [Text(line) for line in (*_limits(found), _checked(found))]
    parts.append(_pareto(found))
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


def _limits(found: Answers) -> list[str]:
    """What batch meets the limits, and what stops the next one."""
    rows = {each.name: each for each in found["sla"]}
    limits = found.request.sla
    asked = (
        f"TTFT p{100 * limits.quantile:.0f} up to {units.seconds(limits.ttft)}, {1 / limits.tpot:.3g} tokens/s per user"
    )
    batch = rows.get("sla batch")
    if batch is None:
        return [f"{asked}: {found.missing.get('sla', 'no batch meets them')}"]
    lines = [f"{asked}, prompts of {found.request.prompt} and outputs of {found.request.output} tokens:"]
    lines.append(f"  batch {batch.value:.0f}; {batch.about.get('stops', 'nothing')} stops the next one")
    lines += [
        f"  {name.removeprefix('sla ')}: {_ranged(_text(each), between(each))} ({each.bound}, {each.origin})"
        for name, each in rows.items()
        if each is not batch
    ]
    return lines


def _checked(found: Answers) -> str:
    """What the numbers' error bars rest on."""
    errors = found.machine.errors
    if not errors:
        return "error bars: none; no whole layer was measured here to check the predictions against (the layer probe)"
    spans = (f"{phase} {signed(low)} to {signed(high)}" for phase, (low, high) in errors.items())
    return f"self-check, predicted against a measured layer: {', '.join(spans)}; ranges are what that leaves open"


def _pareto(found: Answers) -> Table:
    table = _titled("throughput against latency, by batch")
    for heading in ("batch", "tokens/s per user", "tokens/s of all", "TPOT", "binds", "origin"):
        table.add_column(heading, justify="left" if heading in ("binds", "origin") else "right")
    for each in found["pareto"][:_PARETO]:
        about = each.about
        table.add_row(
            str(about["batch"]),
            units.digits(about["tokens_per_user"]),
            units.digits(each.value),
            _ranged(units.seconds(about["tpot_s"]), _tpot(each)),
            each.bound,
            each.origin,
        )
    return table


def _table(question: str, rows: tuple[Answer, ...]) -> Table:
    table = _titled(question)
    for heading in ("what", "for", "value", "binds", "origin"):
        table.add_column(heading, justify="right" if heading == "value" else "left", overflow="fold")
    for each in rows:
        about = ", ".join(f"{name} {value}" for name, value in each.about.items() if isinstance(value, int | str))
        table.add_row(each.name, about, _ranged(_text(each), between(each)), each.bound, each.origin)
    return table


def _ranged(text: str, span: str) -> str:
    return f"{text} ({span})" if span else text


def _tpot(each: Answer) -> str:
    """The error bar of a system's rate as one of the time between its tokens."""
    batch = each.about["batch"]
    return units.between(batch / each.high, batch / each.low, units.seconds) if each.low == each.low else ""


def _titled(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, title=title, title_justify="left")


def _text(each: Answer) -> str:
    """A value for people."""
    if each.unit == "s":
        return units.seconds(each.value)
    if each.unit == "B":
        return units.size(each.value)
    if each.unit == "FLOP/B":
        return units.intensity(each.value)
    if each.unit == "1":
        return units.digits(each.value)
    return f"{units.digits(each.value)} {each.unit}"
