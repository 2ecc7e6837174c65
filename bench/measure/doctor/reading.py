"""What the driver tells of a GPU at one moment: through NVML alone, no CUDA context made, nothing changed."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from os import getpid
from typing import Any

from bench.measure.device import nvml


@dataclass(frozen=True)
class Reading:
    """One GPU as nvml.Monitor and the driver's lists see it, before anything of ours runs there.

    occupancy: memory_bytes, memory_used_bytes, processes (ids of all that compute on it), each where it is told.
    """

    identity: Mapping[str, Any]
    counters: Mapping[str, Any]
    occupancy: Mapping[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        for told in (self.counters, self.identity, self.occupancy):
            if key in told:
                return told[key]
        return None

    @property
    def everything(self) -> dict[str, Any]:
        """Everything in one, and under "absent" what is missing and why."""
        return {**self.occupancy, **self.identity, **self.counters, "absent": self.absent}

    @property
    def absent(self) -> dict[str, str]:
        return {**self.identity.get("absent", {}), **self.counters.get("absent", {})}

    @property
    def processes(self) -> list[int] | None:
        """Processes that compute here; None where the driver does not tell."""
        found = self.get("processes")
        return self.get("other_processes") if found is None else found

    def smi(self, words: str) -> str:
        """An nvidia-smi command for this GPU, by what tells it apart however CUDA numbers it."""
        uuid = self.get("uuid") or ""
        # a slice's own UUID says nothing to nvidia-smi, which sets whole boards
        which = self.get("pci_bus") or (uuid if not uuid.startswith("MIG-") else "GPU")
        return f"nvidia-smi {words} -i {which or 0}"


def reading(uuid: str) -> Reading:
    """Asks the driver; what it does not tell is left out."""
    monitor = nvml.Monitor(uuid)
    try:
        return Reading(monitor.identity(), monitor.counters(), _occupancy(uuid) if not monitor.absent else {})
    finally:
        monitor.close()


def _occupancy(uuid: str) -> dict[str, Any]:
    """Who computes on a GPU and what of its memory is taken.

    Asked before anything of ours is there: all who are listed are others, whatever their ids mean in this container.
    """
    import pynvml

    found: dict[str, Any] = {}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return found
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        with suppress(pynvml.NVMLError):
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            found["processes"] = sorted({process.pid for process in running} - {getpid()})
        with suppress(pynvml.NVMLError):
            memory = _memory_info(pynvml, handle)
            found |= {"memory_bytes": memory.total, "memory_used_bytes": memory.used}
    except pynvml.NVMLError:
        pass
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return found


def _memory_info(pynvml: Any, handle: Any) -> Any:
    """Version 2 counts what the driver reserves apart; the first version, all that older drivers have, as used."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetMemoryInfo(handle)
