"""Matrix products of every dtype through torch: operands, one launch, and a check against float64."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device, Unsupported
from bench.measure.workloads import attempted, compare
from bench.schema import Setup

# Largest relative error ||out - ref|| / ||ref|| of a sound product: the dtype's own rounding with headroom.
_TOLERANCE = {"float64": 1e-12, "float32": 1e-4, "tf32": 3e-3, "float16": 5e-3, "bfloat16": 2e-2}
_TOLERANCE |= {"float8_e4m3": 1e-1, "float4": 1e-2, "int8": 0.0}

# What the product is written as: the accumulator's type for int8, bfloat16 for narrow floats, else the operands'.
OUT = {"int8": "int32", "float8_e4m3": "bfloat16", "float4": "bfloat16"}
# NVFP4: elements of a row that share one float8_e4m3 scale (NVIDIA, cuBLAS documentation).
_SCALED = 16
# The values of float4 e2m1 by their code.
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_POISON = -(2**30)  # no int8 product is so small
_ROWS = 64  # rows and columns of a product that a check looks at


def work_of(m: int, n: int, k: int, dtype: str, unit: str, variant: str = "", batch: int = 1) -> work.Work:
    """The Work of one product as this module launches it."""
    # work counts scales of four bytes
    scales = (m + n) * k // _SCALED // 4 if dtype == "float4" else 0
    return work.gemm(m, n, k, dtype, unit, batch=batch, out=OUT.get(dtype, ""), variant=variant, scales=scales)


def setup(
    m: int, n: int, k: int, dtype: str, variant: str, device: Device, batch: int = 0, notes: Mapping | None = None
) -> Setup:
    """A product made ready on cold operands. Raises Unsupported where the library refuses it."""
    size = work_of(m, n, k, dtype, "", batch=batch or 1).bytes
    sets = [operands(device, m, n, k, dtype, batch) for _ in range(device.rotation(size, "cold"))]
    launches = [launch(device, *each, dtype, variant) for each in sets]
    # int8, for one, wants more than 16 rows
    if dtype in OUT and not device.info.simulated and (reason := attempted(launches[-1])[1]):
        raise Unsupported(f"the library refuses this product: {reason}")
    return Setup(launches, partial(check, launches[-1], *sets[-1], dtype), notes or {})


def operands(device: Device, m: int, n: int, k: int, dtype: str, batch: int = 0) -> tuple[Any, Any, Any]:
    """A[m, k], B[k, n] (column-major, as weights are stored), C[m, n], each with a leading batch dimension if asked."""
    lead = (batch,) if batch else ()
    if dtype == "float4":
        k //= 2  # two to a byte
    a = device.random(*lead, m, k, dtype=dtype)
    b = device.random(*lead, n, k, dtype=dtype).transpose(-1, -2)
    return a, b, device.empty(*lead, m, n, dtype=OUT.get(dtype, dtype))


def launch(device: Device, a: Any, b: Any, c: Any, dtype: str, variant: str = "") -> partial:
    """C = A B as one library call."""
    import torch

    if dtype == "int8":
        return partial(torch._int_mm, a, b, out=c)
    if dtype in ("float4", "float8_e4m3"):
        if dtype == "float4":
            scales = [_scales(device, rows, 2 * a.shape[-1]) for rows in (a.shape[0], b.shape[1])]
        else:
            scales = [torch.ones((), dtype=torch.float32, device=a.device)] * 2
        how = {"scale_a": scales[0], "scale_b": scales[1], "use_fast_accum": variant == "fast_accum"}
        return partial(torch._scaled_mm, a, b, **how, out_dtype=c.dtype, out=c)
    if a.dim() == 3:
        return partial(torch.bmm, a, b, out=c)
    if dtype in ("float32", "tf32"):
        return partial(_mm_float32, a, b, dtype == "tf32", out=c)
    return partial(torch.mm, a, b, out=c)


def check(launched: partial, a: Any, b: Any, c: Any, dtype: str) -> None:
    """Runs the launch on a poisoned C and compares a block of rows with a float64 product. Raises CheckFailed."""
    c.fill_(_POISON if dtype == "int8" else float("nan"))
    launched()
    if a.dim() == 3:
        a, b, c = a[-1], b[-1], c[-1]
    if dtype == "float4":
        a, b = _unpacked(a, launched.keywords["scale_a"]), _unpacked(b.T, launched.keywords["scale_b"]).T
    reference = a[-_ROWS:].double() @ b[:, -_ROWS:].double()
    compare(f"{dtype} product", c[-_ROWS:, -_ROWS:], reference, _TOLERANCE[dtype], "float64")
    if bool((c == _POISON).any()) if dtype == "int8" else not bool(c.isfinite().all()):
        raise CheckFailed(f"{dtype} product left elements unwritten")


def _mm_float32(a: Any, b: Any, tf32: bool, out: Any) -> Any:
    # float32 and tf32 products share the op; the switch is global and its default not the same everywhere (containers
    # set TORCH_ALLOW_TF32_CUBLAS_OVERRIDE), so each launch sets what it means
    import torch

    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        return torch.mm(a, b, out=out)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _scales(device: Device, rows: int, k: int) -> Any:
    """Positive float8 scales in [0, 1], one per 16 elements of a row, in the tiles of 128 rows that cuBLAS reads."""
    import torch

    padded = -(-rows // 128) * 128, -(-k // _SCALED // 4) * 4
    scales = device.random(*padded, dtype="float8_e4m3")
    scales.view(torch.uint8).bitwise_and_(0x7F)  # the sign bit off
    return scales.view(-1)


def _unpacked(x: Any, scales: Any) -> Any:
    """float4 pairs (the low half of a byte is the even element) times their scales, as float64[rows, k].

    Scales lie in blocks of 128 rows x 4 columns; within a block row r, column c is at 16 (r mod 32) + 4 (r div 32) + c
    (cuBLAS documentation, "1D block scaling factors layout").
    """
    import torch

    codes = x.contiguous().view(torch.uint8).long()
    table = torch.tensor([*_E2M1, *(-value for value in _E2M1)], dtype=torch.float64, device=x.device)
    values = torch.stack((table[codes & 15], table[codes >> 4]), -1).flatten(1)
    rows, k = values.shape
    columns = -(-k // _SCALED // 4) * 4
    blocks = scales.double().view(-1, columns // 4, 32, 4, 4)
    # (row block, column block, r mod 32, r div 32, column) -> (row block, r div 32, r mod 32, column block, column)
    plain = blocks.permute(0, 3, 2, 1, 4).reshape(-1, columns)[:rows, : k // _SCALED]
    return values * plain.repeat_interleave(_SCALED, 1)
