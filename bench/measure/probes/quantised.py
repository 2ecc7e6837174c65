"""What a narrower weight buys: matrix products with INT8, FP8 and INT4 weights beside the same product unquantised.

At batch 1 a product costs the bytes of its weight, so half the bytes should be half the time; from the knee on it costs
arithmetic, which only narrow activations make cheaper. Weights alone are quantised (activations as they are, the
product in the device's own dtype), or weights and activations both; then the product alone is timed, because quantising
the activations is a small kernel of its own that serving fuses into the norm before.

These are torch's own kernels, named in each case's notes: a serving engine's may be faster. What is cast first and
multiplied then writes and reads the whole weight once more than it has to, which shows as a lower rate: the work
declared is the compulsory one, at the quantised size with its scales.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device, Unsupported
from bench.measure.probes import Cases, probe
from bench.measure.workloads import attempted, compare, dtype_of, matmul
from bench.schema import Case, DeviceInfo, Kept, Setup

BATCHES = (1, 4, 16, 64, 256, 1024)
# (n, k): the up projection of an 8B-class transformer, or the attention's of a 1B-class one without tensor cores.
WEIGHTS = {"tensor": (14336, 4096), "vector": (2048, 2048)}
# The formats' names, by the dtype of an element.
NAMES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "int8": "int8", "float8_e4m3": "fp8"}
NAMES |= {"float4": "nvfp4"}
GROUP = 128  # INT4: elements of a row that share a scale and a zero point
WEIGHT_ONLY = ("int8", "fp8", f"int4-g{GROUP}")
# Both sides narrow, and torch's kernel for it.
BOTH = {"int8": "torch._int_mm", "float8_e4m3": "torch._scaled_mm", "float4": "torch._scaled_mm"}
# Largest relative error against float64 with the weight as quantised: the rounding of the product alone.
_TOLERANCE = {"bfloat16": 2e-2, "float16": 5e-3, "float32": 1e-4}
_ROWS = 64  # rows of a weight that a check looks at


@probe(version=2, asked=True, title="Quantised weights")
def quantised(info: DeviceInfo, budget) -> Cases:
    """From which batch on do INT8, FP8 or INT4 weights pay here, and how much?

    flops = 2 m n k; bytes = activations read, the result written, and the weight at its quantised size with its
    scales, read once. Speedup = time of the unquantised product / time, at the same batch.
    """
    dtype = dtype_of(info)
    if not dtype:
        return
    # the largest first: from a small batch's FLOP/s a large one would seem hopeless
    batches = budget.thin(BATCHES)[::-1]
    for batch in batches:
        yield _case(info, "unquantised", batch, dtype)
    for weights in WEIGHT_ONLY:
        for batch in batches:
            yield _case(info, "weights", batch, dtype, weights)
    for narrow in BOTH:
        if narrow in info.units:
            for batch in batches:
                yield _case(info, "weights and activations", batch, narrow)
        elif narrow != "float4":  # what only the newest multiply is no loss elsewhere
            params = {"quantised": "weights and activations", "weights": NAMES[narrow], "dtype": narrow}
            yield Case(params=params, work=work.Work(), skip=f"this device multiplies no {narrow}")


def _case(info: DeviceInfo, what: str, batch: int, dtype: str, weights: str = "") -> Case:
    """A product of one dtype on both sides, or of activations with weights in one of WEIGHT_ONLY."""
    unit = info.units[dtype]
    n, k = WEIGHTS[unit]
    names = {"quantised": what, "weights": weights or NAMES[dtype], "activations": NAMES[dtype], "dtype": dtype}
    variant = "fast_accum" if dtype == "float8_e4m3" else ""  # as serving runs it
    if weights:
        demand = work_of(batch, n, k, weights, dtype, unit)
        prepare = partial(_prepare, batch, n, k, weights, dtype, demand.bytes)
    else:
        demand = matmul.work_of(batch, n, k, dtype, unit, variant)
        notes = {"method": BOTH.get(dtype, "torch.mm")}
        prepare = partial(matmul.setup, batch, n, k, dtype, variant, notes=notes)
    return Case(
        params=names | {"batch": batch, "n": n, "k": k},
        work=demand,
        prepare=prepare,
        # a slow kernel must not predict a fast one's time
        family=f"quantised {weights} weights" if weights else f"quantised {dtype}",
    )


def weight_bytes(n: int, k: int, weights: str, dtype: str) -> float:
    """Bytes of a weight in one of WEIGHT_ONLY: a scale per row of n, or a scale and a zero point per group of a row."""
    own = work.ITEMSIZE[dtype]
    return n * k / 2 + 2 * own * n * k / GROUP if weights.startswith("int4") else n * k + own * n


def work_of(batch: int, n: int, k: int, weights: str, dtype: str, unit: str) -> work.Work:
    """The Work of a product in `dtype` whose weight alone is quantised."""
    own, element = work.ITEMSIZE[dtype], weight_bytes(n, k, weights, dtype) / (n * k)
    return work.linear(batch, n, k, dtype, unit, weight=element, activation=own, out=own)


@dataclass(frozen=True)
class Method:
    """A way to multiply by a quantised weight. weight(device, n, k, dtype) -> (codes, scales, last rows in float64).

    product(activations, codes, scales) is one launch.
    """

    name: str
    weight: Callable[..., tuple[Any, Any, Any]]
    product: Callable[..., Any]


def methods(weights: str) -> tuple[Method, ...]:
    """How torch may multiply by this format, the best first; a device has the first one that runs."""
    weight = _int8 if weights == "int8" else _fp8
    cast = Method(f"cast to the product's dtype, then torch.mm ({weights})", weight, _cast_product)
    if weights == "int8":
        return Method("torch._weight_int8pack_mm", weight, partial(_product, "_weight_int8pack_mm")), cast
    if weights == "fp8":
        return (cast,)
    names = {"_weight_int4pack_mm_for_cpu": "host", "_weight_int4pack_mm": "tiles"}
    return tuple(
        Method(f"torch.{name}", partial(_int4, layout), partial(_product, name, GROUP))
        for name, layout in names.items()
    )


def _prepare(batch: int, n: int, k: int, weights: str, dtype: str, size: float, device: Device) -> Setup:
    activations = device.random(batch, k, dtype=dtype)
    method, (*operands, rows) = _first(methods(weights), activations, n, dtype, device)
    launches = [Kept(method.product, activations, *operands)]
    for _ in range(device.rotation(size, "cold") - 1):
        # other memory with the same numbers: to quantise and pack each anew would take seconds
        copies = (_copy(device, tensor) for tensor in (activations, *operands))
        launches.append(Kept(method.product, *copies))
    return Setup(launches, partial(_check, launches[-1], rows, dtype), notes={"method": method.name})


def _first(found: Sequence[Method], activations: Any, n: int, dtype: str, device: Device) -> tuple[Method, tuple]:
    """The first method that this torch has here, and its weight. Raises Unsupported with the last one's reason."""
    import torch

    def tried(method: Method) -> tuple[Any, Any, Any]:
        codes, scales, rows = method.weight(device, n, activations.shape[1], dtype)
        if not device.info.simulated:
            method.product(activations, codes, scales)
        return codes, scales, rows

    for method in found:
        weight, reason = attempted(partial(tried, method))
        if not reason:
            return method, weight
    raise Unsupported(f"torch {torch.__version__} has no such product here: {reason.split('. ')[0]}")


