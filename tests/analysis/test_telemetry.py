"""What a driver counted over a Run, from readings that begin anew, refuse answers or bear no time."""

from dataclasses import replace

import pytest

from bench import work
from bench.analysis.telemetry import MOST_CORRECTED, THROTTLES, DeviceTelemetry, DriverReading, readings, telemetry
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


# What a driver counted of a device, quantity by quantity, beside what is expected of it.


@pytest.fixture(scope="module")
def found():
    """A function: profile of the fake driver -> its readings by quantity."""
    run = simulated("sim:h200-sxm", ("bandwidth", "peak"), BUDGETS["standard"])
    known = {}

    def of(profile: str) -> dict[str, DriverReading]:
        if profile not in known:
            seen = watched(run, profile)
            made = telemetry(seen, seen.environment.devices)[0]
            known[profile] = {each.quantity: each for each in readings(made)}
        return known[profile]

    return of


def doubtful(found: dict[str, DriverReading]) -> set[str]:
    return {quantity for quantity, each in found.items() if each.doubtful}


def test_a_healthy_gpu_has_nothing_doubtful(found):
    seen = found("healthy")
    assert doubtful(seen) == set()
    assert (seen["PCIe lanes"].value, seen["PCIe lanes"].most) == (16, "16")
    assert (seen["NVLinks up"].value, seen["NVLinks up"].most) == (18, "18")
    assert seen["other processes"].value == "none"
    assert {f"slowed by {cause}" for cause in THROTTLES.values()} <= set(seen)
    assert seen["slowed by heat, by hardware"].value == 0
    power = seen["power"]
    assert (power.low, power.value, power.high) == pytest.approx((0.97 * 640, 640, 1.03 * 640))
    assert seen["SM clock"].unit == "Hz"
    assert seen["ECC"].value == "on"


@pytest.mark.parametrize(
    ("profile", "quantities"),
    [
        ("throttled", {"measurements", "slowed by heat, by hardware"}),
        ("busy", {"measurements", "other processes"}),
        ("ecc_errors", {"measurements", "uncorrectable memory errors", "row remap pending"}),
    ],
)
def test_what_is_not_as_expected_is_doubtful(found, profile, quantities):
    assert quantities <= doubtful(found(profile))


def test_a_power_cap_is_how_a_gpu_works_at_full_load(found):
    cap = found("power_capped")["slowed by power limit"]
    assert cap.share == pytest.approx(0.9)
    assert cap.expected == "at full load"
    assert "slowed by power limit" not in doubtful(found("power_capped"))
    assert found("throttled")["slowed by heat, by hardware"].share == pytest.approx(0.25)


def test_what_was_not_read_is_left_out(found):
    assert "power" not in found("no_permission")
    assert not {"power", "energy", "slowed by heat, by hardware"} & set(found("mig"))
    assert found("mig")["MIG"].value == "on"


def seen(before: dict, after: dict, **facts: str) -> dict[str, DriverReading]:
    counted = {"before": {"at_s": 0.0, **before}, "after": {"at_s": 10.0, **after}}
    rows = (measured("x", {}, work.Work(bytes=1.0), telemetry=counted),)
    return {each.quantity: each for each in readings(DeviceTelemetry(replace(cpu(), facts=facts), rows))}


@pytest.mark.parametrize("more", [0, 1])
def test_corrected_errors_are_doubtful_beyond_a_number(more):
    errors = seen({"ecc_single_bit": 5}, {"ecc_single_bit": 5 + MOST_CORRECTED + more})["corrected memory errors"]
    assert errors.value == MOST_CORRECTED + more
    assert errors.doubtful is bool(more)


def test_fewer_lanes_and_another_limit_are_doubtful_and_told_with_what_is_usual():
    limits = {"power_limit_w": 500.0, "pcie_width": 8}
    found = seen(limits, limits, power_limit_default_w="700", pcie_width_max="16")
    assert (found["power limit"].value, found["power limit"].most, found["power limit"].doubtful) == (500, "700", True)
    assert (found["PCIe lanes"].value, found["PCIe lanes"].most, found["PCIe lanes"].doubtful) == (8, "16", True)
    usual = seen({"power_limit_w": 700.0}, {"power_limit_w": 700.0}, power_limit_default_w="700")["power limit"]
    assert (usual.most, usual.doubtful) == ("", False)


def test_links_are_counted_against_what_there_is_and_not_what_was_found():
    found = seen({"nvlinks": 17}, {"nvlinks": 17}, nvlinks="17")["NVLinks up"]
    assert (found.value, found.most, found.doubtful) == (17, "", False), "unknown how many there are"
    found = seen({"nvlinks": 17}, {"nvlinks": 17}, nvlinks="17", nvlinks_total="18")["NVLinks up"]
    assert (found.value, found.most, found.doubtful) == (17, "18", False), "a board may leave some unused"
    every = [
        DeviceTelemetry(
            replace(cpu(), id=f"cuda:{up}"),
            (measured("x", {}, work.Work(bytes=1.0), telemetry={"before": {"nvlinks": up}, "after": {"nvlinks": up}}),),
        )
        for up in (17, 18)
    ]
    found = [next(r for r in readings(each, every) if r.quantity == "NVLinks up") for each in every]
    assert [(r.value, r.most, r.doubtful) for r in found] == [(17, "18", True), (18, "18", False)]


def test_energy_and_slow_time_are_differences():
    found = seen(
        {"energy_j": 100.0, "throttled_power_brake_s": 1.0}, {"energy_j": 350.0, "throttled_power_brake_s": 3.0}
    )
    assert found["energy"].value == 250
    brake = found["slowed by power brake"]
    assert (brake.value, brake.share, brake.doubtful) == (2, pytest.approx(0.2), True)
