"""How fast arithmetic goes: loops that never leave registers or shared memory, and the best library GEMM per dtype.

The loop states what the instruction pipes can do, the GEMM what a kernel that moves tiles reaches. A GEMM's winning
shape is measured again before it claims the roof: the best of many trials is biased upwards. Shapes have names, and the
three cubes that everyone quotes are measured again beside the winner, so that a later Run finds the same ones.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device, Kernel
from bench.measure.probes import Cases, probe
from bench.measure.workloads import compare, matmul, over_a_quarter
from bench.schema import Case, DeviceInfo, Setup, TensorLoop

# (m, n, k) by name, from small to large, so that each predicts the next: cubes, a transformer's own shapes, which a
# CPU's library likes better, and for tensor cores the best that a brute-force search found on other machines
# (stas00/ml-engineering, "Maximum Achievable Matmul FLOPS": bfloat16 on A100, GH200, H100, B200, GB200; float8 on
# H100 and GH200).
SHAPES = {
    "cube-256": (256, 256, 256),
    "cube-512": (512, 512, 512),
    "projection-64": (64, 4096, 4096),
    "cube-1024": (1024, 1024, 1024),
    "projection-512": (512, 4096, 4096),
    "cube-2048": (2048, 2048, 2048),
    "mamf-a100": (1024, 10240, 5120),
    "mamf-h100": (2048, 2048, 13312),
    "mamf-gh200": (1024, 15360, 4096),
    "cube-4096": (4096, 4096, 4096),
    "mamf-gb200": (4096, 9728, 2048),
    "mamf-b200": (1792, 16128, 3072),
    "mamf-h100-fp8": (1024, 9216, 14336),
    "mamf-gh200-fp8": (1024, 14336, 14336),
    "mlp-4096": (4096, 14336, 4096),
    "cube-8192": (8192, 8192, 8192),
    "cube-16384": (16384, 16384, 16384),
}
# A tensor core is over with these before it has begun.
SMALL = ("cube-256", "cube-512", "projection-64", "cube-1024", "projection-512")
QUOTED = ("cube-4096", "cube-8192", "cube-16384")
# What there is time for where nothing but the headline roofs is measured.
BRIEF = ("cube-1024", "cube-4096", "mamf-h100", "cube-8192")
# What a coarse pass searches for a tensor core.
FEW = ("cube-2048", "mamf-h100", "mamf-gh200", "cube-4096", "mamf-gh200-fp8", "cube-8192", "cube-16384")

# r = r * a + b must stay finite and keep toggling: at its fixed point a chain draws less power. A factor just above
# -1 swings around b/2 for millions of steps; 16-bit types have no such factor and take -1 itself.
FACTOR = {"float64": -(1 - 2.0**-30), "float32": -(1 - 2.0**-20), "float16": -1.0, "bfloat16": -1.0}
OFFSET = 0.5
# Integers wrap, so any odd factor keeps every bit moving (Knuth's generator).
INTEGER_FACTOR, INTEGER_OFFSET = 1664525.0, 1013904223.0


def fma_twin(x, y, n, steps, a, b):
    y.copy_(x)
    a, b = (a, b) if y.is_floating_point() else (int(a), int(b))
    for _ in range(steps):
        y.mul_(a).add_(b)


def tile_twin(a, b, c, n, steps):
    """steps times A[tiles, m, k] times B[tiles, n, k] transposed, added up."""
    c.copy_((steps * (a.double() @ b.double().mT)).to(c.dtype))


def kernel(dtype: str, tuning: Mapping[str, Any] | None = None) -> Kernel:
    defines, per_thread = tuple((tuning or {}).items()), 16 if dtype.endswith("16") else 8
    return Kernel("fma", f"fma_{dtype}", fma_twin, elements=2, per_thread=per_thread, defines=defines)


def tile_kernel(loop: TensorLoop) -> Kernel:
    per_thread = loop.m * loop.n // loop.threads
    return Kernel(loop.source, loop.function, tile_twin, elements=3, per_thread=per_thread, shared=loop.shared)


@probe(version=3, title="Compute peaks")
def peak(info: DeviceInfo, budget) -> Cases:
    """How fast does arithmetic go, in registers and in a library's GEMM?

    FMA loop: flops = 2 × accumulators × steps; bytes = one load and one store per accumulator. Tensor loop: flops =
    2 m n k × tiles × steps: every tile multiplies the same operands from registers or shared memory, over and over;
    only the instruction that is its chip's full-rate path claims a roof. GEMM: flops = 2 m n k.
    """
    for dtype, accumulators in info.loops.items():
        # long enough that the one load and store per accumulator and the launch do not show
        steps = max(1 << 14, 1 << (10**9 // accumulators).bit_length())
        axes = info.tuning.get(f"fma_{dtype}", {})
        for tuning in ({}, *({name: value} for name, values in axes.items() for value in values[1:])):
            settings = {name.lower(): value for name, value in tuning.items()}
            yield Case(
                params={"kind": "loop", "dtype": dtype, "accumulators": accumulators, "steps": steps} | settings,
                work=work.fma_loop(accumulators, steps, dtype),
                prepare=partial(_loop, dtype, accumulators, steps, tuning),
                saturates=f"vector.{dtype}.loop",
                cache="hot",
            )
    for dtype, loops in info.tensor_loops.items():
        for loop in loops:
            yield _tiles(dtype, loop)
    for dtype, reason in info.lacking.items():
        params = {"kind": "tensor loop", "dtype": dtype}
        yield Case(params=params, work=work.Work(unit="tensor", dtype=dtype), skip=reason)
    for dtype, unit in info.units.items():
        for variant in ("", "fast_accum") if dtype == "float8_e4m3" else ("",):
            yield from _search(info, budget, dtype, unit, variant)


def _tiles(dtype: str, loop: TensorLoop) -> Case:
    once = work.tile_loop(loop.m, loop.n, loop.k, loop.tiles, 1, dtype, loop.out)
    # some milliseconds at any tensor core's rate: reading the tiles and writing C do not show. Not much longer, or the
    # sums grow until the products are rounded away and nothing toggles.
    steps = max(1 << 8, 1 << (2 * 10**12 // int(once.flops)).bit_length())
    if dtype == "float64":
        steps //= 32
    return Case(
        params={"kind": "tensor loop", "dtype": dtype, "instruction": loop.instruction, "steps": steps},
        work=replace(once, flops=once.flops * steps),
        prepare=partial(_tensor_loop, dtype, loop, steps),
        saturates=f"tensor.{dtype}.loop" if loop.saturates else "",
        cache="hot",
        family=f"tensor loop {dtype}",
    )


def _search(info: DeviceInfo, budget, dtype: str, unit: str, variant: str) -> Cases:
    roof = work.RoofKey.of(unit, dtype, variant, "library")
    tried = []
    for name, (m, n, k) in SHAPES.items():
        if name in SMALL if unit == "tensor" else name.startswith("mamf"):
            continue
        if budget.level == 0 and name not in BRIEF:
            continue
        # the largest cube takes a vector unit as long as ten other cases
        if not budget.whole and (name not in FEW if unit == "tensor" else name == QUOTED[-1]):
            continue
        params = {"kind": "gemm", "dtype": dtype, "shape": name, "m": m, "n": n, "k": k}
        demand = matmul.work_of(m, n, k, dtype, unit, variant)
        case = Case(
            params=params | ({"variant": variant} if variant else {}),
            work=demand,
            prepare=partial(matmul.setup, m, n, k, dtype, variant),
            search=roof,
            family="gemm",
            # whoever has time enough measures the cubes that everyone quotes as often as the winner
            repeat=name in QUOTED and unit == "tensor" and budget.long,
            skip=over_a_quarter(demand.bytes, info),
        )
        seconds = yield case
        if seconds:
            tried.append((demand.flops / seconds, case))
    if tried:
        _, best = max(tried, key=lambda entry: entry[0])
        yield replace(best, search="", saturates=roof)


def _loop(dtype: str, accumulators: int, steps: int, tuning: Mapping[str, Any], device: Device) -> Setup:
    run = device.load(kernel(dtype, tuning))
    x, y = device.random(accumulators, dtype=dtype), device.empty(accumulators, dtype=dtype)
    a, b = (FACTOR[dtype], OFFSET) if dtype in FACTOR else (INTEGER_FACTOR, INTEGER_OFFSET)
    launch = partial(run, x, y, accumulators, steps, a, b)
    return Setup([launch], partial(_check, launch))


def _tensor_loop(dtype: str, loop: TensorLoop, steps: int, device: Device) -> Setup:
    run = device.load(tile_kernel(loop))
    a = device.random(loop.tiles, loop.m, loop.k, dtype=dtype)
    b = device.random(loop.tiles, loop.n, loop.k, dtype=dtype)
    c = device.empty(loop.tiles, loop.m, loop.n, dtype=loop.out)
    launch = partial(run, a, b, c, loop.tiles * loop.m * loop.n, steps)
    return Setup([launch], partial(_check_tiles, launch, dtype))


def _check_tiles(launch: Any, dtype: str) -> None:
    """Every tile of a short chain against float64: a wrong fragment or descriptor must not pass for a rate."""
    a, b, c, n, _ = launch.args
    steps = 8
    c.fill_(float("nan") if c.is_floating_point() else -(2**30))
    launch.func(a, b, c, n, steps)
    expected = steps * (a.double() @ b.double().mT)
    # tf32's operands are cut to 10 bits; Hopper adds float8 products up with about 14 (DeepSeek-V3, arXiv 2412.19437)
    allowed = {"float64": 1e-12, "int8": 0.0, "tf32": 5e-3, "float8_e4m3": 3e-2}.get(dtype, 1e-3)
    compare(f"a chain of {dtype} tiles", c, expected, allowed, "float64")


def _check(launch: Any) -> None:
    """A short chain against the twin in float64: over a long one the rounding alone would fill any tolerance."""
    x, y, n, _, a, b = launch.args
    steps = 37
    y.fill_(float("nan") if y.is_floating_point() else -1)
    launch.func(x, y, n, steps, a, b)
    check_chain(x, y, steps, a, b, roundings=steps)


def check_chain(x: Any, y: Any, steps: int, a: float, b: float, roundings: int) -> None:
    """Raises CheckFailed where y is further from x's chain of FMAs, in float64, than so many roundings of its dtype.

    Integers have none: they wrap.
    """
    import torch

    exact = x.to(torch.float64 if x.is_floating_point() else x.dtype, copy=True)
    fma_twin(exact, exact, len(x), steps, a, b)
    error = float((y.double() - exact.double()).abs().max())
    allowed = roundings * torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0
    if not error <= allowed:
        raise CheckFailed(f"a chain of {steps} {x.dtype} FMAs is off by {error:.2g} (allowed {allowed:.2g})")
