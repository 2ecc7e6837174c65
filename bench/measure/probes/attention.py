"""Attention as serving meets it: decode reads a long cache for one new token, prefill multiplies a whole prompt.

Decode is a bandwidth question (percent of the memory roof), prefill a compute question (percent of the compute roof).
The backend that torch chooses by itself is swept over everything; each backend by name over one layout; and attention
without fusion once, whose scores go through memory: the same demand, so that its rate shows what fusion buys. Each
case's notes name the backend that ran, read back from what torch dispatched.
"""

from functools import partial
from itertools import product

from bench import work
from bench.measure.device.protocol import Device
from bench.measure.probes import Cases, probe
from bench.measure.workloads import attention as attentions
from bench.measure.workloads import dtype_of, ring, too_large
from bench.schema import Case, DeviceInfo, Kept

HEADS, HEAD_DIM = 32, 128
LAYOUTS = {"mha": 32, "gqa": 8}  # key and value heads
BATCHES = (1, 8, 32)
KV = tuple(2**p for p in range(7, 18))
PROMPTS = tuple(2**p for p in range(7, 15))
UNFUSED = 4096  # the prompt length of the unfused case
_CHOSEN = "default"
# The layout and batch of a decode step that every backend is swept over.
_SHARED = ("gqa", 8)


@probe(version=3, title="Attention")
def attention(info: DeviceInfo, budget) -> Cases:
    """How near do decode and prefill come to their roofs?

    flops = 4 × head size per query-key pair, causal pairs only where masked (FlashAttention-2, arXiv 2307.08691);
    bytes = queries, keys and values read once, the output written once. The softmax's exponentials are not counted.
    """
    dtype = dtype_of(info)
    if not dtype:
        return
    case = partial(_case, info, budget, dtype)
    # a library may plan each new shape for as long as ten cases take: the shapes that the backends share come first
    for layout, batch in [_SHARED] if budget.coarse else product(LAYOUTS, BATCHES):
        for keys in budget.thin(KV):
            yield case("decode", keys, layout, batch)
    for causal in (True,) if budget.coarse else (True, False):
        for length in budget.thin(PROMPTS):
            yield case("prefill", length, causal=causal)
    for backend in info.attention:
        # the smallest too, from which a slow backend's next is predicted
        for keys in (keys for keys in budget.thin(KV) if keys in KV[:1] + KV[3:]):
            yield case("decode", keys, *_SHARED, backend=backend)
        for length in (length for length in budget.thin(PROMPTS) if length in PROMPTS[:1] + PROMPTS[3:]):
            yield case("prefill", length, causal=True, backend=backend)
    yield case("prefill", UNFUSED, backend="unfused")


def _case(
    info: DeviceInfo, budget, dtype: str, phase: str, keys: int, layout="mha", batch=1, causal=False, backend=_CHOSEN
) -> Case:
    queries = 1 if phase == "decode" else keys
    sizes = batch, HEADS, LAYOUTS[layout], queries, keys, HEAD_DIM
    demand = work.attention(*sizes, dtype, info.units[dtype], causal=causal)
    params = {"phase": phase, "layout": layout, "dtype": dtype, "batch": batch, "queries": queries, "keys": keys}
    make, note = partial(_launch, sizes[:5], dtype, causal, backend), partial(_note, backend)
    check = partial(attentions.check_last_head, allowed=5e-2)
    return Case(
        params=params | {"causal": causal, "backend": backend} | attentions.heads_of(HEADS, LAYOUTS[layout], HEAD_DIM),
        work=demand,
        prepare=partial(ring, make, check, demand.bytes, note),
        # a slow backend must not predict a fast one's time
        family=f"{phase} {backend}",
        skip=too_large(demand.bytes, info, budget.memory),
    )


def _launch(sizes: tuple, dtype: str, causal: bool, backend: str, device: Device) -> Kept:
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    batch, heads, kv_heads, queries, keys = sizes
    query = device.random(batch, heads, queries, HEAD_DIM, dtype=dtype)
    cache = (device.random(batch, kv_heads, keys, HEAD_DIM, dtype=dtype) for _ in range(2))
    if backend == "unfused":
        return Kept(attentions.unfused, query, *cache)
    call = sdpa if backend == _CHOSEN else partial(attentions.one_backend, backend)
    return Kept(call, query, *cache, is_causal=causal, enable_gqa=kv_heads != heads)


def _note(backend: str, device: Device, launch: Kept) -> dict[str, str]:
    asked = "" if backend == _CHOSEN else backend
    ran = {} if backend == "unfused" else attentions.backend_note(device, launch, asked=asked)
    return ({"backend": backend} if asked else {}) | ran
