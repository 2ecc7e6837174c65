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
from dataclasses import asdict
from functools import partial
from itertools import accumulate
from statistics import mean
from typing import Any

from bench import work
from bench.measure.device.protocol import Device
from bench.measure.probes import Cases, probe
from bench.measure.workloads import compare, dtype_of, matmul, ring, too_large
from bench.measure.workloads.attention import attend, backend_note, check_last_head, unfused
from bench.measure.workloads.layers import SHAPES, Shape, gated, linear
from bench.schema import Case, DeviceInfo, Kept

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


# A layer of an 8B-class model, and a thin one where there are no tensor cores; without norms.
LAYERS = {"tensor": SHAPES[0], "vector": Shape("thin", 1, 512, 8, 2, 64, 1408)}


@probe(version=2, asked=True, title="Fusion, KV cache and packing")
def fusion(info: DeviceInfo, budget) -> Cases:
    """How much slower is attention without fusion, a token without its cache, and a batch with padding?

    Attention: the flops and bytes of the fused kernel for both forms. KV cache: one token against the cache, or all
    tokens again. Padding: the rows that are multiplied, real or padded, through one weight. Ratio = time without /
    time with.
    """
    dtype = dtype_of(info)
    if not dtype:
        return
    unit = info.units[dtype]
    heads, layer = HEADS[unit], LAYERS[unit]
    for form in ("fused", "unfused"):
        for length in budget.thin(LENGTHS[unit]):
            demand = work.attention(1, heads, heads, length, length, HEAD_DIM, dtype, unit)
            peak = computed_peak(form, heads, length, dtype)
            make = partial(_attention, form, heads, length, dtype)
            check = partial(check_last_head, allowed=_TOLERANCE[dtype], queries=8)
            yield Case(
                params={"part": "attention", "form": form, "dtype": dtype, "heads": heads, "tokens": length},
                work=demand,
                prepare=partial(ring, make, check, demand.bytes, partial(_peak, peak)),
                family=f"fusion {form}",
                skip=too_large(peak, info, budget.memory),
            )
    shape = {name: value for name, value in asdict(layer).items() if name not in ("model", "ranks")}
    for form in ("cached", "recomputed"):
        for context in budget.thin(CONTEXTS):
            demand = token_work(layer, form, context, dtype, unit)
            make = partial(_token, layer, form, context, dtype)
            yield Case(
                params={"part": "cache", "form": form, "dtype": dtype, "tokens": context} | shape,
                work=demand,
                prepare=partial(ring, make, partial(_check_token, context, dtype), demand.bytes, backend_note),
                family=f"fusion {form}",
            )
    median, longest, width = PROMPTS[unit]
    for sequences in budget.thin(SEQUENCES):
        prompts = lengths(sequences, median, longest)
        waste = f"{1 - mean(prompts) / max(prompts):.4f}"
        notes = {"waste": waste, "longest": str(max(prompts)), "mean": f"{mean(prompts):.1f}"}
        for form, rows in (("packed", sum(prompts)), ("padded", sequences * max(prompts))):
            demand = matmul.work_of(rows, width, width, dtype, unit)
            params = {"part": "padding", "form": form, "dtype": dtype, "sequences": sequences}
            yield Case(
                params=params | {"rows": rows, "width": width},
                work=demand,
                prepare=partial(matmul.setup, rows, width, width, dtype, "", notes=notes),
                family="fusion padding",
                skip=too_large(demand.bytes, info, budget.memory),
            )


def computed_peak(form: str, heads: int, length: int, dtype: str) -> float:
    """Bytes beyond the inputs that attention must hold at once: its output, and unfused the scores before and after."""
    scores = 2 * heads * length**2 if form == "unfused" else 0
    return float(work.ITEMSIZE[dtype] * (scores + heads * length * HEAD_DIM))


