"""The gate as JSON: everything a program may ask for, in base units."""

import json
from dataclasses import replace

import pytest
from hypothesis import given

from bench.analysis.gate.verdict import WORDS
from bench.report.gate.facts import facts
from tests.report.gate.gates import GATES, every_word, gate, metric, node, reference, slow_launch, unfounded, verdict
from tests.report.gate.strategies import ANY_TEXT, SOME


@pytest.mark.parametrize("name", GATES)
def test_every_gate_is_json(name):
    made = GATES[name]()
    back = json.loads(json.dumps(facts(made), allow_nan=False))
    assert back["verdict"] == made.word
    assert back["counts"] == dict(made.counts)
    assert len(back["verdicts"]) == len(made.verdicts)


def test_a_time_is_in_seconds_and_its_ratio_is_of_speeds():
    one = facts(slow_launch())["verdicts"][0]
    assert (one["unit"], one["better"]) == ("s", "lower")
    assert one["value"] == pytest.approx(6.25e-6)
    assert one["expected"] == pytest.approx(5e-6)
    assert one["limit"] == pytest.approx(6e-6)
    assert one["ratio"] == pytest.approx(0.8)
    assert one["tolerance"]["least_s"] == 5e-7


def test_a_verdict_carries_its_evidence():
    found = {each["metric"]: each for each in facts(every_word())["verdicts"]}
    one = found["memory.regressed"]
    assert (one["verdict"], one["why"], one["cause"]) == ("regressed", "the evidence of regressed", "memory")
    assert one["value"] == pytest.approx(3.8e12)
    assert one["unit"] == "B/s"
    assert one["limit"] == pytest.approx(3.92e12)
    assert one["params"] == {"case": "memory.regressed", "size": 4096}
    assert one["basis"]["kind"] == "baseline"
    assert one["basis"]["n"] == 1
    assert [each["kind"] for each in one["findings"]] == ["baseline", "theory"]
    assert one["findings"][1]["ratio"] == pytest.approx(0.95 / 1.2)
    assert found["vector.int8.loop"]["gates"] is False
    assert found["memory.missing"]["value"] is None
    assert {each["verdict"] for each in found.values()} == set(WORDS)


def test_a_remeasured_value_stands_beside_the_first():
    one = facts(gate(verdict(metric(), "regressed", 0.9, again=3.7e12)))["verdicts"][0]
    assert one["first"] == pytest.approx(3.6e12)
    assert one["again"] == one["value"] == 3.7e12


def test_an_infinite_bound_is_null():
    one = metric("launch.async", "seconds")
    wide = replace(reference(one), high=float("inf"))
    assert facts(gate(verdict(one, reference=wide)))["verdicts"][0]["basis"]["improved_beyond"] is None


def test_nothing_to_compare_with_is_no_number():
    found = facts(unfounded())
    assert found["unfounded"] is True
    assert [found["verdicts"][0][key] for key in ("expected", "limit", "ratio", "basis")] == [None] * 4


def test_slow_and_broken_devices_are_named():
    found = facts(node())
    assert found["slow"] == ["cuda:5", "cuda:3"]
    assert found["defects"] == [{"device": "cuda:5", "what": "uncorrectable memory errors while measuring"}]
    assert [device["uuid"] for device in found["devices"]] == [f"GPU-{i}" for i in range(8)]


@given(ANY_TEXT)
@SOME
def test_strings_come_back_as_they_were(text):
    back = json.loads(json.dumps(facts(gate(verdict(metric(text), why=text)))))
    assert back["verdicts"][0]["metric"] == back["verdicts"][0]["why"] == text
