"""What a CPU of a known family can at most start per cycle: cores x clock x lanes x FMA pipes x 2 as a Roofline.

A family that cpu.toml lacks is unknown: None, never a guess. No memory bandwidth is claimed; it depends on the DIMMs.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench import units
from bench.roofline import Roof, Roofline
from bench.work import ITEMSIZE


@dataclass(frozen=True, kw_only=True)
class CpuFamily:
    """A CPU core's FMA units: vector_bits per pipe and cycle, pipes, and latency in cycles. The other fields say which
    CPUs it is about, as cpu.toml explains them, and where the facts come from.
    """

    key: str
    name: str
    vendor: str
    family: int
    models: tuple[tuple[int, int], ...]
    flags: tuple[str, ...]
    model_names: str = ""
    vector_bits: int
    fma_pipes: int
    fma_latency_cycles: int
    source: str
    confidence: str
    note: str = ""

    def lanes(self, dtype: str) -> int:
        """Elements of one FMA instruction."""
        return self.vector_bits // (8 * ITEMSIZE[dtype])

    def roofline(self, cores: int, clock_hz: float) -> Roofline:
        """FLOP/s of `cores` physical cores that all hold clock_hz under FMA. ValueError unless both are positive."""
        if cores < 1 or not clock_hz > 0:
            raise ValueError(f"cores and clock must be positive, not {cores} and {clock_hz}")
        roofs, about = [], f"({self.name}: {self.source}; confidence {self.confidence})"
        for dtype in ("float32", "float64"):
            lanes, pipes = self.lanes(dtype), self.fma_pipes
            how = f"assumed: {cores} cores x {units.hertz(clock_hz, 4)} x {lanes} lanes x {pipes} FMA pipes x 2 {about}"
            rate = cores * clock_hz * lanes * pipes * 2
            roofs.append(Roof(f"vector.{dtype}.datasheet", rate, evidence=how, caution=self.note))
        return Roofline(self.name, tuple(roofs))

    def _covers(self, vendor: str, family: int, model: int, name: str, flags: set[str]) -> bool:
        return (
            (vendor, family) == (self.vendor, self.family)
            and any(low <= model <= high for low, high in self.models)
            and flags.issuperset(self.flags)
            and re.search(self.model_names, name) is not None
        )


def find(cpuinfo: Mapping[str, str]) -> CpuFamily | None:
    """The family of a CPU from its fields in /proc/cpuinfo, x86 or Arm; None if unknown or without its vector units."""
    try:
        if "vendor_id" in cpuinfo:
            vendor, flags = cpuinfo["vendor_id"], cpuinfo["flags"]
            family, model = int(cpuinfo["cpu family"]), int(cpuinfo["model"])
        else:
            vendor, flags = cpuinfo["CPU implementer"], cpuinfo["Features"]
            family, model = int(cpuinfo["CPU architecture"]), int(cpuinfo["CPU part"], 16)
    except (KeyError, ValueError):
        return None
    name, present = cpuinfo.get("model name", ""), set(flags.split())
    return next((f for f in families() if f._covers(vendor, family, model, name, present)), None)


@cache
def families() -> tuple[CpuFamily, ...]:
    """Every CPU family that the suite knows, in the order of cpu.toml."""
    table = tomllib.loads(Path(__file__).with_name("cpu.toml").read_text(encoding="utf-8"))
    return tuple(
        CpuFamily(key=key, **row | {"models": tuple(map(tuple, row["models"])), "flags": tuple(row["flags"])})
        for key, row in table["cpu"].items()
    )
