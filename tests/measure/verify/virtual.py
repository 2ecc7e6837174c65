"""A GPU behind a virtual clock, exact to the last digit, and devices with one fault each."""

import math
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from bench.measure.device.protocol import torch_dtype
from bench.schema import Cache, DeviceInfo

L2, SMS, HERTZ = 1 << 20, 4, 1.7e9
PEAK, MEMORY, NEAR, LAUNCH, HOST = 1e12, 1e11, 4e11, 1e-6, 6e-6


class VirtualGpu:
    """As much of the Device protocol as trials need; kernels are their twins, time follows from the work.

    A case is warm where all that its launches touch fits in L2. Clocks come from two stamps, as clock.cu takes them.
    """

    rank, world = 0, 1

    def __init__(self, caches: tuple[Cache, ...] = (Cache("l2", L2),)):
        self.info = DeviceInfo(
            id="cuda:0",
            name="virtual GPU",
            product="virtual",
            memory_bytes=1 << 31,
            caches=caches,
            units={},
            loops={"float32": SMS * 2048},
            sms=SMS,
            launches=("synchronous", "back to back", "graph"),
            facts={"arch": "sm_90a"},
        )
        self.clock = 0.0
        self.units: dict[str, float] = {}

    def empty(self, *shape: int, dtype: str) -> Any:
        import torch

        return torch.empty(shape, dtype=torch_dtype(dtype))

    def random(self, *shape: int, dtype: str) -> Any:
        return self.empty(*shape, dtype=dtype).uniform_(-1, 1)

    def rotation(self, launch_bytes: float, cache: str) -> int:
        return 1 if cache == "hot" else math.ceil(4 * L2 / max(launch_bytes, 1)) + 1

    def load(self, kernel: Any) -> Callable[..., None]:
        def launch(*arguments: Any) -> None:
            kernel.twin(*arguments)

        return launch

    def begin(self, case: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def rest(self, seconds: float) -> None:
        self.clock += seconds

    def now(self) -> float:
        return self.clock

    def time(self, case: Any, launches: Any, count: int) -> Any:
        from bench.measure.device.protocol import Sample

        work = case.work
        warm = len(launches) * work.bytes <= L2
        seconds = max(work.flops / PEAK, work.bytes / (NEAR if warm else MEMORY)) + self.launch(case)
        begun = self.stamp()
        self.clock += seconds * count
        return Sample(seconds, self.hertz(begun, self.stamp()), count)

    def launch(self, case: Any) -> float:
        return HOST if case.timing in ("synchronous", "back to back") else LAUNCH

    def stamp(self) -> tuple[float, float]:
        """(ns, cycles) of SM 0."""
        return self.clock * 1e9, self.clock * HERTZ

    @staticmethod
    def hertz(begun: tuple[float, float], ended: tuple[float, float]) -> float | None:
        found = (ended[1] - begun[1]) / max(ended[0] - begun[0], 1e-9) * 1e9
        return found if 5e7 < found < 1e10 else None

    def telemetry(self) -> dict[str, float]:
        import time

        # the driver's own times are the wall's
        at = time.perf_counter()
        told = {
            "at_s": at,
            "power_w": 500.0,
            "power_limit_w": 700.0,
            "energy_j": 500.0 * at,
            "throttled_power_cap_s": 0.1 * at,
            "sm_clock_hz": HERTZ,
            "temperature_c": 60.0,
        }
        return {name: value * self.units.get(name, 1.0) for name, value in told.items()}

    @contextmanager
    def watch(self):
        during: dict[str, Any] = {}
        yield during
        power = 500.0 * self.units.get("power_w", 1.0)
        during.update({"n": 9, "power_w": [power] * 3, "sm_clock_hz": [HERTZ] * 3, "events": []})

    def judge(self, telemetry: Any, elapsed: float) -> tuple[str, tuple[str, ...]]:
        return "valid", ()


class Faulty:
    """A device in front of another one, which answers all that a fault does not change."""

    def __init__(self, device: Any):
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


class HostInTime(Faulty):
    """A stopwatch that lets 5 us of the host into every launch."""

    def time(self, case: Any, launches: Any, count: int) -> Any:
        from dataclasses import replace

        sample = self._device.time(case, launches, count)
        return replace(sample, seconds=sample.seconds + (0 if case.timing else 5e-6))


class OneOutput(Faulty):
    """Hands out one block again and again, as a caching allocator does."""

    def __init__(self, device: Any):
        super().__init__(device)
        self._blocks: dict[tuple, Any] = {}

    def empty(self, *shape: int, dtype: str) -> Any:
        if (shape, dtype) not in self._blocks:
            self._blocks[shape, dtype] = self._device.empty(*shape, dtype=dtype)
        return self._blocks[shape, dtype]


class NeverRotates(Faulty):
    def rotation(self, launch_bytes: float, cache: str) -> int:
        return 1


class WrongUnit(Faulty):
    """A counter of CPU time in milliseconds."""

    def telemetry(self) -> dict[str, float]:
        told = dict(self._device.telemetry())
        return told | {"own_s": told["own_s"] * 1000}


class OtherSm(VirtualGpu):
    """Every fifth last stamp is of another SM, whose cycles began to count elsewhere."""

    taken = 0

    def stamp(self) -> tuple[float, float]:
        self.taken += 1
        nanoseconds, cycles = super().stamp()
        return nanoseconds, cycles + (2e7 if self.taken % 10 == 0 else 0)


class Capped(VirtualGpu):
    """Does no more work than fits into a millisecond."""

    def time(self, case: Any, launches: Any, count: int) -> Any:
        from dataclasses import replace

        sample = super().time(case, launches, count)
        return replace(sample, seconds=min(sample.seconds, 1e-4))
