"""A file of tolerances: read as written, and nothing misspelt, absurd or foreign is taken; and a machine's own noise:
floors that forgive it, never below the registry's.
"""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.gate import tolerances
from bench.analysis.gate.metrics import Tolerance, metrics
from bench.analysis.gate.tolerances import (
    DEVIATIONS,
    FEWEST,
    MARGIN,
    Noise,
    Settings,
    calibrated,
    noise,
    read,
    write,
)
from bench.store import RunError
from tests.analysis.gate.runs import CASES, LAUNCH, READ, gpu, invalid, put, run

KNOWN = metrics(gpu())
SHARE = st.integers(1, 9999).map(lambda n: n / 1e4)
OWN = st.fixed_dictionaries({}, optional={"floor": SHARE, "warn": SHARE, "siblings": SHARE, "gates": st.booleans()})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tolerances") / "own.toml"


@given(st.dictionaries(st.sampled_from(sorted(KNOWN)), OWN), st.text(string.printable, max_size=80))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(path, found, about):
    write(path, Settings(found), about.replace("\r", " "))
    assert read(path) == Settings(found)


@given(st.text() | st.text("[]{}=\"'#.\n 019metricsversion", max_size=60))
@settings(max_examples=200, deadline=None)
def test_anything_is_settings_or_one_clear_line(path, text):
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    said = ""
    try:
        found = read(path)
    except RunError as error:
        found, said = None, str(error)
    assert isinstance(found, Settings) or str(path) in said


BAD = {
    "": "version is None",
    "version = 2": "version is 2",
    "version = '1'": "version is '1'",
    "version =": "not TOML",
    "version = 1\nmetric = 1": "unknown key 'metric': did you mean metrics?",
    "version = 1\nmetrics = 1": "metrics must be a table",
    'version = 1\n[metrics."memory.dram.raed"]': "unknown key 'memory.dram.raed': did you mean memory.dram.read?",
    'version = 1\n[metrics."quite other"]\nfloor = 0.1': "unknown key 'quite other': known are",
    f'version = 1\n[metrics]\n"{READ}" = 0.1': f"{READ} must be a table",
    f'version = 1\n[metrics."{READ}"]\nflor = 0.1': "unknown key 'flor': did you mean floor?",
    f'version = 1\n[metrics."{READ}"]\ngates = 1': "gates must be true or false, not 1",
    f'version = 1\n[metrics."{READ}"]\ngates = "yes"': "gates must be true or false, not 'yes'",
    "version = 1\nversion = 1": "not TOML",
    "version = true": "version is True",
    "version = 1.0": "version is 1.0",
}
WRONG = (
    "0",
    "0.0",
    "1",
    "1.0",
    "-0.1",
    "nan",
    "inf",
    "-inf",
    "true",
    "'0.1'",
    "[0.1]",
    "{}",
    "2",
    "1979-05-27",
    "1e400",
)


@pytest.mark.parametrize("text", BAD)
def test_a_file_that_is_none_is_refused_with_its_reason(path, text):
    path.write_text(text)
    with pytest.raises(RunError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert BAD[text] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["floor", "warn", "siblings"])
@pytest.mark.parametrize("value", WRONG)
def test_a_share_lies_between_nothing_and_all(path, key, value):
    path.write_text(f'version = 1\n[metrics."{READ}"]\n{key} = {value}\n')
    with pytest.raises(RunError, match=f"{READ}: {key} must be a share between 0 and 1"):
        read(path)


@pytest.mark.parametrize("digits", [400, 5000], ids=["beyond a double", "beyond Python's limit for digits"])
def test_a_number_beyond_all_numbers_is_one_clear_line(path, digits):
    path.write_text(f'version = 1\n[metrics."{READ}"]\nfloor = {"9" * digits}\n')
    with pytest.raises(RunError):
        read(path)


def test_a_file_that_nests_for_ever_is_one_clear_line(path):
    path.write_text(f"version = 1\nmetrics = {'[' * 100_000}")
    with pytest.raises(RunError):
        read(path)


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(RunError, match="no such file of tolerances"):
        read(tmp_path / "none.toml")
    with pytest.raises(RunError, match="cannot read"):
        read(tmp_path)
    (tmp_path / "latin").write_bytes("version = 1 # Größe".encode("latin-1"))
    with pytest.raises(RunError, match="not TOML"):
        read(tmp_path / "latin")


