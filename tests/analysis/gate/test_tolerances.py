"""A file of tolerances: read as written, and nothing misspelt, absurd or foreign is taken."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.gate import tolerances
from bench.analysis.gate.metrics import Tolerance, metrics
from bench.analysis.gate.tolerances import Settings, read, write
from bench.store import RunError
from tests.analysis.gate.runs import READ, gpu, put, run

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
