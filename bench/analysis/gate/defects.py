"""What a GPU's own counters say is broken: it is no longer the machine that was bought, however fast it still is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.schema import Run


def defects(run: Run) -> tuple[tuple[str, str], ...]:
    """(device, what moved) for each hardware-defect counter that moved while measuring, or says so already."""
    found = []
    for info in run.environment.devices:
        readings = [m.telemetry.get(name) or {} for m in run.of(info.id) for name in ("before", "after")]
        found += [(info.id, words) for words in dict.fromkeys(_said(readings))]
    return tuple(found)


def _said(readings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Of all readings of one device in their order: between two measurements it works too."""
    if lost := next((each["lost"] for each in readings if each.get("lost")), None):
        yield f"the GPU fell off the bus (NVML: {lost})"
    errors = [each["ecc_double_bit"] for each in readings if "ecc_double_bit" in each]
    if errors and max(errors) > errors[0]:
        yield f"uncorrectable memory errors during the Run: {max(errors) - errors[0]:.0f}"
    if any(each.get("remap_failed") for each in readings):
        yield "a row of memory could not be remapped"
    if any(each.get("remap_pending") for each in readings):
        yield "a row of memory waits to be remapped: reset the GPU"


def limits(run: Run, device: str) -> tuple[str, ...]:
    """What held a device's clocks while it was measured, in the words of its verdicts, most often said first."""
    said: dict[str, int] = {}
    for m in run.of(device):
        for reason in m.reasons:
            if reason.startswith("clocks held by") or "slowdown" in reason or "power brake" in reason:
                words = reason.split(" for ")[0]
                said[words] = said.get(words, 0) + 1
    return tuple(sorted(said, key=lambda words: -said[words]))
