"""A gate for other programs: GitHub Actions, Nagios, JUnit, node-exporter and other people's trackers.

What each keeps to, because something once went wrong with it or its schema refuses anything else, stands beside it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any

from bench.analysis import names
from bench.analysis.gate import facts
from bench.analysis.gate.facts import decimal, line, name
from bench.report.document import Document
from bench.store import RunError

# Annotations are read in a narrow column. Nagios Core keeps 8 KiB of a plugin's output.
_MOST_LINES, _MOST_BYTES, _MOST_WORDS = 6, 8000, 800
_RESULTS = {"regressed": "Failure", "missing": "Error", "invalid": "Skipped", "inconclusive": "Skipped"}
_PROPERTIES = ("verdict", "gates", "unit", "better", "value", "expected", "limit", "n", "cause")


def gate_data(document: Document) -> Mapping[str, Any]:
    """A gate's values, as `gate --json` prints them. Raises RunError for a Document of anything else."""
    if not str(document.data.get("schema", "")).startswith("ridgepoint.gate/"):
        raise RunError("only a gate can be written in this form: use `python -m bench gate --export FORM=FILE`")
    return document.data


# --- GitHub Actions and Nagios: a line or two


def annotation(document: Document, code: int) -> str:
    """One workflow command, because GitHub drops those beyond ten silently: an error where the gate fails, a warning
    where something is not ok, else a notice.
    """
    data = gate_data(document)
    level = "error" if code else "warning" if data["verdict"] != "ok" else "notice"
    title = f"{'SIMULATED ' * document.simulated}GPU gate {data['verdict']} ({line(data['run']['product'], 80)})"
    title = re.sub("[:,]", lambda found: f"%{ord(found[0]):02X}", _data(title))
    said = [line(text) for text in (data["summary"], *(finding.text for finding in document.findings))]
    if len(said) > _MOST_LINES:
        said = [*said[:_MOST_LINES], f"and {len(said) - _MOST_LINES} more"]
    return f"::{level} title={title}::{_data(chr(10).join(said))}"


