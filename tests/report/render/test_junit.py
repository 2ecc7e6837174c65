"""JUnit XML by the rules of the schemas in use (Ant's, as windyroad wrote it down, and Jenkins' junit-10)."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given

from bench.report.gate import document
from bench.report.render import ci
from tests.report.gates import (
    ANY_TEXT,
    GATES,
    SOME,
    every_word,
    fine,
    gate,
    hostile,
    launched,
    metric,
    node,
    simulated,
    verdict,
)


def junit(made) -> bytes:
    return ci.junit(document(made))


RESULTS = ("failure", "error", "skipped")


def checked(made) -> ElementTree.Element:
    """The root of a gate's XML, after every structural rule."""
    root = ElementTree.fromstring(junit(made))
    assert root.tag == "testsuites"
    suites = list(root)
    assert {suite.tag for suite in suites} == {"testsuite"}
    _counted(root, [case for suite in suites for case in suite.iter("testcase")])
    for suite in suites:
        assert {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"} <= set(suite.attrib)
        assert suite.get("name")
        assert suite.get("hostname")
        # properties first, then cases and nothing else
        assert [child.tag for child in suite] == ["properties", *["testcase"] * (len(suite) - 1)]
        _counted(suite, list(suite.iter("testcase")))
        for case in suite.iter("testcase"):
            assert {"name", "classname", "time"} <= set(case.attrib)
            assert case.get("name")
            assert sum(child.tag in RESULTS for child in case) <= 1
            assert {child.tag for child in case} <= {"properties", "system-out", *RESULTS}
            assert "properties" not in [child.tag for child in case][1:]
            assert all(child.get("message") and child.get("type") for child in case if child.tag in RESULTS)
    for each in root.iter():
        if "time" in each.attrib:
            assert re.fullmatch(r"\d+(\.\d{1,3})?", each.get("time"))
    for each in root.iter("property"):
        assert each.get("name")
        assert each.get("value") is not None
    return root


def _counted(element, cases) -> None:
    assert int(element.get("tests")) == len(cases)
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(element.get(name)) == sum(case.find(tag) is not None for case in cases)


def cases(made) -> dict[str, ElementTree.Element]:
    return {case.get("name"): case for case in checked(made).iter("testcase")}


def outcome(case) -> str:
    return next((child.tag for child in case if child.tag in RESULTS), "passed")


@pytest.mark.parametrize("name", GATES)
def test_every_gate_keeps_the_schemas_rules(name):
    checked(GATES[name]())


def test_each_word_has_its_outcome():
    found = cases(every_word())
    assert {name: outcome(case) for name, case in found.items()} == {
        "memory.regressed": "failure",
        "memory.missing": "error",
        "memory.invalid": "skipped",
        "memory.inconclusive": "skipped",
        "memory.suspicious": "passed",
        "memory.improved": "passed",
        "memory.ok": "passed",
        "vector.int8.loop": "passed",
    }
    said = "regressed memory.regressed, 3.80 TB/s: the evidence of regressed. Likely cause: memory."
    assert found["memory.regressed"].find("failure").get("message") == said
    assert found["memory.regressed"].find("failure").text == said
    assert "only warns" in found["vector.int8.loop"].find("system-out").text
    assert found["memory.ok"].find("system-out") is None


@pytest.mark.parametrize("word", ["regressed", "missing", "invalid", "inconclusive", "suspicious"])
def test_what_only_warns_never_fails(word):
    one = gate(verdict(metric()), verdict(metric("x", gates=False), word, 0.9))
    case = cases(one)["x"]
    assert outcome(case) == "passed"
    assert f"the evidence of {word}" in case.find("system-out").text


def test_a_case_carries_its_numbers():
    found = {each.get("name"): each.get("value") for each in cases(every_word())["memory.regressed"].iter("property")}
    assert float(found["value"]) == pytest.approx(3.8e12)
    assert float(found["expected"]) == pytest.approx(4e12)
    assert float(found["limit"]) == pytest.approx(3.92e12)
    assert (found["unit"], found["better"], found["tolerance"], found["n"]) == ("B/s", "higher", "0.02", "3")


def test_a_suite_for_each_gpu_and_a_failing_case_for_each_defect():
    root = checked(node())
    assert [suite.get("name") for suite in root] == [f"ridgepoint.gate.cuda:{i}" for i in range(8)]
    assert [int(suite.get("failures")) for suite in root] == [0, 0, 0, 2, 0, 1, 0, 0]
    broken = next(case for case in root[5] if case.get("name") == "hardware defect 1")
    assert broken.find("failure").get("message") == "uncorrectable memory errors while measuring"


def test_a_gpu_without_gated_metrics_is_not_green():
    root = checked(gate(verdict(metric(gates=False)), devices=2))
    assert [int(suite.get("errors")) for suite in root] == [1, 1]


def test_time_is_what_the_repetitions_took():
    case = cases(launched())["memory.dram.read"]
    assert case.get("time") == "1.0"  # four of 0.25 s; the invalid one did not say how long it took
    assert checked(launched())[0].get("time") == "1.0"


def test_a_tiny_time_has_no_exponent():
    made = launched()
    run = replace(made.run, measurements=tuple(replace(m, elapsed=3e-6) for m in made.run.measurements))
    assert not re.search(rb'"[0-9.]+e[-+]?[0-9]', junit(replace(made, run=run)))
    checked(replace(made, run=run))


def test_a_simulated_gate_says_so():
    assert "SIMULATED" in checked(simulated())[0].get("name")
    assert "SIMULATED" not in checked(fine())[0].get("name")


@given(ANY_TEXT)
@SOME
def test_whatever_things_are_called_it_is_valid_xml(text):
    made = hostile(text)
    root = checked(made)
    # on the one GPU a metric that only warns, and an error for want of a gated one; on the other a defect and a metric
    assert [len(list(suite.iter("testcase"))) for suite in root] == [2, 2]
    assert [int(suite.get("failures")) for suite in root] == [0, 2]
    assert [int(suite.get("errors")) for suite in root] == [1, 0]
