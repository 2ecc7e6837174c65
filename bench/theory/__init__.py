"""What vendors claim: a GPU, by its sku or by the name that its driver reports, and its datasheet as a Roofline.

    >>> product("h200-sxm").roofline.ridge("tensor.bfloat16", "dram")
    206.125
    >>> match("NVIDIA H200").sku
    'h200-sxm'

The facts are in nvidia.toml, each with its source and confidence. They are claims, typed by hand: what a device reports
itself goes before them. Inside, everything is in SI base units.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path

from bench import units
from bench.roofline import Roof, Roofline

# Two figures for one thing that differ by more than this contradict each other; less is a datasheet's rounding.
TOLERANCE = 0.015

# The link to the host as the table names it -> B/s one way and why. Up to 5.0, 128 of 130 bits are data; 6.0 sends
# FLITs of 256 bytes that carry 236 (PCI-SIG, "PCI Express 6.0 Specification").
HOST_LINKS = {
    "3x16": (8e9 * 16 / 8 * 128 / 130, "PCIe 3.0 x16: 8 GT/s, 128b/130b"),
    "4x16": (16e9 * 16 / 8 * 128 / 130, "PCIe 4.0 x16: 16 GT/s, 128b/130b"),
    "5x16": (32e9 * 16 / 8 * 128 / 130, "PCIe 5.0 x16: 32 GT/s, 128b/130b"),
    "6x16": (64e9 * 16 / 8 * 236 / 256, "PCIe 6.0 x16: 64 GT/s, 236 of 256 bytes"),
    "C2C": (450e9, "NVLink-C2C: 900 GB/s both directions added (NVIDIA, Grace Hopper Superchip datasheet)"),
}
# Channels that run at the SM's clock.
ON_CHIP = ("shared", "l1")
_SCALE = {"full": 1.0, "half": 0.5, "quarter": 0.25}
_CONFIDENCE = ("low", "medium", "high")


class UnknownProduct(LookupError):
    """No product has that sku; the message names the nearest ones."""


@dataclass(frozen=True, kw_only=True)
class Arch:
    """One SM of a compute capability: flops per clock (one FMA = 2, dense) by dtype, and shared memory's bytes. tensor:
    with float32 accumulation, but for "float16_f16acc". tensor_rate_class: the class that these rates are of.
    """

    cc: str
    vector_flops_per_clock: Mapping[str, float] = field(hash=False)
    tensor_flops_per_clock: Mapping[str, float] = field(hash=False)
    tensor_rate_class: str = "full"
    shared_memory: Mapping[str, int] = field(hash=False)
    source: str
    confidence: str


@dataclass(frozen=True, kw_only=True)
class Product:
    """One GPU as its vendor sells it, in SI base units (Hz, B/s, bytes, W); None where a figure is absent or unknown.
    peaks: FLOP/s (int8: OP/s), dense, as printed, by quantity ("vector.float32", "tensor.bfloat16"). boost_hz is the
    clock that the vector and float64 peaks assume, tensor_hz that of the other tensor peaks. bandwidth: B/s as printed.
    data_rate: bit/s per pin. nvlink: B/s, both directions added. cautions: by quantity or its first word.
    """

    sku: str
    names: str
    arch: Arch
    sms: int
    boost_hz: float
    tensor_hz: float
    tensor_clock_back_solved: bool = False
    tensor_rate_class: str
    int8_rate_class: str = "full"
    peaks: Mapping[str, float] = field(hash=False)
    bus_bits: int
    memory_clock_hz: float
    data_rate: float
    bandwidth: float
    nominal_memory_bytes: int
    nvml_memory_bytes: int | None
    l2_bytes: int
    nvlink_generation: int | None
    nvlink: float | None
    pcie: str | None = None
    tdp_watts: float
    source: str
    confidence: str
    cautions: Mapping[str, str] = field(hash=False, default_factory=dict)

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability: (9, 0) for Hopper."""
        major, minor = self.arch.cc.split(".")
        return int(major), int(minor)

    @property
    def memory_bytes(self) -> int:
        """Memory as NVML reports it, else the nominal capacity read as decimal GB (the smaller reading)."""
        return self.nvml_memory_bytes or self.nominal_memory_bytes

    @property
    def bandwidth_by_bus(self) -> float:
        """B/s that the width of the bus and the data rate give: the second opinion on `bandwidth`."""
        return self.bus_bits / 8 * self.data_rate

    def clock(self, quantity: str) -> float:
        """SM clock in Hz that the figure of a compute quantity assumes."""
        return self.boost_hz if quantity.startswith("vector.") or quantity == "tensor.float64" else self.tensor_hz

    def flops_per_clock(self, quantity: str) -> float | None:
        """FLOP per clock and SM, this product's rate class applied; None where the architecture has no such unit."""
        unit, dtype = quantity.split(".", 1)
        rates = self.arch.vector_flops_per_clock if unit == "vector" else self.arch.tensor_flops_per_clock
        rate = rates.get(dtype)
        if rate is None or unit == "vector" or dtype in ("float64", "float4"):
            return rate
        if dtype == "int8":
            return rate * _SCALE[self.int8_rate_class]
        return rate * _SCALE[self.tensor_rate_class] / _SCALE[self.arch.tensor_rate_class]

    def peak_by_clock(self, quantity: str) -> float | None:
        """FLOP/s that SMs x flops per clock x clock give: the second opinion on `peaks`."""
        rate = self.flops_per_clock(quantity)
        return None if rate is None else self.sms * rate * self.clock(quantity)

    def at_clock(self, roof_key: str, clock_hz: float) -> float | None:
        """A roof's rate at another SM clock; None for a roof that it does not drive or that this product lacks."""
        roof = self.roofline.find(roof_key) or self.roofline.find(roof_key.rsplit(".", 1)[0])
        if roof is None or not (roof.is_compute or roof.key in ON_CHIP):
            return None
        return roof.rate * clock_hz / (self.clock(roof.quantity) if roof.is_compute else self.boost_hz)

    def units(self) -> dict[str, str]:
        """Matmul dtype -> the unit that runs it, "tensor" or "vector", for the dtypes that this product multiplies."""
        float64 = "tensor" if "tensor.float64" in self.peaks else "vector"
        narrow = ("tf32", "float16", "bfloat16", "float8_e4m3", "int8", "float4")
        return {"float64": float64, "float32": "vector"} | {d: "tensor" for d in narrow if f"tensor.{d}" in self.peaks}

    @cached_property
    def roofline(self) -> Roofline:
        """The datasheet as a Roofline: compute roofs of method "datasheet", `dram`, `shared` and `l1`, the host link
        (`h2d`, `d2h`, `duplex`), and `link` (NVLink, one way) if present.
        """
        return Roofline(self.sku, (*self._compute_roofs(), *self._bandwidth_roofs(), *self._host_roofs()))

    def _compute_roofs(self) -> Iterator[Roof]:
        for quantity, rate in self.peaks.items():
            solved = ", a clock not stated by the vendor" if self._solved(quantity) else ""
            evidence = f"{self.source}; at {_hertz(self.clock(quantity))}{solved}; confidence {self.confidence}"
            yield Roof(f"{quantity}.datasheet", rate, evidence=evidence, caution=self._caution(quantity))
        # datasheets rarely print the packed and the integer ALU rates, so these are computed
        confidence = min(self.confidence, self.arch.confidence, key=_CONFIDENCE.index)
        for quantity in ("vector.float16", "vector.bfloat16", "vector.int32"):
            if rate := self.peak_by_clock(quantity):
                each = f"{self.flops_per_clock(quantity):g} FLOP per clock ({self.arch.source})"
                evidence = f"{self.sms} SMs x {each} at {_hertz(self.boost_hz)}; confidence {confidence}"
                yield Roof(f"{quantity}.datasheet", rate, evidence=evidence, caution=self._caution(quantity))

    def _bandwidth_roofs(self) -> Iterator[Roof]:
        bus = f"{self.bus_bits} bit x {self.data_rate / 1e9:g} Gbit/s = {units.bandwidth(self.bandwidth_by_bus, 4)}"
        evidence = f"{self.source}; {bus}; confidence {self.confidence}"
        yield Roof("dram", self.bandwidth, evidence=evidence, caution=self._caution("dram"))
        if self.nvlink:
            evidence = f"{self.source}; NVLink {self.nvlink_generation}, one direction; confidence {self.confidence}"
            yield Roof("link", self.nvlink / 2, evidence=evidence, caution=self._caution("link"))
        arch, each = self.arch, self.arch.shared_memory["bytes_per_clock"]
        evidence = f"{self.sms} SMs x {each} B per clock at {_hertz(self.boost_hz)} ({arch.source})"
        evidence += f"; confidence {arch.confidence}"
        # one data path serves both (CUDA Programming Guide: unified data cache)
        yield from (Roof(channel, self.sms * each * self.boost_hz, evidence=evidence) for channel in ON_CHIP)

    def _host_roofs(self) -> Iterator[Roof]:
        if self.pcie in HOST_LINKS:
            rate, evidence = HOST_LINKS[self.pcie]
            yield from (Roof(channel, rate, evidence=evidence) for channel in ("h2d", "d2h"))
            yield Roof("duplex", 2 * rate, evidence=f"both directions of: {evidence}")

    def _solved(self, quantity: str) -> bool:
        return self.tensor_clock_back_solved and self.clock(quantity) == self.tensor_hz

    def _caution(self, quantity: str) -> str:
        """What the table warns of, and the second opinion where it contradicts the figure."""
        warnings = [text for key, text in self.cautions.items() if f"{quantity}.".startswith(f"{key}.")]
        if quantity == "dram":
            claimed, computed, how = self.bandwidth, self.bandwidth_by_bus, "bus x data rate gives"
        elif quantity in self.peaks:
            claimed, computed, how = self.peaks[quantity], self.peak_by_clock(quantity), "SMs x rate x clock give"
        else:
            claimed, computed, how = 0.0, None, ""
        if computed and abs(claimed / computed - 1) > TOLERANCE:
            off = units.percent(abs(claimed / computed - 1), 2)
            side = "above" if claimed > computed else "below"
            warnings.append(f"{how} {units.rate_text(computed, quantity, 4)}, the claim is {off} {side} it")
        return "; ".join(warnings)


