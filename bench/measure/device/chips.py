"""What a GPU has by its compute capability: units, loops, settings worth a search. Claims of vendors are in theory/.

kernels/mma.cu and kernels/wgmma.cu hold the bodies of the tensor loops. A loop claims its roof only where its
instruction is the chip's full rate path: mma.sync on 7.5, 8.x and 12.x, wgmma on 9.0, tcgen05 on 10.x and 11.0,
mma.sync for float64 everywhere.
"""

from typing import Any

from bench.schema import TensorLoop

Capability = tuple[int, int]

# Elements per thread of fma.cu's loops: 8 chains, 16-bit types in pairs.
LOOPS = {"float64": 8, "float32": 8, "float16": 16, "bfloat16": 16, "int32": 8}
# Matmul dtype -> first compute capability with tensor cores for it.
TENSOR = {
    "float16": (7, 0),
    "int8": (7, 5),
    "bfloat16": (8, 0),
    "tf32": (8, 0),
    "float8_e4m3": (8, 9),
    "float4": (10, 0),
}
# Chips whose tensor cores multiply float64 at a rate worth the name: elsewhere it is a few FLOP per clock and SM.
FLOAT64 = ((8, 0), (9, 0), (10, 0))
# stream.cu's settings: loads in flight, then cache hints, then who walks over the tiles.
STREAM = {
    "UNROLL": (4, 2, 8),
    "HINT": (".cg", ".cs", ".L1::no_allocate", ""),
    "STORE": ("", ".cs"),
    "THREADS": (256, 512),
    "WAVES": (0, 4, 8),
}
# A block of onchip.cu: 1024 threads with 32 KiB of their own, of shared memory or of L1.
ONCHIP = 32 << 10
# Chips whose multiprocessors hold 2048 threads, two such blocks (CUDA Programming Guide, compute capabilities).
ROOMY = ((7, 0), (8, 0), (9, 0), (10, 0), (10, 3))
# Dtypes of the tensor loops in the order of the report -> PTX's name, bytes of an element, PTX's name and ours of sums.
TYPES = {
    "float64": ("f64", 8, "f64", "float64"),
    "tf32": ("tf32", 4, "f32", "float32"),
    "bfloat16": ("bf16", 2, "f32", "float32"),
    "float16": ("f16", 2, "f32", "float32"),
    "float8_e4m3": ("e4m3", 1, "f32", "float32"),
    "int8": ("s8", 1, "s32", "int32"),
}
# Warps that mma.cu keeps on an SM, warpgroups that wgmma.cu does.
WARPS, WARPGROUPS = 16, 2


def units(capability: Capability) -> dict[str, str]:
    """Matmul dtype -> the unit that multiplies it, for the dtypes that a compute capability has hardware for."""
    float64 = "tensor" if capability in FLOAT64 else "vector"
    narrow = {dtype: "tensor" for dtype, first in TENSOR.items() if capability >= first}
    return {"float64": float64, "float32": "vector"} | narrow


def loops(capability: Capability, sms: int, threads_per_sm: int) -> dict[str, int]:
    """Vector dtype -> accumulators that fill every thread slot of the GPU with fma.cu's chains."""
    known = [dtype for dtype in LOOPS if dtype != "bfloat16" or capability >= (8, 0)]
    return {dtype: sms * threads_per_sm * LOOPS[dtype] for dtype in known}


def features(capability: Capability, sms: int) -> dict[str, Any]:
    """The fields of DeviceInfo that a compute capability and the number of its multiprocessors decide."""
    wide = {"WIDTH": (16, 32)} if capability >= (10, 0) else {}
    pairs = {"fma_float32": {"PAIRS": (0, 1)}} if capability in ((10, 0), (10, 3)) else {}
    return {
        "sms": sms,
        "tensor_loops": tensor_loops(capability, sms),
        "lacking": lacking(capability),
        "tuning": {"stream": wide | STREAM} | pairs,
        "ladders": ("float32", "float64", "float16"),
        "onchip": dict.fromkeys(("shared", "l1"), ONCHIP * (2 if capability in ROOMY else 1)),
        "host_memory": ("pinned", "pageable"),
        "launches": ("synchronous", "back to back", "graph"),
        "attention": ("flash", "cudnn", "efficient", "math"),
    }


