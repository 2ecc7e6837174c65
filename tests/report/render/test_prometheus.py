"""Prometheus' text, read back by its own parser."""

import re

import pytest
from hypothesis import given
from prometheus_client.parser import text_string_to_metric_families

from bench.analysis.gate.facts import line
from bench.analysis.gate.verdict import STATUSES
from bench.report.gate import document
from bench.report.render import ci
from bench.store import RunError
from tests.report.gates import (
    ANY_TEXT,
    GATES,
    SOME,
    every_word,
    fine,
    gate,
    hostile,
    metric,
    node,
    simulated,
    slow_launch,
    verdict,
)


def prometheus(made) -> bytes:
    return ci.prometheus(document(made))


def samples(made) -> list:
    text = prometheus(made).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(made, name: str, **labels: str) -> float:
    found = [
        each.value
        for each in samples(made)
        if each.name == f"ridgepoint_{name}" and labels.items() <= each.labels.items()
    ]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("name", [name for name in GATES if name != "hostile"])
def test_no_sample_has_a_timestamp(name):
    found = samples(GATES[name]())
    assert found
    assert all(sample.timestamp is None for sample in found)
    text = prometheus(GATES[name]()).decode()
    assert text.endswith("\n")
    assert all(re.fullmatch(r"(#.*|\S+?(\{.*\})? \S+)", line) for line in text.splitlines())


def test_values_are_in_base_units_and_say_whose():
    labels = {"metric": "memory.regressed", "gpu": "cuda:0", "uuid": "GPU-0", "unit": "B/s"}
    assert value(every_word(), "metric_value", **labels) == pytest.approx(3.8e12)
    assert value(slow_launch(), "metric_value", metric="launch.async", unit="s") == pytest.approx(6.25e-6)
    assert not [s for s in samples(every_word()) if s.labels.get("metric") == "memory.missing" and "value" in s.name]


def test_ratios_to_datasheet_and_baseline():
    which = {"metric": "memory.regressed", "gpu": "cuda:0"}
    assert value(every_word(), "metric_ratio_to_baseline", **which) == pytest.approx(0.95)
    assert value(every_word(), "metric_ratio_to_theory", **which) == pytest.approx(0.95 / 1.2)


def test_exactly_one_state_is_1():
    for word in STATUSES:
        mine = {s.labels["state"]: s.value for s in samples(every_word()) if s.labels.get("metric") == f"memory.{word}"
                and s.name == "ridgepoint_verdict"}  # fmt: skip
        assert mine == {each: float(each == word) for each in STATUSES}
    assert value(every_word(), "gate_verdict", state="regressed") == 1
    assert value(every_word(), "gate_verdict", state="ok") == 0
    assert value(node(), "hardware_defects", gpu="cuda:5") == 1
    assert value(node(), "hardware_defects", gpu="cuda:4") == 0


def test_when_and_with_what():
    assert value(fine(), "last_run_timestamp_seconds") == 1767323045.0  # 2026-01-02T03:04:05Z
    assert value(fine(), "build_info", version="0.1.0", product="h200-sxm-x1") == 1


def test_a_simulated_run_is_labelled_on_every_sample_and_a_measured_one_on_none():
    assert {sample.labels.get("simulated") for sample in samples(simulated())} == {"true"}
    assert {sample.labels.get("simulated") for sample in samples(fine())} == {None}


@given(ANY_TEXT)
@SOME
def test_labels_survive_whatever_things_are_called(text):
    found = [s for s in samples(hostile(text)) if s.name == "ridgepoint_metric_value"]
    assert len(found) == 2
    assert {s.labels["metric"] for s in found} == {line(text)}


def test_a_run_without_a_time_is_one_clear_line():
    made = gate(verdict(metric()), about={"started": "yesterday"})
    with pytest.raises(RunError, match="yesterday"):
        prometheus(made)
