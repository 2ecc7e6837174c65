"""What a Run says of a metric: which repetitions count, which do not, and why."""

import json
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.fit import fit
from bench.analysis.gate.metrics import metrics
from bench.analysis.gate.samples import REMEMBERED, MetricSamples, digest, repeated, samples
from bench.analysis.run_entry import run_entry
from bench.analysis.summary import summaries
from bench.schema import CONFIRM, SUSTAINED, Run
from tests.analysis.gate.runs import (
    CASES,
    GEMM,
    LASTING,
    LAUNCH,
    READ,
    changed,
    gpu,
    invalid,
    one,
    pins_of,
    run,
    suspect,
    unmeasured,
)

CASE = CASES[READ]
USUAL = CASE.work.bytes / CASE.seconds


def measured(made: Run, name: str = READ) -> MetricSamples:
    return samples(made, "cuda:0", {name: CASES[name].pin}, metrics(gpu()))[name]


def with_turns(**factors: float) -> Run:
    """READ alone, at the repetitions that are named: r0=1.5, r2=1.0."""
    made = run(without=[READ])
    more = tuple(one(CASE, int(name[1:]), factor) for name, factor in factors.items())
    return Run(made.environment, (*made.measurements, *more), made.end)


@given(st.lists(st.floats(0.5, 2), min_size=1, max_size=7))
@settings(max_examples=50, deadline=None)
def test_a_value_is_the_median_of_its_rounds(factors):
    found = measured(run(slow={READ: factors}))
    assert found.speed == pytest.approx(median(USUAL / factor for factor in factors))
    assert len(found.first) == len(factors)
    assert found.best == pytest.approx(USUAL / min(factors))


def test_a_time_counts_launches_per_second():
    assert measured(run(slow={LAUNCH: 1.25}), LAUNCH).speed == pytest.approx(1 / (1.25 * CASES[LAUNCH].seconds))


def test_the_first_pass_counts_only_where_no_round_does():
    assert measured(with_turns(r0=0.5, r1=0.6, r2=1.0, r3=1.1)).speed == pytest.approx(USUAL / 1.05, rel=1e-2)
    assert len(measured(with_turns(r0=0.5, r1=0.6, r2=1.0, r3=1.1)).first) == 2
    assert measured(with_turns(r0=2.0)).speed == pytest.approx(USUAL / 2)


def test_a_re_measurement_never_states_the_value():
    found = measured(run(slow={READ: 1.04}, again={READ: (1.0, 1.01, 1.5)}))
    assert found.speed == pytest.approx(USUAL / 1.04)
    assert found.confirmed == pytest.approx(USUAL / 1.01)
    assert len(found.first) == len(found.again) == 3


def test_the_repetition_that_warms_a_fresh_process_counts_for_nothing():
    made = run(again={READ: 1.0})
    warming = [m for m in made.measurements if m.repetition == CONFIRM]
    assert len(warming) == 1
    assert warming[0].median == pytest.approx(10 * CASE.seconds)
    found = measured(made)
    assert [seen.speed for seen in found.again] == pytest.approx([USUAL] * 3)
    broken = changed(made, READ, [CONFIRM], **invalid("hot"))
    assert measured(broken).believed
    alone = with_turns(r2=1.0, r3=1.0, r4=1.0, r1000=0.1)
    assert measured(alone).again == ()
    assert measured(alone).best == pytest.approx(USUAL)


def test_neither_summaries_nor_roofs_see_a_re_measurement():
    """Being slow would earn more chances to be fast."""
    before, after = run(), run(again={READ: 0.5, GEMM: 0.5})
    assert summaries(before.measurements) == summaries(after.measurements)
    rates = [
        [(key, found.roof.rate, found.roof.n) for key, found in fit(made)[0].roofs.items()] for made in (before, after)
    ]
    assert rates[0] == rates[1]
    assert any(key == "dram" for key, _, _ in rates[0])


def test_the_regimes_are_two_readings():
    made = run(slow={LASTING: 1.2})
    found = [measured(made, name) for name in (GEMM, LASTING)]
    assert found[0].speed / found[1].speed == pytest.approx(1.2 * CASES[LASTING].seconds / CASES[GEMM].seconds)
    assert {m.regime for m in made.measurements if m.key == CASES[GEMM].pin[0]} == {"burst", SUSTAINED}


