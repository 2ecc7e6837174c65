"""Whether the devices were well: how they fared, what slowed or disturbed them, and what could not be read."""

from collections.abc import Iterator, Sequence

from bench import units
from bench.report import names
from bench.report.health import Health
from bench.report.words import kind, listed, many

# What NVML names -> what a reader does.
QUANTITIES = {
    "power_w": "power",
    "power_mean_w": "mean power",
    "power_limit_w": "power limit",
    "energy_j": "energy",
    "sm_clock_hz": "SM clock",
    "memory_clock_hz": "memory clock",
    "temperature_c": "temperature",
    "memory_temperature_c": "memory temperature",
    "ecc_double_bit": "uncorrectable errors",
    "ecc_single_bit": "corrected errors",
    "events": "clock events",
    "other_processes": "other processes",
    "pcie_generation": "PCIe generation",
    "pcie_width": "PCIe width",
    "nvlinks": "NVLinks",
    "remap_pending": "pending row remaps",
    "remap_failed": "failed row remaps",
    "nvml": "every counter",
}


def health(all_of_them: Sequence[Health], shown: Health) -> Iterator[str]:
    """The shown device as it fared, then what is wrong with any of them."""
    if shown.info.simulated:
        yield "Nothing was read from a driver: a simulated device counts what its options tell it to."
    elif shown.is_slice:
        yield (
            "This is a MIG slice, a part of a GPU: it is measured as its slice, and no percentage of theory is given,"
            " because no datasheet states what a slice reaches."
        )
    if shown.is_gpu and not shown.info.simulated:
        yield from _fared(shown, len(all_of_them) > 1)
    elif not shown.is_gpu:
        yield from _cpu(shown)
    troubles = [text for each in all_of_them for text in _troubles(each, len(all_of_them) > 1)]
    if troubles:
        yield from troubles
    elif all(each.throttled for each in all_of_them):
        yield "No slowdown by heat, by a power brake or by others was counted, and no memory error."
    if shown.is_gpu:
        yield from _unread(shown)
    yield from _judged(all_of_them)


def _fared(each: Health, named: bool) -> Iterator[str]:
    who = f"{names.device(each.info.id)}: " if named else ""
    power, clock, heat = each.polled("power_w"), each.polled("sm_clock_hz"), each.polled("temperature_c")
    parts = []
    if power:
        limit = each.last("power_limit_w")
        under = f", {units.percent(power[1] / limit, 2)} of its limit of {units.watts(limit)}" if limit else ""
        parts.append(
            f"power averaged {units.watts(power[1])} while measuring ({units.between(power[0], power[2], units.watts)}"
            f"{under})"
        )
    if clock:
        most = each.info.facts.get("sm_clock_max_hz", "")
        under = f" of at most {units.hertz(float(most))}" if most else ""
        parts.append(
            f"the SM clock averaged {units.hertz(clock[1])}{under} ({units.between(clock[0], clock[2], units.hertz)})"
        )
    if heat:
        parts.append(f"the GPU was at {heat[2]:.0f} °C at most")
    if parts:
        text = f"{who}{listed(parts)}"
        yield f"{text[0].upper()}{text[1:]}."
    held = each.throttled.get("power limit", 0.0)
    if held and each.seconds:
        yield (
            f"{who}The power limit held its clocks for {_share(held, each)}: that is how a GPU works at full load, and"
            " no fault."
        )


def _share(seconds: float, each: Health) -> str:
    return f"{units.seconds(seconds)} of {units.seconds(each.seconds)} ({units.percent(seconds / each.seconds, 2)})"


def _troubles(each: Health, named: bool) -> Iterator[str]:
    who = f"{names.device(each.info.id)}: " if named else ""
    for cause, seconds in each.throttled.items():
        if cause != "power limit" and seconds > 0.01 * each.seconds > 0:
            yield f"{who}Slowed ({cause}) for {_share(seconds, each)}."
    broken, mended = each.grown("ecc_double_bit") or 0, each.grown("ecc_single_bit") or 0
    if broken:
        yield f"{who}{many(int(broken), 'uncorrectable memory error')} during the Run."
    if mended > 100:
        yield f"{who}{int(mended)} memory errors were corrected during the Run, far more than chance."
    if each.last("remap_pending"):
        yield f"{who}A row of memory failed and waits to be remapped: reset the GPU."
    if each.last("remap_failed"):
        yield f"{who}A row of memory could not be remapped: the GPU's memory is defective."
    if each.others:
        yield f"{who}Other processes computed on it: {', '.join(map(str, each.others))}."
    width, most = each.last("pcie_width"), each.info.facts.get("pcie_width_max", "")
    if width and most.isdigit() and width < int(most):
        yield f"{who}The PCIe link runs on {width} of {most} lanes."
    lost = each.last("lost")
    if lost:
        yield f"{who}It fell off the bus (NVML: {lost})."


def _cpu(each: Health) -> Iterator[str]:
    """A CPU counts its own seconds, those of others and those that the hypervisor took."""
    alone = Health(each.info, tuple(m for m in each.measurements if len(m.devices) < 2))
    if not any("busy_s" in reading for reading in alone.readings):
        yield "No counter was read beside the measurements, so nothing but their times speaks for them."
        return
    own, busy, steal = (alone.gained(key) for key in ("own_s", "busy_s", "steal_s"))
    yield (
        f"While it was measured, this Run computed {units.seconds(own)} of CPU time, other processes"
        f" {units.seconds(max(0.0, busy - own))}, and a hypervisor took {units.seconds(steal)}. Clocks, power and heat"
        " of a CPU are not read."
    )


def _unread(each: Health) -> Iterator[str]:
    for reason, keys in each.absent.items():
        words = list(
            dict.fromkeys("throttle times" if k.startswith("throttled") else QUANTITIES.get(k, k) for k in keys)
        )
        yield f"Not available ({reason}): {listed(words)}."


def _judged(all_of_them: Sequence[Health]) -> Iterator[str]:
    for each in all_of_them:
        who = f"{names.device(each.info.id)}: of" if len(all_of_them) > 1 else "Of"
        total, bad = sum(each.counts.values()), each.counts["suspect"] + each.counts["invalid"]
        if not total:
            continue
        if not bad:
            if len(all_of_them) == 1:
                yield f"All {many(total, 'measurement')} are valid."
            continue
        grouped: dict[str, int] = {}
        for reason, count in each.causes.items():
            grouped[kind(reason)] = grouped.get(kind(reason), 0) + count
        why = "; ".join(f"{cause} ({n} ×)" for cause, n in sorted(grouped.items(), key=lambda item: -item[1])[:3])
        yield (
            f"{who} {many(total, 'measurement')} {each.counts['suspect']} are suspect and {each.counts['invalid']}"
            f" invalid{f': {why}' if why else ''}."
        )
