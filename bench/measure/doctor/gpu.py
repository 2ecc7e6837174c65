"""What is to be known of a GPU before it is measured, from a reading of what its driver tells.

A reading is of a moment before any load. It finds what would spoil a Run from its first case (another process, a
defect, a cap, a GPU that is hot already); heat that comes with the load only shows in a measurement's own telemetry.
"""

from collections.abc import Callable
from dataclasses import replace

from bench import theory, units
from bench.measure.doctor.finding import Finding
from bench.measure.doctor.reading import Reading

# Share of the memory that a driver and its displays may hold before somebody else must be holding it.
_TAKEN = 0.05
# A datacenter GPU idles at 25 to 50 °C and slows down near 87 (core) and 95 (HBM): it should not start from there.
_HOT, _MEMORY_HOT = 80.0, 90.0
_SLOWED = ("hardware slowdown", "hardware thermal slowdown", "software thermal slowdown", "hardware power brake")
_HELD = ("software power cap", "application clocks", "sync boost", "board limit", "reliability", "display clocks")
# Without these nobody can tell whether a measurement counts.
_JUDGED = ("throttled_sw_thermal_s", "throttled_hw_thermal_s", "throttled_power_brake_s", "ecc_double_bit")


def findings(device: str, gpu: Reading) -> list[Finding]:
    """Everything worth saying about one GPU, in the order of a datasheet."""
    if lost := gpu.get("lost"):
        fix = "read `dmesg | grep -i xid`, then reset the GPU or reboot"
        return [Finding("GPU", f"lost: {lost}", "bad", fix, device)]
    if "nvml" in gpu.absent:
        text = f"no telemetry ({gpu.absent['nvml']}): a slow or shared GPU would go unnoticed"
        return [Finding("telemetry", text, "warn", "make NVML answer (`nvidia-smi` uses it too)", device)]
    found = (look(gpu) for look in _LOOKS)
    return [replace(finding, device=device) for finding in found if finding]


def _product(gpu: Reading) -> Finding:
    name = gpu.get("name")
    if not name:
        return Finding("product", "its name is not told: no % of theory", "note")
    if gpu.get("mig"):
        return Finding("product", f"{name}: a MIG slice or cut into them, so no % of theory", "note")
    known = theory.match(name)
    if not known:
        fix = "add its datasheet to bench/theory/nvidia.toml"
        return Finding("product", f"{name}, of which no datasheet is known: no % of theory", "note", fix)
    return Finding("product", f"{name}, datasheet {known.sku}")


def _mig(gpu: Reading) -> Finding | None:
    if not gpu.get("mig"):
        return None
    fix = f"to measure the whole GPU: sudo {gpu.smi('-mig 0')}"
    return Finding("MIG", "on: measured as the slice that CUDA sees; its neighbours share power and heat", "note", fix)


def _driver(gpu: Reading) -> Finding | None:
    driver, cuda = gpu.get("driver"), gpu.get("cuda_driver")
    return Finding("driver", f"{driver}" + (f", CUDA {cuda}" if cuda else "")) if driver else None


def _processes(gpu: Reading) -> Finding:
    pids = gpu.processes
    if pids is None:
        why = gpu.absent.get("other_processes", "not told")
        return Finding("processes", f"whether others compute here is unknown ({why})", "note")
    if not pids:
        return Finding("processes", "nobody else computes here")
    who = ", ".join(map(str, pids))
    fix = f"wait for or end {'process' if len(pids) == 1 else 'processes'} {who}, or choose another GPU with --device"
    return Finding("processes", f"others compute here: {who}; measurements would be invalid", "bad", fix)


def _compute_mode(gpu: Reading) -> Finding | None:
    mode = gpu.get("compute_mode")
    if mode is None:
        return None
    fix = f"sudo {gpu.smi('-c DEFAULT')}"
    if mode == "prohibited":
        return Finding("compute mode", "prohibited: no process may compute here", "bad", fix)
    if mode.startswith("exclusive"):
        if gpu.processes:
            return Finding("compute mode", f"{mode}, and another process has it: it will not open", "bad", fix)
        return Finding("compute mode", f"{mode}: whoever comes next has to wait for a Run's end", "note")
    return Finding("compute mode", mode)


def _memory(gpu: Reading) -> Finding | None:
    total, used = gpu.get("memory_bytes"), gpu.get("memory_used_bytes")
    if not total or used is None:
        return None
    text = f"{units.size(total)}, {units.size(total - used)} free"
    if used > _TAKEN * total:
        fix = f"find who holds it: {gpu.smi('-q -d PIDS')}"
        return Finding("memory", f"{text}: {units.size(used)} is taken", "warn", fix)
    return Finding("memory", text)


def _ecc(gpu: Reading) -> Finding | None:
    double, single = gpu.get("ecc_double_bit"), gpu.get("ecc_single_bit")
    if double:
        fix = f"take the GPU out of service and reset it (sudo {gpu.smi('--gpu-reset')}); replace it if errors return"
        return Finding("ECC", f"{double} uncorrectable memory errors since its last reset", "bad", fix)
    if gpu.get("ecc") is None:
        return None
    if not gpu.get("ecc"):
        text = "off: errors go unseen, and GDDR is up to 6 % faster than with it"
        return Finding("ECC", text, "note", f"sudo {gpu.smi('-e 1')}, then reset")
    if single:
        return Finding("ECC", f"on; {single} errors were corrected since its last reset", "note")
    return Finding("ECC", "on, no errors since its last reset")


