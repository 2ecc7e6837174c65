"""What the driver's management library knows of a GPU, and whether a measurement under it counts.

Everything is optional: a query that a GPU, a driver or a container refuses is left out and its reason kept under
"absent"; nothing here ends a Run. Field ids and units are those of nvml.h 13; values leave in SI units (W, Hz, J, s)
and temperature in degrees Celsius. Clocks and limits are read, never set.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

# Field id of nvmlDeviceGetFieldValues -> (key, units of the raw value per SI unit). 186 is the power of this moment,
# 185 its mean over a second, on parts that know no other; times and energy count up since the driver was loaded.
FIELDS = {
    186: ("power_w", 1e3),
    185: ("power_mean_w", 1e3),
    190: ("power_limit_w", 1e3),
    83: ("energy_j", 1e3),
    74: ("throttled_power_cap_s", 1e9),
    76: ("throttled_sync_boost_s", 1e9),
    269: ("throttled_sw_thermal_s", 1e9),
    270: ("throttled_hw_thermal_s", 1e9),
    271: ("throttled_power_brake_s", 1e9),
    4: ("ecc_double_bit", 1),
}

# Causes that say something is wrong with the machine. A power cap is how a GPU works at full load: recorded in words.
INVALIDATING = {
    "throttled_hw_thermal_s": "hardware thermal slowdown",
    "throttled_power_brake_s": "hardware power brake",
    "throttled_sw_thermal_s": "software thermal slowdown",
}
SHARE = 0.01

# The member of the value's union that nvmlValueType_t names.
_VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
_SM, _MEMORY = 1, 2  # nvmlClockType_t
_CORE = 0  # nvmlTemperatureSensors_t


class Monitor:
    """One GPU's counters by its UUID ("GPU-..."), read-only; without pynvml or a driver every answer is a reason."""

    def __init__(self, uuid: str):
        self._nvml: Any = None
        self.absent = ""
        try:
            import pynvml
        except ImportError:
            self.absent = "pynvml is not installed: pip install 'ridgepoint[cuda13]'"
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self.absent = f"no NVIDIA driver answers: {error}"
            return
        self._nvml = pynvml
        try:
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError as error:
            self.close()
            self.absent = f"NVML knows no GPU {uuid}: {error}"

    def identity(self) -> dict[str, Any]:
        """name, uuid, driver, and the limits that hold while it runs: power_limit_w, maximum clocks, MIG."""
        nvml = self._nvml
        if not nvml:
            return {"absent": {"nvml": self.absent}}
        answers = _Answers(nvml.NVMLError)
        answers.ask("name", lambda: nvml.nvmlDeviceGetName(self._handle))
        answers.ask("uuid", lambda: nvml.nvmlDeviceGetUUID(self._handle))
        answers.ask("driver", nvml.nvmlSystemGetDriverVersion)
        answers.ask("sm_clock_max_hz", lambda: nvml.nvmlDeviceGetMaxClockInfo(self._handle, _SM) * 1e6)
        answers.ask("memory_clock_max_hz", lambda: nvml.nvmlDeviceGetMaxClockInfo(self._handle, _MEMORY) * 1e6)
        answers.ask("mig", lambda: bool(nvml.nvmlDeviceGetMigMode(self._handle)[0]))
        self._fields(answers, (190,))
        return answers.found()

    def counters(self) -> dict[str, Any]:
        """What moves, now: clocks, power, temperature, energy, throttle times, ECC errors, other compute processes."""
        nvml = self._nvml
        if not nvml:
            return {"absent": {"nvml": self.absent}}
        answers = _Answers(nvml.NVMLError)
        answers.ask("sm_clock_hz", lambda: nvml.nvmlDeviceGetClockInfo(self._handle, _SM) * 1e6)
        answers.ask("memory_clock_hz", lambda: nvml.nvmlDeviceGetClockInfo(self._handle, _MEMORY) * 1e6)
        answers.ask("temperature_c", self._temperature)
        answers.ask("other_processes", self._others)
        self._fields(answers, tuple(FIELDS))
        return answers.found()

    def close(self) -> None:
        if self._nvml:
            nvml, self._nvml, self.absent = self._nvml, None, "closed"
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def _fields(self, answers: "_Answers", ids: tuple[int, ...]) -> None:
        # an old driver refuses a single field, not the call, so each answer has its own status
        try:
            values = self._nvml.nvmlDeviceGetFieldValues(self._handle, list(ids))
        except self._nvml.NVMLError as error:
            for field in ids:
                answers.absent[FIELDS[field][0]] = str(error)
            return
        for field, value in zip(ids, values, strict=True):
            key, scale = FIELDS[field]
            if value.nvmlReturn:
                answers.absent[key] = str(self._nvml.NVMLError(value.nvmlReturn))
            else:
                raw = getattr(value.value, _VALUES[value.valueType])
                answers.values[key] = raw / scale if scale != 1 else raw

    def _temperature(self) -> float:
        try:
            return float(self._nvml.nvmlDeviceGetTemperatureV(self._handle, _CORE))
        except (AttributeError, self._nvml.NVMLError):
            return float(self._nvml.nvmlDeviceGetTemperature(self._handle, _CORE))  # drivers before 570

    def _others(self) -> list[int]:
        """Process ids that compute on this GPU and are not of this run's process group."""
        pids = [process.pid for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)]
        if pids and os.getpid() not in pids:
            # A container may see the host's ids, and MPS one server for all clients: which is ours cannot be told
            raise LookupError(f"{len(pids)} compute processes are listed, and this one is not among them by its own id")
        return sorted(pid for pid in pids if not _ours(pid))


