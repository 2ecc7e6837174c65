"""How far to trust the numbers: the checks of the instrument in words and as a table for the terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench import units
from bench.schema import FAIL, NOT_AVAILABLE, PASS, Check

# Each state has a mark and a word of its own: colour only repeats them.
MARKS = {PASS: ("✓", "green"), FAIL: ("✗", "bold red"), NOT_AVAILABLE: ("·", "cyan")}


def counts(checks: Sequence[Check]) -> str:
    """ "12 passed, 1 failed, 5 not available"."""
    found = Counter(check.state for check in checks)
    words = {PASS: "passed", FAIL: "failed", NOT_AVAILABLE: "not available"}
    return ", ".join(f"{found[state]} {word}" for state, word in words.items() if found[state]) or "nothing was tried"


def sentences(checks: Sequence[Check]) -> list[str]:
    """What the checks say of everything else that was measured."""
    if not checks:
        return []
    failures = [check for check in checks if check.state == FAIL]
    absent = [check for check in checks if check.state == NOT_AVAILABLE]
    said = [f"Before it measured, the instrument was tried on this machine: {counts(checks)}."]
    said += [
        f"{_where(check, checks)} failed: {check.reason or check.value}. {_sentence(check.fix)}" for check in failures
    ]
    if absent and not failures:
        said.append("What was not available says nothing against the numbers, and nothing for them.")
    return [sentence.strip() for sentence in said]


def checks_table(checks: Sequence[Check], title: str = "") -> Group:
    """A line per check that was tried; below, why the others were not, and what to do about those that failed."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("seen", overflow="fold")
    table.add_column("expected", overflow="fold")
    for check in checks:
        if check.state != NOT_AVAILABLE:
            mark, style = MARKS[check.state]
            table.add_row(
                Text(check.name), Text(f"{mark} {check.state}", style), Text(check.value), Text(check.expected)
            )
    if not table.row_count:
        return Group(Text(title), *_absent(checks))
    return Group(table, *_absent(checks), *_failures(checks))


def _absent(checks: Sequence[Check]) -> Iterator[Table]:
    """Reasons why something could not be tried, each with the checks that it is about."""
    reasons: dict[str, list[Check]] = {}
    for check in checks:
        if check.state == NOT_AVAILABLE:
            reasons.setdefault(_kind(check.reason), []).append(check)
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for reason, mine in reasons.items():
        said = reason if len(mine) > 1 else mine[0].reason
        names = "all of them" if len(mine) == len(checks) else ", ".join(dict.fromkeys(check.name for check in mine))
        table.add_row(Text("  ·", "cyan"), Text(f"not available: {said}: ").append(names, "cyan"))
    if reasons:
        yield table


def _kind(reason: str) -> str:
    """What several reasons have in common: noise has as many numbers as checks."""
    return "too noisy" if reason.startswith("too noisy") else reason


def _failures(checks: Sequence[Check]) -> Iterator[Table]:
    failures = [check for check in checks if check.state == FAIL]
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in failures:
        table.add_row(Text("  ✗", "bold red"), Text(f"{check.name}: {check.reason}", "red"))
        table.add_row("", Text(f"→ {check.fix}", "bold"))
    if failures:
        yield table


def verdict(checks: Sequence[Check]) -> Text:
    elapsed = units.seconds(sum(check.elapsed for check in checks))
    failures = sum(check.state == FAIL for check in checks)
    if all(check.state == NOT_AVAILABLE for check in checks):
        return Text("nothing could be tried here", "yellow")
    if failures:
        return Text(f"{counts(checks)}, in {elapsed}: do not trust what the failures name (exit code 1)", "bold red")
    noisy = sum(check.state == NOT_AVAILABLE and check.reason.startswith("too noisy") for check in checks)
    said = f"{counts(checks)}, in {elapsed}: the instrument reads true here, as far as it was tried"
    if noisy:
        return Text(f"{said}; {noisy} could not be decided: try again when the machine is quiet", "yellow")
    return Text(said, "green")


def _where(check: Check, checks: Sequence[Check]) -> str:
    return f"{check.name} on {check.device}" if len({each.device for each in checks}) > 1 else check.name


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
