"""A gate where a machine reads it in a line or two: an annotation and outputs of GitHub Actions, a status for Nagios.

GitHub drops annotations beyond ten silently, so there is one.
"""

import re
from collections.abc import Mapping
from typing import Any

from bench.analysis import names
from bench.analysis.gate.plain import decimal, line, name
from bench.analysis.gate.trackers import nagios_code, worst_change
from bench.report.document import Document
from bench.store import RunError

# Annotations are read in a narrow column. Nagios Core keeps 8 KiB of a plugin's output.
_MOST_LINES, _MOST_BYTES, _MOST_WORDS = 6, 8000, 800


def gate_data(document: Document) -> Mapping[str, Any]:
    """A gate's values, as `gate --json` prints them. Raises RunError for a Document of anything else."""
    if not str(document.data.get("schema", "")).startswith("ridgepoint.gate/"):
        raise RunError("only a gate can be written in this form: use `python -m bench gate --export FORM=FILE`")
    return document.data


def annotation(document: Document, code: int) -> str:
    """One workflow command: an error where the gate fails, a warning where something is not ok, else a notice."""
    data = gate_data(document)
    level = "error" if code else "warning" if data["verdict"] != "ok" else "notice"
    simulated = "SIMULATED " * document.simulated
    title = f"{simulated}GPU gate {data['verdict']} ({line(data['run']['product'], 80)})"
    said = [line(text) for text in (data["summary"], *(finding.text for finding in document.findings))]
    if len(said) > _MOST_LINES:
        said = [*said[:_MOST_LINES], f"and {len(said) - _MOST_LINES} more"]
    return f"::{level} title={_property(title)}::{_data(chr(10).join(said))}"


def outputs(document: Document, report: str) -> str:
    """Lines for $GITHUB_OUTPUT: verdict, report, run, worst_delta_pct (below 0 is worse; empty without any), slow.

    Every value is one line, so none can start another output.
    """
    data = gate_data(document)
    worst = worst_change(data)
    found = {
        "verdict": data["verdict"],
        "report": report,
        "run": data["run"]["source"] or data["run"]["id"],
        "worst_delta_pct": "" if worst is None else f"{100 * worst:.2f}",
        "slow": ",".join(data["slow"]),
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


def status_line(document: Document, gate_code: int) -> str:
    """Status and findings, then performance data of the gated metrics, SI base units, worst first."""
    data = gate_data(document)
    state = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[nagios_code(data, gate_code)]
    said = [data["summary"], *(finding.text for finding in document.findings[:4])]
    simulated = "SIMULATED " * document.simulated
    # what follows a bar is performance data
    text = line(f"GATE {state} - {simulated}{'; '.join(map(line, said))}", _MOST_WORDS).replace("|", "/")
    several = len(data["devices"]) > 1
    room, found = _MOST_BYTES - len(text.encode()) - 1, []
    for verdict in (each for each in data["verdicts"] if each["gates"]):
        one = _performance(verdict, several)
        room -= len(one.encode()) + 1
        if room < 0:
            break
        found.append(one)
    return f"{text}|{' '.join(found)}" if found else text


def _performance(verdict: Mapping[str, Any], several: bool) -> str:
    """'label'=value[s];;critical: a rate has no unit that Nagios knows, so it stands in bytes or FLOP per second."""
    label = name(verdict["metric"]) + (f" on {name(names.device(verdict['device']))}" if several else "")
    label = line(label, 160).replace("'", "''").replace("=", ":").replace("|", "/")
    if verdict["value"] is None:
        return f"'{label}'=U"
    unit = "s" if verdict["unit"] == "s" else ""
    limit = decimal(verdict["limit"]) if verdict["limit"] is not None else ""
    # "4:" alerts below 4, "4" above
    critical = f"{limit}:" if limit and verdict["better"] == "higher" else limit
    return f"'{label}'={decimal(verdict['value'])}{unit};;{critical}".rstrip(";")
