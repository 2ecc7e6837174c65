"""Telemetry read through pynvml from a driver that is faked at its C symbols."""

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import pynvml
import pytest

from bench.measure.device import nvml
from bench.measure.device.nvml import EVENTS, events
from bench.measure.device.validity import summary
from tests.measure.device.fake_nvml import (
    HW_THERMAL,
    MEAN_POWER,
    MIG_UUID,
    NO_PERMISSION,
    NOT_SUPPORTED,
    OK,
    PROFILES,
    UUID,
    FakeNvml,
    healthy,
    installed,
    lost,
)

IDENTITY = {
    *("name", "uuid", "driver", "cuda_driver", "sm_clock_max_hz", "memory_clock_max_hz", "memory_bus_bits"),
    *("power_limit_w", "power_limit_default_w", "power_limit_max_w", "mig", "ecc", "compute_mode", "persistence"),
    *("pcie_generation_max", "pcie_width_max", "nvlinks", "nvlinks_total", "remapped_rows_correctable"),
    *("remapped_rows_uncorrectable", "remap_pending", "remap_failed", "pci_bus", "numa_node", "pcie_root"),
}
COUNTERS = {
    *("at_s", "sm_clock_hz", "memory_clock_hz", "temperature_c", "memory_temperature_c", "other_processes"),
    *("power_w", "power_mean_w", "power_limit_w", "energy_j", "throttled_power_cap_s", "throttled_sync_boost_s"),
    *("throttled_sw_thermal_s", "throttled_hw_thermal_s", "throttled_power_brake_s", "ecc_double_bit"),
    *("ecc_single_bit", "events", "pcie_generation", "pcie_width", "nvlinks", "remap_pending", "remap_failed"),
}


@pytest.fixture
def driver():
    """Installs a fake driver until the test ends and returns the Monitor of its GPU."""
    with ExitStack() as stack:

        def monitor(fake, **how):
            stack.enter_context(installed(fake))
            return nvml.Monitor(fake.uuid, clock=fake.monotonic, **how)

        yield monitor


@pytest.fixture
def sysfs(tmp_path):
    """/sys/bus/pci/devices with one GPU, behind a switch's port below the root port of a host bridge."""
    path, bus = tmp_path / "devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:19:00.0", tmp_path / "bus"
    path.mkdir(parents=True)
    bus.mkdir()
    (path / "numa_node").write_text("1\n")
    (bus / path.name).symlink_to(path)
    return bus


def test_a_healthy_gpu_is_known_in_si_units(driver, sysfs):
    assert driver(healthy(), sysfs=sysfs).identity() == {
        "name": "NVIDIA H200",
        "uuid": UUID,
        "driver": "580.159.03",
        "cuda_driver": "13.0",
        "sm_clock_max_hz": 1.98e9,
        "memory_clock_max_hz": 3.201e9,
        "memory_bus_bits": 6144,
        "power_limit_w": 700.0,
        "power_limit_default_w": 700.0,
        "power_limit_max_w": 700.0,
        "mig": False,
        "ecc": True,
        "compute_mode": "default",
        "persistence": True,
        "pcie_generation_max": 5,
        "pcie_width_max": 16,
        "nvlinks": 18,
        "nvlinks_total": 18,
        "remapped_rows_correctable": 0,
        "remapped_rows_uncorrectable": 0,
        "remap_pending": False,
        "remap_failed": False,
        "pci_bus": "0000:19:00.0",
        "numa_node": 1,
        "pcie_root": "pci0000:15",
    }


