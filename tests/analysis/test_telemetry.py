"""What a driver counted over a Run, from readings that begin anew, refuse answers or bear no time."""

import pytest

from bench import work
from bench.analysis.telemetry import THROTTLES, DeviceTelemetry, telemetry
from bench.measure.budget import BUDGETS
from tests.report.runs import by_hand, cpu, measured, simulated, watched


@pytest.fixture(scope="module")
def made():
    """A function: profile of the fake driver -> the telemetry that it would have left."""
    run = simulated("sim:h200-sxm", ("bandwidth",), BUDGETS["standard"])
    known = {}

    def of(profile: str) -> DeviceTelemetry:
        if profile not in known:
            found = watched(run, profile)
            known[profile] = telemetry(found, found.environment.devices)[0]
        return known[profile]

    return of


def test_throttles_are_shares_of_the_whole_time(made):
    assert made("throttled").throttled_share["heat, by hardware"] == pytest.approx(0.25)
    assert made("power_capped").throttled_share["power limit"] == pytest.approx(0.9)
    assert set(made("healthy").throttled_share) == set(THROTTLES.values())
    assert not any(made("healthy").throttled_share.values())


def test_what_was_polled_is_least_mean_and_most(made):
    least, mean, most = made("healthy").polled("power_w")
    assert (least, mean, most) == pytest.approx((0.97 * 640, 640, 1.03 * 640))
    points = made("healthy").points
    assert [point.at for point in points] == sorted(point.at for point in points)
    assert points[0].polled["sm_clock_hz"] == (1.755e9,) * 3


def test_what_was_refused_is_named_with_its_reason(made):
    reasons = made("no_permission").absent
    assert list(reasons) == ["Insufficient Permissions"]
    assert "power_w" in reasons["Insufficient Permissions"]
    assert made("no_permission").is_gpu
    assert made("healthy").absent == {}
    assert made("mig").is_slice


def test_what_was_lost_once_stays_lost(made):
    assert "lost" in made("lost").ever("lost").lower()
    assert made("healthy").ever("lost") is None
    assert made("busy").others == (4194304,)


def test_counters_that_start_anew_count_what_was_seen():
    readings = [{"at_s": float(n), "ecc_double_bit": n_errors} for n, n_errors in enumerate((5, 7, 0, 1))]
    rows = [
        measured("x", {"n": n}, work.Work(bytes=1.0), telemetry={"before": readings[n], "after": readings[n + 1]})
        for n in (0, 2)
    ]
    found = DeviceTelemetry(cpu(), tuple(rows))
    assert found.grown("ecc_double_bit") == 3
    assert found.gained("ecc_double_bit") == 3
    assert found.grown("ecc_single_bit") is None
    assert found.seconds == 3


def test_readings_without_time_have_no_shares():
    counted = {"throttled_hw_thermal_s": 0.0}, {"throttled_hw_thermal_s": 5.0}
    rows = [measured("x", {}, work.Work(bytes=1.0), telemetry=dict(zip(("before", "after"), counted, strict=True)))]
    run = by_hand(rows)
    found = telemetry(run, run.environment.devices)[0]
    assert found.throttled == {"heat, by hardware": 5.0}
    assert found.throttled_share == {}
    assert found.seconds == 0


def test_a_cpu_is_no_gpu():
    run = by_hand([measured("x", {}, work.Work(bytes=1.0))])
    assert not telemetry(run, run.environment.devices)[0].is_gpu
