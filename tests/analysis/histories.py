"""Runs of a GPU whose headline is the plain loop, a day each, as files of a history."""

import math
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import store
from bench.analysis.history import History
from bench.schema import FIRST_ROUND, SUSTAINED, Cache, DeviceInfo, End, Environment, Measurement, Run
from bench.work import Work

DRAM, PEAK = 4.8e12, 67e12
_FIRST = datetime(2026, 1, 1, 3, tzinfo=UTC)


def gpu(index: int = 0, uuid: str = "GPU-0", **facts: str) -> DeviceInfo:
    """A GPU whose headline is the plain loop, so that two claims make a Run."""
    return DeviceInfo(
        id=f"cuda:{index}", name="Some GPU", product="some-gpu", uuid=uuid, memory_bytes=2**36,
        caches=(Cache("l2", 2**25),), units={"float32": "vector"}, loops={"float32": 512},
        facts={"driver": "570.86.15", "power_limit_w": "700", **facts},
    )  # fmt: skip


def run(number: int, dram: float = DRAM, devices=None, validity: str = "valid", noise: float = 0.001, **about) -> Run:
    """A measured Run of day `number`: dram and the float32 loop, each in five rounds, burst and sustained."""
    chance = random.Random(number)
    devices = devices or (gpu(),)
    found = []
    version = about.pop("version", 2)
    complete, rounds = about.pop("complete", True), about.pop("rounds", 5)
    for info in devices:
        for regime in ("burst", SUSTAINED):
            for probe, work, key, rate in (
                ("bandwidth", Work(bytes=1e9), "dram", dram),
                ("peak", Work(flops=1e12), "vector.float32.loop", PEAK * (0.9 if regime == SUSTAINED else 1)),
            ):
                for repetition in range(FIRST_ROUND, FIRST_ROUND + rounds):
                    seconds = (work.bytes or work.flops) / rate * math.exp(chance.gauss(0, noise))
                    found.append(
                        Measurement(
                            probe=probe, version=version if probe == "bandwidth" else 1, device=info.id,
                            params={"kind": key}, work=work, saturates=key, regime=regime, repetition=repetition,
                            seconds=(seconds,) * 3, launches=1, validity=validity,
                            reasons=() if validity == "valid" else ("hot",),
                        )
                    )  # fmt: skip
    fields = {
        "suite": "0.1.0", "run_id": f"{number:032x}", "started": (_FIRST + timedelta(days=number)).isoformat(),
        "command": ("bench",), "budget": "standard", "seed": 0, "product": "some-gpu", "simulated": False,
        "devices": tuple(devices), "host": "node", "libraries": {"torch": "2.9.0"},
    }  # fmt: skip
    return Run(
        Environment(**fields | about), tuple(found), End("complete", 0, "2027-01-01T00:00:00Z") if complete else None
    )


def put(folder: Path, one: Run, name: str = "", age: int = 60) -> Path:
    """A Run as a file that was last changed `age` seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"{one.environment.run_id[-6:]}.jsonl")
    path.write_text("".join(f"{line}\n" for line in store.raw_lines(one)))
    aged(path, age)
    return path


def aged(path: Path, age: int) -> None:
    now = path.stat().st_mtime_ns
    os.utime(path, ns=(now - age * 10**9,) * 2)


def number(found: History, key: str = "dram", regime: str = "burst"):
    """The only series of that number."""
    (one,) = [each for each in found.series if (each.key, each.regime) == (key, regime)]
    return one
