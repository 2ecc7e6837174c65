"""The gate as JUnit XML: a suite per device, a case per metric, for whatever shows test results.

A regression fails; a gated metric that is missing is an error, because a vanished test must not look green; what is
invalid or inconclusive is skipped, and the exit code is what keeps that from being green. Metrics that only warn never
fail: what is not ok about them stands in their output. Hardware defects are failing cases of their own. Times have
three decimals and never an exponent, which the schemas refuse.
"""

from io import BytesIO

from bench.analysis.gate.verdict import INCONCLUSIVE, INVALID, MISSING, OK, REGRESSED, Gate, Verdict
from bench.report.gate import words
from bench.schema import SUSTAINED


def junit(gate: Gate) -> bytes:
    """The XML, UTF-8."""
    from junitparser import JUnitXml

    simulated = " (SIMULATED)" * gate.run.environment.simulated
    root = JUnitXml(f"ridgepoint gate{simulated}")
    seconds = _seconds(gate)
    for device in words.devices(gate):
        root.append(_suite(gate, device, seconds))
    if missed := _node(gate):
        root.append(missed)
    root.update_statistics()
    out = BytesIO()
    root.write(out)
    return out.getvalue()


def _node(gate: Gate):
    """What is wrong with the node and with no metric of it: it must not look green either."""
    from junitparser import Error, TestCase, TestSuite

    wrong = [*gate.estranged[:1], *(["no baseline, and one is required"] if gate.required and gate.unfounded else [])]
    if not wrong:
        return None
    suite = TestSuite("node")
    for text in wrong:
        case = TestCase("reference", "gate.node", 0)
        case.result = [Error(words.line(text))]
        suite.add_testcase(case)
    return suite


def _suite(gate: Gate, device: str, seconds: dict):
    from junitparser import Error, Failure, TestCase, TestSuite

    about = gate.run.environment
    suite = TestSuite(f"{_class(device)}{' (SIMULATED)' * about.simulated}")
    suite.timestamp = words.line(about.started[:19])
    suite.hostname = words.line(about.host) or "localhost"
    info = next((each for each in about.devices if each.id == device), None)
    against = (gate.references or {}).get(device, "")
    properties = {
        "device": device,
        "name": info.name if info else "",
        "product": about.product,
        "suite": about.suite,
        "run": about.run_id,
        "simulated": str(about.simulated).lower(),
        "held against": against,
    }
    for name, text in properties.items():
        suite.add_property(name, words.line(text))
    for number, said in enumerate((what for who, what in gate.defects if who == device), 1):
        case = TestCase(f"hardware defect {number}", _class(device), 0.0)
        case.append(Failure(words.line(said) or "no words for it", "hardware defect"))
        suite.append(case)
    mine = [verdict for verdict in gate.verdicts if verdict.device == device]
    for verdict in mine:
        suite.append(_case(verdict, gate, seconds.get((device, verdict.pin), 0.0)))
    if not any(verdict.gates for verdict in mine):
        case = TestCase("gated metrics", _class(device), 0.0)
        case.append(Error("no gated metric of this device was judged", MISSING))
        suite.append(case)
    return suite


def _case(verdict: Verdict, gate: Gate, seconds: float):
    from junitparser import Error, Failure, Properties, Property, Skipped, SystemOut, TestCase

    case = TestCase(words.name(verdict.metric.name), _class(verdict.device), round(seconds, 3))
    properties = Properties()
    for name, text in _properties(verdict).items():
        properties.add_property(Property(name, words.line(text)))
    case.append(properties)
    said = words.evidence(verdict)
    outcomes = {REGRESSED: Failure, MISSING: Error, INVALID: Skipped, INCONCLUSIVE: Skipped}
    if verdict.gates and verdict.word in outcomes:
        result = outcomes[verdict.word](said, verdict.word)
        result.text = words.sentence(verdict, gate)
        case.append(result)
    elif verdict.word != OK:
        case.append(SystemOut(f"{words.sentence(verdict, gate)}{' (only warns)' * (not verdict.gates)}"))
    return case


def _properties(verdict: Verdict) -> dict[str, str]:
    numbers = {"value": verdict.value, "expected": verdict.expected, "limit": verdict.limit}
    return {
        "verdict": verdict.word,
        "gates": str(verdict.gates).lower(),
        "unit": verdict.metric.unit,
        "better": verdict.metric.better,
        **{name: words.plain(number) for name, number in numbers.items() if number is not None},
        "tolerance": f"{verdict.tolerance.floor:g}",
        "n": str(verdict.n),
        **({"cause": verdict.cause} if verdict.cause else {}),
    }


def _class(device: str) -> str:
    return f"ridgepoint.gate.{words.name(device)}"


def _seconds(gate: Gate) -> dict:
    """(device, case) -> how long its repetitions took, preparation included."""
    found: dict = {}
    for m in gate.run.measurements:
        key = m.device, (m.key, m.regime == SUSTAINED)
        found[key] = found.get(key, 0.0) + m.elapsed
    return found
