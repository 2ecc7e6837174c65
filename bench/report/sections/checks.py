"""How far to trust the numbers: what was tried of the instrument before it measured; and what `bench verify` says."""

from collections import Counter
from collections.abc import Iterator, Sequence

from bench import units
from bench.report import document as doc
from bench.report.document import Column, Document, Finding, Section, Table, Verdict
from bench.report.phrases import plain
from bench.report.sections import METHODS, RunView, Sentences
from bench.schema import FAIL, NOT_AVAILABLE, PASS, Check

_NOISY = "too noisy"


def counts(checks: Sequence[Check]) -> str:
    """ "12 passed, 1 failed, 5 not available"."""
    found = Counter(check.state for check in checks)
    words = {PASS: "passed", FAIL: "failed", NOT_AVAILABLE: "not available"}
    return ", ".join(f"{found[state]} {word}" for state, word in words.items() if found[state]) or "nothing was tried"


def failures(checks: Sequence[Check]) -> Iterator[Finding]:
    """A finding per failed check, with its fix."""
    several = len({check.device for check in checks}) > 1
    for check in (check for check in checks if check.state == FAIL):
        # a check's name stays as it is written, at the beginning of a sentence too
        where = f"{check.name}{f' on {check.device}' * several}"
        text = plain(f"{where} failed: {check.reason or check.value}").rstrip(".")
        yield Finding(f"{text}.", doc.FAIL, plain(check.fix))


def absent(checks: Sequence[Check]) -> Sentences:
    """Reasons why something could not be tried, each with the checks that it is about."""
    reasons: dict[str, list[Check]] = {}
    for check in (check for check in checks if check.state == NOT_AVAILABLE):
        # noise has as many numbers as checks
        reasons.setdefault(_NOISY if check.reason.startswith(_NOISY) else check.reason, []).append(check)
    for reason, mine in reasons.items():
        said = reason if len(mine) > 1 else mine[0].reason
        which = ", ".join(dict.fromkeys(check.name for check in mine))
        yield plain(f"Not available: {said}: {'all of them' if len(mine) == len(checks) else which}.")


def check_table(checks: Sequence[Check], whole: bool = True) -> Table:
    """A row per check. whole: those that could not be tried too."""
    several, rows = len({check.device for check in checks}) > 1, []
    for check in (check for check in checks if whole or check.state != NOT_AVAILABLE):
        mark = {PASS: "", FAIL: doc.FAIL}.get(check.state, doc.SKIP)
        rows.append(vars(check) | {"seen": ": ".join(filter(None, (check.value, check.reason))), "mark": mark})
    columns = [Column("check", "name"), *["device"] * several, Column("result", "state", mark="mark")]
    columns += ["seen", "expected", *[Column("what it proves", "proves")] * whole]
    return doc.table("checks-table", "The checks of the instrument", rows, *columns, folded=whole)


def section(view: RunView) -> Section | None:
    """None for a Run that tried nothing: an older one, or a simulated one."""
    checks = view.run.checks
    if not checks:
        return None
    bad = list(failures(checks))
    lead = Finding(f"Checks of the instrument before measuring: {counts(checks)}.", doc.FAIL * bool(bad))
    about = "checks", "How far to trust these numbers", "Does the instrument read true on this machine?", ""
    return Section(*about, (lead, *bad), (), [check_table(checks)], absent(checks), METHODS)


def document(checks: Sequence[Check], heading: str = "") -> Document:
    """`bench verify`: whether the instrument reads true here. heading: the device that was tried, or "" for several."""
    made = Section("checks", "", tables=[check_table(checks, whole=False)], notes=absent(checks))
    said = {"verdicts": (_verdict(checks),), "findings": tuple(failures(checks)), "sections": (made,)}
    return Document(f"The instrument on {heading}", heading, **said)


def _verdict(checks: Sequence[Check]) -> Verdict:
    said = f"{counts(checks)}, in {units.seconds(sum(check.elapsed for check in checks))}"
    noisy = sum(check.state == NOT_AVAILABLE and check.reason.startswith(_NOISY) for check in checks)
    if all(check.state == NOT_AVAILABLE for check in checks):
        return Verdict("Instrument", doc.NOT_JUDGED, "not judged", "nothing could be tried here")
    if any(failures(checks)):
        return Verdict("Instrument", doc.FAIL, "fail", f"{said}: do not trust what the failures name")
    if noisy:
        text = f"{said}; {noisy} too noisy to decide: repeat on a quiet machine"
        return Verdict("Instrument", doc.WARN, "pass", text)
    return Verdict("Instrument", doc.PASS, "pass", f"{said}: it reads true here, as far as it was tried")
