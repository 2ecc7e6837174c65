"""A machine's own noise: floors that forgive it, never below the registry's, read back as written."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.gate import calibration, tolerances
from bench.analysis.gate.calibration import DEVIATIONS, FEWEST, MARGIN, Noise, noise
from bench.analysis.gate.metrics import metrics
from bench.store import RunError
from tests.analysis.gate.runs import CASES, LAUNCH, READ, gpu, invalid, run

KNOWN = metrics(gpu())
FACTORS = st.lists(st.floats(0.3, 3), min_size=FEWEST, max_size=12)


def runs(factors, metric: str = READ, **more):
    return [run(number, {metric: factor}, **more) for number, factor in enumerate(factors)]


@given(FACTORS, st.sampled_from([READ, LAUNCH, "gemm.bfloat16"]))
@settings(max_examples=60, deadline=None)
def test_a_floor_forgives_every_run_that_it_was_made_of(factors, name):
    found = calibration._noise(KNOWN[name], [KNOWN[name].value(KNOWN[name].value(1.0 / f)) for f in factors])
    assert found.floor >= KNOWN[name].tolerance.floor
    assert found.floor >= MARGIN * found.worst
    assert found.floor >= DEVIATIONS * found.deviation
    own = found.settings
    assert own.get("floor", found.metric.tolerance.floor) >= min(found.floor, calibration.USELESS) - 1e-12
    assert own.get("gates") is (False if found.useless and found.metric.gates else None)
    assert all(0 < own[key] < 1 for key in own if key != "gates")


@given(FACTORS)
@settings(max_examples=25, deadline=None)
def test_noise_is_that_of_the_values(factors):
    found = noise(runs(factors), gpu())[READ]
    rates = sorted(1 / factor for factor in factors)
    centre = (rates[(len(rates) - 1) // 2] + rates[len(rates) // 2]) / 2
    slow = [centre - rate for rate in rates if rate < centre]
    deviation = (sum(each**2 for each in slow) / len(slow)) ** 0.5 if slow else 0.0
    assert found.n == len(factors)
    assert found.deviation == pytest.approx(deviation / centre, abs=1e-6)
    assert found.worst == pytest.approx(1 - rates[0] / centre, abs=1e-9)


def test_a_times_worst_is_its_longest():
    assert noise(runs([1, 1, 1, 1, 1.5], LAUNCH), gpu())[LAUNCH].worst == pytest.approx(0.5)
    assert noise(runs([1, 1, 1, 1, 0.5], LAUNCH), gpu())[LAUNCH].worst == pytest.approx(0.0)


def test_a_quiet_machine_keeps_the_registrys_floors():
    found = noise(runs([1.0] * FEWEST), gpu())
    assert set(found) == set(CASES)
    assert calibration.settings(found).metrics == {}


def test_a_noisy_metric_is_forgiven_and_a_useless_one_gates_no_more():
    chance = random.Random(1)
    made = [run(n, {READ: chance.uniform(1, 1.2), "gemm.bfloat16": chance.uniform(1, 5)}) for n in range(10)]
    own = calibration.settings(noise(made, gpu())).metrics
    assert 0.06 < own[READ]["floor"] < 0.4
    assert "gates" not in own[READ]
    assert own["gemm.bfloat16"] == {"floor": calibration.USELESS, "gates": False}
    assert set(own) == {READ, "gemm.bfloat16"}


def test_too_few_runs_say_nothing():
    with pytest.raises(RunError, match=r"quiet machine|too few"):
        noise(runs([1.0] * (FEWEST - 1)), gpu())


def test_what_is_in_doubt_is_no_noise_of_the_machine():
    quiet = runs([1.0] * FEWEST)
    spoilt = runs([5.0], marks={READ: invalid("hot")})
    found = noise([*quiet, *spoilt], gpu())
    assert found[READ].n == FEWEST
    assert found[READ].worst == pytest.approx(0.0, abs=1e-9)


def test_what_was_written_is_read_back(tmp_path):
    chance = random.Random(2)
    made = [run(n, {name: chance.uniform(1, 1.3) for name in CASES}) for n in range(8)]
    own = calibration.settings(noise(made, gpu()))
    assert len(own.metrics) > 5
    path = tolerances.write(tmp_path / "own.toml", own, "about\nthis machine")
    assert tolerances.read(path) == own


def test_the_deviation_is_worth_a_word_from_then_on():
    found = Noise(KNOWN[READ], 10, 0.05, 0.05)
    assert found.settings["warn"] == pytest.approx(0.05, abs=1e-4)
    assert found.settings["floor"] >= found.settings["warn"]