def test_a_healthy_gpu_is_read_in_si_units(driver):
    assert driver(healthy()).counters() == {
        "at_s": 0.0,
        "sm_clock_hz": 1.755e9,
        "memory_clock_hz": 3.201e9,
        "temperature_c": 61.0,
        "memory_temperature_c": 70.0,
        "other_processes": [],
        "power_w": 412.0,
        "power_mean_w": 400.0,
        "power_limit_w": 700.0,
        "energy_j": 5000.0,
        "throttled_power_cap_s": 0.0,
        "throttled_sync_boost_s": 0.0,
        "throttled_sw_thermal_s": 0.0,
        "throttled_hw_thermal_s": 0.0,
        "throttled_power_brake_s": 0.0,
        "ecc_double_bit": 0,
        "ecc_single_bit": 0,
        "events": [],
        "pcie_generation": 5,
        "pcie_width": 16,
        "nvlinks": 18,
        "remap_pending": False,
        "remap_failed": False,
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_every_key_is_an_answer_or_a_reason(driver, profile):
    monitor = driver(PROFILES[profile]())
    for reading, keys in ((monitor.identity(), IDENTITY), (monitor.counters(), COUNTERS)):
        absent = reading.pop("absent", {})
        reading.pop("lost", None)
        assert reading.keys() | absent.keys() == keys
        assert not reading.keys() & absent.keys()
        assert all(absent.values())


def test_energy_and_throttling_move_with_time(driver):
    fake = PROFILES["throttled"]()
    monitor = driver(fake)
    before = monitor.counters()
    fake.advance(2.0, power_w=650.0)
    after = monitor.counters()
    assert (after["energy_j"] - before["energy_j"]) / (after["at_s"] - before["at_s"]) == 650.0
    assert after["throttled_hw_thermal_s"] - before["throttled_hw_thermal_s"] == 0.5
    assert after["power_w"] == 650.0
    assert after["events"] == ["hardware slowdown", "hardware thermal slowdown"]


def test_events_are_the_bits_of_the_header():
    named = {
        "GpuIdle": "idle",
        "ApplicationsClocksSetting": "application clocks",
        "SwPowerCap": "software power cap",
        "HwSlowdown": "hardware slowdown",
        "SyncBoost": "sync boost",
        "SwThermalSlowdown": "software thermal slowdown",
        "HwThermalSlowdown": "hardware thermal slowdown",
        "HwPowerBrakeSlowdown": "hardware power brake",
        "DisplayClockSetting": "display clocks",
    }
    bits = {getattr(pynvml, f"nvmlClocksEventReason{name}"): word for name, word in named.items()}
    assert bits | {0x200: "board limit", 0x400: "reliability"} == EVENTS


def test_events_are_told_together():
    assert events(0x8 | 0x4 | 1 << 40) == ["hardware slowdown", "software power cap"]
    assert events(0) == []


def test_a_slice_that_cuda_calls_a_gpu_is_found(driver):
    fake = PROFILES["mig"]()
    with installed(fake):
        identity = nvml.Monitor(fake.uuid.replace("MIG-", "GPU-")).identity()
    assert (identity["uuid"], identity["mig"]) == (MIG_UUID, True)


def test_a_mig_slice_is_known_by_its_own_handle(driver):
    monitor = driver(PROFILES["mig"]())
    identity = monitor.identity()
    assert (identity["name"], identity["uuid"], identity["mig"]) == ("NVIDIA H200 MIG 1g.18gb", MIG_UUID, True)
    assert identity["absent"]["power_limit_w"] == "Not Supported"
    assert monitor.counters()["absent"]["throttled_hw_thermal_s"] == "Not Supported"


def test_what_is_forbidden_has_its_reason(driver):
    monitor = driver(PROFILES["no_permission"]())
    reasons = {**monitor.identity()["absent"], **monitor.counters()["absent"]}
    assert set(reasons.values()) == {"Insufficient Permissions"}
    assert reasons.keys() == (IDENTITY | COUNTERS) - {"driver", "cuda_driver", "at_s"}


def test_a_gpu_that_is_lost_is_not_asked_again(driver):
    fake = healthy()
    monitor = driver(fake)
    assert "lost" not in monitor.counters()
    fake.calls_left = 3
    counters = monitor.counters()
    assert counters["lost"] == "GPU is lost"
    assert counters["power_w"] == 412.0, "what was read before it fell"
    assert counters["absent"]["other_processes"] == "GPU is lost"
    # the call that found out, and one that asked the older way
    assert fake.calls_left >= -2


def test_a_field_alone_can_say_that_the_gpu_is_lost(driver):
    fake = healthy()
    monitor = driver(fake)

    def values(device, count, values):
        for value in values._obj:
            value.nvmlReturn = pynvml.NVML_ERROR_GPU_IS_LOST
        return OK

    fake.nvmlDeviceGetFieldValues = values
    assert monitor.counters()["lost"] == "GPU is lost"


def test_compute_mode_in_words(driver):
    assert driver(PROFILES["exclusive"]()).identity()["compute_mode"] == "exclusive process"


@pytest.mark.parametrize(("links", "found"), [((), (0, 0)), ((1, 0, 1, 0), (2, 4)), ((1,) * 18, (18, 18))])
def test_nvlinks_are_counted_until_there_are_no_more(driver, links, found):
    monitor = driver(FakeNvml(links=links))
    identity, counters = monitor.identity(), monitor.counters()
    assert (identity["nvlinks"], identity["nvlinks_total"], counters["nvlinks"]) == (*found, found[0])
    assert "nvlinks" not in identity["absent"]


@pytest.mark.parametrize(
    ("text", "reason"), [("-1\n", "does not know"), ("none", "invalid literal"), (None, "No such")]
)
def test_an_unknown_numa_node_is_a_reason(driver, tmp_path, text, reason):
    (tmp_path / "0000:19:00.0").mkdir()
    if text:
        (tmp_path / "0000:19:00.0/numa_node").write_text(text)
    identity = driver(healthy(), sysfs=tmp_path).identity()
    assert reason in identity["absent"]["numa_node"]
    assert "numa_node" not in identity


def test_a_device_that_hangs_on_no_known_root_has_a_reason(driver, tmp_path):
    (tmp_path / "0000:19:00.0").mkdir()
    assert "no root of the PCIe tree" in driver(healthy(), sysfs=tmp_path).identity()["absent"]["pcie_root"]
    assert "No such file" in driver(healthy(), sysfs=tmp_path / "nowhere").identity()["absent"]["pcie_root"]


@pytest.mark.parametrize(
    ("bus", "address"), [("00000000:C1:00.0", "0000:c1:00.0"), ("00010001:0A:00.0", "10001:0a:00.0")]
)
def test_a_pci_address_is_spelled_as_the_kernel_does(driver, bus, address):
    assert driver(FakeNvml(bus=bus)).identity()["pci_bus"] == address


@contextmanager
def process(**how):
    """A process that waits until the block ends."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **how)
    try:
        yield child.pid
    finally:
        child.communicate(b"\n")


def test_another_compute_process_is_foreign(driver):
    with process(start_new_session=True) as pid:
        assert driver(FakeNvml(processes=(os.getpid(), pid))).counters()["other_processes"] == [pid]


def test_a_process_of_this_run_is_not_foreign(driver):
    with process() as pid:
        assert driver(FakeNvml(processes=(os.getpid(), pid))).counters()["other_processes"] == []


def test_ids_of_another_namespace_accuse_nobody(driver):
    counters = driver(FakeNvml(processes=(4_000_000,))).counters()
    assert "other_processes" not in counters
    assert "1 compute processes" in counters["absent"]["other_processes"]


def test_a_refusal_is_a_reason_and_the_rest_is_read(driver):
    fake = healthy()
    fake.refused = dict.fromkeys(("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetMigMode"), NO_PERMISSION)
    fake.refused["nvmlDeviceGetTemperatureV"] = NOT_SUPPORTED
    fake.fields |= {HW_THERMAL: None, MEAN_POWER: None}
    monitor = driver(fake)
    counters = monitor.counters()
    assert counters["power_w"] == 412.0
    assert counters["absent"] == {
        "temperature_c": "Not Supported",
        "other_processes": "Insufficient Permissions",
        "power_mean_w": "Not Supported",
        "throttled_hw_thermal_s": "Not Supported",
    }
    assert monitor.identity()["absent"]["mig"] == "Insufficient Permissions"


def test_an_older_driver_is_asked_the_older_way(driver):
    fake = healthy()
    missing = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
    fake.refused = {"nvmlDeviceGetTemperatureV": missing, "nvmlDeviceGetCurrentClocksEventReasons": missing}

    def answer(number):
        def write(*arguments):
            arguments[-1]._obj.value = number
            return OK

        return write

    fake.nvmlDeviceGetTemperature = answer(48)
    fake.nvmlDeviceGetCurrentClocksThrottleReasons = answer(0x20)
    counters = driver(fake).counters()
    assert counters["temperature_c"] == 48.0
    assert counters["events"] == ["software thermal slowdown"]


def test_a_call_that_fails_as_a_whole_leaves_every_field_absent(driver):
    fake = healthy()
    fake.refused = {"nvmlDeviceGetFieldValues": NO_PERMISSION}
    counters = driver(fake).counters()
    assert set(counters["absent"]) == {key for key, _ in nvml.COUNTERS.values()}
    assert counters["sm_clock_hz"] == 1.755e9


def test_a_value_of_an_unknown_type_is_a_reason(driver):
    fake = healthy()

    def values(device, count, values):
        for value in values._obj:
            value.nvmlReturn, value.valueType = OK, 9
        return OK

    fake.nvmlDeviceGetFieldValues = values
    assert "type 9" in driver(fake).counters()["absent"]["energy_j"]


def test_an_unknown_gpu_and_a_missing_driver_are_reasons():
    with installed(healthy()):
        assert "GPU-other" in nvml.Monitor("GPU-other").counters()["absent"]["nvml"]
    with installed(FakeNvml(refused={"nvmlInitWithFlags": pynvml.NVML_ERROR_DRIVER_NOT_LOADED})):
        for reading in (nvml.Monitor(UUID).counters(), nvml.Monitor(UUID).identity()):
            assert reading == {"absent": {"nvml": "no NVIDIA driver answers: Driver Not Loaded"}}


def test_a_missing_pynvml_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "not installed" in nvml.Monitor(UUID).counters()["absent"]["nvml"]


def test_a_closed_monitor_says_so(driver):
    monitor = driver(healthy())
    monitor.close()
    assert monitor.counters() == {"absent": {"nvml": "closed"}}


def test_a_fake_leaves_no_trace():
    library, symbols = pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache)
    with installed(healthy()):
        assert nvml.Monitor(UUID).identity()["name"] == "NVIDIA H200"
        assert pynvml._nvmlGetFunctionPointer_cache != symbols
    assert pynvml.nvmlLib is library
    assert pynvml._nvmlGetFunctionPointer_cache == symbols


def polling():
    return [thread for thread in threading.enumerate() if thread.name == "nvml"]


def wait(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_happens_meanwhile_is_watched(driver):
    fake = healthy()
    monitor = driver(fake)
    with monitor.watch(interval=0.001) as readings:
        wait(lambda: readings)
        fake.sm_clock_mhz, fake.events = 1410, 0x4
        fake.advance(1.0, power_w=700.0)
        # one reading may have begun before the change
        seen = len(readings)
        wait(lambda: len(readings) > seen + 1)
    assert not polling()
    assert readings[0] == {
        "at_s": 0.0,
        "sm_clock_hz": 1.755e9,
        "memory_clock_hz": 3.201e9,
        "power_w": 412.0,
        "energy_j": 5000.0,
        "temperature_c": 61.0,
        "events": [],
    }
    condensed = summary(readings)
    assert condensed["n"] == len(readings)
    assert condensed["sm_clock_hz"][::2] == [1.41e9, 1.755e9]
    assert condensed["power_w"][0] == 412.0 < condensed["power_w"][1] < condensed["power_w"][2] == 700.0
    assert condensed["memory_clock_hz"] == [3.201e9] * 3
    assert condensed["events"] == ["software power cap"]


def test_a_driver_that_is_slow_to_answer_is_asked_less(monkeypatch):
    """Eight processes that ask 20 times a second each would wait for one another at the driver's lock."""
    fake = healthy()
    answer = fake._call

    def slowly(name, function, *arguments):
        time.sleep(0.004)
        return answer(name, function, *arguments)

    with installed(fake):
        monitor = nvml.Monitor(UUID)
        fake._call = slowly
        begun = time.monotonic()
        with monitor.watch() as readings:
            time.sleep(1.6)
        watched = time.monotonic() - begun
    # a reading takes five calls, 20 ms or more: a second between two, not 50 ms
    assert 1 <= len(readings) <= 1 + watched


def test_a_short_block_has_one_reading(driver):
    monitor = driver(healthy())
    with monitor.watch(interval=60) as readings:
        begun = time.monotonic()
    assert len(readings) == 1
    assert time.monotonic() - begun < 10


def test_watching_ends_with_a_failing_block(driver):
    def fail():
        with monitor.watch(interval=0.001):
            assert polling()
            raise ZeroDivisionError

    monitor = driver(healthy())
    with pytest.raises(ZeroDivisionError):
        fail()
    assert not polling()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_refusals_stay_inside_the_watching_thread(driver):
    with driver(PROFILES["no_permission"]()).watch(interval=0.001) as readings:
        wait(lambda: len(readings) > 2)
    assert summary(readings) == {"n": len(readings)}


def test_watching_ends_when_the_gpu_is_lost(driver):
    with driver(lost(calls=12)).watch(interval=0.001) as readings:
        wait(lambda: not polling())
    # a reading takes five calls, and one of the twelve found the GPU
    assert len(readings) == 2


def test_without_a_driver_nothing_is_watched():
    with nvml.Monitor("GPU-none").watch() as readings:
        assert not polling()
    assert readings == []
    assert summary(readings) == {"n": 0}


def test_a_summary_leaves_out_idle_moments_and_what_no_reading_has():
    readings = [
        {"power_w": 100.0, "events": ["idle"]},
        {"power_w": 120.0, "sm_clock_hz": 3e8, "events": [], "resting": True},
        {"power_w": 400.0, "events": []},
        {"temperature_c": 60.0},
    ]
    assert summary(readings) == {
        "n": 2,
        "idle": 2,
        "power_w": [400.0, 400.0, 400.0],
        "temperature_c": [60.0, 60.0, 60.0],
        "events": ["idle"],
    }


def test_what_is_read_while_a_gpu_rests_is_marked(driver):
    monitor = driver(healthy())
    monitor.resting = True
    with monitor.watch(interval=0.001) as readings:
        wait(lambda: len(readings) > 2)
        resting = len(readings)
        monitor.resting = False
        wait(lambda: len(readings) > resting + 2)
    assert all(reading.get("resting") for reading in readings[:resting])
    assert not readings[-1].get("resting")
    assert summary(readings)["n"] < len(readings)


@pytest.mark.parametrize("step", [0.1, 0.25])
def test_the_energy_counters_step_is_what_was_seen(step):
    """The counter stands still between its steps, and each is seen up to a poll late."""
    polls = [0.05 * poll + 0.003 * (poll % 3) for poll in range(80)]
    readings = [{"at_s": at, "energy_j": 5e3 + 400 * step * (at // step)} for at in polls]
    assert summary(readings)["energy_step_s"] == pytest.approx(step, rel=0.05)


def test_a_counter_that_hardly_moved_has_no_step():
    readings = [{"at_s": 0.05 * poll, "energy_j": 5e3 + (poll > 2)} for poll in range(5)]
    assert "energy_step_s" not in summary(readings)
