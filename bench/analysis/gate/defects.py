"""What a GPU's own counters say is broken: it is no longer the machine that was bought, however fast it still is."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.schema import Run


def defects(run: Run) -> tuple[tuple[str, str], ...]:
    """(device, what moved) for each hardware-defect counter that moved while measuring, or says so already."""
    found = []
    for info in run.environment.devices:
        said = [words for m in run.of(info.id) for words in _said(m.telemetry)]
        found += [(info.id, words) for words in dict.fromkeys(said)]
    return tuple(found)


def _said(telemetry: Mapping[str, Any]) -> Iterator[str]:
    before, after = (telemetry.get(name) or {} for name in ("before", "after"))
    if lost := before.get("lost") or after.get("lost"):
        yield f"the GPU fell off the bus (NVML: {lost})"
    if after.get("ecc_double_bit", 0) > before.get("ecc_double_bit", after.get("ecc_double_bit", 0)):
        yield "uncorrectable memory errors while measuring"
    if before.get("remap_failed") or after.get("remap_failed"):
        yield "a row of memory could not be remapped"
    if before.get("remap_pending") or after.get("remap_pending"):
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
