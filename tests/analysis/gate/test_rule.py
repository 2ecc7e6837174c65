"""A table of situations and the word that each deserves; and what may never change a word."""

from dataclasses import replace

import pytest

from bench.analysis.gate import verdict
from bench.analysis.gate.expectations import ENOUGH, OUTLIER, WINDOW
from bench.analysis.gate.rule import judged, suspects
from bench.analysis.gate.verdict import FAIL_ON, STATUSES, Gate
from bench.schema import CONFIRM, FIRST_ROUND
from tests.analysis.gate.runs import (
    CASES,
    GATED,
    GEMM,
    LAUNCH,
    READ,
    TRIAD,
    changed,
    gated,
    gpu,
    invalid,
    of,
    past,
    run,
    suspect,
    unmeasured,
)

BEFORE = [run(number) for number in range(WINDOW)]
NOW = 100
NEWER = {"driver": "580.65.06", "power_limit_w": "700"}


def now(*arguments, **more):
    return run(NOW, *arguments, **more)


def word(gate: Gate, metric: str = READ, device: str = "cuda:0") -> str:
    return of(gate, metric, device).status


# --- the seven words


def test_as_it_was_is_ok():
    gate = gated(now(), BEFORE, BEFORE[0])
    assert {v.status for v in gate.verdicts} == {verdict.OK}
    assert {v.metric.name for v in gate.verdicts} == set(CASES)
    assert gate.status == verdict.OK
    assert gate.code() == 0
    assert gate.notes == ()
    assert suspects(gate) == {}


def test_faster_is_improved_and_no_news_for_a_gate():
    gate = gated(now(slow={READ: 0.9}), BEFORE, BEFORE[0])
    assert word(gate) == verdict.IMPROVED
    assert gate.status == verdict.OK
    assert gate.code("suspicious") == 0


def test_a_first_slow_value_is_suspicious():
    gate = gated(now(slow={READ: 1.05}), BEFORE, BEFORE[0])
    assert word(gate) == verdict.SUSPICIOUS
    assert gate.code() == 0
    assert gate.code("suspicious") == 3
    assert suspects(gate) == {"cuda:0": (CASES[READ].pin,)}


def test_slow_twice_is_regressed():
    gate = gated(now(slow={READ: 1.05}, again={READ: 1.06}), BEFORE, BEFORE[0])
    found = of(gate, READ)
    assert found.status == verdict.REGRESSED
    assert found.ratio == pytest.approx(1 / 1.06)
    assert found.n == 3
    assert found.reference.kind == "history"
    assert gate.code() == gate.code("regression") == gate.code("suspicious") == 1
    assert gate.code("never") == 0
    assert gate.slow == ("cuda:0",)
    assert suspects(gate) == {}


def test_slow_once_only_stays_suspicious():
    gate = gated(now(slow={READ: 1.05}, again={READ: 1.0}), BEFORE, BEFORE[0])
    assert word(gate) == verdict.SUSPICIOUS
    assert "when measured again" in of(gate, READ).why
    assert suspects(gate) == {}, "it was looked at twice already"


def test_no_valid_repetition_is_invalid():
    gate = gated(now(marks={READ: invalid("a power brake")}), BEFORE, BEFORE[0])
    found = of(gate, READ)
    assert found.status == verdict.INVALID
    assert "a power brake" in found.why
    assert gate.code() == 3
    assert gate.code("regression") == 0
    assert suspects(gate) == {"cuda:0": (CASES[READ].pin,)}


@pytest.mark.parametrize("fail_on", FAIL_ON)
@pytest.mark.parametrize("how", ["vanished", "skipped", "device"])
def test_a_metric_that_vanished_is_missing_whatever_is_asked(how, fail_on):
    baseline = BEFORE[0]
    made = {
        "vanished": now(without=[READ]),
        "skipped": now(marks={READ: unmeasured("out of memory")}),
        "device": now(without=[LAUNCH, READ], devices=(gpu(launches=()),)),
    }[how]
    gate = gated(made, BEFORE, baseline)
    assert word(gate) == verdict.MISSING
    assert gate.code(fail_on) == (0 if fail_on == "never" else 3)
    assert gate.status == verdict.MISSING
    assert suspects(gate) == {}
    if how == "skipped":
        assert of(gate, READ).why == "out of memory"


