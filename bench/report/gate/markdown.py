"""The gate as GitHub-flavoured Markdown: a step's summary, and a comment on a pull request that a bot can find again.

Never more than 64 KiB, whatever the number of GPUs: GitHub refuses longer comments. Every part has its share of that,
the worst rows come first, and what does not fit is counted.
"""

import re
from collections.abc import Iterable

from bench.analysis.gate.verdict import OK, Gate, Verdict
from bench.report.gate import words

MOST = 64 << 10
# Bytes of each part; together with what is clipped to a line they stay below MOST.
_DEFECTS, _TABLE, _EVIDENCE, _DEVICES, _WARNINGS, _NOTES = (kib << 10 for kib in (5, 18, 18, 6, 6, 5))
_ROW = 160


def marker(gate: Gate) -> str:
    """The hidden first line by which a bot finds its comment of this product again."""
    return f"<!-- ridgepoint:gate {re.sub('[^a-z0-9]+', '-', gate.run.environment.product.lower())[:80].strip('-')} -->"


def markdown(gate: Gate) -> bytes:
    """The whole text, UTF-8."""
    about = gate.run.environment
    bad, warned = words.doubtful(gate), words.doubtful(gate, gates=False)
    quiet = [name for name in words.devices(gate) if name not in {v.device for v in bad}]
    parts = [marker(gate), f"## {words.ICONS[gate.word]} Gate: {gate.word.upper()} · {escaped(about.product, 80)}", ""]
    if about.simulated:
        parts += ["> **SIMULATED**: numbers from a datasheet, not from a machine.", ""]
    parts += [f"{escaped(words.headline(gate), 500)}.", ""]
    if gate.defects:
        found = (f"- **{escaped(words.device(who))}**: {escaped(what)}" for who, what in gate.defects)
        parts += ["### Hardware defects", "", *_fitting(found, len(gate.defects), _DEFECTS), ""]
    if bad:
        parts += ["| | metric | device | value | expected | change | limit | n |", "|---|---|---|--:|--:|--:|--:|--:|"]
        parts += [*_fitting(map(_row, bad), len(bad), _TABLE), ""]
        parts += [*_fitting((_evidence(v, gate) for v in bad), len(bad), _EVIDENCE), ""]
    if words.several(gate) and quiet:
        lines = (f"- {escaped(words.device(name))}: {escaped(words.of_device(gate, name))}" for name in quiet)
        parts += [*_fitting(lines, len(quiet), _DEVICES), ""]
    elif not bad:
        fine = [v for v in gate.verdicts if v.gates and v.word == OK]
        if fine:
            parts += ["<details><summary>Gated metrics</summary>", ""]
            parts += [
                "| | metric | device | value | expected | change | limit | n |",
                "|---|---|---|--:|--:|--:|--:|--:|",
            ]
            parts += [*_fitting(map(_row, fine), len(fine), _TABLE), "", "</details>", ""]
    if warned:
        parts += [f"<details><summary>Only warning: {words.count(len(warned), 'metric')}</summary>", ""]
        parts += [*_fitting((_evidence(v, gate) for v in warned), len(warned), _WARNINGS), "", "</details>", ""]
    said = [*words.held_against(gate), *words.notes(gate)]
    if said:
        parts += [*_fitting((f"- {escaped(note)}" for note in said), len(said), _NOTES), ""]
    when = f"{about.started[:16].replace('T', ' ')} UTC"
    command = escaped(" ".join(about.command), 300)
    parts.append(
        f"Run {escaped(about.run_id, 64)}, {escaped(when, 40)}, ridgepoint {escaped(about.suite, 40)}: {command}"
    )
    return ("\n".join(parts) + "\n").encode()


def escaped(text: str, most: int = _ROW * 2) -> str:
    """Text that stays text: no markup, no table cell, no HTML, and nobody and no issue is mentioned."""
    text = words.line(text, most).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|~])", r"\\\1", text)
    # an entity would be a mention again once it is decoded, a character of no width in between is none
    return re.sub(r"([@#])(?=\w)", "\\1\u200b", text)


def _row(verdict: Verdict) -> str:
    cells = [f"{words.ICONS[verdict.word]} {verdict.word}", escaped(words.name(verdict.metric.name), _ROW)]
    cells += [escaped(words.device(verdict.device), _ROW), words.value(verdict, verdict.value)]
    cells += [words.value(verdict, verdict.expected), words.change(verdict)]
    cells += [words.value(verdict, verdict.limit), str(verdict.n)]
    return f"| {' | '.join(cells)} |"


def _evidence(verdict: Verdict, gate: Gate) -> str:
    return f"- **{escaped(words.where(verdict, gate))}** {verdict.word}: {escaped(words.evidence(verdict), 2 * _ROW)}"


def _fitting(lines: Iterable[str], count: int, most: int) -> list[str]:
    """As many of `count` lines as fit, and how many more there were."""
    room, kept = most - 40, []
    for line in lines:
        room -= len(line.encode()) + 1
        if room < 0:
            return [*kept, "", f"… and {count - len(kept)} more, in the report."]
        kept.append(line)
    return kept
