"""Attention as serving meets it: decode reads a long cache for one new token, prefill multiplies a whole prompt.

Decode is a bandwidth question (percent of the memory roof), prefill a compute question (percent of the compute roof).
"""

from functools import partial
from typing import Any

from bench import work
from bench.device import CheckFailed, Device
from bench.probes import Cases, probe
from bench.schema import Case, DeviceInfo, Setup

HEADS, HEAD_DIM = 32, 128
LAYOUTS = {"mha": 32, "gqa": 8}  # key and value heads
BATCHES = (1, 8, 32)
KV = tuple(2**p for p in range(7, 18))
PROMPTS = tuple(2**p for p in range(7, 15))


@probe(version=1)
def attention(info: DeviceInfo, budget) -> Cases:
    """Decode attention over KV length (batch, MHA, GQA) and prefill over prompt length (causal, full), by SDPA."""
    dtype = next((d for d in ("bfloat16", "float16", "float32") if d in info.units), "")
    if not dtype:
        return
    for layout in LAYOUTS:
        for batch in budget.thin(BATCHES):
            for keys in budget.thin(KV):
                yield _case(info, budget, "decode", layout, batch, 1, keys, False, dtype)
    for causal in (True, False):
        for length in budget.thin(PROMPTS):
            yield _case(info, budget, "prefill", "mha", 1, length, length, causal, dtype)


def _case(
    info: DeviceInfo, budget, phase: str, layout: str, batch: int, queries: int, keys: int, causal: bool, dtype: str
) -> Case:
    kv_heads = LAYOUTS[layout]
    demand = work.attention(batch, HEADS, kv_heads, queries, keys, HEAD_DIM, dtype, info.units[dtype], causal=causal)
    params = {
        "phase": phase,
        "layout": layout,
        "dtype": dtype,
        "batch": batch,
        "queries": queries,
        "keys": keys,
        "causal": causal,
    }
    room = budget.memory * info.memory_bytes
    skip = ""
    if demand.bytes > room:
        skip = f"needs {demand.bytes / 2**30:.1f} GiB; this budget allows a case {room / 2**30:.1f} GiB"
    prepare = partial(_prepare, batch, kv_heads, queries, keys, causal, dtype)
    return Case(params=params, work=demand, prepare=prepare, family=phase, skip=skip)


def _prepare(batch: int, kv_heads: int, queries: int, keys: int, causal: bool, dtype: str, device: Device) -> Setup:
    import torch
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    size = work.attention(batch, HEADS, kv_heads, queries, keys, HEAD_DIM, dtype, "").bytes
    launches = []
    for _ in range(device.rotation(size, "cold")):
        query = device.random(batch, HEADS, queries, HEAD_DIM, dtype=dtype)
        key = device.random(batch, kv_heads, keys, HEAD_DIM, dtype=dtype)
        value = device.random(batch, kv_heads, keys, HEAD_DIM, dtype=dtype)
        launches.append(partial(sdpa, query, key, value, is_causal=causal, enable_gqa=kv_heads != HEADS))
    first = launches[0]
    chosen = torch._fused_sdp_choice(*first.args, **first.keywords)
    backend = next(
        (name for name, member in torch.nn.attention.SDPBackend.__members__.items() if member.value == chosen),
        str(chosen),
    )
    return Setup(launches, partial(_check, launches[-1]), notes={"backend": backend.lower()})


def _check(launch: Any) -> None:
    """The last head's last query against a float64 softmax; it sees every key, causal or not."""
    import torch

    query, key, value = (tensor[-1, -1].double() for tensor in launch.args)
    found = launch()[-1, -1, -1].double()
    expected = torch.softmax(key @ query[-1] / HEAD_DIM**0.5, -1) @ value
    error = float(torch.linalg.norm(found - expected) / torch.linalg.norm(expected))
    if not error <= 5e-2:
        raise CheckFailed(f"attention differs from float64 by {error:.2g}")