def _data(text: str) -> str:
    """As GitHub's toolkit escapes a command's message."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def outputs(document: Document, report: str) -> str:
    """Lines for $GITHUB_OUTPUT: verdict, report, run, worst_delta_pct (below 0 is worse; empty without any), slow.

    Every value is one line, so none can start another output; spaces stay, because a path may have them.
    """
    data = gate_data(document)
    worst = facts.worst_change(data)
    found = {
        "verdict": data["verdict"],
        "report": report,
        "run": data["run"]["source"] or data["run"]["id"],
        "worst_delta_pct": "" if worst is None else f"{100 * worst:.2f}",
        "slow": ",".join(data["slow"]),
    }
    return "".join(f"{name}={''.join(filter(str.isprintable, text))}\n" for name, text in found.items())


def status_line(document: Document, gate_code: int) -> str:
    """Status and findings, then performance data of the gated metrics, SI base units, worst first."""
    data = gate_data(document)
    state = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[facts.nagios_code(data, gate_code)]
    said = [data["summary"], *(finding.text for finding in document.findings[:4])]
    simulated = "SIMULATED " * document.simulated
    # what follows a bar is performance data
    text = line(f"GATE {state} - {simulated}{'; '.join(map(line, said))}", _MOST_WORDS).replace("|", "/")
    room, found = _MOST_BYTES - len(text.encode()) - 1, []
    for verdict in (each for each in data["verdicts"] if each["gates"]):
        one = _performance(verdict, len(data["devices"]) > 1)
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


# --- JUnit XML, for whatever shows test results


def junit(document: Document) -> bytes:
    """A suite per device, a case per metric.

    A regression fails; a gated metric that is missing is an error, because a vanished test must not look green; what is
    invalid or inconclusive is skipped, and the exit code is what keeps that from being green. Metrics that only warn
    never fail: what is not ok about them stands in their output. Hardware defects are failing cases of their own. Times
    have three decimals and never an exponent, which the schemas refuse.
    """
    import junitparser as xml

    data = gate_data(document)
    root = xml.JUnitXml(f"ridgepoint gate{_simulated(data)}")
    known = [*(each["id"] for each in data["devices"]), *(each["device"] for each in data["verdicts"])]
    for device in dict.fromkeys([*known, *(each["device"] for each in data["defects"])]):
        root.append(_suite(data, device))
    # what is wrong with the node and with no metric of it must not look green either
    required = data["required"] and data["no_reference"]
    wrong = [*data["baseline_elsewhere"][:1], *(["no baseline, and one is required"] if required else [])]
    if wrong:
        suite = xml.TestSuite("node")
        suite.add_testcases([_failing("reference", "gate.node", xml.Error(line(text))) for text in wrong])
        root.append(suite)
    root.update_statistics()
    out = BytesIO()
    root.write(out)
    return out.getvalue()


def _suite(data: Mapping[str, Any], device: str):
    import junitparser as xml

    run, info = data["run"], next((each for each in data["devices"] if each["id"] == device), {})
    group = f"ridgepoint.gate.{name(device)}"
    suite = xml.TestSuite(f"{group}{_simulated(data)}")
    suite.timestamp = line(run["started"][:19])
    suite.hostname = line(run["host"]) or "localhost"
    properties = {"device": device, "name": info.get("name", ""), "product": run["product"], "suite": run["suite"]}
    properties |= {"run": run["id"], "simulated": _spelt(run["simulated"]), "source": info.get("source") or ""}
    for key, text in properties.items():
        suite.add_property(key, line(text))
    broken = [line(each["what"]) or "no words for it" for each in data["defects"] if each["device"] == device]
    for number, what in enumerate(broken, 1):
        suite.append(_failing(f"hardware defect {number}", group, xml.Failure(what, "hardware defect")))
    mine = [verdict for verdict in data["verdicts"] if verdict["device"] == device]
    for verdict in mine:
        suite.append(_case(verdict, group))
    if not any(verdict["gates"] for verdict in mine):
        suite.append(
            _failing("gated metrics", group, xml.Error("no gated metric of this device was judged", "missing"))
        )
    return suite


def _failing(title: str, group: str, result: Any):
    import junitparser as xml

    case = xml.TestCase(title, group, 0.0)
    case.append(result)
    return case


def _case(verdict: Mapping[str, Any], group: str):
    import junitparser as xml

    case = xml.TestCase(name(verdict["metric"]), group, round(verdict["elapsed_s"], 3))
    properties = xml.Properties()
    known = {key: verdict[key] for key in _PROPERTIES if verdict[key] not in (None, "")}
    for key, value in (known | {"tolerance": verdict["tolerance"]["floor_ratio"]}).items():
        properties.add_property(xml.Property(key, line(_spelt(value))))
    case.append(properties)
    status, said = verdict["verdict"], line(verdict["text"])
    if verdict["gates"] and status in _RESULTS:
        result = getattr(xml, _RESULTS[status])(said, status)
        result.text = said
        case.append(result)
    elif status != "ok":
        case.append(xml.SystemOut(f"{said}{' (only warns)' * (not verdict['gates'])}"))
    return case


def _spelt(value: Any) -> str:
    """Numbers without an exponent, "true" and "false" as programs write them."""
    return decimal(value) if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _simulated(data: Mapping[str, Any]) -> str:
    return " (SIMULATED)" * data["run"]["simulated"]


# --- node-exporter's textfile collector


def prometheus(document: Document) -> bytes:
    """Gauges without timestamps, labelled by metric and GPU. Raises RunError for a Run that has no place in time.

    A simulated Run carries simulated="true" on every sample, and a measured one has no such label: {simulated=""}
    selects what was measured.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    data, registry = gate_data(document), CollectorRegistry()
    if data["run"]["started_s"] is None:
        raise RunError(f"it started at {data['run']['started']!r}, which is no time")
    made: dict[str, Gauge] = {}
    for metric, about, value, labels in facts.gauges(data):
        if metric not in made:
            made[metric] = Gauge(f"ridgepoint_{metric}", about, list(labels), registry=registry)
        (made[metric].labels(**labels) if labels else made[metric]).set(value)
    return generate_latest(registry)


# --- other people's trackers: bridges; neither is the gate


def github_benchmark(better: str, document: Document) -> bytes:
    """For github-action-benchmark, which compares with the previous Run only and takes one direction per file: rates
    (customBiggerIsBetter) or times (customSmallerIsBetter), nothing without times: it refuses an empty list.
    """
    found = facts.github_entries(gate_data(document), better)
    return _json(found) if found or better == "higher" else b""


def pytest_benchmark(document: Document) -> bytes:
    """What `pytest-benchmark compare OLD NEW` prints side by side: it compares seconds, of which less is better, so it
    gets the Run's raw seconds per launch.

    `pytest --benchmark-compare` and its `-fail` match a session's tests with a saved file by `fullname`, which no test
    shares with an export. The rounds here are samples, not repetitions: their deviations are those within a Run, which
    say little of those between Runs.
    """
    rows = document.rows.to_dict("records") if document.rows is not None else ()
    return _json(facts.pytest_benchmark(gate_data(document), rows, _stats))


def _json(found: Any) -> bytes:
    return (json.dumps(found, indent=2, allow_nan=False) + "\n").encode()


def _stats(data: Sequence[float]) -> dict[str, Any]:
    """The statistics that pytest-benchmark keeps of its rounds, by its own code."""
    from pytest_benchmark.stats import Stats

    made = Stats()
    for seconds in data:
        made.update(seconds)
    return made.as_dict() | {"data": list(data)}


FORMS = {"junit": junit, "prometheus": prometheus, "pytest-benchmark": pytest_benchmark}
FORMS |= {
    f"github-benchmark{end}": partial(github_benchmark, way) for end, way in (("", "higher"), ("-smaller", "lower"))
}