def test_a_run_is_never_overwritten(tmp_path):
    there = put(tmp_path / "a.jsonl", run())
    before = there.read_bytes()
    with pytest.raises(RunError, match="is a Run"):
        write(there, Settings({}), "")
    assert there.read_bytes() == before


def test_settings_change_what_they_name_only():
    metric = KNOWN[READ]
    own = metric.tolerance
    assert Settings().of(metric) == (own, metric.gates)
    found, gates = Settings({READ: {"floor": 0.3, "gates": False}}).of(metric)
    assert (found, gates) == (Tolerance(own.warn, 0.3, own.siblings, own.least), False)


@given(st.dictionaries(st.sampled_from("abc"), OWN), st.dictionaries(st.sampled_from("abc"), OWN))
def test_a_users_word_goes_over_the_calibrations(first, second):
    found = Settings(first).over(Settings(second)).metrics
    for name in "abc":
        for key in ("floor", "warn", "siblings", "gates"):
            said = first.get(name, {}).get(key, second.get(name, {}).get(key))
            assert found.get(name, {}).get(key) == said


def test_the_example_in_the_file_is_read(path):
    """Its own documentation."""
    lines = tolerances.__doc__.splitlines()
    path.write_text("\n".join(line[4:] for line in lines if line.startswith("    ")))
    assert read(path).metrics[READ] == {"floor": 0.03, "warn": 0.02, "siblings": 0.05, "gates": True}


# --- a machine's own noise


FACTORS = st.lists(st.floats(0.3, 3), min_size=FEWEST, max_size=12)


def runs(factors, metric: str = READ, **more):
    return [run(number, {metric: factor}, **more) for number, factor in enumerate(factors)]


@given(FACTORS, st.sampled_from([READ, LAUNCH, "gemm.bfloat16"]))
@settings(max_examples=60, deadline=None)
def test_a_floor_forgives_every_run_that_it_was_made_of(factors, name):
    found = tolerances._noise(KNOWN[name], [KNOWN[name].value(KNOWN[name].value(1.0 / f)) for f in factors])
    assert found.floor >= KNOWN[name].tolerance.floor
    assert found.floor >= MARGIN * found.worst
    assert found.floor >= DEVIATIONS * found.deviation
    own = found.settings
    assert own.get("floor", found.metric.tolerance.floor) >= min(found.floor, tolerances.USELESS) - 1e-12
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
    assert calibrated(found).metrics == {}


def test_a_noisy_metric_is_forgiven_and_a_useless_one_gates_no_more():
    chance = random.Random(1)
    made = [run(n, {READ: chance.uniform(1, 1.2), "gemm.bfloat16": chance.uniform(1, 5)}) for n in range(10)]
    own = calibrated(noise(made, gpu())).metrics
    assert 0.06 < own[READ]["floor"] < 0.4
    assert "gates" not in own[READ]
    assert own["gemm.bfloat16"] == {"floor": tolerances.USELESS, "gates": False}
    assert set(own) == {READ, "gemm.bfloat16"}


def test_one_bad_run_of_many_is_forgiven_too():
    """Among so many slow ones it moves the deviation too little for its own sake."""
    found = noise(runs([1.0] * 10 + [1.001] * 9 + [1.3]), gpu())[READ]
    assert found.worst > DEVIATIONS * found.deviation / MARGIN > 0.1
    assert found.floor == pytest.approx(MARGIN * found.worst)


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
    own = calibrated(noise(made, gpu()))
    assert len(own.metrics) > 5
    path = tolerances.write(tmp_path / "own.toml", own, "about\nthis machine")
    assert tolerances.read(path) == own


def test_the_deviation_is_worth_a_word_from_then_on():
    found = Noise(KNOWN[READ], 10, 0.05, 0.05)
    assert found.settings["warn"] == pytest.approx(0.05, abs=1e-4)
    assert found.settings["floor"] >= found.settings["warn"]
