"""Telemetry read from a driver that is faked at its C symbols, and the verdicts drawn from it."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from bench.device import nvml

pynvml = pytest.importorskip("pynvml")

UUID = "GPU-00000000-1111-2222-3333-444444444444"
OK, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, TOO_SMALL = 0, 3, 4, 6, 7
ULONGLONG, UINT = 3, 1


class FakeNvml:
    """libnvidia-ml.so as far as it is asked: symbols are attributes, results go through ctypes' byref."""

    def __init__(self, fields=None, processes=(), refuse=(), driver=b"580.159.03"):
        healthy = {186: 412_000, 185: 400_000, 190: 700_000, 83: 5_000_000, 4: 0}
        healthy |= {74: 0, 76: 0, 269: 0, 270: 0, 271: 0}
        self.fields = healthy | (fields or {})
        self.processes, self.driver = processes, driver
        for name in refuse:
            setattr(self, name, lambda *_: NO_PERMISSION)

    def nvmlInitWithFlags(self, flags):
        return OK

    def nvmlShutdown(self):
        return OK

    def nvmlDeviceGetHandleByUUID(self, uuid, device):
        return OK if uuid.value == UUID.encode() else NOT_FOUND

    def nvmlDeviceGetName(self, device, buffer, size):
        buffer.value = b"NVIDIA H200"
        return OK

    def nvmlDeviceGetUUID(self, device, buffer, size):
        buffer.value = UUID.encode()
        return OK

    def nvmlSystemGetDriverVersion(self, buffer, size):
        buffer.value = self.driver
        return OK

    def nvmlDeviceGetClockInfo(self, device, kind, clock):
        clock._obj.value = 1755 if getattr(kind, "value", kind) == 1 else 3201
        return OK

    def nvmlDeviceGetMaxClockInfo(self, device, kind, clock):
        clock._obj.value = 1980 if getattr(kind, "value", kind) == 1 else 3201
        return OK

    def nvmlDeviceGetMigMode(self, device, current, pending):
        current._obj.value = pending._obj.value = 0
        return OK

    def nvmlDeviceGetTemperatureV(self, device, temperature):
        temperature._obj.temperature = 61
        return OK

    def nvmlDeviceGetComputeRunningProcesses_v3(self, device, count, infos):
        if infos is None:
            count._obj.value = len(self.processes)
            return TOO_SMALL if self.processes else OK
        count._obj.value = len(self.processes)
        for info, pid in zip(infos, self.processes, strict=False):
            info.pid = pid
        return OK

    def nvmlDeviceGetFieldValues(self, device, count, values):
        for value in values._obj:
            raw = self.fields.get(value.fieldId)
            value.nvmlReturn = NOT_SUPPORTED if raw is None else OK
            if raw is not None and value.fieldId in (185, 186, 190):
                value.valueType, value.value.uiVal = UINT, raw
            elif raw is not None:
                value.valueType, value.value.ullVal = ULONGLONG, raw
        return OK


@pytest.fixture
def driver(monkeypatch):
    """Puts a fake library under pynvml, which fetches its symbols by name and remembers them."""

    def install(**how):
        fake = FakeNvml(**how)
        monkeypatch.setattr(pynvml, "nvmlLib", fake)
        pynvml._nvmlGetFunctionPointer_cache.clear()
        return fake

    yield install
    pynvml._nvmlGetFunctionPointer_cache.clear()


def test_a_healthy_gpu_is_read_in_si_units(driver):
    driver(processes=(os.getpid(),))
    monitor = nvml.Monitor(UUID)
    assert monitor.identity() == {
        "name": "NVIDIA H200",
        "uuid": UUID,
        "driver": "580.159.03",
        "sm_clock_max_hz": 1.98e9,
        "memory_clock_max_hz": 3.201e9,
        "mig": False,
        "power_limit_w": 700.0,
    }
    assert monitor.counters() == {
        "sm_clock_hz": 1.755e9,
        "memory_clock_hz": 3.201e9,
        "temperature_c": 61.0,
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
    }


def read_twice(fake, changes, **before):
    monitor = nvml.Monitor(UUID)
    first = monitor.counters()
    fake.fields |= changes
    for name, value in before.items():
        setattr(fake, name, value)
    return first, monitor.counters()