@cache
def products() -> tuple[Product, ...]:
    """Every GPU that the suite knows, in the order of nvidia.toml."""
    table = tomllib.loads(Path(__file__).with_name("nvidia.toml").read_text(encoding="utf-8"))
    arches = {cc: Arch(cc=cc, **_as_named(Arch, row)) for cc, row in table["arch"].items()}
    return tuple(_product(sku, row, arches[row["arch"]]) for sku, row in table["gpu"].items())


def product(sku: str) -> Product:
    """The product of that sku, in any case. Raises UnknownProduct, which names the nearest skus."""
    known = {p.sku: p for p in products()}
    key = sku.strip().lower()
    if key in known:
        return known[key]
    near = ", ".join(_nearest(key))
    raise UnknownProduct(f"no GPU {sku!r} in the table; nearest: {near}; `bench list` names all {len(known)}")


def _nearest(typed: str) -> list[str]:
    """The skus that were probably meant. As strings go "h100" is far from "h100-sxm5-80gb", and "b200-sxm" is nearer to
    "h200-sxm" than to "b200"; but a chip's number is what one knows, and its suffix what one guesses.
    """
    skus = [p.sku for p in products()]
    plain = typed.replace("-", "")
    if begun := [sku for sku in skus if plain and sku.replace("-", "").startswith(plain)]:
        return begun
    named = {sku: chip for sku in skus if (chip := _chip(sku)) and re.search(rf"{re.escape(chip)}(?!\d)", typed)}
    # "gb200-nvl" names a b200 too, and "a100" an a10
    same = [sku for sku, chip in named.items() if len(chip) == max(map(len, named.values()))]
    # "h20-sxm" may be an h20 that has no suffix, or a letter short of an h200-sxm
    alike = get_close_matches(typed, same or skus, n=3, cutoff=0.0) + get_close_matches(typed, skus, n=1, cutoff=0.9)
    return list(dict.fromkeys(sorted(alike, key=lambda sku: sku not in typed)))


