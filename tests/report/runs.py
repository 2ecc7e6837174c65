"""Runs for the report: simulated in this process, or written by hand, and always through the file format."""

from dataclasses import replace

from bench import store
from bench.measure.budget import BUDGETS
from bench.measure.device.cuda import IDENTITY
from bench.measure.device.nvml import Monitor
from bench.measure.device.sim import open_simulated
from bench.measure.device.validity import judge, summary
from bench.measure.environment import environment
from bench.measure.probes import select
from bench.measure.session import session
from bench.schema import SUSTAINED, Cache, DeviceInfo, End, Environment, Measurement, Run
from tests.measure.device.fake_nvml import PROFILES, installed

QUICK = replace(BUDGETS["quick"], rounds=6)


def through_file(run: Run) -> Run:
    """As it comes back from disk, which is what a report is made of."""
    return store.parse("".join(f"{line}\n" for line in store.raw_lines(run)).encode(), "test.jsonl")


def simulated(spec: str, probes=(), budget=QUICK) -> Run:
    devices = open_simulated(spec)
    chosen = select(list(probes))
    found = tuple(m for device in devices for m in session(device, chosen, budget))
    command = ("python", "-m", "bench", "all", "--device", spec)
    about = environment([device.info for device in devices], command, budget.name, 0, chosen)
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


def watched(run: Run, profile: str, power_w: float = 640.0) -> Run:
    """A simulated Run as if a GPU under NVML had made it: telemetry and verdicts come from Monitor and judge."""
    before = run.environment.devices[0]
    with installed(PROFILES[profile]()) as fake:
        monitor = Monitor(fake.uuid, clock=fake.monotonic)
        identity = monitor.identity()
        facts = {
            key: f"{v:.0f}" if isinstance(v := identity[key], float) else str(v) for key in IDENTITY if key in identity
        }
        sku = "" if identity.get("mig") else before.sku
        about = {"id": "cuda:0", "name": fake.name, "uuid": fake.uuid, "product": sku or "nvidia-h200-mig-1g-18gb"}
        info = replace(before, sku=sku, simulated=False, facts=facts, **about)
        found = tuple(_watched(m, info.id, fake, monitor, power_w) for m in run.measurements)
    environment = replace(run.environment, devices=(info,), simulated=False, product=info.product)
    return through_file(Run(environment, found, run.end))


def _watched(m: Measurement, device: str, fake, monitor: Monitor, power_w: float) -> Measurement:
    if m.skip:
        return replace(m, device=device)
    first = monitor.counters()
    launched, polled = 0, []
    if m.seconds:
        half = 1.0 if m.regime == SUSTAINED else 0.1
        fake.advance(half, 0.97 * power_w)
        polled.append(monitor.counters())
        fake.advance(half, 1.03 * power_w)
        polled.append(monitor.counters())
        launched = round((fake.seconds - first["at_s"]) / m.median)
    last = monitor.counters()
    telemetry = {"before": first, "after": last, "during": summary(polled)}
    validity, reasons = judge(telemetry, last["at_s"] - first["at_s"])
    clocks = (fake.sm_clock_mhz * 1e6,) * len(m.seconds) if "sm_clock_hz" in last else ()
    # preparing the next case draws little
    fake.advance(0.1, 120.0)
    fields = {"device": device, "clock_hz": clocks, "validity": validity, "reasons": reasons}
    return replace(m, telemetry=telemetry | {"launched": launched}, **fields)


def gpu(**more) -> DeviceInfo:
    """A GPU that a table knows, as a real one would describe itself."""
    fields = {
        "id": "cpu",
        "name": "NVIDIA H200",
        "product": "h200-sxm",
        "sku": "h200-sxm",
        "memory_bytes": 140 << 30,
        "caches": (Cache("l2", 60 << 20),),
        "units": {"float32": "vector", "bfloat16": "tensor", "float8_e4m3": "tensor"},
        "loops": {"float32": 132 * 16384},
        "sms": 132,
        "onchip": {"shared": 64 << 10, "l1": 64 << 10},
        "regime": "burst",
    }
    return cpu(**fields | more)


def rounds(probe: str, params: dict, work, seconds: float, count: int = 5, **more) -> list[Measurement]:
    """A first pass and so many rounds of a case, all alike."""
    return [measured(probe, params, work, (seconds,) * 6, repetition=r, **more) for r in (0, *range(2, 2 + count))]
