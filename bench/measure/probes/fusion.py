"""What three habits of serving save: fused attention, the KV cache, and batches without padding; each against without.

attention: softmax(QK^T)V in one kernel, and as three calls whose scores go through memory: the same demand, so that the
rate shows what fusion buys; the notes have the peak of memory beyond the inputs. No mask, equal heads.

cache: one more token after N - 1 others through one layer (projections, attention, gated MLP; no norms, rotation or
residuals, which would hide a wrong attention from the check): with the keys and values kept, or with all N tokens
computed again. Both give the same last row, and the check compares them.

padding: a projection over a batch of prompts, each padded to the longest, and over the same prompts packed. The lengths
are drawn with a fixed seed from a log-normal distribution, as request logs show one; the work is what each really
multiplies, so that the waste is in the times, which a GEMM's own curve may make larger or smaller than the rows are.
"""

import math
import os
import random
from dataclasses import dataclass
from functools import partial
from statistics import mean
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device
from bench.measure.probes import Cases, probe
from bench.measure.workloads import layers, matmul
from bench.schema import Case, DeviceInfo, Kept, Setup

HEADS, HEAD_DIM = {"tensor": 16, "vector": 4}, 128
LENGTHS = {"tensor": (512, 1024, 2048, 4096), "vector": (256, 512, 1024, 2048)}
CONTEXTS = (128, 256, 512, 1024, 2048, 4096, 8192)
SEQUENCES = (2, 8, 32)
# Median and longest prompt, and the width of the projection.
PROMPTS = {"tensor": (256, 2048, 4096), "vector": (32, 256, 512)}
_SPREAD = 0.8  # standard deviation of the lengths' logarithm
_SEED = 20250807
# Two kernels' results in one dtype, each with its own rounding.
_TOLERANCE = {"bfloat16": 5e-2, "float16": 1e-2, "float32": 1e-3}


@dataclass(frozen=True)
class Layer:
    """A layer's shape: model width, query heads, key and value heads, head dimension, MLP width."""

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int

    @property
    def weights(self) -> int:
        return self.width * (2 * (self.heads + self.kv_heads) * self.head_dim + 3 * self.ffn)


# Of an 8B-class model, and a thin one where there are no tensor cores.
LAYERS = {"tensor": Layer(4096, 32, 8, 128, 14336), "vector": Layer(512, 8, 2, 64, 1408)}


@probe(
    version=2,
    asked=True,
    title="Fusion, KV cache and packing",
    question="How much slower is attention without fusion, a token without its cache, and a batch with padding?",
    formula=(
        "Attention: the flops and bytes of the fused kernel for both forms. KV cache: one token against the cache,"
        " or all tokens again. Padding: the rows that are multiplied, real or padded, through one weight. Ratio ="
        " time without / time with."
    ),
)
def fusion(info: DeviceInfo, budget) -> Cases:
    """Attention fused and not (time, peak memory), a token by KV cache and recomputed, batches packed and padded."""
    dtype = next((d for d in ("bfloat16", "float16", "float32") if d in info.units), "")
    if not dtype:
        return
    room = budget.memory * info.memory_bytes
    for form in ("fused", "unfused"):
        for length in budget.thin(LENGTHS[info.units[dtype]]):
            yield _attention(info, room, form, length, dtype)
    for form in ("cached", "recomputed"):
        for context in budget.thin(CONTEXTS):
            yield _cache(info, form, context, dtype)
    for sequences in budget.thin(SEQUENCES):
        for form in ("packed", "padded"):
            yield _padding(info, room, form, sequences, dtype)


def _attention(info: DeviceInfo, room: float, form: str, length: int, dtype: str) -> Case:
    heads = HEADS[info.units[dtype]]
    peak = computed_peak(form, heads, length, dtype)
    return Case(
        params={"part": "attention", "form": form, "dtype": dtype, "heads": heads, "tokens": length},
        work=work.attention(1, heads, heads, length, length, HEAD_DIM, dtype, info.units[dtype]),
        prepare=partial(_prepare_attention, form, heads, length, dtype),
        family=f"fusion {form}",
        skip=_over(peak, room),
    )


def _cache(info: DeviceInfo, form: str, context: int, dtype: str) -> Case:
    layer = LAYERS[info.units[dtype]]
    shape = {name: getattr(layer, name) for name in ("width", "heads", "kv_heads", "head_dim", "ffn")}
    return Case(
        params={"part": "cache", "form": form, "dtype": dtype, "tokens": context} | shape,
        work=token_work(layer, form, context, dtype, info.units[dtype]),
        prepare=partial(_prepare_cache, layer, form, context, dtype),
        family=f"fusion {form}",
    )


