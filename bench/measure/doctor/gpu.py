"""What is to be known of GPUs before they are measured: of each, and of how they reach each other, as the driver tells.

A reading is of a moment before any load. It finds what would spoil a Run from its first case (another process, a
defect, a cap, a GPU that is hot already); heat that comes with the load only shows in a measurement's own telemetry.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from bench import theory, units
from bench.measure.device import nvml
from bench.measure.device.validity import SLOWDOWNS
from bench.measure.doctor.diagnosis import Observation, observed

# Share of the memory that a driver and its displays may hold before somebody else must be holding it.
_TAKEN = 0.05
# A datacenter GPU idles at 25 to 50 °C and slows down near 87 (core) and 95 (HBM): it should not start from there.
_HOT, _MEMORY_HOT = 80.0, 90.0
_SLOWED = {"hardware slowdown", *SLOWDOWNS.values()}
_HELD = {*nvml.EVENTS.values()} - _SLOWED - {"idle"}
# Without these nobody can tell whether a measurement counts.
_JUDGED = {*SLOWDOWNS, "ecc_double_bit"}
_NVLINK = "over NVLink"


@dataclass(frozen=True)
class GpuReading:
    """What the driver tells of one GPU before anything of ours runs there: no CUDA context made, nothing changed.

    values: of nvml.Monitor's identity, counters and occupancy. absent: key -> why it is not told.
    """

    values: Mapping[str, Any]
    absent: Mapping[str, str]

    def get(self, *keys: str) -> Any:
        """The value of a key, or the list of values of several; None where it is not told."""
        return self.values.get(keys[0]) if len(keys) == 1 else [self.values.get(key) for key in keys]

    @property
    def processes(self) -> list[int] | None:
        """Processes that compute here; None where the driver does not tell."""
        return self.values.get("processes", self.values.get("other_processes"))

    def says(self, topic: str, case: str, **facts: Any) -> Observation:
        """What findings.toml says of this GPU, by what tells it apart for nvidia-smi however CUDA numbers it."""
        uuid, bus = self.values.get("uuid") or "", self.values.get("pci_bus")
        # a slice's own UUID says nothing to nvidia-smi, which sets whole boards
        gpu = bus or ("GPU" if uuid.startswith("MIG-") else uuid) or 0
        return observed(topic, case, **{**self.values, "gpu": gpu, **facts})


def reading(uuid: str) -> GpuReading:
    """Asks the driver; what it does not tell is left out."""
    monitor = nvml.Monitor(uuid)
    try:
        identity, counters, occupancy = monitor.identity(), monitor.counters(), monitor.occupancy()
    finally:
        monitor.close()
    absent = identity.pop("absent", {}) | counters.pop("absent", {})
    return GpuReading(occupancy | identity | counters, absent)


def findings(device: str, gpu: GpuReading) -> list[Observation]:
    """Everything worth saying about one GPU, in the order of a datasheet."""
    if gpu.get("lost"):
        found = [gpu.says("GPU", "lost")]
    elif "nvml" in gpu.absent:
        found = [gpu.says("telemetry", "none", reason=gpu.absent["nvml"])]
    else:
        looks = (_product, _company, _pace, _memory, _links, _driver)
        found = [observation for look in looks for observation in look(gpu)]
    return [replace(observation, device=device) for observation in found]


def _product(gpu: GpuReading) -> Iterator[Observation]:
    name, mig, driver, cuda = gpu.get("name", "mig", "driver", "cuda_driver")
    if not name:
        yield gpu.says("product", "untold")
    elif mig:
        yield gpu.says("product", "slice")
    elif sheet := theory.match(name):
        yield gpu.says("product", "known", sku=sheet.sku)
    else:
        yield gpu.says("product", "unknown")
    if mig:
        yield gpu.says("MIG", "on")
    if driver:
        yield Observation("driver", f"{driver}, CUDA {cuda}" if cuda else driver)


def _company(gpu: GpuReading) -> Iterator[Observation]:
    pids, mode = gpu.processes, gpu.get("compute_mode")
    if pids is None:
        yield gpu.says("processes", "untold", reason=gpu.absent.get("other_processes", "not told"))
    elif pids:
        whom = "process" if len(pids) == 1 else "processes"
        yield gpu.says("processes", "others", who=", ".join(map(str, pids)), whom=whom)
    else:
        yield gpu.says("processes", "none")
    if mode is not None and mode.startswith("exclusive"):
        yield gpu.says("compute mode", "taken" if pids else "exclusive")
    elif mode is not None:
        yield gpu.says("compute mode", "prohibited" if mode == "prohibited" else "other")


def _pace(gpu: GpuReading) -> Iterator[Observation]:
    events = gpu.get("events")
    if events is not None:
        slowed, held = ([event for event in events if event in kind] for kind in (_SLOWED, _HELD))
        calm = "idle" if "idle" in events else "none"
        yield gpu.says("throttling", "slowed" if slowed else "held" if held else calm, why=", ".join(slowed or held))
    core, memory = gpu.get("temperature_c", "memory_temperature_c")
    if core is not None:
        degrees = f"{core:.0f} °C" + (f", memory {memory:.0f} °C" if memory else "")
        hot = core >= _HOT or (memory or 0) >= _MEMORY_HOT
        yield gpu.says("temperature", "hot" if hot else "fine", degrees=degrees)
    limit, default, most = gpu.get("power_limit_w", "power_limit_default_w", "power_limit_max_w")
    if limit is not None and default:
        low, high = limit < 0.995 * default, limit > 1.005 * default
        yield gpu.says("power", "low" if low else "high" if high else "default")
    elif limit is not None:
        yield gpu.says("power", "below" if most else "alone")
    clocks = []
    for name, key in (("SM", "sm_clock"), ("memory", "memory_clock")):
        now, fastest = gpu.get(f"{key}_hz", f"{key}_max_hz")
        if now:
            clocks.append(f"{name} {units.hertz(now)} now" + (f" of {units.hertz(fastest)}" if fastest else ""))
    if clocks:
        yield Observation("clocks", ", ".join(clocks))


def _memory(gpu: GpuReading) -> Iterator[Observation]:
    total, used = gpu.get("memory_bytes", "memory_used_bytes")
    if total and used is not None:
        sizes = {"total": units.size(total), "free": units.size(total - used), "used": units.size(used)}
        yield gpu.says("memory", "taken" if used > _TAKEN * total else "free", **sizes)
    on, double, single = gpu.get("ecc", "ecc_double_bit", "ecc_single_bit")
    if double:
        yield gpu.says("ECC", "uncorrectable")
    elif on is not None:
        yield gpu.says("ECC", "off" if not on else "corrected" if single else "clean")
    pending, failed, beyond = gpu.get("remap_pending", "remap_failed", "remapped_rows_uncorrectable")
    if failed or pending or beyond:
        yield gpu.says("row remap", "failed" if failed else "pending" if pending else "replaced")
    elif pending is not None:
        yield gpu.says("row remap", "none")


def _links(gpu: GpuReading) -> Iterator[Observation]:
    generation, fastest = gpu.get("pcie_generation", "pcie_generation_max")
    width, widest = gpu.get("pcie_width", "pcie_width_max")
    if generation and width:
        narrow, slow = widest and width < widest, fastest and generation < fastest
        yield gpu.says("PCIe", "narrow" if narrow else "slow" if slow else "full")
    up, links, node = gpu.get("nvlinks", "nvlinks_total", "numa_node")
    if links:
        yield gpu.says("NVLink", "up" if up == links else "some" if up else "down")
    elif links == 0:
        yield gpu.says("NVLink", "none")
    if node is not None:
        yield Observation("NUMA", f"node {node}")


def _driver(gpu: GpuReading) -> Iterator[Observation]:
    """Whether it stays loaded, and what it keeps to itself, by reason; grave where a verdict needs it."""
    persistent = gpu.get("persistence")
    if persistent is not None:
        yield gpu.says("persistence", "on" if persistent else "off")
    by_reason: dict[str, list[str]] = {}
    for key, reason in gpu.absent.items():
        if key != "other_processes":
            by_reason.setdefault(reason, []).append(key)
    if by_reason:
        what = "; ".join(f"{', '.join(keys)} ({reason})" for reason, keys in by_reason.items())
        unjudged = _JUDGED & gpu.absent.keys() and not gpu.get("mig")
        yield gpu.says("telemetry", "unjudged" if unjudged else "partial", what=what)


def peers(uuids: Sequence[str]) -> list[Observation]:
    """What an all-reduce of these GPUs goes over: nothing for a lone GPU, or where the driver does not tell."""
    paths = Counter(_paths(uuids))
    if not paths:
        return []
    told = ", ".join(f"{count} {'pair' if count == 1 else 'pairs'} {path}" for path, count in paths.most_common())
    if len(paths) > 1 or any("no peer" in path for path in paths):
        return [observed("peers", "uneven", paths=told)]
    ((path, pairs),) = paths.items()
    return [observed("peers", "alike" if pairs > 1 else "pair", count=len(uuids), path=path, paths=told)]


def _paths(uuids: Sequence[str]) -> list[str]:
    try:
        with nvml.session() as library:
            handles = [library.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
            return [_path(library, *pair) for pair in combinations(handles, 2)]
    except nvml.NoAnswer:
        return []


def _path(library: Any, one: Any, other: Any) -> str:
    def can(capability: int) -> bool:
        return library.nvmlDeviceGetP2PStatus(one, other, capability) == library.NVML_P2P_STATUS_OK

    if can(library.NVML_P2P_CAPS_INDEX_NVLINK):
        return _NVLINK
    path = nvml.PATHS.get(library.nvmlDeviceGetTopologyCommonAncestor(one, other), "over a path of no known name")
    # (0,): a trailing comma in pynvml made a tuple of this constant
    return path if can(0) else f"{path}, no peer access"
