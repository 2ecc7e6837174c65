"""What the driver's management library knows of a GPU: what it is, what it counts, how it fares while it works.

Everything is optional: a query that a GPU, a driver or a container refuses is left out and its reason kept under
"absent"; nothing here ends a Run. Field ids and units are those of nvml.h 13; values leave in SI units (W, Hz, J, s)
and temperature in degrees Celsius. Clocks and limits are read, never set. No call is used that CUDA 14 removes,
unless a newer one was asked first.

What makes these numbers wrong: the energy counter steps every 20 to 100 ms, so it says nothing of windows below about
2 s; an A100's or H100's power sensor looks at about a quarter of the time (arXiv 2312.02741), so a few readings of
power are an impression and energy over time is the mean; events are bits of a moment, so only the throttle times,
which count up in the driver, know what happened between two readings. That those times are in ns, as DCGM and
NVIDIA's own mock have them, is not yet confirmed on hardware.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.measure.device.throttle_reasons import events

# Field id of nvmlDeviceGetFieldValues -> (key, raw units per SI unit; None for a count). 186 is the power of this
# moment, 185 its mean over a second, on parts that know no other; times and energy count up since the driver was
# loaded, ECC errors since it was last reset.
POWER = {186: ("power_w", 1e3)}
ENERGY = {83: ("energy_j", 1e3)}
LIMITS = {188: ("power_limit_max_w", 1e3), 189: ("power_limit_default_w", 1e3), 190: ("power_limit_w", 1e3)}
FIELDS = POWER | {185: ("power_mean_w", 1e3), 190: ("power_limit_w", 1e3)} | ENERGY
FIELDS |= {
    74: ("throttled_power_cap_s", 1e9),
    76: ("throttled_sync_boost_s", 1e9),
    269: ("throttled_sw_thermal_s", 1e9),
    270: ("throttled_hw_thermal_s", 1e9),
    271: ("throttled_power_brake_s", 1e9),
    4: ("ecc_double_bit", None),
    3: ("ecc_single_bit", None),
    82: ("memory_temperature_c", 1.0),
}

COMPUTE_MODES = {0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}
SYSFS = Path("/sys/bus/pci/devices")

# The member of the value's union that nvmlValueType_t names.
_VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
_SM, _MEMORY = 1, 2  # nvmlClockType_t
_CORE = 0  # nvmlTemperatureSensors_t


# Seconds to wait for the driver's last answer when polling ends: a call to a GPU that hangs may never come back.
_PATIENCE = 5.0
_SELDOM = 1.0
# Between two polls: at least the first, at most the last, and so many times as long as the driver took to answer. All
# GPUs of a node share the driver's lock: where eight processes wait for it, answers are slow, and each asks less.
_OFTEN, _REST = 0.05, 50


class Monitor:
    """One GPU's counters by its UUID ("GPU-...", "MIG-..."); without pynvml or a driver every answer is a reason.

    A MIG slice has a handle of its own that refuses most questions. clock and sysfs: where time and PCI's facts are.
    """

    def __init__(self, uuid: str, *, clock: Callable[[], float] = time.monotonic, sysfs: Path = SYSFS):
        self._nvml: Any = None
        self._uuid, self._clock, self._sysfs = uuid, clock, sysfs
        self._slow: _Answers | None = None
        self._slow_at = 0.0
        # whether the GPU is left without work on purpose: what is read then is not what work draws
        self.resting = False
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
        # CUDA hands out a UUID without saying whether it is a GPU's or a MIG slice's
        for name in dict.fromkeys((uuid, uuid.replace("GPU-", "MIG-", 1))):
            try:
                self._handle, self._uuid, self.absent = pynvml.nvmlDeviceGetHandleByUUID(name), name, ""
                return
            except pynvml.NVMLError as error:
                self.absent = self.absent or f"NVML knows no GPU {uuid}: {error}"
        reason = self.absent
        self.close()
        self.absent = reason

    def identity(self) -> dict[str, Any]:
        """What the GPU is and what bounds it: names, maximum clocks, power limits, modes, links, remapped rows."""
        nvml = self._nvml
        if not nvml:
            return {"absent": {"nvml": self.absent}}
        handle = self._handle
        answers = _Answers(nvml, handle)
        answers.ask("name", partial(nvml.nvmlDeviceGetName, handle))
        answers.ask("uuid", partial(nvml.nvmlDeviceGetUUID, handle))
        answers.ask("driver", nvml.nvmlSystemGetDriverVersion)
        answers.ask("cuda_driver", lambda: _cuda(nvml.nvmlSystemGetCudaDriverVersion_v2()))
        answers.ask("sm_clock_max_hz", lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, _SM) * 1e6)
        answers.ask("memory_clock_max_hz", lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, _MEMORY) * 1e6)
        answers.ask("memory_bus_bits", partial(nvml.nvmlDeviceGetMemoryBusWidth, handle))
        answers.ask_fields(LIMITS)
        answers.ask("mig", lambda: self._uuid.startswith("MIG-") or bool(nvml.nvmlDeviceGetMigMode(handle)[0]))
        answers.ask("ecc", lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0]))
        answers.ask("compute_mode", lambda: COMPUTE_MODES.get(nvml.nvmlDeviceGetComputeMode(handle), "unknown"))
        answers.ask("persistence", lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle)))
        answers.ask("pcie_generation_max", partial(nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle))
        answers.ask("pcie_width_max", partial(nvml.nvmlDeviceGetMaxPcieLinkWidth, handle))
        answers.ask_each(("nvlinks", "nvlinks_total"), partial(_links, nvml, handle))
        rows = ("remapped_rows_correctable", "remapped_rows_uncorrectable", "remap_pending", "remap_failed")
        answers.ask_each(rows, partial(_remapped, nvml, handle))
        answers.ask("pci_bus", partial(_pci_bus, nvml, handle))
        answers.ask("numa_node", lambda: numa_node(_pci_bus(nvml, handle), self._sysfs))
        answers.ask("pcie_root", lambda: pcie_root(_pci_bus(nvml, handle), self._sysfs))
        return answers.found()

    def counters(self) -> dict[str, Any]:
        """What moves, now: clocks, power, energy, heat, throttle times, memory errors, links, foreign processes.

        "lost" is there where the GPU no longer answers at all.
        """
        nvml = self._nvml
        if not nvml:
            return {"absent": {"nvml": self.absent}}
        handle = self._handle
        answers = _Answers(nvml, handle)
        # beside the counters that are divided by it
        answers.values["at_s"] = self._clock()
        answers.ask_fields(FIELDS)
        answers.ask_clocks()
        answers.ask("other_processes", partial(_others, nvml, handle))
        self._ask_links_and_rows(answers)
        return answers.found()

    def _ask_links_and_rows(self, answers: "_Answers") -> None:
        """What seldom changes and takes some twenty calls: asked at most once a second."""
        now, nvml, handle = self._clock(), self._nvml, self._handle
        if answers.lost or self._slow is None or now - self._slow_at >= _SELDOM:
            slow = _Answers(nvml, handle)
            slow.lost = answers.lost
            slow.ask("pcie_generation", partial(nvml.nvmlDeviceGetCurrPcieLinkGeneration, handle))
            slow.ask("pcie_width", partial(nvml.nvmlDeviceGetCurrPcieLinkWidth, handle))
            slow.ask("nvlinks", lambda: _links(nvml, handle)[0])
            slow.ask_each(("remap_pending", "remap_failed"), lambda: _remapped(nvml, handle)[2:])
            self._slow, self._slow_at = slow, now
        answers.values |= self._slow.values
        answers.absent |= self._slow.absent
        answers.lost = answers.lost or self._slow.lost

    @contextmanager
    def watch(self, interval: float = _OFTEN) -> Iterator[list[dict[str, Any]]]:
        """Light readings of clocks, power, heat and events, taken while the block runs; summary() condenses them.

        interval: seconds between two at least; more where the driver is slow to answer.
        Timed work is on the GPU, queued before its clock starts, and pynvml's calls let go of Python's lock while the
        driver answers: polling does not enter the interval that is timed.
        """
        readings: list[dict[str, Any]] = []
        if not self._nvml:
            yield readings
            return
        done = threading.Event()
        poll = partial(self._poll, self._nvml, readings, done, interval)
        thread = threading.Thread(target=poll, name="nvml", daemon=True)
        thread.start()
        try:
            yield readings
        finally:
            done.set()
            thread.join(_PATIENCE)

    def _poll(self, nvml: Any, readings: list[dict[str, Any]], done: threading.Event, interval: float) -> None:
        while True:
            answers, resting = _Answers(nvml, self._handle), self.resting
            answers.values["at_s"] = self._clock()
            answers.ask_fields(POWER | ENERGY)
            answers.ask_clocks()
            if resting or self.resting:
                answers.values["resting"] = True
            # calls to a lost GPU may take long: counters() will say that it is
            if answers.lost:
                return
            readings.append(answers.values)
            asking = self._clock() - answers.values["at_s"]
            if done.wait(max(interval, min(_REST * asking, _SELDOM))):
                return

    def close(self) -> None:
        if self._nvml:
            nvml, self._nvml, self.absent = self._nvml, None, "closed"
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()


def summary(readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What watch() saw of work: n readings, [least, mean, most] of each quantity, and every event that came up.

    idle: readings left out, because the GPU was idle or left without work. energy_step_s: between two steps of the
    energy counter, on the mean and as far as it was looked at: what a window of energy may be wrong by.
    """
    busy = [each for each in readings if not each.get("resting") and "idle" not in each.get("events", ())]
    found: dict[str, Any] = {"n": len(busy)}
    if len(busy) < len(readings):
        found["idle"] = len(readings) - len(busy)
    for key in ("power_w", "sm_clock_hz", "memory_clock_hz", "temperature_c"):
        values = [reading[key] for reading in busy if key in reading]
        if values:
            found[key] = [min(values), fmean(values), max(values)]
    seen = [reading["events"] for reading in readings if "events" in reading]
    if seen:
        found["events"] = sorted(set().union(*seen))
    if step := _energy_step(readings):
        found["energy_step_s"] = step
    return found