def test_an_invalid_repetition_never_counts_and_is_not_forgotten():
    found = measured(changed(run(slow={READ: (1.0, 1.0, 9.0)}), READ, [4], **invalid("a power brake")))
    assert found.speed == pytest.approx(USUAL)
    assert len(found.first) == 2
    assert found.best == pytest.approx(USUAL)
    assert found.doubts == ("a power brake",)


def test_suspect_repetitions_count_where_too_few_are_valid_and_are_doubted():
    made = run(slow={READ: (1.0, 1.1, 1.2)})
    one_of_three = measured(changed(made, READ, [4], **suspect("someone else")))
    assert one_of_three.speed == pytest.approx(USUAL * (1 + 1 / 1.1) / 2), "the two valid ones state the value"
    assert one_of_three.believed
    two_of_three = measured(changed(made, READ, [3, 4], **suspect("someone else")))
    assert two_of_three.speed == pytest.approx(USUAL / 1.1), "one valid one does not"
    assert not two_of_three.believed
    for found in (one_of_three, two_of_three):
        assert len(found.first) == 3
        assert found.doubts == ("someone else",)


def test_words_without_blame_are_no_doubt():
    marks = {READ: {"reasons": ("clocks held by the power limit for 90% of the time",)}}
    found = measured(run(marks=marks))
    assert found.believed
    assert found.doubts == ()


@pytest.mark.parametrize("mark", [suspect("busy"), invalid("hot")])
@pytest.mark.parametrize("first", [2, CONFIRM + 1])
def test_a_look_is_believed_if_most_of_it_is(first, mark):
    """Of either look: what was measured again is no better than its own minute."""
    made = run(again={READ: 1.1})
    for count in range(4):
        found = measured(changed(made, READ, range(first, first + count), **mark))
        assert found.believed == (count < 2), count
        assert found.doubts == (mark["reasons"] if count else ())


def test_nothing_but_invalid_repetitions_is_no_value():
    found = measured(run(marks={READ: invalid("hot")}))
    assert (found.speed, found.confirmed, found.believed) == (None, None, False)
    assert found.lost == ("hot",)
    assert found.best == 0.0


def test_a_skip_says_why():
    found = measured(run(marks={READ: unmeasured("out of memory")}))
    assert (found.speed, found.skip, found.lost) == (None, "out of memory", ())
    assert measured(run(without=[READ])).skip == ""


def test_clocks_are_those_of_what_decides():
    made = changed(run(again={READ: 1.0}, clock_hz=1.9e9), READ, range(CONFIRM, CONFIRM + 9), clock_hz=(1.5e9,) * 6)
    assert measured(made).clock_hz == pytest.approx(1.5e9)
    assert measured(run(clock_hz=1.9e9)).clock_hz == pytest.approx(1.9e9)
    assert measured(run()).clock_hz is None


def test_every_repeated_candidate_is_remembered_and_no_lonely_one():
    made = run()
    found = repeated(made, gpu())
    assert set(found) == {case.pin for case in CASES.values()}
    lonely = run(slow={READ: (1.0,)})
    assert CASES[READ].pin not in repeated(lonely, gpu())
    assert found[CASES[GEMM].pin].speed == measured(made, GEMM).speed


def test_pins_name_what_was_measured_soundly():
    assert pins_of(run()) == {name: case.pin for name, case in CASES.items()}
    assert READ not in pins_of(run(marks={READ: invalid("hot")}))
    assert READ not in pins_of(run(marks={READ: unmeasured("out of memory")}))


# --- what is remembered of it


def test_a_digest_tells_cases_apart():
    base = CASES[GEMM].pin
    (probe, version, params), _ = base
    others = [
        CASES[LASTING].pin,
        ((probe, version + 1, params), False),
        (("other", version, params), False),
        ((probe, version, (*params, ("variant", "fast"))), False),
        ((probe, version, params[:-1]), False),
        ((probe, version, tuple((name, f"{value}!") for name, value in params)), False),
    ]
    found = {digest(pin) for pin in (base, *others)}
    assert len(found) == 1 + len(others)
    assert digest(((probe, version, tuple(params)), False)) == digest(base)


def test_a_digest_survives_the_file_format():
    made = run()
    assert set(json.loads(json.dumps(list(run_entry(made, REMEMBERED).devices[0].values)))) == {
        digest(case.pin) for case in CASES.values()
    }


def test_an_invalid_repetition_is_no_valid_value():
    values = run_entry(run(marks={READ: invalid("hot")}), REMEMBERED).devices[0].values
    assert digest(CASES[READ].pin) not in values
    assert digest(CASES[GEMM].pin) in values