# --- what excuses a slow value


def test_a_repetition_that_reached_the_usual_level_excuses():
    for slow, again in (((1.05, 1.0, 1.05), 1.05), (1.05, (1.05, 1.0, 1.05))):
        gate = gated(now(slow={READ: slow}, again={READ: again}), BEFORE, BEFORE[0])
        assert word(gate) == verdict.INCONCLUSIVE
        assert "reached the usual level" in of(gate, READ).why
        assert gate.code() == 3
        assert gate.code("regression") == 0


@pytest.mark.parametrize("repetition", [FIRST_ROUND, CONFIRM + 1])
@pytest.mark.parametrize("mark", [suspect("other processes took 20 %"), invalid("hardware thermal slowdown")])
def test_a_look_that_is_mostly_in_doubt_excuses(repetition, mark):
    slow = now(slow={READ: 1.05}, again={READ: 1.05})
    gate = gated(changed(slow, READ, [repetition, repetition + 1], **mark), BEFORE, BEFORE[0])
    assert word(gate) == verdict.INCONCLUSIVE
    assert mark["reasons"][0] in of(gate, READ).why
    assert gate.code() == 3
    two_valid = gated(changed(slow, READ, [repetition], **mark), BEFORE, BEFORE[0])
    assert word(two_valid) == verdict.REGRESSED


def test_virtual_cores_are_never_the_hardwares_fault():
    """Seen on one: exactly half the rate for a minute, every repetition valid."""
    info = gpu(facts={"driver": "570.86.15", "power_limit_w": "700", "virtual": "yes"})
    before = [run(number, devices=(info,)) for number in range(WINDOW)]
    made = run(NOW, slow={READ: 2.0}, again={READ: 2.0}, devices=(info,))
    gate = gated(made, before, before[0])
    assert word(gate) == verdict.INCONCLUSIVE
    assert gate.code() == 3


def test_a_changed_environment_excuses():
    made = now(slow={READ: 1.05}, again={READ: 1.05}, devices=(gpu(facts=NEWER),))
    gate = gated(made, BEFORE, BEFORE[0])
    assert word(gate) == verdict.INCONCLUSIVE
    assert of(gate, READ).cause.startswith("software change (driver 570.86.15 → 580.65.06")
    assert any("a new segment" in note and "580.65.06" in note for note in gate.notes)
    assert gate.code() == 3


def test_slow_at_first_and_never_valid_again_is_not_waved_through():
    """Measured again, by nothing that may be believed: nobody knows, and green would say that somebody does."""
    made = changed(
        now(slow={READ: 1.2}, again={READ: 1.2}), READ, range(CONFIRM, CONFIRM + 9), **invalid("a power brake")
    )
    gate = gated(made, BEFORE, BEFORE[0])
    assert word(gate) in (verdict.INCONCLUSIVE, verdict.INVALID)
    assert "not measured again" not in of(gate, READ).why
    assert gate.code() == 3
    assert suspects(gate) == {}


def test_invalid_at_first_is_decided_by_the_second_look():
    hot = {"repetitions": range(FIRST_ROUND, CONFIRM)} | invalid("hot")
    for factor, expected in ((1.0, verdict.SUSPICIOUS), (1.1, verdict.INCONCLUSIVE)):
        gate = gated(changed(now(again={READ: factor}), READ, **hot), BEFORE, BEFORE[0])
        assert word(gate) == expected
        assert suspects(gate) == {}, "it was looked at twice already"


def test_being_fast_needs_no_excuse():
    made = now(marks={READ: suspect("other processes took 20 %")}, devices=(gpu(facts=NEWER),))
    assert word(gated(made, BEFORE, BEFORE[0])) == verdict.OK


def test_a_metric_that_only_warns_is_never_more_than_suspicious():
    for made in (
        now(slow={LAUNCH: 2.0}, again={LAUNCH: 2.0}),
        now(without=[LAUNCH]),
        now(marks={LAUNCH: invalid("hot")}),
        now(slow={LAUNCH: (1.0, 2.0, 2.0)}, again={LAUNCH: 2.0}),
    ):
        gate = gated(made, BEFORE, BEFORE[0])
        assert word(gate, LAUNCH) == verdict.SUSPICIOUS
        assert gate.code("suspicious") == 0
        assert gate.status == verdict.OK
        assert gate.slow == ()
        assert suspects(gate) == {}