def _padding(info: DeviceInfo, room: float, form: str, sequences: int, dtype: str) -> Case:
    median, longest, width = PROMPTS[info.units[dtype]]
    found = lengths(sequences, median, longest)
    rows = sequences * max(found) if form == "padded" else sum(found)
    demand = matmul.work_of(rows, width, width, dtype, info.units[dtype])
    return Case(
        params={"part": "padding", "form": form, "dtype": dtype, "sequences": sequences, "rows": rows, "width": width},
        work=demand,
        prepare=partial(_prepare_padding, found, rows, width, dtype),
        family="fusion padding",
        skip=_over(demand.bytes, room),
    )


def _over(size: float, room: float) -> str:
    return f"needs {size / 2**30:.1f} GiB; this budget allows a case {room / 2**30:.1f} GiB" if size > room else ""


def computed_peak(form: str, heads: int, length: int, dtype: str) -> float:
    """Bytes beyond the inputs that attention must hold at once: its output, and unfused the scores before and after."""
    scores = 2 * heads * length**2 if form == "unfused" else 0
    return float(work.ITEMSIZE[dtype] * (scores + heads * length * HEAD_DIM))


def token_work(layer: Layer, form: str, context: int, dtype: str, unit: str) -> work.Work:
    """One more token through a layer: itself against the cache, or all of them again."""
    own, tokens = work.ITEMSIZE[dtype], 1 if form == "cached" else context
    pairs = context if form == "cached" else context * (context + 1) // 2
    cached = 2 * layer.kv_heads * layer.head_dim * context if form == "cached" else 0
    flops = 2.0 * layer.weights * tokens + 4.0 * layer.heads * layer.head_dim * pairs
    return work.Work(flops, unit, dtype, bytes=float(own * (layer.weights + cached + 2 * layer.width * tokens)))


def lengths(sequences: int, median: int, longest: int) -> tuple[int, ...]:
    """Prompt lengths in tokens, the same in every Run; the first ones are the same for every number of sequences."""
    draw = random.Random(_SEED)
    return tuple(min(longest, max(1, round(draw.lognormvariate(math.log(median), _SPREAD)))) for _ in range(sequences))


def _prepare_attention(form: str, heads: int, length: int, dtype: str, device: Device) -> Setup:
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    size = work.attention(1, heads, heads, length, length, HEAD_DIM, dtype, "").bytes
    launches = []
    for _ in range(device.rotation(size, "cold")):
        inputs = (device.random(1, heads, length, HEAD_DIM, dtype=dtype) for _ in range(3))
        launches.append(Kept(sdpa if form == "fused" else _unfused, *inputs))
    ran = {} if form == "unfused" or device.info.simulated else {"backend": layers.ran(launches[0])}
    peak, origin = computed_peak(form, heads, length, dtype), "computed"
    if not device.info.simulated:
        measured = measured_peak(launches[0])
        peak, origin = measured if measured else (peak, origin)
    notes = {"peak_bytes": f"{peak:.0f}", "peak": origin} | ran
    return Setup(launches, partial(_check_attention, launches[-1], dtype), notes=notes)


def _unfused(query: Any, key: Any, value: Any) -> Any:
    import torch

    scores = torch.matmul(query * HEAD_DIM**-0.5, key.transpose(-1, -2))
    return torch.matmul(torch.softmax(scores, -1), value)


def measured_peak(launch: partial) -> tuple[float, str] | None:
    """(most bytes that one launch held at once beyond what was there, who counted them); None where nobody can."""
    import torch

    launch = partial(launch.func, *launch.args, **launch.keywords)  # one that is Kept frees its last result meanwhile
    launch()  # libraries take their workspaces once
    memory = getattr(torch, launch.args[0].device.type)
    if hasattr(memory, "max_memory_allocated"):
        memory.synchronize()
        before = memory.memory_allocated()
        memory.reset_peak_memory_stats()
        launch()
        memory.synchronize()
        return float(memory.max_memory_allocated() - before), "torch's allocator"
    return _profiled(launch)


def _profiled(launch: partial) -> tuple[float, str] | None:
    """The host's allocations and releases in order, as torch's profiler saw them."""
    from torch.profiler import ProfilerActivity, profile

    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it writes to the terminal otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        launch()
    try:
        changes = [each.nbytes() for each in seen.profiler.kineto_results.events() if each.name() == "[memory]"]
    except AttributeError:  # no public function has them in order
        return None
    level = peak = 0
    for change in changes:
        level += change
        peak = max(peak, level)
    return (float(peak), "torch's profiler") if peak else None


def _check_attention(launch: partial, dtype: str) -> None:
    import torch

    query, key, value = (tensor[0, -1].double() for tensor in launch.args)
    expected = torch.softmax(query[-8:] @ key.T / HEAD_DIM**0.5, -1) @ value
    _alike(launch()[0, -1, -8:], expected, dtype, "attention differs from float64")


