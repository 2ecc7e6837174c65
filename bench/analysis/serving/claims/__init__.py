"""Claims, checked: what five public texts say about LLM inference, what datasheets say, what this machine shows.

    >>> rows = checked(fit, machine)
    >>> next(row for row in rows if row.id == "P2-38").verdict
    'right with condition'

claims.toml has them, of two kinds: those that a Run can decide, by a function of kernels.py, layers.py or roofs.py, and
those that guard against an error that people make, on whatever machine. A claim that the Run cannot answer names the
probe to run and keeps the reference's verdict.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.analysis.fit import Fit
from bench.analysis.serving.claims import kernels, layers, roofs
from bench.analysis.serving.claims.evidence import (
    CONDITION,
    DEPENDS,
    OPEN,
    RIGHT,
    VERDICTS,
    Evidence,
    MachineUnderTest,
    MissingProbe,
    facts,
    filled,
)
from bench.analysis.serving.machine import Machine
from bench.roofline import MissingRoof

_TOPICS = {"kernels": kernels, "layers": layers, "roofs": roofs}
_ANYWHERE, _NOWHERE = "the same on any machine", "no machine can tell"


@dataclass(frozen=True)
class CheckedClaim:
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
    changed: tuple[CheckedClaim, ...]
    unmeasured: int


def checked(fit: Fit, machine: Machine | None) -> tuple[CheckedClaim, ...]:
    """Every claim, in the order of the texts. machine: of the same fit, None where that has too few roofs for one."""
    tested = MachineUnderTest(fit, machine)
    rows = {name: row for name, row in facts().items() if name not in ("documents", "contradictions")}
    return tuple(_checked(tested, name, row) for name, row in rows.items())


def _checked(tested: MachineUnderTest, name: str, row: Mapping[str, Any]) -> CheckedClaim:
    shown, missing = _shown(tested, row)
    verdict, correction = row["verdict"], row.get("correction", "")
    # a machine that meets a condition does not lift it, and a simulated one measures nothing
    decides = shown and shown.verdict and not tested.fit.info.simulated
    if decides and (shown.verdict, verdict) != (RIGHT, CONDITION):
        verdict = shown.verdict
    return CheckedClaim(
        id=name,
        document=facts()["documents"][name.split("-")[0]],
        group=row["group"],
        claim=row["claim"],
        shown_by=row.get("shown_by", ""),
        here=shown.text if shown else None,
        missing=missing,
        reference=filled(row.get("reference", ""), **row.get("numbers", {})),
        verdict=verdict,
        correction=correction if verdict == row["verdict"] or not correction else f"by the reference: {correction}",
        measured="probe" in row,
        by_reference=row["verdict"],
        depends_on=shown.depends_on if shown and verdict == DEPENDS else "",
        partly=bool(missing) and _has(tested, missing),
    )


def _has(tested: MachineUnderTest, probe: str) -> bool:
    try:
        return bool(tested.cases(probe))
    except MissingProbe:
        return False


def _shown(tested: MachineUnderTest, row: Mapping[str, Any]) -> tuple[Evidence | None, str]:
    """(what the machine shows, or None and the probe to run)."""
    if "answer" not in row:
        return Evidence(_NOWHERE if row["verdict"] == OPEN else _ANYWHERE), ""
    topic, function = row["answer"].split(".")
    try:
        return getattr(_TOPICS[topic], function)(tested), ""
    except MissingProbe as needed:
        # the claim's own probe where the Run has nothing of it, else the one that its answer needs beside it
        own = row.get("probe", str(needed))
        return None, str(needed) if _has(tested, own) else own
    except MissingRoof:
        return None, "peak"


def contradictions() -> tuple[Contradiction, ...]:
    """What clashes between and inside the texts."""
    return tuple(
        Contradiction(tuple(each["claims"]), each["clash"], each["decided_by"]) for each in facts()["contradictions"]
    )


def tally(rows: Iterable[CheckedClaim]) -> Tally:
    """The counts of a table, and what the measurement changed."""
    rows = tuple(rows)
    reference, here = (Counter(getattr(row, which) for row in rows) for which in ("by_reference", "verdict"))
    return Tally(
        {verdict: reference[verdict] for verdict in VERDICTS},
        {verdict: here[verdict] for verdict in VERDICTS},
        tuple(row for row in rows if row.changed),
        sum(row.here is None for row in rows),
    )