def _energy_step(readings: Sequence[Mapping[str, Any]]) -> float:
    """Mean seconds between two changes of the energy counter; 0 where fewer than three were seen.

    A single interval is no measure: a change is seen up to one poll late, so that two of them may seem close together.
    """
    seen = [reading for reading in readings if "energy_j" in reading]
    changed = [now["at_s"] for last, now in pairwise(seen) if now["energy_j"] != last["energy_j"]]
    return (changed[-1] - changed[0]) / (len(changed) - 1) if len(changed) > 2 else 0.0


def numa_node(bus: str, sysfs: Path = SYSFS) -> int:
    """The NUMA node that a PCI device hangs on. Raises LookupError where the kernel does not know."""
    path = sysfs / bus / "numa_node"
    try:
        node = int(path.read_text())
    except (OSError, ValueError) as error:
        raise LookupError(f"{path}: {getattr(error, 'strerror', error)}") from None
    if node < 0:
        raise LookupError(f"the kernel does not know the NUMA node of {bus}")
    return node


def pcie_root(bus: str, sysfs: Path = SYSFS) -> str:
    """The root of the PCIe tree that a device hangs on, as the kernel names it ("pci0000:16"). Raises LookupError.

    Devices below one root share what it leads to the host's memory; a virtual machine often shows all below one.
    """
    path = sysfs / bus
    try:
        parts = path.resolve(strict=True).parts
    except OSError as error:
        raise LookupError(f"{path}: {error.strerror}") from None
    for part in parts:
        if part.startswith("pci") and ":" in part:
            return part
    raise LookupError(f"{path} leads to no root of the PCIe tree")


