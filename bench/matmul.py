"""Matrix products of every dtype through torch: operands, one launch, and a check against float64.

torch is imported inside the functions, so that describing cases costs no import.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from bench.device import CheckFailed, Device

# Largest relative error ||out - ref|| / ||ref|| of a sound product: the dtype's own rounding with headroom.
_TOLERANCE = {
    "float64": 1e-12,
    "float32": 1e-4,
    "tf32": 3e-3,
    "float16": 5e-3,
    "bfloat16": 2e-2,
    "float8_e4m3": 1e-1,
    "int8": 0.0,
}

# What the product is written as: the accumulator's type for int8, bfloat16 for float8, else the operands'.
OUT = {"int8": "int32", "float8_e4m3": "bfloat16"}


def operands(device: Device, m: int, n: int, k: int, dtype: str, batch: int = 0) -> tuple[Any, Any, Any]:
    """A[m, k], B[k, n] (column-major, as weights are stored), C[m, n], each with a leading batch dimension if asked."""
    lead = (batch,) if batch else ()
    a = device.random(*lead, m, k, dtype=dtype)
    b = device.random(*lead, n, k, dtype=dtype).transpose(-1, -2)
    c = device.empty(*lead, m, n, dtype=OUT.get(dtype, dtype))
    return a, b, c


def launch(device: Device, a: Any, b: Any, c: Any, dtype: str, variant: str = "") -> Callable[[], Any]:
    """C = A B as one library call."""
    import torch

    if dtype == "int8":
        return partial(_int_mm, a, b, c)
    if dtype == "float8_e4m3":
        one = torch.ones((), dtype=torch.float32, device=a.device)
        return partial(_scaled_mm, a, b, c, one, variant == "fast_accum")
    if a.dim() == 3:
        return partial(torch.bmm, a, b, out=c)
    return partial(_mm_tf32 if dtype == "tf32" else torch.mm, a, b, out=c)


def check(launched: Callable[[], Any], a: Any, b: Any, c: Any, dtype: str, rows: int = 64) -> None:
    """Runs the launch on a poisoned C and compares a block of rows with a float64 product. Raises CheckFailed."""
    import torch

    c.fill_(-(2**30) if dtype == "int8" else float("nan"))
    launched()
    if a.dim() == 3:
        a, b, c = a[-1], b[-1], c[-1]
    reference = a[-rows:].double() @ b[:, -rows:].double()
    found = c[-rows:, -rows:].double()
    error = float(torch.linalg.norm(found - reference) / torch.linalg.norm(reference))
    if not error <= _TOLERANCE[dtype]:
        raise CheckFailed(f"{dtype} product differs from float64 by {error:.2g} (allowed {_TOLERANCE[dtype]:.0e})")
    if bool((c == -(2**30)).any()) if dtype == "int8" else not bool(torch.isfinite(c).all()):
        raise CheckFailed(f"{dtype} product left elements unwritten")


def _mm_tf32(a: Any, b: Any, out: Any) -> Any:
    # float32 and tf32 products share the op; the switch is global, so each launch sets what it means
    import torch

    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
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
