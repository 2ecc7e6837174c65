"""The section of the page that says how far to trust it: what was tried of the instrument before it measured."""

from bench.report.checks import sentences
from bench.report.sections import Section
from bench.report.tables import Cell, Column, Table
from bench.schema import FAIL, NOT_AVAILABLE, Run

TITLE = "How far to trust these numbers"


def trust(run: Run) -> Section | None:
    """None for a Run that tried nothing: an older one, or a simulated one."""
    if not run.checks:
        return None
    several = len({check.device for check in run.checks}) > 1
    columns = [Column("check"), *([Column("device")] if several else []), Column("result"), Column("seen")]
    rows = tuple(
        (
            Cell(check.name),
            *([Cell(check.device)] if several else []),
            Cell(check.state, mark={FAIL: "invalid", NOT_AVAILABLE: ""}.get(check.state, "")),
            Cell(": ".join(filter(None, (check.value, check.reason)))),
            Cell(check.expected),
            Cell(check.proves),
        )
        for check in run.checks
    )
    table = Table("checks", "The checks", (*columns, Column("expected"), Column("what it proves")), rows)
    question = "Does the instrument read true on this machine?"
    return Section("trust", TITLE, question, " ".join(sentences(run.checks)), (), table)


def markdown(run: Run) -> list[str]:
    """The same for a comment: what failed in full, the rest as a count."""
    return ["", f"**{TITLE}.** {' '.join(sentences(run.checks))}"] if run.checks else []
