"""Attention as serving meets it: decode reads a long cache for one new token, prefill multiplies a whole prompt.

Decode is a bandwidth question (percent of the memory roof), prefill a compute question (percent of the compute roof).
The backend that torch chooses by itself is swept over everything; each backend by name over one layout; and attention
without fusion once, whose scores go through memory: the same demand, so that its rate shows what fusion buys. Each
case's notes name the backend that ran, read back from what torch dispatched.
"""

from functools import partial
from itertools import product
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device
from bench.measure.probes import Cases, probe
from bench.measure.workloads import layers
from bench.measure.workloads.layers.backends import SHORT
from bench.schema import Case, DeviceInfo, Kept, Setup

HEADS, HEAD_DIM = 32, 128
LAYOUTS = {"mha": 32, "gqa": 8}  # key and value heads
BATCHES = (1, 8, 32)
KV = tuple(2**p for p in range(7, 18))
PROMPTS = tuple(2**p for p in range(7, 15))
UNFUSED = 4096  # the prompt length of the unfused case
_CHOSEN = "default"
# The layout and batch of a decode step that every backend is swept over.
_SHARED = ("gqa", 8)


@probe(
    version=3,
    title="Attention",
    question="How near do decode and prefill come to their roofs?",
    formula=(
        "flops = 4 × head size per query-key pair, causal pairs only where masked (FlashAttention-2, arXiv"
        " 2307.08691); bytes = queries, keys and values read once, the output written once. The softmax's"
        " exponentials are not counted."
    ),
)
def attention(info: DeviceInfo, budget) -> Cases:
    """Decode attention over KV length (batch, MHA, GQA), prefill over prompt length (causal, full), by backend."""
    dtype = next((d for d in ("bfloat16", "float16", "float32") if d in info.units), "")
    if not dtype:
        return
    # a library may plan each new shape for as long as ten cases take: the shapes that the backends share come first
    for layout, batch in [_SHARED] if budget.coarse else product(LAYOUTS, BATCHES):
        for keys in budget.thin(KV):
            yield _case(info, budget, "decode", layout, batch, 1, keys, False, dtype)
    for causal in (True,) if budget.coarse else (True, False):
        for length in budget.thin(PROMPTS):
            yield _case(info, budget, "prefill", "mha", 1, length, length, causal, dtype)
    for backend in info.attention:
        # the smallest too, from which a slow backend's next is predicted
        for keys in (keys for keys in budget.thin(KV) if keys in KV[:1] + KV[3:]):
            yield _case(info, budget, "decode", *_SHARED, 1, keys, False, dtype, backend)
        for length in (length for length in budget.thin(PROMPTS) if length in PROMPTS[:1] + PROMPTS[3:]):
            yield _case(info, budget, "prefill", "mha", 1, length, length, True, dtype, backend)
    yield _case(info, budget, "prefill", "mha", 1, UNFUSED, UNFUSED, False, dtype, "unfused")


def _case(
    info: DeviceInfo,
    budget,
    phase: str,
    layout: str,
    batch: int,
    queries: int,
    keys: int,
    causal: bool,
    dtype: str,
    backend: str = _CHOSEN,
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
        "backend": backend,
    }
    room = budget.memory * info.memory_bytes
    skip = ""
    if demand.bytes > room:
        skip = f"needs {demand.bytes / 2**30:.1f} GiB; this budget allows a case {room / 2**30:.1f} GiB"
    prepare = partial(_prepare, batch, kv_heads, queries, keys, causal, dtype, backend)
    # a slow backend must not predict a fast one's time
    return Case(params=params, work=demand, prepare=prepare, family=f"{phase} {backend}", skip=skip)


def _prepare(
    batch: int, kv_heads: int, queries: int, keys: int, causal: bool, dtype: str, backend: str, device: Device
) -> Setup:
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    size = work.attention(batch, HEADS, kv_heads, queries, keys, HEAD_DIM, dtype, "").bytes
    launches = []
    for _ in range(device.rotation(size, "cold")):
        query = device.random(batch, HEADS, queries, HEAD_DIM, dtype=dtype)
        key = device.random(batch, kv_heads, keys, HEAD_DIM, dtype=dtype)
        value = device.random(batch, kv_heads, keys, HEAD_DIM, dtype=dtype)
        call = _unfused if backend == "unfused" else sdpa if backend == _CHOSEN else partial(_by, _member(backend))
        more = {} if backend == "unfused" else {"is_causal": causal, "enable_gqa": kv_heads != HEADS}
        launches.append(Kept(call, query, key, value, **more))
    notes = {"backend": backend} if backend != _CHOSEN else {}
    if backend != "unfused" and not device.info.simulated:
        notes = {"backend": layers.ran(launches[0], "" if backend == _CHOSEN else backend)}
    return Setup(launches, partial(_check, launches[-1]), notes=notes)


def _member(backend: str) -> Any:
    from torch.nn.attention import SDPBackend

    return SDPBackend.__members__[next(name for name, short in SHORT.items() if short == backend)]


def _by(member: Any, query: Any, key: Any, value: Any, **more: Any) -> Any:
    """SDPA by one backend alone; torch raises where it cannot, with the reasons as warnings."""
    from torch.nn.attention import sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    with sdpa_kernel(member):
        return sdpa(query, key, value, **more)


def _unfused(query: Any, key: Any, value: Any) -> Any:
    """Scores, softmax and mix as three calls, each through memory; no mask, equal heads."""
    import torch

    scores = torch.matmul(query * HEAD_DIM**-0.5, key.transpose(-1, -2))
    return torch.matmul(torch.softmax(scores, -1), value)


def _check(launch: Any) -> None:
    """The last head's last query against a float64 softmax; it sees every key, causal or not."""
    import torch

    query, key, value = (tensor[-1, -1].double() for tensor in launch.args[-3:])
    found = launch()[-1, -1, -1].double()
    expected = torch.softmax(key @ query[-1] / HEAD_DIM**0.5, -1) @ value
    error = float(torch.linalg.norm(found - expected) / torch.linalg.norm(expected))
    if not error <= 5e-2:
        raise CheckFailed(f"attention differs from float64 by {error:.2g}")