class _Answers:
    """Answers by key, and why the others are missing."""

    def __init__(self, refusal: type[Exception]):
        self._refusal = refusal
        self.values: dict[str, Any] = {}
        self.absent: dict[str, str] = {}

    def ask(self, key: str, query: Callable[[], Any]) -> None:
        try:
            self.values[key] = query()
        except (self._refusal, LookupError) as error:
            self.absent[key] = str(error)

    def found(self) -> dict[str, Any]:
        return self.values | ({"absent": self.absent} if self.absent else {})


def judge(before: Mapping[str, Any], after: Mapping[str, Any], elapsed: float) -> tuple[str, tuple[str, ...]]:
    """Whether what ran for `elapsed` seconds between two readings of counters() counts: (validity, reasons).

    "invalid" when the GPU slowed down for heat or by its power brake for over 1 % of the time, when another process
    computed on it, or when memory errors that ECC cannot correct came up. A power cap only leaves a reason in words.
    Counters that either reading lacks judge nothing.
    """
    reasons = []
    for key, cause in INVALIDATING.items():
        share = _grown(before, after, key) / elapsed if elapsed > 0 else 0.0
        if share > SHARE:
            reasons.append(f"{cause} for {min(share, 1):.0%} of the time")
    others = sorted({*before.get("other_processes", ()), *after.get("other_processes", ())})
    if others:
        reasons.append(f"other processes computed on this GPU: {', '.join(map(str, others))}")
    if (errors := _grown(before, after, "ecc_double_bit")) > 0:
        reasons.append(f"{errors:.0f} uncorrectable memory errors")
    validity = "invalid" if reasons else "valid"
    share = _grown(before, after, "throttled_power_cap_s") / elapsed if elapsed > 0 else 0.0
    if share > SHARE:
        reasons.append(f"clocks held by the power limit for {min(share, 1):.0%} of the time")
    return validity, tuple(reasons)


def _grown(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> float:
    return after[key] - before[key] if key in before and key in after else 0.0


def _ours(pid: int) -> bool:
    """Ranks of one run share a process group, and a peer's context may show on this GPU."""
    try:
        return pid == os.getpid() or os.getpgid(pid) == os.getpgrp()
    except OSError:
        return False