def tensor_loops(capability: Capability, sms: int) -> dict[str, tuple[TensorLoop, ...]]:
    """Dtype -> the loops of a compute capability, tiles for all of its SMs; one that claims the roof comes first."""
    every = {dtype: (_wgmma(capability, sms, dtype), _mma(capability, sms, dtype)) for dtype in TYPES}
    return {dtype: tuple(filter(None, loops)) for dtype, loops in every.items() if any(loops)}


def lacking(capability: Capability) -> dict[str, str]:
    """Dtype -> why no loop claims the roof although the tensor cores of a compute capability multiply it."""
    major, minor = capability
    name, reasons = f"{major}.{minor}", {}
    if (7, 0) <= capability < (7, 5):
        reasons["float16"] = f"no loop: the tensor cores of {name} take mma.m8n8k4, for which none is written"
    if major in (10, 11):
        reason = f"no loop at the full rate: on {name} that is tcgen05.mma's, for which none is verified"
        reasons = {dtype: reason for dtype in TYPES if dtype != "float64"}
        reasons["float8_e4m3"] += ", and mma.sync would emulate the type"
    if capability == (10, 3):
        reasons["float64"] = "no loop: 10.3 multiplies float64 at its vector units' rate, which their own loop measures"
        reasons["int8"] = "no loop known to be full rate: 10.3 has no tcgen05.mma for it, and mma.sync is not verified"
    if major >= 10:
        reasons["float4"] = "no loop: its instructions take a scale for each block of operands, and none is written"
    return reasons


def _wgmma(capability: Capability, sms: int, dtype: str) -> TensorLoop | None:
    if capability != (9, 0) or dtype == "float64":
        return None
    kind, size, sums, out = TYPES[dtype]
    tile = {"m": 64, "n": 256, "k": 128 // size, "threads": 128, "tiles": WARPGROUPS * sms, "out": out}
    # of a block, which has the operands of its two tiles: 64 rows of A and 256 of B, 128 bytes each
    shared = WARPGROUPS * (64 + 256) * 128
    instruction = f"wgmma.m64n256k{32 // size}.{sums}.{kind}"  # 32 bytes of k, four of them in a tile
    return TensorLoop(source="wgmma", function=f"wgmma_{dtype}", instruction=instruction, shared=shared, **tile)


def _mma(capability: Capability, sms: int, dtype: str) -> TensorLoop | None:
    shape = _shape(capability, dtype)
    if shape is None:
        return None
    (m, n), (rows, k) = shape
    kind, _, sums, out = TYPES[dtype]
    tile = {"m": m, "n": n, "k": k, "threads": 32, "tiles": WARPS * sms, "out": out}
    tile["saturates"] = dtype == "float64" or capability[0] not in (9, 10, 11)
    instruction = f"mma.sync.m{rows}n8k{k}.{sums}.{kind}"
    return TensorLoop(source="mma", function=f"mma_{dtype}", instruction=instruction, **tile)


def _shape(capability: Capability, dtype: str) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """((m, n) of mma.cu's tile, (m, k) of the instruction); None where the chip does not have the type natively."""
    if dtype == "float64":
        if capability not in FLOAT64:
            return None
        return ((32, 16), (16, 16)) if capability == (9, 0) else ((32, 32), (8, 4))
    if capability < (8, 0):
        turing = {"float16": (16, 8), "int8": (8, 16)}
        return ((64, 32), turing[dtype]) if capability == (7, 5) and dtype in turing else None
    if dtype == "float8_e4m3" and capability != (8, 9) and capability < (12, 0):
        return None
    return (64, 32), (16, 32 // TYPES[dtype][1])