class _Answers:
    """One round of questions to a GPU: answers by key, and why the others are missing."""

    def __init__(self, nvml: Any, handle: Any):
        self._nvml, self._handle = nvml, handle
        self.values: dict[str, Any] = {}
        self.absent: dict[str, str] = {}
        self.lost = ""

    def ask(self, key: str, query: Callable[[], Any]) -> None:
        self.ask_each((key,), lambda: (query(),))

    def ask_each(self, keys: Sequence[str], query: Callable[[], Iterable[Any]]) -> None:
        """One query that answers several keys. A GPU that is lost is not asked again: each call might hang."""
        if self.lost:
            self.absent |= dict.fromkeys(keys, self.lost)
            return
        try:
            self.values |= zip(keys, query(), strict=True)
        except (self._nvml.NVMLError, LookupError) as error:
            self.absent |= dict.fromkeys(keys, str(error))
            if getattr(error, "value", None) == self._nvml.NVML_ERROR_GPU_IS_LOST:
                self.lost = str(error)

    def ask_fields(self, fields: Mapping[int, tuple[str, float | None]]) -> None:
        keys = [key for key, _ in fields.values()]
        self.ask_each(keys, lambda: self._nvml.nvmlDeviceGetFieldValues(self._handle, list(fields)))
        # an old driver refuses a single field, not the call, so each answer has its own status
        for key, scale in fields.values():
            if key in self.values:
                self.ask(key, partial(self._scaled, self.values.pop(key), scale))

    def ask_clocks(self) -> None:
        nvml, handle = self._nvml, self._handle
        self.ask("sm_clock_hz", lambda: nvml.nvmlDeviceGetClockInfo(handle, _SM) * 1e6)
        self.ask("memory_clock_hz", lambda: nvml.nvmlDeviceGetClockInfo(handle, _MEMORY) * 1e6)
        self.ask("temperature_c", lambda: float(_newest(nvml, "TemperatureV", "Temperature")(handle, _CORE)))
        reasons = _newest(nvml, "CurrentClocksEventReasons", "CurrentClocksThrottleReasons")
        self.ask("events", lambda: events(reasons(handle)))

    def _scaled(self, value: Any, scale: float | None) -> float:
        if value.nvmlReturn:
            raise self._nvml.NVMLError(value.nvmlReturn)
        if value.valueType >= len(_VALUES):
            raise LookupError(f"field {value.fieldId} is of type {value.valueType}, which this version does not know")
        raw = getattr(value.value, _VALUES[value.valueType])
        return raw / scale if scale else raw

    def found(self) -> dict[str, Any]:
        lost = {"lost": self.lost} if self.lost else {}
        return self.values | lost | ({"absent": self.absent} if self.absent else {})


