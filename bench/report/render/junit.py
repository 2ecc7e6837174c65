"""A gate as JUnit XML: a suite per device, a case per metric, for whatever shows test results.

A regression fails; a gated metric that is missing is an error, because a vanished test must not look green; what is
invalid or inconclusive is skipped, and the exit code is what keeps that from being green. Metrics that only warn never
fail: what is not ok about them stands in their output. Hardware defects are failing cases of their own. Times have
three decimals and never an exponent, which the schemas refuse.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from bench.analysis.gate.plain import decimal, line, name
from bench.report.document import Document
from bench.report.render.ci import gate_data

_RESULTS = {"regressed": "Failure", "missing": "Error", "invalid": "Skipped", "inconclusive": "Skipped"}
_PROPERTIES = ("verdict", "gates", "unit", "better", "value", "expected", "limit", "n", "cause")


def render(document: Document) -> bytes:
    """The XML, UTF-8."""
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
    suite = xml.TestSuite(f"{_class(device)}{_simulated(data)}")
    suite.timestamp = line(run["started"][:19])
    suite.hostname = line(run["host"]) or "localhost"
    properties = {"device": device, "name": info.get("name", ""), "product": run["product"], "suite": run["suite"]}
    properties |= {"run": run["id"], "simulated": _text(run["simulated"]), "source": info.get("source") or ""}
    for key, text in properties.items():
        suite.add_property(key, line(text))
    broken = [line(each["what"]) or "no words for it" for each in data["defects"] if each["device"] == device]
    for number, what in enumerate(broken, 1):
        suite.append(_failing(f"hardware defect {number}", _class(device), xml.Failure(what, "hardware defect")))
    mine = [verdict for verdict in data["verdicts"] if verdict["device"] == device]
    for verdict in mine:
        suite.append(_case(verdict))
    if not any(verdict["gates"] for verdict in mine):
        error = xml.Error("no gated metric of this device was judged", "missing")
        suite.append(_failing("gated metrics", _class(device), error))
    return suite


def _failing(title: str, group: str, result: Any):
    import junitparser as xml

    case = xml.TestCase(title, group, 0.0)
    case.append(result)
    return case


def _case(verdict: Mapping[str, Any]):
    import junitparser as xml

    case = xml.TestCase(name(verdict["metric"]), _class(verdict["device"]), round(verdict["elapsed_s"], 3))
    properties = xml.Properties()
    known = {key: verdict[key] for key in _PROPERTIES if verdict[key] not in (None, "")}
    for key, value in (known | {"tolerance": verdict["tolerance"]["floor_ratio"]}).items():
        properties.add_property(xml.Property(key, line(_text(value))))
    case.append(properties)
    status, said = verdict["verdict"], line(verdict["text"])
    if verdict["gates"] and status in _RESULTS:
        result = getattr(xml, _RESULTS[status])(said, status)
        result.text = said
        case.append(result)
    elif status != "ok":
        case.append(xml.SystemOut(f"{said}{' (only warns)' * (not verdict['gates'])}"))
    return case


def _text(value: Any) -> str:
    """Numbers without an exponent, "true" and "false" as programs write them."""
    return decimal(value) if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _class(device: str) -> str:
    return f"ridgepoint.gate.{name(device)}"


def _simulated(data: Mapping[str, Any]) -> str:
    return " (SIMULATED)" * data["run"]["simulated"]


FORMS = {"junit": render}