def _chip(sku: str) -> str:
    """The word of a sku with the chip's number in it, "4090" of "rtx-4090"; "" for a product without one."""
    return next((word for word in sku.split("-") if re.search(r"\d", word) and not word.endswith("gb")), "")


def match(nvml_name: str) -> Product | None:
    """The product that the driver calls by this name, or None for a GPU that the table lacks (MIG slices included)."""
    return next((p for p in products() if re.fullmatch(p.names, nvml_name)), None)


def _hertz(value: float) -> str:
    return units.hertz(value, 4)


def _si(value: float, exponent: int) -> float:
    """value x 10^exponent, shifted in decimal: 989.4 * 1e12 is not the float that 989.4e12 is."""
    return float(f"{value}e{exponent}")


def _as_named(kind: type, row: Mapping) -> dict:
    """What the table has under the same name and in the same unit as a dataclass."""
    return {each.name: row[each.name] for each in fields(kind) if each.name in row}


def _product(sku: str, row: Mapping, arch: Arch) -> Product:
    peaks = {f"vector.{dtype}": _si(value, 12) for dtype, value in row["vector_tflops"].items()}
    peaks |= {f"tensor.{dtype}": _si(value, 12) for dtype, value in row["tensor_tflops"].items()}
    nvlink = row.get("nvlink", {})
    found = {
        "sku": sku,
        "arch": arch,
        "boost_hz": _si(row["boost_mhz"], 6),
        "tensor_hz": _si(row["tensor_clock_mhz"], 6),
        "peaks": peaks,
        "memory_clock_hz": _si(row["memory_clock_mhz"], 6),
        "data_rate": _si(row["data_rate_gbit_per_s"], 9),
        "bandwidth": _si(row["bandwidth_gb_per_s"], 9),
        "nominal_memory_bytes": row["nominal_memory_gb"] * 10**9,
        "nvml_memory_bytes": row["nvml_mem_mib"] * 2**20 if "nvml_mem_mib" in row else None,
        "l2_bytes": int(row["l2_mib"] * 2**20),
        "nvlink_generation": nvlink.get("generation"),
        "nvlink": _si(nvlink["bidirectional_gb_per_s"], 9) if nvlink else None,
        "tdp_watts": float(row["tdp_w"]),
    }
    return Product(**_as_named(Product, row) | found)
