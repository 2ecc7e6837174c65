"""How fast arithmetic goes: an FMA loop that never leaves the registers, and the best library GEMM per dtype.

The loop states what the instruction pipes can do, the GEMM what a kernel that moves tiles reaches. A GEMM's winning
shape is measured again before it claims the roof: the best of many trials is biased upwards.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from bench import matmul, work
from bench.device import CheckFailed, Device, Kernel
from bench.probes import Cases, probe
from bench.schema import Case, DeviceInfo, Setup

# (m, n, k) from small to large, so that each predicts the next. Beside the cubes: the best bfloat16 shape of an H100
# (2048 x 2048 x 13312, stas00/ml-engineering), and a transformer's own, which a CPU's library likes better than cubes.
SHAPES = (
    (256, 256, 256),
    (512, 512, 512),
    (64, 4096, 4096),
    (1024, 1024, 1024),
    (512, 4096, 4096),
    (2048, 2048, 2048),
    (2048, 2048, 13312),
    (4096, 4096, 4096),
    (4096, 14336, 4096),
    (8192, 8192, 8192),
    (16384, 16384, 16384),
)

# r = r * a + b must stay finite and keep toggling: at its fixed point a chain draws less power. A factor just above
# -1 swings around b/2 for millions of steps; 16-bit types have no such factor and take -1 itself.
FACTOR = {"float64": -(1 - 2.0**-30), "float32": -(1 - 2.0**-20), "float16": -1.0, "bfloat16": -1.0}
OFFSET = 0.5


def fma_twin(x, y, n, steps, a, b):
    y.copy_(x)
    for _ in range(steps):
        y.mul_(a).add_(b)


def kernel(dtype: str) -> Kernel:
    return Kernel("fma", f"fma_{dtype}", fma_twin, elements=2, per_thread=16 if dtype.endswith("16") else 8)


@probe(version=1)
def peak(info: DeviceInfo, budget) -> Cases:
    """Compute roofs: an FMA loop per vector dtype, the best library GEMM per dtype the device multiplies."""
    for dtype, accumulators in info.loops.items():
        # long enough that the one load and store per accumulator and the launch do not show
        steps = max(1 << 14, 1 << (10**9 // accumulators).bit_length())
        yield Case(
            params={"kind": "loop", "dtype": dtype, "accumulators": accumulators, "steps": steps},
            work=work.fma_loop(accumulators, steps, dtype),
            prepare=partial(_loop, dtype, accumulators, steps),
            saturates=f"vector.{dtype}.loop",
            cache="hot",
        )
    for dtype, unit in info.units.items():
        for variant in ("", "fast_accum") if dtype == "float8_e4m3" else ("",):
            yield from _search(info, budget, dtype, unit, variant)


def _search(info: DeviceInfo, budget, dtype: str, unit: str, variant: str) -> Cases:
    tried = []
    for shape in SHAPES:
        case = _gemm(info, budget, shape, dtype, unit, variant)
        seconds = yield case
        if seconds:
            tried.append((case.work.flops / seconds, case))
    if tried:
        _, best = max(tried, key=lambda entry: entry[0])
        key = ".".join(part for part in (unit, dtype, variant, "library") if part)
        yield replace(best, saturates=key)


def _gemm(info: DeviceInfo, budget, shape: tuple[int, int, int], dtype: str, unit: str, variant: str) -> Case:
    m, n, k = shape
    demand = work.gemm(m, n, k, dtype, unit, out=matmul.OUT.get(dtype, ""), variant=variant)
    params = {"kind": "gemm", "dtype": dtype, "m": m, "n": n, "k": k} | ({"variant": variant} if variant else {})
    skip = ""
    if demand.bytes > info.memory_bytes / 4:
        skip = f"needs {demand.bytes / 2**30:.1f} GiB, over a quarter of the memory"
    return Case(
        params=params,
        work=demand,
        prepare=partial(_product, m, n, k, dtype, variant),
        family="gemm",
        search=True,
        skip=skip,
    )


def _loop(dtype: str, accumulators: int, steps: int, device: Device) -> Setup:
    run = device.load(kernel(dtype))
    x, y = device.random(accumulators, dtype=dtype), device.empty(accumulators, dtype=dtype)
    launch = partial(run, x, y, accumulators, steps, FACTOR[dtype], OFFSET)
    return Setup([launch], partial(_check, launch, dtype))


def _check(launch: Any, dtype: str) -> None:
    """A short chain against the twin in float64: over a long one the rounding alone would fill any tolerance."""
    import torch

    x, y, n, _, a, b = launch.args
    y.fill_(float("nan"))
    steps = 37
    launch.func(x, y, n, steps, a, b)
    wide = torch.empty_like(x, dtype=torch.float64)
    fma_twin(x.double(), wide, n, steps, a, b)
    error = float((y.double() - wide).abs().max())
    allowed = steps * float(torch.finfo(x.dtype).eps)
    if not error <= allowed:
        raise CheckFailed(f"{dtype} chain of {steps} FMAs is off by {error:.2g} (allowed {allowed:.2g})")


def _product(m: int, n: int, k: int, dtype: str, variant: str, device: Device) -> Setup:
    size = work.gemm(m, n, k, dtype, "", out=matmul.OUT.get(dtype, "")).bytes
    launches, sets = [], []
    for _ in range(device.rotation(size, "cold")):
        sets.append(matmul.operands(device, m, n, k, dtype))
        launches.append(matmul.launch(device, *sets[-1], dtype, variant))
    return Setup(launches, partial(matmul.check, launches[-1], *sets[-1], dtype))
