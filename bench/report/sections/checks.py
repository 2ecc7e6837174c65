"""How far to trust the numbers: what was tried of the instrument before it measured; and what `bench verify` says."""

from collections import Counter
from collections.abc import Iterator, Sequence

from bench import units
from bench.report.document import FAIL as FAILED
from bench.report.document import NOT_JUDGED, SKIP, WARN, Column, Document, Finding, Section, Table, Verdict, table
from bench.report.document import PASS as PASSED
from bench.report.phrases import plain
from bench.report.sections import METHODS, RunView, Sentences
from bench.schema import FAIL, NOT_AVAILABLE, PASS, Check


def counts(checks: Sequence[Check]) -> str:
    """ "12 passed, 1 failed, 5 not available"."""
    found = Counter(check.state for check in checks)
    words = {PASS: "passed", FAIL: "failed", NOT_AVAILABLE: "not available"}
    return ", ".join(f"{found[state]} {word}" for state, word in words.items() if found[state]) or "nothing was tried"


def failures(checks: Sequence[Check]) -> Iterator[Finding]:
    """A finding per failed check, with its fix."""
    several = len({check.device for check in checks}) > 1
    for check in checks:
        if check.state == FAIL:
            where = f"{check.name} on {check.device}" if several else check.name
            # a check's name stays as it is written, at the beginning of a sentence too
            text = plain(f"{where} failed: {check.reason or check.value}").rstrip(".")
            yield Finding(f"{text}.", FAILED, plain(check.fix))


def absent(checks: Sequence[Check]) -> Sentences:
    """Reasons why something could not be tried, each with the checks that it is about."""
    reasons: dict[str, list[Check]] = {}
    for check in checks:
        if check.state == NOT_AVAILABLE:
            # noise has as many numbers as checks
            why = "too noisy" if check.reason.startswith("too noisy") else check.reason
            reasons.setdefault(why, []).append(check)
    for reason, mine in reasons.items():
        said = reason if len(mine) > 1 else mine[0].reason
        which = ", ".join(dict.fromkeys(check.name for check in mine))
        yield plain(f"Not available: {said}: {'all of them' if len(mine) == len(checks) else which}.")


def check_table(checks: Sequence[Check], whole: bool = True) -> Table:
    """A row per check. whole: those that could not be tried too."""
    several = len({check.device for check in checks}) > 1
    rows = []
    for check in (check for check in checks if whole or check.state != NOT_AVAILABLE):
        mark = {PASS: "", FAIL: FAILED}.get(check.state, SKIP)
        rows.append(vars(check) | {"seen": ": ".join(filter(None, (check.value, check.reason))), "mark": mark})
    columns = [Column("check", "name"), *[Column("device")] * several, Column("result", "state", mark="mark")]
    columns += [Column("seen"), Column("expected"), *[Column("what it proves", "proves")] * whole]
    return table("checks-table", "The checks of the instrument", rows, *columns, folded=whole)


def section(view: RunView) -> Section | None:
    """None for a Run that tried nothing: an older one, or a simulated one."""
    checks = view.run.checks
    if not checks:
        return None
    bad = list(failures(checks))
    lead = Finding(f"Checks of the instrument before measuring: {counts(checks)}.", FAILED if bad else "")
    return Section(
        "checks",
        "How far to trust these numbers",
        "Does the instrument read true on this machine?",
        findings=(lead, *bad),
        tables=[check_table(checks)],
        notes=absent(checks),
        group=METHODS,
    )


def document(checks: Sequence[Check], heading: str = "") -> Document:
    """`bench verify`: whether the instrument reads true here. heading: the device that was tried, or "" for several."""
    return Document(
        title=f"The instrument on {heading}",
        heading=heading,
        verdicts=(_verdict(checks),),
        findings=tuple(failures(checks)),
        sections=(Section("checks", "", tables=[check_table(checks, whole=False)], notes=absent(checks)),),
    )


def _verdict(checks: Sequence[Check]) -> Verdict:
    said = f"{counts(checks)}, in {units.seconds(sum(check.elapsed for check in checks))}"
    noisy = sum(check.state == NOT_AVAILABLE and check.reason.startswith("too noisy") for check in checks)
    if all(check.state == NOT_AVAILABLE for check in checks):
        return Verdict("Instrument", NOT_JUDGED, "not judged", "nothing could be tried here")
    if any(failures(checks)):
        return Verdict("Instrument", FAILED, "fail", f"{said}: do not trust what the failures name")
    if noisy:
        return Verdict("Instrument", WARN, "pass", f"{said}; {noisy} too noisy to decide: repeat on a quiet machine")
    return Verdict("Instrument", PASSED, "pass", f"{said}: it reads true here, as far as it was tried")