def test_a_user_says_what_gates_and_how_finely():
    slow = now(slow={LAUNCH: 2.0, READ: 1.05}, again={LAUNCH: 2.0, READ: 1.05})
    gate = gated(slow, BEFORE, BEFORE[0], launch_synchronous={"gates": True}, memory_dram_read={"floor": 0.08})
    assert (word(gate, LAUNCH), word(gate, READ)) == (verdict.REGRESSED, verdict.OK)
    assert word(gated(slow, BEFORE, BEFORE[0], memory_dram_read={"gates": False}), READ) == verdict.SUSPICIOUS


# --- what a value is held against


@pytest.mark.parametrize("count", [0, 1, ENOUGH - 1])
def test_few_runs_fall_back_to_the_baseline(count):
    gate = gated(now(slow={READ: 1.03}, again={READ: 1.03}), BEFORE[:count], BEFORE[0])
    assert word(gate) == verdict.REGRESSED
    assert of(gate, READ).reference.kind == "baseline"
    assert word(gated(now(slow={READ: 1.015}, again={READ: 1.015}), BEFORE[:count], BEFORE[0])) == verdict.OK


def test_a_history_is_the_last_twenty_runs():
    older = [run(number - 90, slow={READ: 1.01}) for number in range(40)]
    for count, last in ((WINDOW, 1.0), (WINDOW // 2 - 1, 1.01)):
        reference = of(gated(now(), [*older, *BEFORE[:count]]), READ).reference
        assert (reference.kind, reference.n) == ("history", 20)
        assert reference.centre == pytest.approx(CASES[READ].work.bytes / CASES[READ].seconds / last)


def test_nothing_to_compare_with_is_ok_and_said():
    gate = gated(now())
    assert {v.status for v in gate.verdicts} == {verdict.OK}
    assert gate.no_reference
    required = replace(gate, required=True)
    assert (gate.code(), required.code(), required.code("regression")) == (0, 3, 3)
    assert (gate.status, required.status) == (verdict.OK, verdict.INCONCLUSIVE), (
        "no surface may say ok with another code"
    )


def test_a_node_that_lost_a_device_is_green_nowhere():
    gate = replace(gated(now()), baseline_elsewhere=("cuda:0 is blessed among the devices of x8",))
    assert (gate.status, gate.code(), gate.code("regression"), gate.code("never")) == (verdict.MISSING, 3, 3, 0)
    gate = gated(now())
    assert any("no baseline" in note for note in gate.notes)


def test_enough_history_needs_no_baseline():
    gate = gated(now(slow={READ: 1.05}, again={READ: 1.05}), BEFORE)
    assert not gate.no_reference
    assert replace(gate, required=True).code() == 1


def test_a_metric_that_vanished_from_a_history_is_missed_without_a_baseline():
    """Twenty Runs had it: that it has no name there is no reason to be green."""
    gate = gated(now(marks={READ: unmeasured("out of memory")}), BEFORE)
    assert gate.code() == 3


def test_no_verdict_without_a_baseline_is_not_ok_where_nothing_was_valid():
    gate = gated(now(marks=dict.fromkeys((*GATED, LAUNCH), invalid("hot"))))
    assert gate.code() == 3
    assert gate.status in (verdict.INVALID, verdict.INCONCLUSIVE)


def test_what_nobody_could_measure_is_red_whatever_is_asked_but_never():
    """An empty gate waves everything through."""
    for fail_on in FAIL_ON:
        assert gated(now(without=list(CASES))).code(fail_on) == (0 if fail_on == "never" else 3)


def test_one_invalid_metric_without_a_baseline_is_said():
    gate = gated(now(marks={READ: invalid("a power brake")}))
    assert gate.code() == 3


def test_a_drift_out_of_the_baselines_outer_band_is_found():
    """Each step is within the band of its window; the sum of them is not within twice the baseline's floor."""
    drifting = [run(number, slow={READ: 1 + 0.0018 * number}) for number in range(22)]
    gate = gated(run(22, slow={READ: 1.042}, again={READ: 1.042}), drifting, drifting[0])
    found = of(gate, READ)
    assert [f.place for f in found.comparisons] == ["within", "below"]
    assert found.status == verdict.REGRESSED
    assert "drifted" in found.why
    assert word(gated(run(22, slow={READ: 1.042}, again={READ: 1.042}), drifting)) == verdict.OK, "without a baseline"


def test_what_the_baseline_calls_a_regression_never_becomes_the_usual():
    slow = [run(number, slow={READ: 1.06}) for number in range(1, WINDOW)]
    gate = gated(now(slow={READ: 1.06}, again={READ: 1.06}), [BEFORE[0], *slow], BEFORE[0])
    assert word(gate) == verdict.REGRESSED
    assert of(gate, READ).reference.kind == "baseline", "one Run of the usual speed is no history"
    fast = [run(number, slow={READ: 0.9}) for number in range(1, WINDOW)]
    found = of(gated(now(), [BEFORE[0], *fast], BEFORE[0]), READ)
    assert found.status == verdict.OK


def test_a_new_segment_has_a_history_of_its_own():
    info = gpu(facts=NEWER)
    after = [run(WINDOW + 1 + n, slow={READ: 1.03}, devices=(info,)) for n in range(ENOUGH)]
    same = now(slow={READ: 1.03}, devices=(info,))
    assert word(gated(same, [*BEFORE, *after], BEFORE[0])) == verdict.OK
    worse = now(slow={READ: 1.12}, again={READ: 1.12}, devices=(info,))
    assert word(gated(worse, [*BEFORE, *after], BEFORE[0])) == verdict.REGRESSED
    assert word(gated(worse, [*BEFORE, *after[1:]], BEFORE[0])) == verdict.INCONCLUSIVE


def test_what_became_slow_with_a_driver_does_not_heal_by_itself():
    """Its own new history would excuse it after ten nights; only who blesses the new level does."""
    info = gpu(facts=NEWER)
    after = [run(WINDOW + 1 + n, slow={READ: 1.1}, devices=(info,)) for n in range(WINDOW)]
    gate = gated(now(slow={READ: 1.1}, again={READ: 1.1}, devices=(info,)), [*BEFORE, *after], BEFORE[0])
    assert word(gate) == verdict.INCONCLUSIVE
    assert gate.code() == 3
    assert word(gated(now(slow={READ: 1.1}, devices=(info,)), [*BEFORE, *after], after[-1])) == verdict.OK


def test_a_blessed_level_is_the_usual_one_from_then_on():
    """Old Runs of the level before neither fail a healthy device nor excuse one that fell back."""
    slower = run(WINDOW, slow={READ: 1.035})
    assert word(gated(now(slow={READ: 1.035}), BEFORE, slower)) == verdict.OK
    faster = run(WINDOW, slow={READ: 0.965})
    assert word(gated(now(again={READ: 1.0}), BEFORE, faster)) == verdict.REGRESSED


@pytest.mark.parametrize(
    "change",
    [
        {"devices": (gpu(facts=NEWER),)},
        {"devices": (gpu(facts={"driver": "570.86.15", "power_limit_w": "500"}),)},
        {"devices": (gpu(facts={"driver": "570.86.15", "power_limit_w": "700", "ecc": "False"}),)},
        {"libraries": {"torch": "2.10.0"}},
        {"libraries": {}},
    ],
)
def test_another_driver_limit_or_library_is_never_the_hardwares_fault(change):
    made = now(slow={READ: 1.5}, again={READ: 1.5}, **change)
    gate = gated(made, BEFORE, BEFORE[0])
    assert word(gate) == verdict.INCONCLUSIVE
    assert any("new segment" in note for note in gate.notes)
    assert gate.code() == 3


def test_another_version_of_the_suite_is_the_same_segment():
    made = now(slow={READ: 1.05}, again={READ: 1.05}, suite="9.0.0")
    gate = gated(made, BEFORE, BEFORE[0])
    assert word(gate) == verdict.REGRESSED
    assert of(gate, READ).reference.kind == "history"
    assert not any("segment" in note for note in gate.notes)


def test_another_version_of_a_probe_is_another_number():
    newer = CASES | {name: replace(CASES[name], version=4) for name in (READ, TRIAD)}
    made = now(slow={READ: 1.5}, again={READ: 1.5}, cases=newer)
    gate = gated(made, BEFORE, BEFORE[0])
    assert word(gate) == verdict.INCONCLUSIVE
    assert "probe bandwidth 3 → 4" in of(gate, READ).why
    assert any("new segment" in note and READ in note and "3 → 4" in note for note in gate.notes)
    assert gate.code() == 3
    since = [run(WINDOW + 1 + n, cases=newer) for n in range(ENOUGH)]
    assert word(gated(now(cases=newer), [*BEFORE, *since], BEFORE[0])) == verdict.OK
    assert word(gated(made, [*BEFORE, *since], BEFORE[0])) == verdict.REGRESSED


# --- what never counts as a past


def slow_since(runs) -> str:
    """The word of a Run at the usual speed, whose past would be twice as fast if these Runs counted."""
    return of(gated(now(), runs), READ).reference


def test_a_history_is_of_the_same_device_kind_and_of_before():
    fast = {READ: 0.5}
    other = {
        "another GPU": [run(n, slow=fast, devices=(gpu(0, uuid="GPU-9"),)) for n in range(WINDOW)],
        "simulated": [run(n, slow=fast, simulated=True) for n in range(WINDOW)],
        "redacted": [run(n, slow=fast, redacted=True) for n in range(WINDOW)],
        "incomplete": [run(n, slow=fast, complete=False) for n in range(WINDOW)],
        "invalid": [run(n, slow=fast, marks={READ: suspect("busy")}) for n in range(WINDOW)],
        "measured once": [run(n, slow={READ: (0.5,)}) for n in range(WINDOW)],
        "later": [run(NOW + 1 + n, slow=fast) for n in range(WINDOW)],
        "itself": [replace_id(run(n, slow=fast), run(NOW)) for n in range(WINDOW)],
        "another driver": [run(n, slow=fast, devices=(gpu(facts=NEWER),)) for n in range(WINDOW)],
    }
    for who, runs in other.items():
        assert slow_since(runs) is None, who
        assert slow_since([*BEFORE, *runs]).centre == pytest.approx(CASES[READ].work.bytes / CASES[READ].seconds), who
    assert slow_since([run(n, slow=fast) for n in range(WINDOW)]) is not None


def replace_id(made, other):
    return replace(made, environment=replace(made.environment, run_id=other.environment.run_id))


def test_redacted_runs_are_not_each_others_past():
    """None of them says which device it is of."""
    made = now(slow={READ: 1.05}, again={READ: 1.05}, redacted=True)
    assert of(gated(made, [run(n, redacted=True) for n in range(WINDOW)]), READ).reference is None


def test_a_past_run_with_one_round_beside_its_first_pass_says_too_little():
    def thin(number):
        made = run(number, slow={READ: (0.5,)})
        first = replace(made.measurements[0], repetition=0)
        assert first.repetition_key[:2] == CASES[READ].pin
        return replace(made, measurements=(first, *made.measurements))

    assert slow_since([thin(n) for n in range(WINDOW)]) is None


def test_a_simulated_run_has_a_simulated_past():
    runs = [run(n, simulated=True) for n in range(WINDOW)]
    made = now(slow={READ: 1.05}, again={READ: 1.05}, simulated=True)
    assert word(gated(made, runs)) == verdict.REGRESSED
    assert of(gated(made, BEFORE), READ).reference is None


# --- siblings


NODE = tuple(gpu(place) for place in range(8))


def test_the_slow_one_among_siblings_is_named_alone():
    slow, again = {"cuda:3": {READ: 1.2}}, {READ: 1.0}
    gate = gated(now(devices=NODE, only=slow))
    assert word(gate, READ, "cuda:3") == verdict.SUSPICIOUS
    assert gate.slow == ("cuda:3",)
    assert suspects(gate) == {device.id: (CASES[READ].pin,) for device in NODE}, "under the load that it was slow in"
    twice = changed_device(now(devices=NODE, only=slow, again=again), "cuda:3", 1.2)
    gate = gated(twice)
    assert word(gate, READ, "cuda:3") == verdict.REGRESSED
    assert [v.device for v in gate.verdicts if v.status != verdict.OK] == ["cuda:3"]


def changed_device(made, device: str, factor: float):
    """READ's re-measurements of one device, as slow as that."""
    return replace(
        made,
        measurements=tuple(
            replace(m, seconds=(factor * CASES[READ].seconds,) * 6)
            if m.device == device and m.repetition > CONFIRM and m.repetition_key[:2] == CASES[READ].pin
            else m
            for m in made.measurements
        ),
    )


def test_a_little_behind_its_siblings_is_worth_a_word_only():
    made = changed_device(now(devices=NODE, only={"cuda:3": {READ: 1.04}}, again={READ: 1.0}), "cuda:3", 1.04)
    assert word(gated(made), READ, "cuda:3") == verdict.SUSPICIOUS


def test_what_chips_of_one_product_differ_by_is_nothing():
    """Siblings that scatter by nothing still allow OUTLIER."""
    made = now(devices=NODE, only={"cuda:3": {READ: 1.02}})
    found = of(gated(made), READ, "cuda:3")
    assert (found.status, found.reference.kind) == (verdict.OK, "siblings")
    assert found.reference.low == pytest.approx((1 - OUTLIER) * found.reference.centre)


def test_who_was_always_behind_its_siblings_is_no_regression():
    def lasting(number):
        return run(number, devices=NODE, only={"cuda:3": {READ: 1.2}})

    made = changed_device(now(devices=NODE, only={"cuda:3": {READ: 1.2}}, again={READ: 1.0}), "cuda:3", 1.2)
    for before, baseline in (([lasting(n) for n in range(WINDOW)], None), ([], lasting(0))):
        gate = gated(made, before, baseline)
        assert word(gate, READ, "cuda:3") == verdict.SUSPICIOUS
        assert "as it has been before" in of(gate, READ, "cuda:3").why
        assert gate.code() == 0


def test_siblings_of_another_shape_or_of_too_few_say_nothing():
    assert of(gated(now(devices=NODE[:3], only={"cuda:1": {READ: 2.0}})), READ, "cuda:1").reference is None
    made = now(devices=NODE, only={"cuda:1": {READ: 2.0}})
    other = dict(CASES[READ].params) | {"bytes": 2**30}
    made = replace(
        made,
        measurements=tuple(
            replace(m, params=other) if m.device == "cuda:1" and m.repetition_key[:2] == CASES[READ].pin else m
            for m in made.measurements
        ),
    )
    assert of(gated(made), READ, "cuda:1").reference is None


def test_a_products_baseline_judges_every_device_at_twice_the_floor():
    node = run(0, devices=NODE)
    made = now(devices=NODE, only={"cuda:3": {READ: 1.035}, "cuda:5": {READ: 1.06}}, again={READ: 1.06})
    gate = gated(made, [], node, own=False)
    assert of(gate, READ, "cuda:3").comparisons[0].place == "within"
    assert of(gate, READ, "cuda:5").comparisons[0].reference.kind == "product"
    assert word(gate, READ, "cuda:5") == verdict.REGRESSED
    assert any("twice the floor" in note for note in gate.notes)


def test_what_the_node_does_together_is_missed_by_nobody_but_its_first_device():
    """A product's baseline pins the cases of its first device, which alone speaks for a collective."""
    ring = {
        "allreduce.ring": replace(
            CASES["host.h2d"], probe="allreduce", version=1, saturates="link",
            params={"algorithm": "ring", "ranks": 8, "bytes": 2**30},
        )
    }  # fmt: skip
    node = tuple(gpu(place, ranks=8, algorithms=("ring",)) for place in range(8))

    def together(number):
        made = run(number, devices=node, cases=CASES | ring)
        mine = tuple(m for m in made.measurements if m.probe != "allreduce" or m.device == "cuda:0")
        return replace(made, measurements=mine)

    gate = gated(together(NOW), [], together(0), own=False)
    assert word(gate, "allreduce.ring") == verdict.OK
    assert [(v.device, v.metric.name) for v in gate.verdicts if v.status == verdict.MISSING] == []
    assert gate.code() == 0
    alone = replace(together(NOW), measurements=run(NOW, devices=node).measurements)
    assert gated(alone, [], together(0), own=False).code() == 3, "but its first device does miss it"


# --- the datasheet


def test_faster_than_the_datasheet_is_an_error_of_ours():
    h200 = gpu(sku="h200-sxm")
    known = 4.8e12
    for share, expected in ((1.01, verdict.OK), (1.03, verdict.INVALID), (0.4, verdict.SUSPICIOUS)):
        factor = CASES[READ].work.bytes / CASES[READ].seconds / (share * known)
        gate = gated(now(slow={READ: factor}, devices=(h200,)))
        assert word(gate) == expected, share
        if expected == verdict.INVALID:
            assert "no machine does that" in of(gate, READ).why
            assert gate.code() == 3
            assert suspects(gate) == {"cuda:0": (CASES[READ].pin,)}


def test_above_the_datasheet_once_and_not_again_is_decided_by_the_second_look():
    h200 = gpu(sku="h200-sxm")
    usual = CASES[READ].work.bytes / CASES[READ].seconds / 4.8e12
    blessed = run(0, {READ: usual}, devices=(h200,))
    gate = gated(now(slow={READ: usual / 1.05}, again={READ: usual}, devices=(h200,)), [], blessed)
    assert word(gate) != verdict.INVALID
    twice = gated(now(slow={READ: usual / 1.05}, again={READ: usual / 1.05}, devices=(h200,)), [], blessed)
    assert word(twice) == verdict.INVALID


def test_the_sums_of_a_gate():
    """Exit codes for every set of words: regressed before missing before what is in doubt."""
    base = gated(now(), BEFORE, BEFORE[0])
    (template,) = [v for v in base.verdicts if v.metric.name == READ]
    wanted = {
        verdict.REGRESSED: {"regression": 1, "inconclusive": 1, "suspicious": 1},
        verdict.MISSING: {"regression": 3, "inconclusive": 3, "suspicious": 3},
        verdict.INVALID: {"regression": 0, "inconclusive": 3, "suspicious": 3},
        verdict.INCONCLUSIVE: {"regression": 0, "inconclusive": 3, "suspicious": 3},
        verdict.SUSPICIOUS: {"regression": 0, "inconclusive": 0, "suspicious": 3},
        verdict.IMPROVED: dict.fromkeys(("regression", "inconclusive", "suspicious"), 0),
        verdict.OK: dict.fromkeys(("regression", "inconclusive", "suspicious"), 0),
    }
    assert set(wanted) == set(STATUSES)
    for one, codes in wanted.items():
        for other, others in wanted.items():
            gate = replace(base, verdicts=(replace(template, status=one), replace(template, status=other)))
            for fail_on in codes:
                found = {codes[fail_on], others[fail_on]}
                assert gate.code(fail_on) == (1 if 1 in found else max(found)), (one, other, fail_on)
            assert gate.code("never") == 0
            quiet = replace(gate, verdicts=tuple(replace(v, gates=False) for v in gate.verdicts))
            assert quiet.code() == 3, "nothing that gates was seen"


def test_the_words_of_a_limit_and_a_value_are_in_the_metrics_unit():
    gate = gated(now(slow={GEMM: 1.2}, again={GEMM: 1.2}), [], BEFORE[0])
    found = of(gate, GEMM)
    rate = CASES[GEMM].work.flops / CASES[GEMM].seconds
    assert (found.value, found.expected) == pytest.approx((rate / 1.2, rate))
    assert found.limit == pytest.approx(0.95 * rate)
    assert "17 % slower than 786 TFLOP/s" in found.why
    time = of(gated(now(slow={LAUNCH: 1.5}), [], BEFORE[0]), LAUNCH)
    assert (time.value, time.expected, time.limit) == pytest.approx((7.5e-6, 5e-6, 6e-6))
    assert "50 % slower than" in time.why


def test_left_out_files_are_counted_and_named():
    broken = replace(past(*BEFORE), left_out={"a.jsonl": "damaged", "b.jsonl": "empty"})
    gate = judged(now(), {}, broken, ["from the cache"])
    assert gate.notes[0] == "from the cache"
    assert any("2 files of the history left out; a.jsonl: damaged" in note for note in gate.notes)
