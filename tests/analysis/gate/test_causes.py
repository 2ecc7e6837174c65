"""What probably slowed a metric: planted causes are told apart, by what else moved."""

import pytest

from bench.analysis.gate.causes import defects, limits
from tests.analysis.gate.runs import (
    CACHE,
    DECODE,
    GEMM,
    GEMV,
    H2D,
    LAUNCH,
    LOOP,
    READ,
    TRIAD,
    VECTOR,
    changed,
    gated,
    gpu,
    of,
    run,
)

BEFORE = run(0, clock_hz=1.98e9)
HELD = "clocks held by the power limit for 90% of the time"


def causes(slow, clock_hz: float | None = 1.98e9, **more) -> dict[str, str]:
    again = dict(slow)
    gate = gated(run(1, slow, again, clock_hz=clock_hz, **more), [], BEFORE)
    return {v.metric.name: v.cause for v in gate.verdicts if v.cause}


def test_what_streams_falls_with_memory():
    slow = dict.fromkeys((READ, TRIAD, GEMV, DECODE), 1.1)
    assert causes(slow) == dict.fromkeys(slow, "memory")


def test_a_gemv_that_falls_further_than_memory_has_a_cause_of_its_own():
    found = causes({READ: 1.03, GEMV: 1.5})
    assert found[READ] == "memory"
    assert found[GEMV] == "kernel or library"


def test_a_gemm_that_falls_alone_is_its_librarys():
    assert causes({GEMM: 1.2}) == {GEMM: "kernel or library"}


def test_a_gemm_falls_with_the_loop_beneath_it():
    found = causes(dict.fromkeys((GEMM, LOOP, VECTOR), 1.2), clock_hz=None)
    assert set(found) == {GEMM, LOOP, VECTOR}
    assert all(cause.startswith("clock, heat or power") for cause in found.values())


def test_slow_clocks_under_the_same_work_per_clock():
    slow = dict.fromkeys((GEMM, LOOP, VECTOR, CACHE), 1.2)
    found = causes(slow, clock_hz=1.98e9 / 1.2)
    assert found == dict.fromkeys(slow, "clock, heat or power")
    gate = gated(run(1, slow, slow, clock_hz=1.98e9 / 1.2), [], BEFORE)
    assert of(gate, GEMM).per_clock == pytest.approx(1.0)


def test_clocks_that_fell_a_little_do_not_explain_a_deep_fall():
    assert causes({GEMM: 1.5}, clock_hz=1.98e9 / 1.05) == {GEMM: "kernel or library"}


def test_who_held_the_clocks_is_named():
    slow = dict.fromkeys((GEMM, LOOP, VECTOR), 1.2)
    found = causes(slow, clock_hz=1.98e9 / 1.2, marks={name: {"reasons": (HELD,)} for name in slow})
    assert found == dict.fromkeys(slow, "clock, heat or power (clocks held by the power limit)")


def test_memory_has_no_sm_clock():
    gate = gated(run(1, {READ: 1.1}, {READ: 1.1}, clock_hz=1.98e9 / 1.1), [], BEFORE)
    assert of(gate, READ).per_clock is None
    assert of(gate, READ).cause == "memory"


def test_the_clocks_of_another_device_say_nothing():
    """A product's baseline is of other chips, whose clocks are theirs."""
    gate = gated(run(1, {GEMM: 1.2}, {GEMM: 1.2}, clock_hz=1.5e9), [], BEFORE, own=False)
    assert of(gate, GEMM).per_clock is None


@pytest.mark.parametrize(
    ("metric", "cause"), [(H2D, "link"), (LAUNCH, "host or launch path"), (CACHE, "cache"), (READ, "memory")]
)
def test_each_part_alone(metric, cause):
    assert causes({metric: 1.5}) == {metric: cause}


def test_other_software_goes_before_everything():
    newer = (gpu(facts={"driver": "580.65.06", "power_limit_w": "700"}),)
    found = causes({READ: 1.2, GEMM: 1.2}, devices=newer)
    assert set(found.values()) == {"software change (driver 570.86.15 → 580.65.06)"}


def test_other_software_slows_no_sibling():
    """They run the same."""
    node = tuple(gpu(place, facts={"driver": "580.65.06", "power_limit_w": "700"}) for place in range(4))
    gate = gated(run(1, devices=node, only={"cuda:2": {READ: 1.3}}))
    assert of(gate, READ, "cuda:2").cause == "memory"


def test_what_is_not_slow_has_no_cause():
    assert causes({}) == {}
    assert causes({READ: 0.8}) == {}


# --- what is broken, however fast


def telling(**after) -> dict[str, dict[str, dict[str, object]]]:
    quiet = {"ecc_double_bit": 2, "remap_pending": False, "remap_failed": False}
    return {READ: {"telemetry": {"before": quiet, "after": quiet | after}}}


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"ecc_double_bit": 3}, "uncorrectable memory errors"),
        ({"remap_failed": True}, "could not be remapped"),
        ({"remap_pending": True}, "waits to be remapped"),
        ({"lost": "GPU is lost"}, "fell off the bus (NVML: GPU is lost)"),
    ],
)
def test_a_defect_is_red_however_fast(after, words):
    gate = gated(run(1, {READ: 0.5}, marks=telling(**after)), [], BEFORE)
    ((device, said),) = gate.defects
    assert device == "cuda:0"
    assert words in said
    assert (gate.status, gate.code(), gate.code("regression")) == ("regressed", 1, 1)
    assert gate.slow == ("cuda:0",)


def test_a_row_that_waited_before_the_run_is_a_defect_too():
    before = {"telemetry": {"before": {"remap_pending": True}, "after": {}}}
    assert gated(run(1, marks={READ: before}), [], BEFORE).code() == 1


def test_old_errors_and_absent_counters_are_no_defect():
    for marks in (telling(), {READ: {"telemetry": {"before": {}, "after": {"ecc_double_bit": 7}}}}, {}):
        gate = gated(run(1, marks=marks), [], BEFORE)
        assert gate.defects == ()
        assert gate.code() == 0


def test_errors_between_two_measurements_are_errors():
    """Buffers are filled and checked there, and a GPU works on whatever nobody times."""
    made = run(1)
    for repetition, count in ((2, 0), (3, 1), (4, 1)):
        counted = {"before": {"ecc_double_bit": count}, "after": {"ecc_double_bit": count}}
        made = changed(made, READ, [repetition], telemetry=counted)
    assert gated(made, [], BEFORE).code() == 1


def test_a_defect_is_its_devices_alone_and_said_once():
    node = (gpu(0), gpu(1))
    made = run(1, devices=node, marks=telling(ecc_double_bit=3))
    made = changed_of(made, "cuda:0")
    assert [device for device, _ in defects(made)] == ["cuda:1"]


def changed_of(made, device: str):
    from dataclasses import replace

    quiet = {"before": {"ecc_double_bit": 2}, "after": {"ecc_double_bit": 2}}
    found = tuple(replace(m, telemetry=quiet) if m.device == device else m for m in made.measurements)
    return replace(made, measurements=found)


def test_what_held_the_clocks_most_often_is_said_first():
    often = {name: {"reasons": (HELD, "other words")} for name in (GEMM, LOOP)}
    marks = often | {READ: {"reasons": ("clocks held by the board's limit",)}}
    made = run(1, marks=marks)
    assert limits(made, "cuda:0") == ("clocks held by the power limit", "clocks held by the board's limit")
    assert limits(made, "cuda:1") == ()
