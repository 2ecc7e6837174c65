"""The gate in the terminal, and in the one line that a monitoring system reads."""

from bench.analysis.gate.verdict import OK, REGRESSED, SUSPICIOUS, Gate, Verdict
from bench.report.gate import words

_STYLES = {
    "regressed": "bold red",
    "missing": "bold red",
    "invalid": "yellow",
    "inconclusive": "yellow",
    "suspicious": "yellow",
    "improved": "cyan",
    "ok": "green",
}
# With more devices, or more rows, only what is not ok is worth the screen.
_FEW_DEVICES, _FEW_ROWS = 2, 16
_MOST_WARNINGS = 12
# Nagios Core keeps 8 KiB of a plugin's output.
_MOST_BYTES, _MOST_WORDS = 8000, 800


def gate_table(gate: Gate):
    """Everything that a person wants to see when a gate ends, as a rich Group."""
    from rich.console import Group
    from rich.text import Text

    parts: list = []
    if gate.run.environment.simulated:
        parts.append(Text(words.SIMULATED, style="bold magenta"))
    parts.append(Text(f"{words.ICONS[gate.word]} {words.headline(gate)}", style=_STYLES[gate.word]))
    for name, said in gate.defects:
        parts.append(_indented(f"{words.device(name)}: {words.line(said)}", "bold red", "! "))
    gated = [verdict for verdict in gate.worst if verdict.gates]
    known = words.devices(gate)
    whole = len(known) <= _FEW_DEVICES and len(gated) <= _FEW_ROWS
    for name in known:
        mine = [v for v in gated if v.device == name]
        shown = mine if whole else [v for v in mine if v.word != OK]
        if len(known) > 1:
            parts.append(Text(f"{words.device(name)}: {words.of_device(gate, name)}", style="bold" if shown else ""))
        if shown:
            parts.append(_table(shown))
            parts += [_evidence(v) for v in shown if v.word != OK]
    parts += [_indented(text, "", "") for text in words.held_against(gate)]
    parts += [_indented(f"note: {note}", "yellow", "") for note in words.notes(gate)]
    warned = words.doubtful(gate, gates=False)
    parts += [_indented(f"warns only: {words.sentence(v, gate)}", "dim", "") for v in warned[:_MOST_WARNINGS]]
    if len(warned) > _MOST_WARNINGS:
        parts.append(Text(f"and {len(warned) - _MOST_WARNINGS} more that only warn, in the report", style="dim"))
    return Group(*parts)


def _table(verdicts: list[Verdict]):
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("metric", overflow="fold")
    for heading in ("value", "expected", "change", "limit", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for v in verdicts:
        cells = [words.name(v.metric.name), words.value(v, v.value), words.beside(v, v.expected), words.change(v)]
        cells += [words.beside(v, v.limit), str(v.n), v.word]
        # as Text, because a name in brackets would be taken for markup
        table.add_row(*map(Text, cells), style="" if v.word == OK else _STYLES[v.word])
    return table


def _evidence(verdict: Verdict):
    return _indented(
        f"{words.name(verdict.metric.name)}: {words.evidence(verdict)}",
        _STYLES[verdict.word],
        f"  {words.ICONS[verdict.word]} ",
    )


def _indented(text: str, style: str, mark: str):
    """A paragraph whose further lines keep clear of its mark."""
    from rich.table import Table
    from rich.text import Text

    if not mark:
        return Text(text, style=style)
    grid = Table.grid()
    grid.add_column(width=len(mark), no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark, style=style), Text(text, style=style))
    return grid


def nagios_code(gate: Gate, code: int) -> int:
    """The exit code that Nagios knows: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. code: the gate's own.

    Something slow that was not to fail the gate is a WARNING, whatever --fail-on silenced; so is a suspicion that was.
    """
    if code == 1:
        return 2
    if code == 0:
        return 1 if any(word in gate.counts for word in (SUSPICIOUS, REGRESSED)) or gate.defects else 0
    return 1 if code == 3 and gate.word == SUSPICIOUS and not gate.unfounded else 3


def nagios(gate: Gate, code: int) -> str:
    """One status line with performance data of the gated metrics, SI base units, worst first."""
    state = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[nagios_code(gate, code)]
    said = [words.headline(gate), *(f"{words.device(who)}: {words.line(what)}" for who, what in gate.defects)]
    said += [words.sentence(v, gate) for v in words.doubtful(gate)[:3]]
    simulated = "SIMULATED " if gate.run.environment.simulated else ""
    # what follows a bar is performance data
    text = words.line(f"GATE {state} - {simulated}{'; '.join(said)}", _MOST_WORDS).replace("|", "/")
    room, data = _MOST_BYTES - len(text.encode()) - 1, []
    for verdict in (v for v in gate.worst if v.gates):
        found = _performance(verdict, gate)
        room -= len(found.encode()) + 1
        if room < 0:
            break
        data.append(found)
    return f"{text}|{' '.join(data)}" if data else text


def _performance(verdict: Verdict, gate: Gate) -> str:
    """'label'=value[s];;critical: a rate has no unit that Nagios knows, so it stands in bytes or FLOP per second."""
    name = words.line(words.where(verdict, gate), 160).replace("'", "''").replace("=", ":").replace("|", "/")
    if verdict.value is None:
        return f"'{name}'=U"
    unit = "s" if verdict.metric.amount == "seconds" else ""
    limit = words.plain(verdict.limit) if verdict.limit is not None else ""
    # "4:" alerts below 4, "4" above
    critical = f"{limit}:" if limit and verdict.metric.better == "higher" else limit
    return f"'{name}'={words.plain(verdict.value)}{unit};;{critical}".rstrip(";")
