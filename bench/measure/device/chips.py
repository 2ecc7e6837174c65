"""What a GPU has by its compute capability: units, loops, settings worth a search. Claims of vendors are in theory/."""

from typing import Any

from bench.measure.device import tensor

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
LADDERS = ("float32", "float64", "float16")
LAUNCHES = ("synchronous", "back to back", "graph")
HOST_MEMORY = ("pinned", "pageable")
BACKENDS = ("flash", "cudnn", "efficient", "math")
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


def units(capability: tuple[int, int]) -> dict[str, str]:
    """Matmul dtype -> the unit that multiplies it, for the dtypes that a compute capability has hardware for."""
    float64 = "tensor" if capability in tensor.FLOAT64 else "vector"
    narrow = {dtype: "tensor" for dtype, first in TENSOR.items() if capability >= first}
    return {"float64": float64, "float32": "vector"} | narrow


def loops(capability: tuple[int, int], sms: int, threads_per_sm: int) -> dict[str, int]:
    """Vector dtype -> accumulators that fill every thread slot of the GPU with fma.cu's chains."""
    known = [dtype for dtype in LOOPS if dtype != "bfloat16" or capability >= (8, 0)]
    return {dtype: sms * threads_per_sm * LOOPS[dtype] for dtype in known}


def tuning(capability: tuple[int, int]) -> dict[str, dict[str, tuple[int | str, ...]]]:
    """Kernel -> settings worth a search on a compute capability, the default of each first."""
    wide = {"WIDTH": (16, 32)} if capability >= (10, 0) else {}
    pairs = {"fma_float32": {"PAIRS": (0, 1)}} if capability in ((10, 0), (10, 3)) else {}
    return {"stream": wide | STREAM} | pairs


def onchip(capability: tuple[int, int]) -> dict[str, int]:
    """Channel -> bytes in each multiprocessor that onchip.cu works on."""
    return dict.fromkeys(("shared", "l1"), ONCHIP * (2 if capability in ROOMY else 1))


def features(capability: tuple[int, int], sms: int) -> dict[str, Any]:
    """The fields of DeviceInfo that a compute capability and the number of its multiprocessors decide."""
    return {
        "sms": sms,
        "tensor_loops": tensor.loops(capability, sms),
        "lacking": tensor.lacking(capability),
        "tuning": tuning(capability),
        "ladders": LADDERS,
        "onchip": onchip(capability),
        "host_memory": HOST_MEMORY,
        "launches": LAUNCHES,
        "attention": BACKENDS,
    }