def _copy(device: Device, tensor: Any) -> Any:
    raw = device.empty(tensor.numel() * tensor.element_size(), dtype="int8")
    return raw.view(tensor.dtype).view(tensor.shape).copy_(tensor)


def _scales(device: Device, *shape: int, dtype: str) -> Any:
    """In [1/256, 3/256]: none is zero, and no product overflows a float16."""
    return device.random(*shape, dtype=dtype).add_(2).mul_(2.0**-8)


def _int8(device: Device, n: int, k: int, dtype: str) -> tuple[Any, Any, Any]:
    codes, scales = device.random(n, k, dtype="int8"), _scales(device, n, dtype=dtype)
    return codes, scales, codes[-_ROWS:].double() * scales[-_ROWS:, None].double()


def _fp8(device: Device, n: int, k: int, dtype: str) -> tuple[Any, Any, Any]:
    values, scales = device.random(n, k, dtype="float8_e4m3"), _scales(device, n, dtype=dtype)
    return values, scales, values[-_ROWS:].to(scales.dtype).double() * scales[-_ROWS:, None].double()


def _int4(layout: str, device: Device, n: int, k: int, dtype: str) -> tuple[Any, Any, Any]:
    """Codes 0..15 stand for (code - 8) * scale + zero. Tensor cores and the host read them packed in different ways."""
    import torch

    codes = device.random(n, k, dtype="int8").bitwise_and_(15)
    scales = _scales(device, k // GROUP, n, 2, dtype=dtype)
    if layout == "host":
        packed = torch._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
    else:
        pairs = codes.view(torch.uint8)
        packed = torch._convert_weight_to_int4pack(pairs[:, ::2] << 4 | pairs[:, 1::2], 8)
    scale, zero = (scales[:, -_ROWS:, i].T.double().repeat_interleave(GROUP, 1) for i in range(2))
    return packed, scales, (codes[-_ROWS:].double() - 8) * scale + zero


def _product(name: str, *arguments: Any) -> Any:
    """By a kernel of torch's, which not every torch has: (group,) activations, codes, scales."""
    import torch

    *group, activations, codes, scales = arguments
    return getattr(torch, name)(activations, codes, *group, scales)


def _cast_product(activations: Any, codes: Any, scales: Any) -> Any:
    return (activations @ codes.to(activations.dtype).t()).mul_(scales)


def _check(launch: Any, rows: Any, dtype: str) -> None:
    """The last columns of the product against float64 with the weight as it is quantised."""
    out = launch()
    expected = launch.args[-3].double() @ rows.T
    compare("the quantised product", out[:, -_ROWS:], expected, _TOLERANCE[dtype], "float64")
    if not bool(out.isfinite().all()):
        raise CheckFailed("the quantised product is not finite everywhere")
