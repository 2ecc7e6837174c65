"""What the driver's management library knows of a GPU: what it is, what it counts, how it fares while it works.

Everything is optional: a query that a GPU, a driver or a container refuses is left out and its reason kept under
"absent"; nothing here ends a Run. Field ids and units are in nvml.toml; values leave in SI units (W, Hz, J, s)
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
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from bench.measure.device.host import PCI, numa_node, pcie_root

_NUMBERS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
# Each table of nvml.toml by its numbers. Another counter is a line in its [counters].
COUNTERS, LIMITS, EVENTS, COMPUTE_MODES, PATHS = (
    {int(number, 0): meaning for number, meaning in _NUMBERS[name].items()}
    for name in ("counters", "limits", "events", "compute_modes", "paths")
)
# Those that are read again and again while a case runs.
WATCHED = {number: COUNTERS[number] for number in (186, 83)}
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


class NoAnswer(Exception):
    """The driver's library does not answer; the message is its reason."""


class Monitor:
    """One GPU's counters by its UUID ("GPU-...", "MIG-..."); without pynvml or a driver every answer is a reason.

    A MIG slice has a handle of its own that refuses most questions. clock and sysfs: where time and PCI's facts are.
    """

    def __init__(self, uuid: str, *, clock: Callable[[], float] = time.monotonic, sysfs: Path = PCI):
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
        if not (nvml := self._nvml):
            return {"absent": {"nvml": self.absent}}
        answers = _Answers(nvml, self._handle)
        ask, get = answers.ask, answers.get
        ask("name", partial(get, "Name"))
        ask("uuid", partial(get, "UUID"))
        ask("driver", nvml.nvmlSystemGetDriverVersion)
        ask("cuda_driver", lambda: "{}.{}".format(*cuda_version(nvml)))
        ask("sm_clock_max_hz", lambda: get("MaxClockInfo", _SM) * 1e6)
        ask("memory_clock_max_hz", lambda: get("MaxClockInfo", _MEMORY) * 1e6)
        ask("memory_bus_bits", partial(get, "MemoryBusWidth"))
        answers.ask_fields(LIMITS)
        ask("mig", lambda: self._uuid.startswith("MIG-") or bool(get("MigMode")[0]))
        ask("ecc", lambda: bool(get("EccMode")[0]))
        ask("compute_mode", lambda: COMPUTE_MODES.get(get("ComputeMode"), "unknown"))
        ask("persistence", lambda: bool(get("PersistenceMode")))
        ask("pcie_generation_max", partial(get, "MaxPcieLinkGeneration"))
        ask("pcie_width_max", partial(get, "MaxPcieLinkWidth"))
        answers.ask_each(("nvlinks", "nvlinks_total"), answers.links)
        rows = ("remapped_rows_correctable", "remapped_rows_uncorrectable", "remap_pending", "remap_failed")
        answers.ask_each(rows, answers.remapped)
        ask("pci_bus", answers.pci_bus)
        ask("numa_node", lambda: numa_node(answers.pci_bus(), self._sysfs))
        ask("pcie_root", lambda: pcie_root(answers.pci_bus(), self._sysfs))
        return answers.found()

    def counters(self) -> dict[str, Any]:
        """What moves, now: clocks, power, heat, errors, links, others; "lost" where the GPU no longer answers."""
        if not self._nvml:
            return {"absent": {"nvml": self.absent}}
        answers = _Answers(self._nvml, self._handle)
        # beside the counters that are divided by it
        answers.values["at_s"] = self._clock()
        answers.ask_fields(COUNTERS)
        answers.ask_clocks()
        answers.ask("other_processes", answers.others)
        # what seldom changes and takes some twenty calls: asked at most once a second
        now = self._clock()
        if answers.lost or self._slow is None or now - self._slow_at >= _SELDOM:
            slow = _Answers(self._nvml, self._handle)
            slow.lost = answers.lost
            slow.ask("pcie_generation", partial(slow.get, "CurrPcieLinkGeneration"))
            slow.ask("pcie_width", partial(slow.get, "CurrPcieLinkWidth"))
            slow.ask("nvlinks", lambda: slow.links()[0])
            slow.ask_each(("remap_pending", "remap_failed"), lambda: slow.remapped()[2:])
            self._slow, self._slow_at = slow, now
        answers.values |= self._slow.values
        answers.absent |= self._slow.absent
        answers.lost = answers.lost or self._slow.lost
        return answers.found()

    def occupancy(self) -> dict[str, Any]:
        """memory_bytes, memory_used_bytes, processes (ids of all others that compute here), each where it is told.

        For before anything of ours is there: all who are listed are others, whatever their ids mean in this container.
        """
        if not self._nvml:
            return {}
        answers = _Answers(self._nvml, self._handle)
        answers.ask("processes", lambda: sorted({*answers.pids()} - {os.getpid()}))
        answers.ask_each(("memory_bytes", "memory_used_bytes"), answers.memory)
        return answers.values

    @contextmanager
    def watch(self, interval: float = _OFTEN) -> Iterator[list[dict[str, Any]]]:
        """Readings of clocks, power, heat and events every `interval` seconds or more; validity.summary condenses them.

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
            answers.ask_fields(WATCHED)
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


@contextmanager
def session() -> Iterator[Any]:
    """pynvml while its library is open. Raises NoAnswer where it cannot be opened, or an answer within is an error."""
    try:
        import pynvml
    except ImportError as error:
        raise NoAnswer(f"nvidia-ml-py is missing: {error}") from None
    try:
        pynvml.nvmlInit()
        try:
            yield pynvml
        finally:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise NoAnswer(str(error)) from None


def events(mask: int) -> list[str]:
    """The words of all bits that are set, sorted; bits that only a newer driver knows have none."""
    return sorted(word for bit, word in EVENTS.items() if mask & bit)


def cuda_version(nvml: Any) -> tuple[int, int]:
    """The newest CUDA that the driver runs."""
    version = nvml.nvmlSystemGetCudaDriverVersion_v2()
    return version // 1000, version % 1000 // 10


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

    def ask_fields(self, fields: Mapping[int, tuple[str, float]]) -> None:
        self.ask_each([key for key, _ in fields.values()], partial(self.get, "FieldValues", list(fields)))
        # an old driver refuses a single field, not the call, so each answer has its own status
        for key, scale in fields.values():
            if key in self.values:
                self.ask(key, partial(self._scaled, self.values.pop(key), scale))

    def ask_clocks(self) -> None:
        self.ask("sm_clock_hz", lambda: self.get("ClockInfo", _SM) * 1e6)
        self.ask("memory_clock_hz", lambda: self.get("ClockInfo", _MEMORY) * 1e6)
        self.ask("temperature_c", lambda: float(self._newest("TemperatureV", "Temperature", _CORE)))
        reasons = partial(self._newest, "CurrentClocksEventReasons", "CurrentClocksThrottleReasons")
        self.ask("events", lambda: events(reasons()))

    def found(self) -> dict[str, Any]:
        lost = {"lost": self.lost} if self.lost else {}
        return self.values | lost | ({"absent": self.absent} if self.absent else {})

    def get(self, name: str, *arguments: Any, **options: Any) -> Any:
        """What nvmlDeviceGet`name` answers. Raises NVMLError."""
        return getattr(self._nvml, f"nvmlDeviceGet{name}")(self._handle, *arguments, **options)

    def _newest(self, name: str, older: str, *arguments: Any) -> Any:
        """What get(name) answers, and where that fails get(older), the only one that older drivers know."""
        try:
            return self.get(name, *arguments)
        except self._nvml.NVMLError:
            # what the older one says of a GPU that the newer cannot read is no better: keep the first reason
            with suppress(self._nvml.NVMLError, AttributeError):
                return self.get(older, *arguments)
            raise

    def _scaled(self, value: Any, scale: float) -> float:
        if value.nvmlReturn:
            raise self._nvml.NVMLError(value.nvmlReturn)
        if value.valueType >= len(_VALUES):
            raise LookupError(f"field {value.fieldId} is of type {value.valueType}, which this version does not know")
        raw = getattr(value.value, _VALUES[value.valueType])
        return raw / scale if scale else raw

    def remapped(self) -> tuple[int, int, bool, bool]:
        correctable, uncorrectable, pending, failed = self.get("RemappedRows")
        return correctable, uncorrectable, bool(pending), bool(failed)

    def memory(self) -> tuple[int, int]:
        """Bytes, and bytes taken. The first version, all that older drivers have, counts the driver's own as taken."""
        try:
            memory = self.get("MemoryInfo", version=self._nvml.nvmlMemory_v2)
        except self._nvml.NVMLError:
            memory = self.get("MemoryInfo")
        return memory.total, memory.used

    def pci_bus(self) -> str:
        """The address as the kernel spells it: NVML's domain has eight digits, sysfs' has four."""
        domain, _, rest = self.get("PciInfo_v3").busId.partition(":")
        return f"{int(domain, 16):04x}:{rest}".lower()

    def links(self) -> tuple[int, int]:
        """NVLinks that are up, and that there are."""
        nvml, up = self._nvml, []
        for link in range(nvml.NVML_NVLINK_MAX_LINKS):
            try:
                up.append(bool(self.get("NvLinkState", link)))
            except (nvml.NVMLError_NotSupported, nvml.NVMLError_InvalidArgument):
                break
        return sum(up), len(up)

    def pids(self) -> list[int]:
        return [process.pid for process in self.get("ComputeRunningProcesses")]

    def others(self) -> list[int]:
        """Process ids that compute on this GPU and are not of this run's process group."""
        pids = self.pids()
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
