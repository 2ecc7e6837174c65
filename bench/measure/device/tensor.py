"""Which loops of one tensor instruction a GPU has, and why it has none where its tensor cores outrun every loop here.

kernels/mma.cu and kernels/wgmma.cu hold the bodies. A loop claims its roof only where its instruction is the chip's
full rate path: mma.sync on 7.5, 8.x and 12.x, wgmma on 9.0, tcgen05 on 10.x and 11.0, mma.sync for float64 everywhere.
"""

from bench.schema import TensorLoop

# In the order of the report: dtype -> PTX's name, bytes of an element, PTX's name and ours of what the sums are.
TYPES = {
    "float64": ("f64", 8, "f64", "float64"),
    "tf32": ("tf32", 4, "f32", "float32"),
    "bfloat16": ("bf16", 2, "f32", "float32"),
    "float16": ("f16", 2, "f32", "float32"),
    "float8_e4m3": ("e4m3", 1, "f32", "float32"),
    "int8": ("s8", 1, "s32", "int32"),
}
# Chips whose tensor cores multiply float64 at a rate worth the name: elsewhere it is a few FLOP per clock and SM.
FLOAT64 = ((8, 0), (9, 0), (10, 0))
# Warps that mma.cu keeps on an SM, warpgroups that wgmma.cu does.
WARPS, WARPGROUPS = 16, 2


def loops(capability: tuple[int, int], sms: int) -> dict[str, tuple[TensorLoop, ...]]:
    """Dtype -> the loops of a compute capability, tiles for all of its SMs; one that claims the roof comes first."""
    found = {dtype: (*_wgmma(capability, sms, dtype), *_mma(capability, sms, dtype)) for dtype in TYPES}
    return {dtype: entries for dtype, entries in found.items() if entries}


def lacking(capability: tuple[int, int]) -> dict[str, str]:
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


def _wgmma(capability: tuple[int, int], sms: int, dtype: str) -> tuple[TensorLoop, ...]:
    if capability != (9, 0) or dtype == "float64":
        return ()
    kind, size, sums, out = TYPES[dtype]
    # 32 bytes of k in an instruction, four of them in a tile
    return (
        TensorLoop(
            source="wgmma",
            function=f"wgmma_{dtype}",
            instruction=f"wgmma.m64n256k{32 // size}.{sums}.{kind}",
            m=64,
            n=256,
            k=128 // size,
            threads=128,
            tiles=WARPGROUPS * sms,
            out=out,
            # of a block, which has the operands of its two tiles: 64 rows of A and 256 of B, 128 bytes each
            shared=WARPGROUPS * (64 + 256) * 128,
        ),
    )


def _mma(capability: tuple[int, int], sms: int, dtype: str) -> tuple[TensorLoop, ...]:
    shape = _shape(capability, dtype)
    if shape is None:
        return ()
    (m, n), (rows, k) = shape
    kind, _, sums, out = TYPES[dtype]
    return (
        TensorLoop(
            source="mma",
            function=f"mma_{dtype}",
            instruction=f"mma.sync.m{rows}n8k{k}.{sums}.{kind}",
            m=m,
            n=n,
            k=k,
            threads=32,
            tiles=WARPS * sms,
            out=out,
            saturates=dtype == "float64" or capability[0] not in (9, 10, 11),
        ),
    )


def _shape(capability: tuple[int, int], dtype: str) -> tuple[tuple[int, int], tuple[int, int]] | None:
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