def _newest(nvml: Any, name: str, older: str) -> Callable[..., Any]:
    """nvmlDeviceGet`name`, and where that fails `older`, the only one that older drivers know."""

    def query(*arguments: Any) -> Any:
        try:
            return getattr(nvml, f"nvmlDeviceGet{name}")(*arguments)
        except nvml.NVMLError:
            # what the older one says of a GPU that the newer cannot read is no better: keep the first reason
            with suppress(nvml.NVMLError, AttributeError):
                return getattr(nvml, f"nvmlDeviceGet{older}")(*arguments)
            raise

    return query


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _remapped(nvml: Any, handle: Any) -> tuple[int, int, bool, bool]:
    correctable, uncorrectable, pending, failed = nvml.nvmlDeviceGetRemappedRows(handle)
    return correctable, uncorrectable, bool(pending), bool(failed)


def _pci_bus(nvml: Any, handle: Any) -> str:
    """The address as the kernel spells it: NVML's domain has eight digits, sysfs' has four."""
    domain, _, rest = nvml.nvmlDeviceGetPciInfo_v3(handle).busId.partition(":")
    return f"{int(domain, 16):04x}:{rest}".lower()


def _links(nvml: Any, handle: Any) -> tuple[int, int]:
    """NVLinks that are up, and that there are."""
    up = []
    for link in range(nvml.NVML_NVLINK_MAX_LINKS):
        try:
            up.append(bool(nvml.nvmlDeviceGetNvLinkState(handle, link)))
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_InvalidArgument):
            break
    return sum(up), len(up)


def _others(nvml: Any, handle: Any) -> list[int]:
    """Process ids that compute on this GPU and are not of this run's process group."""
    pids = [process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    if pids and os.getpid() not in pids:
        # A container may see the host's ids, and MPS one server for all clients: which is ours cannot be told
        raise LookupError(f"{len(pids)} compute processes are listed, and this one is not among them by its own id")
    return sorted(pid for pid in pids if not _ours(pid))


def _ours(pid: int) -> bool:
    """Ranks of one run share a process group, and a peer's context may show on this GPU."""
    try:
        return pid == os.getpid() or os.getpgid(pid) == os.getpgrp()
    except (OSError, AttributeError):  # Windows has no process groups
        return False