def _prepare_cache(layer: Layer, form: str, context: int, dtype: str, device: Device) -> Setup:
    size = token_work(layer, form, context, dtype, "").bytes
    launches = []
    for _ in range(device.rotation(size, "cold")):
        heads = (layer.heads + 2 * layer.kv_heads) * layer.head_dim
        shapes = ((heads, layer.width), (layer.width, layer.heads * layer.head_dim))
        shapes += ((2 * layer.ffn, layer.width), (layer.width, layer.ffn))
        # scaled, so that a softmax of its products is neither flat nor one single token
        weights = [device.random(*shape, dtype=dtype).mul_(3 * shape[1] ** -0.5) for shape in shapes]
        tokens, out = (
            make(1 if form == "cached" else context, layer.width, dtype=dtype) for make in (device.random, device.empty)
        )
        if form == "recomputed":
            launches.append(partial(recomputed, layer, tokens, *weights, out=out))
            continue
        past = [device.random(1, layer.kv_heads, context, layer.head_dim, dtype=dtype) for _ in range(2)]
        launches.append(partial(cached, layer, tokens, *past, *weights, out=out))
    notes = {} if device.info.simulated else {"backend": layers.ran(launches[0])}
    return Setup(launches, partial(_check_cache, launches[-1], context, dtype, device), notes=notes)


def cached(layer: Layer, token: Any, keys: Any, values: Any, *weights: Any, out: Any = None) -> Any:
    """The layer's output for one token, whose key and value go to the end of the cache."""
    query, key, value = _projected(layer, token, weights[0])
    keys[:, :, -1:], values[:, :, -1:] = key, value
    return _mixed(layer, query, keys, values, *weights[1:], result=out)


def recomputed(layer: Layer, tokens: Any, *weights: Any, out: Any = None) -> Any:
    """The layer's output for every token, each seeing those before it; a further layer would need all of them."""
    return _mixed(layer, *_projected(layer, tokens, weights[0]), *weights[1:], result=out)


def _projected(layer: Layer, tokens: Any, qkv: Any) -> tuple[Any, ...]:
    """Queries, keys and values as [1, heads, tokens, head dimension]."""
    counts = (layer.heads, layer.kv_heads, layer.kv_heads)
    parts = (tokens @ qkv.T).split([count * layer.head_dim for count in counts], -1)
    return tuple(
        part.view(1, -1, count, layer.head_dim).transpose(1, 2) for part, count in zip(parts, counts, strict=True)
    )


def _mixed(layer: Layer, query: Any, keys: Any, values: Any, out: Any, up: Any, down: Any, result: Any = None) -> Any:
    import torch
    from torch.nn.functional import scaled_dot_product_attention as sdpa
    from torch.nn.functional import silu

    mixed = sdpa(query, keys, values, is_causal=query.shape[2] > 1, enable_gqa=layer.heads != layer.kv_heads)
    gate, wide = (mixed.transpose(1, 2).flatten(2)[0] @ out.T @ up.T).chunk(2, -1)
    return torch.mm(silu(gate) * wide, down.T, out=result)


def _check_cache(launch: partial, context: int, dtype: str, device: Device) -> None:
    """The same tokens both ways: the last row computed again for all, and for the last against the others' cache."""
    layer, last, *rest = launch.args
    weights = rest[-4:]
    if launch.func is recomputed:
        tokens = last
        *_, keys, values = (part.clone() for part in _projected(layer, tokens, weights[0]))
    else:
        tokens, (keys, values) = device.random(context, layer.width, dtype=dtype), rest[:2]
        last.copy_(tokens[-1:])
        _, new_keys, new_values = _projected(layer, tokens, weights[0])
        keys.copy_(new_keys)
        values.copy_(new_values)
    for past in (keys, values):
        past[:, :, -1:] = float("nan")  # the launch has to write it
    with_cache = cached(layer, tokens[-1:], keys, values, *weights) if launch.func is recomputed else launch()
    without = launch() if launch.func is recomputed else recomputed(layer, tokens, *weights)
    _alike(with_cache[-1], without[-1], dtype, "the token by its cache differs from the token computed again")


def _prepare_padding(found: tuple[int, ...], rows: int, width: int, dtype: str, device: Device) -> Setup:
    size = matmul.work_of(rows, width, width, dtype, "").bytes
    sets = [matmul.operands(device, rows, width, width, dtype) for _ in range(device.rotation(size, "cold"))]
    launches = [matmul.launch(device, *each, dtype) for each in sets]
    notes = {"waste": f"{1 - mean(found) / max(found):.4f}", "longest": str(max(found)), "mean": f"{mean(found):.1f}"}
    return Setup(launches, partial(matmul.check, launches[-1], *sets[-1], dtype), notes=notes)


def _alike(found: Any, expected: Any, dtype: str, what: str) -> None:
    import torch

    error = float(torch.linalg.norm(found.double() - expected.double()) / torch.linalg.norm(expected.double()))
    if not error <= _TOLERANCE[dtype]:
        raise CheckFailed(f"{what} by {error:.2g} (allowed {_TOLERANCE[dtype]:g})")
