"""Matrix products of every dtype through torch: operands, one launch, and a check against float64.

torch is imported inside the functions, so that describing cases costs no import.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device, Unsupported

# Largest relative error ||out - ref|| / ||ref|| of a sound product: the dtype's own rounding with headroom.
_TOLERANCE = {
    "float64": 1e-12,
    "float32": 1e-4,
    "tf32": 3e-3,
    "float16": 5e-3,
    "bfloat16": 2e-2,
    "float8_e4m3": 1e-1,
    "float4": 1e-2,
    "int8": 0.0,
}

# What the product is written as: the accumulator's type for int8, bfloat16 for narrow floats, else the operands'.
OUT = {"int8": "int32", "float8_e4m3": "bfloat16", "float4": "bfloat16"}
# NVFP4: elements of a row that share one float8_e4m3 scale (NVIDIA, cuBLAS documentation).
_SCALED = 16
# The values of float4 e2m1 by their code.
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def work_of(m: int, n: int, k: int, dtype: str, unit: str, variant: str = "", batch: int = 1) -> work.Work:
    """The Work of one product as this module launches it."""
    # work counts scales of four bytes
    scales = (m + n) * k // _SCALED // 4 if dtype == "float4" else 0
    return work.gemm(m, n, k, dtype, unit, batch=batch, out=OUT.get(dtype, ""), variant=variant, scales=scales)


def operands(device: Device, m: int, n: int, k: int, dtype: str, batch: int = 0) -> tuple[Any, Any, Any]:
    """A[m, k], B[k, n] (column-major, as weights are stored), C[m, n], each with a leading batch dimension if asked."""
    lead = (batch,) if batch else ()
    if dtype == "float4":
        k //= 2  # two to a byte
    a = device.random(*lead, m, k, dtype=dtype)
    b = device.random(*lead, n, k, dtype=dtype).transpose(-1, -2)
    c = device.empty(*lead, m, n, dtype=OUT.get(dtype, dtype))
    return a, b, c


def launch(device: Device, a: Any, b: Any, c: Any, dtype: str, variant: str = "") -> Callable[[], Any]:
    """C = A B as one library call."""
    import torch

    if dtype == "int8":
        return partial(_int_mm, a, b, c)
    if dtype == "float4":
        scales = (_scales(device, rows, 2 * a.shape[-1]) for rows in (a.shape[0], b.shape[1]))
        return partial(_block_scaled_mm, a, b, c, *scales)
    if dtype == "float8_e4m3":
        one = torch.ones((), dtype=torch.float32, device=a.device)
        return partial(_scaled_mm, a, b, c, one, variant == "fast_accum")
    if a.dim() == 3:
        return partial(torch.bmm, a, b, out=c)
    if dtype in ("float32", "tf32"):
        return partial(_mm_float32, a, b, dtype == "tf32", out=c)
    return partial(torch.mm, a, b, out=c)


def attempt(device: Device, launched: Callable[[], Any], dtype: str) -> None:
    """A library that refuses a narrow product (int8 wants more than 16 rows) is a skip in its own words.

    Raises Unsupported.
    """
    import torch

    if device.info.simulated or dtype not in OUT:
        return
    try:
        launched()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Unsupported(f"the library refuses this product: {reason}") from None


def check(launched: Callable[[], Any], a: Any, b: Any, c: Any, dtype: str, rows: int = 64) -> None:
    """Runs the launch on a poisoned C and compares a block of rows with a float64 product. Raises CheckFailed."""
    import torch

    c.fill_(-(2**30) if dtype == "int8" else float("nan"))
    launched()
    if a.dim() == 3:
        a, b, c = a[-1], b[-1], c[-1]
    if dtype == "float4":
        _, _, _, *scales = launched.args
        a, b = (_unpacked(x, scale) for x, scale in zip((a, b.T), scales, strict=True))
        b = b.T
    reference = a[-rows:].double() @ b[:, -rows:].double()
    found = c[-rows:, -rows:].double()
    error = float(torch.linalg.norm(found - reference) / torch.linalg.norm(reference))
    if not error <= _TOLERANCE[dtype]:
        raise CheckFailed(f"{dtype} product differs from float64 by {error:.2g} (allowed {_TOLERANCE[dtype]:.0e})")
    if bool((c == -(2**30)).any()) if dtype == "int8" else not bool(torch.isfinite(c).all()):
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


def _int_mm(a: Any, b: Any, c: Any) -> Any:
    import torch

    return torch._int_mm(a, b, out=c)


def _scaled_mm(a: Any, b: Any, c: Any, one: Any, fast: bool) -> Any:
    import torch

    return torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=c.dtype, use_fast_accum=fast, out=c)


def _scales(device: Device, rows: int, k: int) -> Any:
    """Positive float8 scales in [0, 1], one per 16 elements of a row, in the tiles of 128 rows that cuBLAS reads."""
    import torch

    padded = -(-rows // 128) * 128, -(-k // _SCALED // 4) * 4
    scales = device.random(*padded, dtype="float8_e4m3")
    scales.view(torch.uint8).bitwise_and_(0x7F)  # the sign bit off
    return scales.view(-1)


def _block_scaled_mm(a: Any, b: Any, c: Any, scale_a: Any, scale_b: Any) -> Any:
    import torch

    return torch._scaled_mm(a, b, scale_a=scale_a, scale_b=scale_b, out_dtype=c.dtype, out=c)


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
