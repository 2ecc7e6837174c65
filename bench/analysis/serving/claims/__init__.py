"""Claims, checked: what five public texts say about LLM inference, what datasheets say, what this machine shows.

    >>> rows = checked(fit, machine)
    >>> next(row for row in rows if row.id == "P2-38").verdict
    'right with condition'

The claims are in claims.toml; the numbers of the reference are recomputed by `reference/`, those of the machine by
`here/`. A claim that the Run cannot answer names the probe to run and keeps the reference's verdict.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.analysis.fit import Fit
from bench.analysis.serving.claims.evidence import CONDITION, DEPENDS, OPEN, RIGHT, VERDICTS, Evidence, MissingProbe
from bench.analysis.serving.claims.here import answers
from bench.analysis.serving.claims.machine_under_test import MachineUnderTest
from bench.analysis.serving.claims.reference import numbers
from bench.analysis.serving.claims.words import filled
from bench.analysis.serving.machine import Machine
from bench.roofline import MissingRoof

__all__ = ["VERDICTS", "Checked", "Contradiction", "Tally", "checked", "contradictions", "tally"]

_ANYWHERE, _NOWHERE = "the same on any machine", "no machine can tell"


@dataclass(frozen=True)
class Checked:
    """A claim and its verdict on this machine. document: the text's title. measured: a probe's numbers decide it.

    here: what this machine shows; None where the Run lacks it, and then `missing` is the probe to run, of which the Run
    may have some points (`partly`), but too few. by_reference: the verdict that data sheets and architectures give.
    depends_on: on what a verdict of this machine depends, and where.
    """

    id: str
    document: str
    group: str
    claim: str
    shown_by: str
    here: str | None
    missing: str
    reference: str
    verdict: str
    correction: str
    measured: bool
    by_reference: str = ""
    depends_on: str = ""
    partly: bool = False

    @property
    def changed(self) -> bool:
        """Whether this machine overrules the reference."""
        return self.verdict != self.by_reference


@dataclass(frozen=True)
class Contradiction:
    """Claims that cannot all hold, and what decides between them."""

    claims: tuple[str, ...]
    clash: str
    decided_by: str


@dataclass(frozen=True)
class Tally:
    """How many claims have each of VERDICTS, by the reference and here; whose verdict this machine changed."""

    reference: Mapping[str, int]
    here: Mapping[str, int]
    changed: tuple[Checked, ...]
    unmeasured: int


@cache
def _facts() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))


def checked(fit: Fit, machine: Machine | None) -> tuple[Checked, ...]:
    """Every claim, in the order of the texts. machine: of the same fit, None where that has too few roofs for one."""
    subject, facts = MachineUnderTest(fit, machine), _facts()
    titles = facts["documents"]
    return tuple(
        _checked(subject, name, titles[name.split("-")[0]], row)
        for name, row in facts.items()
        if name not in ("documents", "contradictions")
    )


def _checked(subject: MachineUnderTest, name: str, title: str, row: Mapping[str, str]) -> Checked:
    found, missing = _found(subject, name, row)
    verdict, correction = row["verdict"], row.get("correction", "")
    # a machine that meets a condition does not lift it, and a simulated one measures nothing
    decides = found and found.verdict and not subject.fit.info.simulated
    if decides and (found.verdict, verdict) != (RIGHT, CONDITION):
        verdict = found.verdict
    return Checked(
        id=name,
        document=title,
        group=row["group"],
        claim=row["claim"],
        shown_by=row.get("shown_by", ""),
        here=found.text if found else None,
        missing=missing,
        reference=filled(row.get("reference", ""), numbers().get(name, ())),
        verdict=verdict,
        correction=correction if verdict == row["verdict"] or not correction else f"by the reference: {correction}",
        measured="probe" in row,
        by_reference=row["verdict"],
        depends_on=found.depends_on if found and verdict == DEPENDS else "",
        partly=bool(missing) and _has(subject, missing),
    )


def _has(subject: MachineUnderTest, probe: str) -> bool:
    try:
        return bool(subject.cases(probe))
    except MissingProbe:
        return False


def _found(subject: MachineUnderTest, name: str, row: Mapping[str, str]) -> tuple[Evidence | None, str]:
    """(what the machine shows, or None and the probe to run)."""
    answer = answers().get(name)
    if answer is None:
        return Evidence(_NOWHERE if row["verdict"] == OPEN else _ANYWHERE), ""
    try:
        return answer(subject), ""
    except MissingProbe as needed:
        return None, _probe(subject, row, str(needed))
    except MissingRoof:
        return None, "peak"


def _probe(subject: MachineUnderTest, row: Mapping[str, str], needed: str) -> str:
    """The claim's own probe where the Run has nothing of it, else the one that its answer needs beside it."""
    own = row.get("probe", needed)
    return needed if _has(subject, own) else own


def contradictions() -> tuple[Contradiction, ...]:
    """What clashes between and inside the texts."""
    return tuple(
        Contradiction(tuple(each["claims"]), each["clash"], each["decided_by"]) for each in _facts()["contradictions"]
    )


def tally(rows: Iterable[Checked]) -> Tally:
    """The counts of a table, and what the measurement changed."""
    rows = tuple(rows)
    reference, here = (Counter(getattr(row, which) for row in rows) for which in ("by_reference", "verdict"))
    return Tally(
        {verdict: reference[verdict] for verdict in VERDICTS},
        {verdict: here[verdict] for verdict in VERDICTS},
        tuple(row for row in rows if row.changed),
        sum(row.here is None for row in rows),
    )
