"""The gate on GitHub Actions: one annotation, because those beyond ten are dropped silently, and a step's outputs."""

import re

from bench.analysis.gate.verdict import OK, Gate
from bench.report.gate import words

# Annotations are read in a narrow column.
_MOST_LINES = 6


def annotation(gate: Gate, code: int) -> str:
    """One workflow command: an error where the gate fails, a warning where something is not ok, else a notice."""
    level = "error" if code else "warning" if gate.word != OK else "notice"
    simulated = "SIMULATED " * gate.run.environment.simulated
    title = f"{simulated}GPU gate {gate.word} ({words.line(gate.run.environment.product, 80)})"
    said = [words.headline(gate), *(f"{words.device(who)}: {words.line(what)}" for who, what in gate.defects)]
    said += [words.sentence(verdict, gate) for verdict in words.doubtful(gate)]
    if len(said) > _MOST_LINES:
        said = [*said[:_MOST_LINES], f"and {len(said) - _MOST_LINES} more"]
    return f"::{level} title={_property(title)}::{_data(chr(10).join(said))}"


def outputs(gate: Gate, report: str) -> str:
    """Lines for $GITHUB_OUTPUT: verdict, report, run, worst_delta_pct (below 0 is worse; empty without any), slow.

    Every value is one line, so none can start another output.
    """
    changes = [found for v in gate.verdicts if v.gates and (found := words.gain(v)) is not None]
    found = {
        "verdict": gate.word,
        "report": report,
        "run": gate.run.source or gate.run.environment.run_id,
        "worst_delta_pct": f"{100 * min(changes):.2f}" if changes else "",
        "slow": ",".join(gate.slow),
    }
    return "".join(f"{name}={_one_line(text)}\n" for name, text in found.items())


def _data(text: str) -> str:
    """As GitHub's toolkit escapes a command's message."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _one_line(text: str) -> str:
    """Spaces stay as they are, because a path may have them."""
    return "".join(c for c in text if c.isprintable())


def _property(text: str) -> str:
    return re.sub("[:,]", lambda found: f"%{ord(found[0]):02X}", _data(text))