def token_work(layer: Shape, form: str, context: int, dtype: str, unit: str) -> work.Work:
    """One more token through a layer: itself against the cache, or all of them again."""
    alone = form == "cached"
    tokens, pairs = (1, context) if alone else (context, context * (context + 1) // 2)
    read = layer.matrices + alone * 2 * layer.kv_heads * layer.head_dim * context
    flops = 2.0 * layer.matrices * tokens + 4.0 * layer.heads * layer.head_dim * pairs
    return work.Work(flops, unit, dtype, bytes=float(work.ITEMSIZE[dtype] * (read + 2 * layer.width * tokens)))


def lengths(sequences: int, median: int, longest: int) -> tuple[int, ...]:
    """Prompt lengths in tokens, the same in every Run; the first ones are the same for every number of sequences."""
    draw = random.Random(_SEED)
    return tuple(min(longest, max(1, round(draw.lognormvariate(math.log(median), _SPREAD)))) for _ in range(sequences))


def _attention(form: str, heads: int, length: int, dtype: str, device: Device) -> Kept:
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    inputs = (device.random(1, heads, length, HEAD_DIM, dtype=dtype) for _ in range(3))
    return Kept(sdpa if form == "fused" else unfused, *inputs)


def _peak(computed: float, device: Device, launch: Kept) -> dict[str, str]:
    ran = backend_note(device, launch) if launch.func is not unfused else {}
    peak, origin = (computed, "computed") if device.info.simulated else measured_peak(launch) or (computed, "computed")
    return {"peak_bytes": f"{peak:.0f}", "peak": origin} | ran


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
        events = seen.profiler.kineto_results.events()
        changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    except AttributeError:  # no public function has them in order
        return None
    peak = max(accumulate(changes), default=0)
    return (float(peak), "torch's profiler") if peak > 0 else None


def _token(layer: Shape, form: str, context: int, dtype: str, device: Device) -> partial:
    # scaled, so that a softmax of its products is neither flat nor one single token
    weights = [device.random(n, k, dtype=dtype).mul_(3 * k**-0.5) for n, k in layer.products.values()]
    tokens = device.random(1 if form == "cached" else context, layer.width, dtype=dtype)
    out = device.empty(*tokens.shape, dtype=dtype)
    if form == "recomputed":
        return partial(recomputed, layer, tokens, *weights, out=out)
    past = [device.random(1, layer.kv_heads, context, layer.head_dim, dtype=dtype) for _ in range(2)]
    return partial(cached, layer, tokens, *past, *weights, out=out)


def cached(layer: Shape, token: Any, keys: Any, values: Any, *weights: Any, out: Any = None) -> Any:
    """The layer's output for one token, whose key and value go to the end of the cache."""
    query, key, value = _projected(layer, token, weights[0])
    keys[:, :, -1:], values[:, :, -1:] = key, value
    return _mixed(query, keys, values, *weights[1:], result=out)


def recomputed(layer: Shape, tokens: Any, *weights: Any, out: Any = None) -> Any:
    """The layer's output for every token, each seeing those before it; a further layer would need all of them."""
    return _mixed(*_projected(layer, tokens, weights[0]), *weights[1:], result=out)


def _projected(layer: Shape, tokens: Any, qkv: Any) -> tuple[Any, ...]:
    """Queries, keys and values as [1, heads, tokens, head dimension]."""
    heads = linear(tokens, qkv).view(1, len(tokens), -1, layer.head_dim).transpose(1, 2)
    return heads.split([layer.heads, layer.kv_heads, layer.kv_heads], 1)


def _mixed(query: Any, keys: Any, values: Any, out: Any, up: Any, down: Any, result: Any = None) -> Any:
    return linear(gated(linear(linear(attend(query, keys, values), out), up)), down, result)


def _check_token(context: int, dtype: str, launch: partial) -> None:
    """The same tokens both ways: the last row computed again for all, and for the last against the others' cache."""
    layer, last, *rest = launch.args
    weights, again = rest[-4:], launch.func is recomputed
    tokens = last if again else last.new_empty(context, layer.width).uniform_(-1.0, 1.0)
    _, *past = (part.clone() for part in _projected(layer, tokens, weights[0]))
    if not again:
        last.copy_(tokens[-1:])
        past = [mine.copy_(other) for mine, other in zip(rest[:2], past, strict=True)]
    for rows in past:
        rows[:, :, -1:] = float("nan")  # the launch has to write it
    token = cached(layer, tokens[-1:], *past, *weights) if again else launch()
    anew = launch() if again else recomputed(layer, tokens, *weights)
    what, reference = "the token by its cache", "the token computed again"
    compare(what, token[-1], anew[-1].double(), _TOLERANCE[dtype], reference)
