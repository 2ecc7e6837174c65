"""libnvidia-ml.so as far as it is asked, so that pynvml itself runs where there is no driver.

A FakeNvml has the C functions as methods, which write through ctypes' byref and return a status. Nothing moves by
itself: advance(seconds) is its clock, and monotonic() reads it, so that energy, throttle times and errors grow
together between two readings. What a real driver answers to a MIG slice's handle is taken from NVIDIA's documents.

    with installed(PROFILES["throttled"]()) as fake:
        ...
        fake.advance(2.0, power_w=650.0)
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pynvml

UUID = "GPU-00000000-1111-2222-3333-444444444444"
MIG_UUID = "MIG-00000000-1111-2222-3333-555555555555"
# no process has it: Linux ends at 2^22 - 1
FOREIGN = 2**22

OK, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, TOO_SMALL, LOST = 0, 2, 3, 4, 6, 7, 15
UINT, ULONGLONG = 1, 3
ECC_SINGLE, ECC_DOUBLE, POWER_CAP, ENERGY, MEMORY_TEMPERATURE = 3, 4, 74, 83, 82
SYNC_BOOST, SW_THERMAL, HW_THERMAL, POWER_BRAKE = 76, 269, 270, 271
MEAN_POWER, POWER, MOST_LIMIT, DEFAULT_LIMIT, LIMIT = 185, 186, 188, 189, 190
SHORT = (MEAN_POWER, POWER, MOST_LIMIT, DEFAULT_LIMIT, LIMIT, MEMORY_TEMPERATURE)


def healthy_fields() -> dict[int, int]:
    """Field id -> raw value: mW, mJ, ns, counts, degrees."""
    power = {POWER: 412_000, MEAN_POWER: 400_000, LIMIT: 700_000, DEFAULT_LIMIT: 700_000, MOST_LIMIT: 700_000}
    zeros = dict.fromkeys((POWER_CAP, SYNC_BOOST, SW_THERMAL, HW_THERMAL, POWER_BRAKE, ECC_SINGLE, ECC_DOUBLE), 0)
    return power | zeros | {ENERGY: 5_000_000, MEMORY_TEMPERATURE: 70}


@dataclass(eq=False)
class FakeNvml:
    """One GPU. rates: field id -> raw growth per second. refused: C name -> status. calls_left: until it is lost."""

    name: str = "NVIDIA H200"
    uuid: str = UUID
    driver: str = "580.159.03"
    cuda: int = 13000
    fields: dict[int, int | None] = field(default_factory=healthy_fields)
    rates: dict[int, float] = field(default_factory=dict)
    processes: Sequence[int] = ()
    events: int = 0
    sm_clock_mhz: int = 1755
    memory_clock_mhz: int = 3201
    temperature: int = 61
    compute_mode: int = 0
    mig: int = 0
    links: Sequence[int] = (1,) * 18
    # correctable, uncorrectable, pending, failed
    remapped: tuple[int, int, int, int] = (0, 0, 0, 0)
    pcie_width: int = 16
    bus: str = "00000000:19:00.0"
    refused: dict[str, int] = field(default_factory=dict)
    calls_left: float = math.inf
    seconds: float = 0.0

    def advance(self, seconds: float, power_w: float = 412.0) -> None:
        """What the driver would count over a while of drawing so much power."""
        self.seconds += seconds
        self.fields[POWER] = self.fields[MEAN_POWER] = round(power_w * 1e3)
        self.fields[ENERGY] += round(power_w * seconds * 1e3)
        for number, rate in self.rates.items():
            self.fields[number] += round(rate * seconds)
        if self.rates.get(ECC_DOUBLE) and self.fields[ECC_DOUBLE]:
            # the driver marks a row that failed at once, and replaces it when the GPU is reset
            self.remapped = (0, self.fields[ECC_DOUBLE], 1, 0)

    def monotonic(self) -> float:
        return self.seconds

    def __getattribute__(self, name: str) -> Any:
        """A C function comes behind what may refuse it; asked at the call, since pynvml remembers functions."""
        found = object.__getattribute__(self, name)
        return partial(self._call, name, found) if name.startswith("nvml") else found

    def _call(self, name: str, function: Callable[..., int], *arguments: Any) -> int:
        if name.startswith("nvmlDevice"):
            self.calls_left -= 1
            if self.calls_left < 0:
                return LOST
        return self.refused[name] if name in self.refused else function(*arguments)

    def nvmlInitWithFlags(self, flags):
        return OK

    def nvmlShutdown(self):
        return OK

    def nvmlSystemGetDriverVersion(self, buffer, size):
        return _text(buffer, self.driver)

    def nvmlSystemGetCudaDriverVersion_v2(self, version):
        return _write(version, self.cuda)

    def nvmlDeviceGetHandleByUUID(self, uuid, device):
        return OK if uuid.value == self.uuid.encode() else NOT_FOUND

    def nvmlDeviceGetName(self, device, buffer, size):
        return _text(buffer, self.name)

    def nvmlDeviceGetUUID(self, device, buffer, size):
        return _text(buffer, self.uuid)

    def nvmlDeviceGetClockInfo(self, device, kind, clock):
        return _write(clock, self.sm_clock_mhz if kind.value == 1 else self.memory_clock_mhz)

    def nvmlDeviceGetMaxClockInfo(self, device, kind, clock):
        return _write(clock, 1980 if kind.value == 1 else 3201)

    def nvmlDeviceGetMemoryBusWidth(self, device, bits):
        return _write(bits, 6144)

    def nvmlDeviceGetMigMode(self, device, current, pending):
        return _write(current, self.mig) or _write(pending, self.mig)

    def nvmlDeviceGetEccMode(self, device, current, pending):
        return _write(current, 1) or _write(pending, 1)

    def nvmlDeviceGetComputeMode(self, device, mode):
        return _write(mode, self.compute_mode)

    def nvmlDeviceGetPersistenceMode(self, device, mode):
        return _write(mode, 1)

    def nvmlDeviceGetMaxPcieLinkGeneration(self, device, generation):
        return _write(generation, 5)

    def nvmlDeviceGetMaxPcieLinkWidth(self, device, width):
        return _write(width, 16)

    def nvmlDeviceGetCurrPcieLinkGeneration(self, device, generation):
        return _write(generation, 5)

    def nvmlDeviceGetCurrPcieLinkWidth(self, device, width):
        return _write(width, self.pcie_width)

    def nvmlDeviceGetNvLinkState(self, device, link, active):
        if not self.links:
            return NOT_SUPPORTED
        return _write(active, self.links[link]) if link < len(self.links) else INVALID_ARGUMENT

    def nvmlDeviceGetRemappedRows(self, device, *results):
        return max(map(_write, results, self.remapped))

    def nvmlDeviceGetPciInfo_v3(self, device, info):
        info._obj.busId = self.bus.encode()
        return OK

    def nvmlDeviceGetTemperatureV(self, device, temperature):
        temperature._obj.temperature = self.temperature
        return OK

    def nvmlDeviceGetCurrentClocksEventReasons(self, device, mask):
        return _write(mask, self.events)

    def nvmlDeviceGetComputeRunningProcesses_v3(self, device, count, infos):
        count._obj.value = len(self.processes)
        if infos is None:
            return TOO_SMALL if self.processes else OK
        for info, pid in zip(infos, self.processes, strict=False):
            info.pid = pid
        return OK

    def nvmlDeviceGetFieldValues(self, device, count, values):
        for value in values._obj:
            raw = self.fields.get(value.fieldId)
            value.nvmlReturn = NOT_SUPPORTED if raw is None else OK
            if value.nvmlReturn == OK and value.fieldId in SHORT:
                value.valueType, value.value.uiVal = UINT, raw
            elif value.nvmlReturn == OK:
                value.valueType, value.value.ullVal = ULONGLONG, raw
        return OK


def _write(pointer: Any, value: int) -> int:
    pointer._obj.value = value
    return OK


def _text(buffer: Any, text: str) -> int:
    buffer.value = text.encode()
    return OK


@contextmanager
def installed(fake: FakeNvml) -> Iterator[FakeNvml]:
    """Puts a fake library under pynvml, which fetches its symbols by name and remembers them."""
    symbols = pynvml._nvmlGetFunctionPointer_cache
    library, remembered = pynvml.nvmlLib, dict(symbols)
    pynvml.nvmlLib = fake
    symbols.clear()
    try:
        yield fake
    finally:
        pynvml.nvmlLib = library
        symbols.clear()
        symbols.update(remembered)


DEVICE_CALLS = tuple(name for name in vars(FakeNvml) if name.startswith("nvmlDevice"))
# What NVML's documents allow a MIG slice's handle; the rest wants the whole GPU's.
SLICE_CALLS = ("HandleByUUID", "Name", "UUID", "ComputeRunningProcesses_v3")


def _refusing(status: int, *allowed: str) -> dict[str, int]:
    answered = {f"nvmlDeviceGet{name}" for name in allowed}
    return {name: status for name in DEVICE_CALLS if name not in answered}


def healthy() -> FakeNvml:
    return FakeNvml(processes=(os.getpid(),))


def throttled() -> FakeNvml:
    """Too hot for a quarter of the time."""
    return FakeNvml(rates={HW_THERMAL: 0.25e9}, events=0x8 | 0x40, sm_clock_mhz=1200, temperature=92)


def power_capped() -> FakeNvml:
    return FakeNvml(rates={POWER_CAP: 0.9e9}, events=0x4, sm_clock_mhz=1410)


def ecc_errors() -> FakeNvml:
    """One error per second that ECC cannot correct, and many that it can; a row waits to be remapped."""
    return FakeNvml(rates={ECC_DOUBLE: 1, ECC_SINGLE: 200})


def mig() -> FakeNvml:
    return FakeNvml("NVIDIA H200 MIG 1g.18gb", MIG_UUID, mig=1, refused=_refusing(NOT_SUPPORTED, *SLICE_CALLS))


def no_permission() -> FakeNvml:
    return FakeNvml(refused=_refusing(NO_PERMISSION, "HandleByUUID"))


def lost(calls: int = 30) -> FakeNvml:
    """Falls off the bus after so many calls."""
    return FakeNvml(calls_left=calls)


def busy() -> FakeNvml:
    """Another process computes here too."""
    return FakeNvml(processes=(os.getpid(), FOREIGN))


def exclusive() -> FakeNvml:
    return FakeNvml(compute_mode=3)


PROFILES: dict[str, Callable[[], FakeNvml]] = {
    make.__name__: make
    for make in (healthy, throttled, power_capped, ecc_errors, mig, no_permission, lost, busy, exclusive)
}
