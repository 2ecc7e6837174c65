"""Runs for the report: simulated in this process, or written by hand, and always through the file format."""

from dataclasses import replace

from bench import store
from bench.device.sim import open_simulated
from bench.environment import environment
from bench.measure import BUDGETS
from bench.probes import select
from bench.schema import Cache, DeviceInfo, End, Environment, Measurement, Run
from bench.session import session

QUICK = replace(BUDGETS["quick"], rounds=6)


def through_file(run: Run) -> Run:
    """As it comes back from disk, which is what a report is made of."""
    return store.parse("".join(f"{line}\n" for line in store.raw_lines(run)).encode(), "test.jsonl")


def simulated(spec: str, probes=(), budget=QUICK) -> Run:
    devices = open_simulated(spec)
    found = tuple(m for device in devices for m in session(device, select(list(probes)), budget))
    about = environment(
        [device.info for device in devices], ("python", "-m", "bench", "all", "--device", spec), budget.name, 0
    )
    return through_file(Run(about, found, End("complete", 0, store.utc_now(), 1.0)))


def by_hand(measurements=(), info=None, complete=True, **about) -> Run:
    """A Run of whatever measurements, on a CPU that no table knows."""
    info = info or cpu()
    fields = {
        "suite": "0.1.0",
        "run_id": "0" * 32,
        "started": "2026-01-02T03:04:05.000Z",
        "command": ("python", "-m", "bench", "all"),
        "budget": "quick",
        "seed": 0,
        "product": info.product,
        "simulated": False,
        "devices": (info,),
        "host": "node",
    }
    end = End("complete", 0, "2026-01-02T03:05:05.000Z", 60.0) if complete else None
    return through_file(Run(Environment(**fields | about), tuple(measurements), end))


def cpu(**more) -> DeviceInfo:
    fields = {
        "id": "cpu",
        "name": "Some CPU",
        "product": "some-cpu-2c",
        "memory_bytes": 2**34,
        "caches": (Cache("l1", 2**16),),
        "units": {"float32": "vector"},
        "loops": {"float32": 512},
        "regime": "steady",
    }
    return DeviceInfo(**fields | more)


def measured(probe: str, params: dict, work, seconds=(1e-3,) * 6, **more) -> Measurement:
    fields = {
        "version": 1,
        "device": "cpu",
        "launches": 1,
        "started": "2026-01-02T03:04:06.000Z",
        "stop_reason": "6 samples",
    }
    return Measurement(probe=probe, params=params, work=work, seconds=tuple(seconds), **fields | more)
