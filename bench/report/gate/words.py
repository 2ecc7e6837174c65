"""What a gate has to say, in sentences that every surface shares: a headline, a line per verdict, values with units."""

import re
from collections.abc import Iterable

from bench import units
from bench.analysis.gate.verdict import (
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    MISSING,
    OK,
    REGRESSED,
    SUSPICIOUS,
    WORDS,
    Gate,
    Verdict,
)
from bench.report import names

# A word is never told by its colour alone.
ICONS = {
    REGRESSED: "✕",
    MISSING: "∅",
    INVALID: "⊘",
    INCONCLUSIVE: "?",
    SUSPICIOUS: "▲",
    IMPROVED: "↑",
    OK: "✓",
}
SIMULATED = "SIMULATED: numbers from a datasheet, not from a machine"
NONE = "–"
# Rounding alone would print a dozen zeros.
_SAME = 5e-4


def line(text: str, most: int = 400) -> str:
    """Foreign text as one printable line: whatever would steer a terminal, a parser or a log is left out."""
    printable = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]+", " ", text)
    joined = " ".join(printable.split())
    return joined if len(joined) <= most else f"{joined[: most - 1].rstrip()}…"


def name(text: str) -> str:
    """What something is called, as a label that is never empty."""
    return line(text, 120) or NONE


def plain(number: float) -> str:
    """Digits and a point, no exponent; more than a dozen places of a second are below a clock's tick."""
    return f"{number:.12f}".rstrip("0").rstrip(".") if abs(number) < 1e3 else f"{number:.0f}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def device(which: str) -> str:
    return name(names.device(which))


def where(verdict: Verdict, gate: Gate) -> str:
    """The metric, and its device where there are several."""
    metric = name(verdict.metric.name)
    return f"{metric} on {device(verdict.device)}" if several(gate) else metric


def several(gate: Gate) -> bool:
    return len(devices(gate)) > 1


def devices(gate: Gate) -> tuple[str, ...]:
    """Every device that the Run names or something is said of."""
    known = [info.id for info in gate.run.environment.devices]
    return tuple(dict.fromkeys([*known, *(v.device for v in gate.verdicts), *defective(gate)]))


def value(verdict: Verdict, number: float | None) -> str:
    """A value of the verdict's metric, with its unit."""
    if number is None:
        return NONE
    text = {"bytes": units.bandwidth, "flops": units.flops, "seconds": units.seconds}[verdict.metric.amount]
    return text(number)


def beside(verdict: Verdict, number: float | None) -> str:
    """As `value`, without the unit where the value beside it has the same one."""
    text, own = value(verdict, number), value(verdict, verdict.value)
    bare, _, unit = text.rpartition(" ")
    return bare if bare and own.endswith(f" {unit}") else text


def share(verdict: Verdict) -> float | None:
    """How far the value is from what was expected, as a share of it, in the metric's own unit: a time that is longer
    is above 0, a rate that is lower is below.
    """
    if verdict.ratio is None:
        return None
    return (verdict.ratio if verdict.metric.better == "higher" else 1 / verdict.ratio) - 1


def gain(verdict: Verdict) -> float | None:
    """The same with one sign for all metrics: below 0 is worse."""
    found = share(verdict)
    return found if found is None or verdict.metric.better == "higher" else -found


def change(verdict: Verdict) -> str:
    """ "−4.6 %" of a rate, "+12 %" of a time."""
    found = share(verdict)
    if found is None:
        return NONE
    if abs(found) < _SAME:
        return "0 %"
    return f"{'+' if found > 0 else '−'}{units.percent(abs(found), 2)}"


def tally(counts: Iterable[tuple[str, int]]) -> str:
    """ "2 regressed, 10 ok"."""
    return ", ".join(f"{number} {word}" for word, number in counts)


def of_device(gate: Gate, which: str) -> str:
    """The counts of one device's gated metrics."""
    said = [v.word for v in gate.verdicts if v.gates and v.device == which]
    broken = sum(who == which for who, _ in gate.defects)
    parts = [count(broken, "hardware defect")] if broken else []
    parts += [tally((word, said.count(word)) for word in WORDS if word in said) or "no gated metric"]
    return ", ".join(parts)


def defective(gate: Gate) -> tuple[str, ...]:
    return tuple(dict.fromkeys(who for who, _ in gate.defects))


def headline(gate: Gate) -> str:
    """The outcome in one line: the word, what it rests on, and the devices to look at."""
    total = sum(gate.counts.values())
    parts = []
    if gate.defects:
        parts.append(f"hardware defect on {', '.join(map(device, defective(gate)))}")
    if gate.estranged:
        parts.append(line(gate.estranged[0]))
    if gate.required and gate.unfounded:
        parts.append("no baseline, and one is required: bless this Run with `baseline set`")
    if not total:
        parts.append("no gated metric was judged")
    elif gate.unfounded and set(gate.counts) == {OK}:
        parts.append(
            f"{count(total, 'gated metric')} measured, but neither a baseline nor a history to hold them against"
        )
    elif set(gate.counts) == {OK}:
        parts.append(f"{count(total, 'gated metric')}, all as expected")
    else:
        parts.append(f"{tally(gate.counts.items())} of {count(total, 'gated metric')}")
    slow = [who for who in gate.slow if who not in defective(gate)] if several(gate) else []
    if slow:
        parts.append(f"slow: {', '.join(map(device, slow))}")
    return f"{gate.word.upper()}: {'; '.join(parts)}"


def evidence(verdict: Verdict) -> str:
    """Why it has its word, and what probably caused it."""
    cause = f" Likely cause: {line(verdict.cause)}." if verdict.cause else ""
    why = line(verdict.why) or "no evidence was given"
    return f"{why}.{cause}" if cause and not why.endswith(".") else f"{why}{cause}"


def sentence(verdict: Verdict, gate: Gate) -> str:
    """One verdict in one line, for surfaces without a table."""
    measured = f", {value(verdict, verdict.value)}" if verdict.value is not None else ""
    return f"{verdict.word} {where(verdict, gate)}{measured}: {evidence(verdict)}"


def doubtful(gate: Gate, gates: bool = True) -> tuple[Verdict, ...]:
    """What is not ok, worst first: the gated metrics, or those that only warn."""
    return tuple(v for v in gate.worst if v.gates == gates and v.word != OK)


def held_against(gate: Gate) -> tuple[str, ...]:
    """What each device was held against; one line where that is the same for all."""
    found = gate.references or {}
    if len(found) > 1 and len(set(found.values())) == 1:
        return (f"held against {line(next(iter(found.values())))}",)
    return tuple(f"{device(who)} held against {line(text)}" for who, text in found.items())


def notes(gate: Gate) -> tuple[str, ...]:
    """What a reader should know besides; what is the same of several devices, once."""
    known, said = devices(gate), {}
    for note in gate.notes:
        who = next((which for which in known if note.startswith(f"{which}: ")), "")
        said.setdefault(note.removeprefix(f"{who}: ") if who else note, []).append(device(who) if who else "")
    found = []
    for text, whose in said.items():
        named = "every device" if len(whose) == len(known) > 1 else ", ".join(filter(None, whose))
        found.append(f"{named}: {line(text)}" if named else line(text))
    return tuple(found)
