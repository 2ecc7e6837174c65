"""What people call things: "tensor.bfloat16.library" is "BF16 GEMM" to a reader."""

import re
from collections.abc import Mapping
from typing import Any

from bench import units
from bench.work import RoofKey

DTYPES = {"float64": "FP64", "float32": "FP32", "tf32": "TF32", "float16": "FP16", "bfloat16": "BF16"}
DTYPES |= {"float8_e4m3": "FP8", "float4": "FP4", "int8": "INT8", "int32": "INT32"}
METHODS = {"loop": "instruction loop", "library": "best GEMM", "datasheet": "datasheet"}
CHANNELS = {"dram": "DRAM", "shared": "shared memory", "h2d": "H2D", "d2h": "D2H", "duplex": "H2D and D2H"}
# The roofs that a node's devices are first compared by, beside the headline of each.
HEADLINES = ("dram", "tensor.float8_e4m3.library", "vector.float32.loop", "h2d", "link")
# Params whose value is a size in bytes; every other number prints as it is.
_SIZES = {"bytes", "size"}


def dtype(name: str) -> str:
    return DTYPES.get(name, name)


def channel(key: str) -> str:
    return CHANNELS.get(key, key.upper() if len(key) == 2 else key)


def _variants(key: RoofKey, fast: str) -> list[str]:
    """What distinguishes two ways to multiply the same dtype. fast: what fast accumulation is called."""
    return [fast if part == "fast_accum" else part.replace("_", " ") for part in key.variant.split(".") if part]


def quantity(key: str) -> str:
    """ "BF16 tensor" from "tensor.bfloat16.library"; "DRAM" from "dram"."""
    key = RoofKey(key)
    if not key.is_compute:
        return channel(key)
    return ", ".join([f"{dtype(key.dtype)} {key.unit}", *_variants(key, "fast accumulation")])


def roof(key: str) -> str:
    """The one name of a roof: "BF16 GEMM", "FP32 vector loop", "DRAM"; tables have the key beside it."""
    key = RoofKey(key)
    if not key.is_compute:
        return channel(key)
    method = {"loop": f"{key.unit} loop", "library": "GEMM", "": key.unit}.get(key.method, key.method)
    return " ".join([dtype(key.dtype), *_variants(key, "fast"), method])


def claim(evidence: str) -> str:
    """What a claimed roof is called: some are printed by no vendor and follow from a core's width and clock."""
    return "assumed peak" if evidence.startswith("assumed") else "datasheet"


def fact(key: str, text: str) -> str:
    """A device's fact as a reader wants it: clocks in GHz."""
    return units.hertz(float(text), 4) if key.endswith("_hz") and text.replace(".", "", 1).isdigit() else text


def per(key: str) -> str:
    """What a roof's energy is counted per: "FLOP", "OP" or "B"."""
    return units.rate(key).removesuffix("/s")


def limiter(key: str) -> str:
    """What binds, in two words: "memory (DRAM)", "compute (BF16 tensor)", "launch overhead"."""
    if not key:
        return "unknown"
    if key == "overhead":
        return "launch overhead"
    return f"compute ({quantity(key)})" if RoofKey(key).is_compute else f"memory ({channel(key)})"


def terms(text: str) -> str:
    """With the abbreviations of serving as the field writes them: "TTFT p95" from "ttft p95"."""
    return re.sub(r"\b(ttft|tpot|sla)\b", lambda found: found[0].upper(), text)


def shape(name: str) -> str:
    """A named GEMM shape: "8192³" for a cube, else its name."""
    return f"{name.removeprefix('cube-')}³" if name.startswith("cube-") else name


def device(name: str) -> str:
    """The short name of a device within its node: "GPU 3" from "cuda:3" or "sim:h200-sxm:3"."""
    head, colon, index = name.rpartition(":")
    return f"GPU {index}" if colon and index.isdigit() and head else name


def others(count: int) -> str:
    """What a device is compared with: the median of the others; of three devices that of all."""
    if count < 3:
        return "the other one" if count == 1 else "median of all 3"
    return f"median of the {count} others"


def selector(name: str) -> str:
    """What `--device` takes for a device: "cuda:3"; of a simulated node the whole. What is copied into a shell is never
    a foreign text: "DEVICE" stands for one.
    """
    head, _, index = name.rpartition(":")
    name = head if name.startswith("sim:") and index.isdigit() and head != "sim" else name
    return name if re.fullmatch(r"[\w:.-]+", name) else "DEVICE"


def value(name: str, given: Any) -> str:
    if isinstance(given, bool):
        return "yes" if given else "no"
    if name in _SIZES and isinstance(given, int | float):
        return units.size(given)
    return dtype(given) if isinstance(given, str) else str(given)


def told(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those that tell a case from others: what its heads are follows from its layout, and is for programs."""
    heads = ("heads", "kv_heads", "head_dim") if params.keys() & {"layout", "prefix"} else ()
    return {name: given for name, given in params.items() if name not in heads}


def case(params: Mapping[str, Any]) -> str:
    """A case's params in one line."""
    return ", ".join(f"{name} {value(name, given)}" for name, given in told(params).items())