@pytest.mark.parametrize(
    ("field", "words"),
    [(270, "hardware thermal slowdown"), (271, "hardware power brake"), (269, "software thermal slowdown")],
)
def test_a_throttled_gpu_is_invalid(driver, field, words):
    before, after = read_twice(driver(), {field: 500_000_000})
    assert nvml.judge(before, after, 2.0) == ("invalid", (f"{words} for 25% of the time",))
    # up to a hundredth of the time is noise
    assert nvml.judge(before, after, 50.0) == ("valid", ())


def test_a_power_cap_is_words_only(driver):
    before, after = read_twice(driver(), {74: 1_800_000_000})
    assert nvml.judge(before, after, 2.0) == ("valid", ("clocks held by the power limit for 90% of the time",))


def test_memory_errors_are_invalid(driver):
    before, after = read_twice(driver(fields={4: 1}), {4: 3})
    assert nvml.judge(before, before, 1.0) == ("valid", ())
    assert nvml.judge(before, after, 1.0) == ("invalid", ("2 uncorrectable memory errors",))


@contextmanager
def process(**how):
    """A process that waits until the block ends."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **how)
    try:
        yield child.pid
    finally:
        child.communicate(b"\n")


def test_another_compute_process_is_invalid(driver):
    with process(start_new_session=True) as pid:
        before, after = read_twice(driver(processes=(os.getpid(),)), {}, processes=(os.getpid(), pid))
    assert nvml.judge(before, after, 1.0) == ("invalid", (f"other processes computed on this GPU: {pid}",))


def test_a_process_of_this_run_is_not_foreign(driver):
    with process() as pid:
        driver(processes=(os.getpid(), pid))
        assert nvml.Monitor(UUID).counters()["other_processes"] == []


def test_ids_of_another_namespace_accuse_nobody(driver):
    driver(processes=(4_000_000,))
    counters = nvml.Monitor(UUID).counters()
    assert "other_processes" not in counters
    assert "1 compute processes" in counters["absent"]["other_processes"]


def test_a_refusal_is_a_reason_and_the_rest_is_read(driver):
    refused = ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetMigMode")
    driver(refuse=refused, fields={270: None, 185: None})
    monitor = nvml.Monitor(UUID)
    counters = monitor.counters()
    assert counters["power_w"] == 412.0
    assert counters["absent"] == {
        "temperature_c": "Function Not Found",  # the older call, which this driver lacks
        "other_processes": "Insufficient Permissions",
        "power_mean_w": "Not Supported",
        "throttled_hw_thermal_s": "Not Supported",
    }
    assert monitor.identity()["absent"] == {"mig": "Insufficient Permissions"}
    assert nvml.judge(counters, counters, 1.0) == ("valid", ())


def test_an_older_driver_is_asked_the_older_way(driver):
    fake = driver(refuse=("nvmlDeviceGetTemperatureV",))

    def temperature(device, sensor, value):
        value._obj.value = 48
        return OK

    fake.nvmlDeviceGetTemperature = temperature
    assert nvml.Monitor(UUID).counters()["temperature_c"] == 48.0


def test_a_call_that_fails_as_a_whole_leaves_every_field_absent(driver):
    driver(refuse=("nvmlDeviceGetFieldValues",))
    counters = nvml.Monitor(UUID).counters()
    assert set(counters["absent"]) == {key for key, _ in nvml.FIELDS.values()}
    assert counters["sm_clock_hz"] == 1.755e9


def test_an_unknown_gpu_and_a_missing_driver_are_reasons(driver, monkeypatch):
    driver()
    monitor = nvml.Monitor("GPU-other")
    assert "GPU-other" in monitor.counters()["absent"]["nvml"]

    def refuse(flags):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInitWithFlags", refuse)
    for reading in (nvml.Monitor(UUID).counters(), nvml.Monitor(UUID).identity()):
        assert "no NVIDIA driver answers" in reading["absent"]["nvml"]
        assert nvml.judge(reading, reading, 1.0) == ("valid", ())


def test_a_missing_pynvml_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "not installed" in nvml.Monitor(UUID).counters()["absent"]["nvml"]


def test_a_closed_monitor_says_so(driver):
    driver()
    monitor = nvml.Monitor(UUID)
    monitor.close()
    assert monitor.counters() == {"absent": {"nvml": "closed"}}