def _rows(gpu: Reading) -> Finding | None:
    pending, failed, beyond = map(gpu.get, ("remap_pending", "remap_failed", "remapped_rows_uncorrectable"))
    if failed:
        return Finding("row remap", "failed: this memory has no spare rows left", "bad", "replace the GPU")
    if pending:
        fix = f"stop what runs there and reset it: sudo {gpu.smi('--gpu-reset')}"
        return Finding("row remap", "a row of memory that failed waits for a reset to be replaced", "bad", fix)
    if beyond:
        return Finding("row remap", f"{beyond} rows were replaced after uncorrectable errors", "note")
    return Finding("row remap", "none pending") if pending is not None else None


def _throttle(gpu: Reading) -> Finding | None:
    events = gpu.get("events")
    if events is None:
        return None
    slowed = [event for event in events if event in _SLOWED]
    if slowed:
        fix = "see to cooling and power supply (fans, air flow, cables); measure when it is gone"
        return Finding("throttling", f"{', '.join(slowed)}: measurements would be invalid", "bad", fix)
    held = [event for event in events if event in _HELD]
    if held:
        fix = f"see what set it: {gpu.smi('-q -d CLOCK,POWER,PERFORMANCE')}"
        return Finding("throttling", f"clocks are held by {', '.join(held)}", "warn", fix)
    return Finding("throttling", "none now" + (" (idle)" if "idle" in events else ""))


def _power(gpu: Reading) -> Finding | None:
    limit, default, most = map(gpu.get, ("power_limit_w", "power_limit_default_w", "power_limit_max_w"))
    if limit is None:
        return None
    text = f"limit {limit:.0f} W"
    if default and limit < 0.995 * default:
        fix = f"sudo {gpu.smi(f'-pl {default:.0f}')}"
        return Finding("power", f"{text}, below its default of {default:.0f} W: slower than its datasheet", "warn", fix)
    if default and limit > 1.005 * default:
        return Finding("power", f"{text}, above its default of {default:.0f} W", "note")
    return Finding("power", text + (", its default" if default else f" of at most {most:.0f} W" if most else ""))


def _temperature(gpu: Reading) -> Finding | None:
    core, memory = gpu.get("temperature_c"), gpu.get("memory_temperature_c")
    if core is None:
        return None
    text = f"{core:.0f} °C" + (f", memory {memory:.0f} °C" if memory else "")
    if core >= _HOT or (memory or 0) >= _MEMORY_HOT:
        fix = "let it cool, or see to the air flow"
        return Finding("temperature", f"{text} before any load: it will slow down for heat", "warn", fix)
    return Finding("temperature", text)


def _clocks(gpu: Reading) -> Finding | None:
    parts = []
    for name, key in (("SM", "sm_clock"), ("memory", "memory_clock")):
        now, most = gpu.get(f"{key}_hz"), gpu.get(f"{key}_max_hz")
        if now:
            parts.append(f"{name} {units.hertz(now)} now" + (f" of {units.hertz(most)}" if most else ""))
    return Finding("clocks", ", ".join(parts)) if parts else None


def _pcie(gpu: Reading) -> Finding | None:
    generation, width = gpu.get("pcie_generation"), gpu.get("pcie_width")
    fastest, widest = gpu.get("pcie_generation_max"), gpu.get("pcie_width_max")
    if not generation or not width:
        return None
    text = f"generation {generation} x{width}"
    if widest and width < widest:
        fix = "reseat the card, and look at the slot's width and at the BIOS's bifurcation"
        return Finding("PCIe", f"{text}, narrower than its x{widest}: host copies will be slow", "warn", fix)
    if fastest and generation < fastest:
        return Finding("PCIe", f"{text} of generation {fastest}: an idle link may slow down, load tells", "note")
    return Finding("PCIe", text)


def _nvlink(gpu: Reading) -> Finding | None:
    up, links = gpu.get("nvlinks"), gpu.get("nvlinks_total")
    if not links:
        return Finding("NVLink", "none") if links == 0 else None
    if up == links:
        return Finding("NVLink", f"{links} links up")
    if not up:
        return Finding("NVLink", f"none of {links} links is up", "note", "with NVSwitch, see nvidia-fabricmanager")
    fix = f"see which: {gpu.smi('nvlink -s')}"
    return Finding("NVLink", f"{up} of {links} links are up: all-reduce may be slow", "warn", fix)


def _numa(gpu: Reading) -> Finding | None:
    node = gpu.get("numa_node")
    return None if node is None else Finding("NUMA", f"node {node}")


def _persistence(gpu: Reading) -> Finding | None:
    persistent = gpu.get("persistence")
    if persistent is None:
        return None
    if persistent:
        return Finding("persistence", "on")
    fix = f"sudo {gpu.smi('-pm 1')}"
    return Finding("persistence", "off: the driver unloads when idle, and the first case waits for it", "note", fix)


def _untold(gpu: Reading) -> Finding | None:
    """What the driver keeps to itself, by reason; grave where a verdict needs it."""
    by_reason: dict[str, list[str]] = {}
    for key, reason in gpu.absent.items():
        if key != "other_processes":
            by_reason.setdefault(reason, []).append(key)
    if not by_reason:
        return None
    text = "not told: " + "; ".join(f"{', '.join(keys)} ({reason})" for reason, keys in by_reason.items())
    if any(key in gpu.absent for key in _JUDGED) and not gpu.get("mig"):
        fix = "give this user or container the right to read them, or expect no verdict on heat and power"
        return Finding("telemetry", f"{text}; throttling would go unnoticed", "warn", fix)
    return Finding("telemetry", text, "note")


_LOOKS: tuple[Callable[[Reading], Finding | None], ...] = (
    _product,
    _mig,
    _driver,
    _processes,
    _compute_mode,
    _throttle,
    _temperature,
    _power,
    _clocks,
    _memory,
    _ecc,
    _rows,
    _pcie,
    _nvlink,
    _numa,
    _persistence,
    _untold,
)
