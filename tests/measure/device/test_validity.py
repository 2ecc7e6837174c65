"""Verdicts from what a driver counted: on a faked GPU through pynvml, and on any incomplete telemetry."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.measure.device import nvml
from bench.measure.device.nvml import EVENTS
from bench.measure.device.validity import judge, summary
from tests.measure.device.fake_nvml import (
    ECC_DOUBLE,
    FOREIGN,
    HW_THERMAL,
    NO_PERMISSION,
    POWER_BRAKE,
    POWER_CAP,
    PROFILES,
    SW_THERMAL,
    FakeNvml,
    installed,
)

# how long an example takes is the machine's affair
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
LEVELS = ("valid", "suspect", "invalid")


def watched(fake, seconds=2.0):
    """Telemetry of a fake GPU that worked for a while."""
    with installed(fake):
        monitor = nvml.Monitor(fake.uuid, clock=fake.monotonic)
        before = monitor.counters()
        with monitor.watch() as readings:
            fake.advance(seconds)
        after = monitor.counters()
        monitor.close()
    return {"before": before, "after": after, "during": summary(readings)}


VERDICTS = {
    "healthy": ("valid", ()),
    "throttled": ("invalid", ("hardware thermal slowdown for 25% of the time",)),
    "power_capped": ("valid", ("clocks held by the power limit for 90% of the time",)),
    "ecc_errors": (
        "invalid",
        (
            "2 uncorrectable memory errors",
            "a row of memory failed and waits to be remapped: reset the GPU",
            "400 corrected memory errors",
        ),
    ),
    "mig": ("valid", ()),
    "no_permission": ("valid", ()),
    "lost": ("invalid", ("the GPU fell off the bus (NVML: GPU is lost)",)),
    "busy": ("invalid", (f"other processes computed on this GPU: {FOREIGN}",)),
    "exclusive": ("valid", ()),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_each_gpu_has_its_verdict(profile):
    assert judge(watched(PROFILES[profile]()), 2.0) == VERDICTS[profile]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (HW_THERMAL, "hardware thermal slowdown"),
        (POWER_BRAKE, "hardware power brake"),
        (SW_THERMAL, "software thermal slowdown"),
    ],
)
def test_a_throttled_gpu_is_invalid_beyond_a_hundredth(field, words):
    assert judge(watched(FakeNvml(rates={field: 0.25e9})), 2.0) == ("invalid", (f"{words} for 25% of the time",))
    assert judge(watched(FakeNvml(rates={field: 0.009e9})), 2.0) == ("valid", ())


def test_the_time_between_the_readings_counts_where_it_is_known():
    telemetry = watched(FakeNvml(rates={HW_THERMAL: 0.25e9}))
    assert judge(telemetry, 1000.0)[0] == "invalid"
    for name in ("before", "after"):
        del telemetry[name]["at_s"]
    assert judge(telemetry, 1000.0) == ("valid", ())
    assert judge(telemetry, 1.0) == ("invalid", ("hardware thermal slowdown for 50% of the time",))
    # more than all of the time is the clocks' doing
    assert judge(telemetry, 0.1) == ("invalid", ("hardware thermal slowdown for 100% of the time",))


@pytest.mark.parametrize(
    ("bits", "causes"),
    [
        (0x40, ["hardware thermal slowdown"]),
        (0x80, ["hardware power brake"]),
        (0x20, ["software thermal slowdown"]),
        (0x8, ["hardware slowdown"]),
        (0x8 | 0x40, ["hardware thermal slowdown", "hardware slowdown"]),
    ],
)
def test_events_judge_where_nothing_is_counted(bits, causes):
    uncounted = FakeNvml(events=bits, refused={"nvmlDeviceGetFieldValues": NO_PERMISSION})
    assert judge(watched(uncounted), 2.0) == ("invalid", tuple(f"{cause} seen while measuring" for cause in causes))


@pytest.mark.parametrize("bits", [0x40, 0x80, 0x20])
def test_an_event_that_its_counter_does_not_bear_out_is_a_doubt(bits):
    """A counter may step late, or count in another unit than its header says."""
    validity, (reason,) = judge(watched(FakeNvml(events=bits)), 2.0)
    assert validity == "suspect"
    assert "though its counter hardly moved" in reason


def test_a_hardware_slowdown_that_no_counter_explains_is_suspect():
    validity, (reason,) = judge(watched(FakeNvml(events=0x8)), 2.0)
    assert validity == "suspect"
    assert "hardware slowdown" in reason


@pytest.mark.parametrize(
    ("errors", "words"), [(1, "1 uncorrectable memory error"), (9, "9 uncorrectable memory errors")]
)
def test_any_error_that_ecc_cannot_correct_is_invalid(errors, words):
    assert judge({"before": {"ecc_double_bit": 3}, "after": {"ecc_double_bit": 3 + errors}}, 1.0) == (
        "invalid",
        (words,),
    )


def test_errors_from_before_are_history():
    fake = FakeNvml(remapped=(0, 3, 1, 0))
    fake.fields[ECC_DOUBLE] = 3
    assert judge(watched(fake), 2.0) == ("valid", ())


def test_a_row_that_cannot_be_remapped_is_invalid():
    validity, (reason,) = judge(watched(FakeNvml(remapped=(0, 8, 0, 1))), 2.0)
    assert validity == "invalid"
    assert "remapped" in reason


@pytest.mark.parametrize(
    ("telemetry", "words"),
    [
        (
            {"before": {"pcie_width": 16}, "after": {"pcie_width": 8}},
            "the PCIe link lost 8 of its 16 lanes",
        ),
        ({"before": {"ecc_single_bit": 7}, "after": {"ecc_single_bit": 108}}, "101 corrected memory errors"),
        (
            {"during": {"memory_clock_hz": [2.619e9, 3.1e9, 3.201e9]}},
            "the memory clock moved between 2.62 GHz and 3.20 GHz",
        ),
    ],
)
def test_what_should_stand_still_and_moved_is_suspect(telemetry, words):
    assert judge(telemetry, 1.0) == ("suspect", (words,))


@pytest.mark.parametrize(
    "telemetry",
    [
        {"before": {"pcie_width": 8}, "after": {"pcie_width": 16}},
        {"before": {"ecc_single_bit": 7}, "after": {"ecc_single_bit": 107}},
        {"during": {"memory_clock_hz": [3.15e9, 3.2e9, 3.201e9]}},
        {"before": {"remap_pending": True}, "after": {"remap_pending": True}},
        {"after": {"remap_pending": True, "ecc_double_bit": 9}},
        {"before": {"ecc_double_bit": 9}, "after": {"ecc_double_bit": 0}},
        {"before": {}, "after": None},
        {},
    ],
)
def test_what_did_not_move_or_was_not_read_judges_nothing(telemetry):
    assert judge(telemetry, 1.0) == ("valid", ())


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("application clocks", "clocks held by application clocks that someone set"),
        ("board limit", "clocks held by the board's limit"),
        ("sync boost", "clocks held by a sync boost group"),
        ("software power cap", "clocks held by the power limit"),
    ],
)
def test_limits_are_words_only(event, words):
    assert judge({"during": {"events": [event]}}, 1.0) == ("valid", (words,))


def test_a_power_cap_is_said_once():
    assert judge(watched(FakeNvml(events=0x4, rates={POWER_CAP: 0.001e9})), 2.0) == ("valid", ())


CYCLING = {
    "n": 60,
    "events": ["software power cap"],
    "sm_clock_hz": [1.2e9, 1.5e9, 1.755e9],
    "power_w": [5e2, 6e2, 7e2],
}


@pytest.mark.parametrize("events", [["software power cap"], ["hardware slowdown", "software power cap"]])
def test_a_clock_that_goes_up_and_down_under_a_power_cap_is_told_and_not_suspect(events):
    """A driver may show a hardware slowdown at each change of clocks (nvml.h), of which a cycle is full."""
    telemetry = watched(FakeNvml(rates={POWER_CAP: 0.6e9})) | {"during": CYCLING | {"events": events}}
    assert judge(telemetry, 2.0) == (
        "valid",
        (
            "clocks held by the power limit for 60% of the time",
            "the clock went up and down between 1.20 GHz and 1.75 GHz under the power limit",
        ),
    )


def test_without_a_power_cap_a_hardware_slowdown_stays_suspect():
    telemetry = watched(FakeNvml()) | {"during": CYCLING | {"events": ["hardware slowdown"]}}
    assert judge(telemetry, 2.0)[0] == "suspect"


TIMES = st.floats(0, 3)
COUNTS = st.integers(0, 250)
GROWING = {
    "throttled_hw_thermal_s": TIMES,
    "throttled_sw_thermal_s": TIMES,
    "throttled_power_brake_s": TIMES,
    "throttled_power_cap_s": TIMES,
    "throttled_sync_boost_s": TIMES,
    "energy_j": st.floats(0, 1e6),
    "ecc_double_bit": COUNTS,
    "ecc_single_bit": COUNTS,
}
WORDS = st.lists(st.sampled_from(list(EVENTS.values())), unique=True)
OTHERS = {
    "at_s": st.floats(0, 30),
    "pcie_width": st.sampled_from((4, 8, 16)),
    "remap_pending": st.booleans(),
    "remap_failed": st.booleans(),
    "other_processes": st.lists(st.integers(2, 9), max_size=2),
    "lost": st.just("GPU is lost"),
    "events": WORDS,
    "absent": st.dictionaries(st.text(), st.text(), max_size=2),
}
HERTZ = st.lists(st.floats(1e9, 4e9), min_size=3, max_size=3).map(sorted)
READING = st.fixed_dictionaries({}, optional=GROWING | OTHERS)
SUMMARY = st.fixed_dictionaries({"n": COUNTS}, optional={"events": WORDS, "memory_clock_hz": HERTZ})
TELEMETRY = st.fixed_dictionaries({}, optional={"before": READING, "after": READING, "during": SUMMARY | st.none()})
# most causes left out, so that a single one decides
SOUND = st.fixed_dictionaries(GROWING, optional={"at_s": st.floats(0, 30), "pcie_width": st.just(16)})
COUNTED = st.fixed_dictionaries({"before": SOUND, "after": SOUND}, optional={"during": SUMMARY})
ELAPSED = st.floats(0, 30)


@PATIENT
@given(TELEMETRY, ELAPSED)
def test_partial_telemetry_has_a_verdict_and_its_reasons(telemetry, elapsed):
    validity, reasons = judge(telemetry, elapsed)
    assert validity in LEVELS
    assert validity == "valid" or reasons
    assert all(isinstance(reason, str) and reason for reason in reasons)


# a power cap explains why a clock moved, so that a verdict may get better with it
CAP = {"throttled_power_cap_s", "software power cap"}


@PATIENT
@given(
    TELEMETRY | COUNTED,
    ELAPSED,
    st.sampled_from(sorted(GROWING.keys() - CAP)),
    st.floats(0.001, 3) | st.integers(1, 500),
)
def test_no_verdict_gets_better_when_a_counter_grows(telemetry, elapsed, key, growth):
    after = telemetry.get("after", {})
    worse = telemetry | {"after": after | ({key: after[key] + growth} if key in after else {})}
    assert level(worse, elapsed) >= level(telemetry, elapsed)


@PATIENT
@given(TELEMETRY | COUNTED, ELAPSED, st.sampled_from(sorted({*EVENTS.values()} - CAP)))
def test_no_verdict_gets_better_when_an_event_is_seen(telemetry, elapsed, event):
    during = telemetry.get("during") or {}
    worse = telemetry | {"during": during | {"events": [*during.get("events", ()), event]}}
    assert level(worse, elapsed) >= level(telemetry, elapsed)


def level(telemetry, elapsed):
    return LEVELS.index(judge(telemetry, elapsed)[0])
