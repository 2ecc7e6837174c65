"""What serving does beside a plain layer: kinds of attention and of cache, the append, a cached prefix, the sampling.

MHA, GQA and MQA differ in how much cache a query shares, latent attention (MLA, absorbed) in that all heads share one
key of 576 numbers and so compute some hundred flops for each byte. Ragged batches hold the same keys in all, spread
over sequences evenly or not. A quantised cache is widened in memory and then attended to, which is what torch can do:
fewer bytes are needed, more are moved, and a fused kernel would do better.

What could mislead: the method that ran stands in each case's notes, and another one may be several times faster; random
logits are flatter than a model's, so that top-p keeps more of them; an append writes whole rows of one piece of memory.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device
from bench.measure.probes import Cases, probe
from bench.measure.workloads import layers
from bench.measure.workloads.layers import variants
from bench.schema import Case, DeviceInfo, Kept, Setup

HEADS, HEAD_DIM, GROUPED = 32, 128, 8
LAYOUTS = {"mha": 32, "gqa": GROUPED, "mqa": 1}  # KV heads
# DeepSeek-V3: heads, what the latent holds, and the rotary part of a key beside it (arXiv 2412.19437, 4.2)
MLA_HEADS, MLA_RANK, MLA_ROPE = 128, 512, 64
BATCHES = (1, 64)
CONTEXTS = (1024, 8192, 32768)
# Lengths of equal sum, by how they are spread.
RAGGED = {
    "equal": (4096,) * 8,
    "spread": (*range(910, 8 * 910, 910), 32768 - 28 * 910),
    "one long": (512,) * 7 + (32768 - 7 * 512,),
}
QUANTISED = ("float8_e4m3", "int8")
NEW = 512  # tokens after a cached prefix
PREFIXES = (0, 2048, 8192, 32768)
ROWS = (1, 8, 64, 256)
WIDTH, VOCABULARY = 4096, 128256  # Llama-3.1-8B


@probe(
    version=3,
    asked=True,
    title="Attention variants",
    question="What do the kind of attention, a narrow cache, uneven lengths and the sampling cost a step?",
    formula=(
        "Attention: 2 × (width of a score + width of a value) flops per head and query-key pair; bytes = the cache,"
        " with its scales if it is quantised, read once, queries and outputs beside it. LM head: a GEMM. KV append"
        " and sampling: bytes only, each row read and written once."
    ),
)
def decode(info: DeviceInfo, budget) -> Cases:
    """Attention variants of serving (MHA, GQA, MQA, MLA, ragged, quantised cache), append, cached prefix, sampling."""
    dtype = layers.dtype_of(info)
    if not dtype:
        return
    unit, size = info.units[dtype], work.ITEMSIZE[dtype]
    case = partial(_case, info, budget, dtype)
    grid = [(batch, context) for batch in budget.thin(BATCHES) for context in budget.thin(CONTEXTS)]
    # what is quick first, and every kind at the smallest point before any at the next: time may run out for the rest
    for rows in budget.thin(ROWS):
        demand = work.move(4 * rows * GROUPED * HEAD_DIM * size)  # keys and values, read and written
        yield case("KV append", {"rows": rows}, demand, partial(_append, rows))
    yield from _samplings(case, "argmax", budget.thin(ROWS))
    yield from _kinds(info, case, *grid[0], dtype)
    for rows in budget.thin(ROWS):
        demand = work.linear(rows, VOCABULARY, WIDTH, dtype, unit, weight=size, activation=size, out=4)
        yield case("LM head", {"rows": rows, "vocabulary": VOCABULARY, "width": WIDTH}, demand, partial(_head, rows))
    for prefix in budget.thin(PREFIXES):
        demand = work.attention(1, HEADS, GROUPED, NEW, prefix + NEW, HEAD_DIM, dtype, unit, causal=True)
        yield case("prefill attention", {"new": NEW, "prefix": prefix}, demand, partial(_prefix, prefix))
    for batch, context in grid[1:]:
        yield from _kinds(info, case, batch, context, dtype)
    yield from _samplings(case, "top-p", budget.thin(ROWS))
    for spread, lengths in RAGGED.items():
        each = [work.attention(1, HEADS, GROUPED, 1, keys, HEAD_DIM, dtype, unit) for keys in lengths]
        demand = work.Work(sum(w.flops for w in each), unit, dtype, bytes=sum(w.bytes for w in each))
        facts = {"layout": "gqa", "cache": dtype, "batch": len(lengths), "context": sum(lengths), "spread": spread}
        yield case("ragged attention", facts, demand, partial(_ragged, lengths))


def _samplings(case: Callable, sampler: str, counts: Sequence[int]) -> Iterator[Case]:
    for rows in counts:
        # logits in, token ids of 8 bytes out, and for top-p a random number for each row
        demand = work.move(4 * rows * VOCABULARY + 8 * rows + (4 * rows if sampler == "top-p" else 0))
        facts = {"rows": rows, "vocabulary": VOCABULARY, "method": sampler}
        yield case("sampling", facts, demand, partial(_sampling, rows, sampler))


def _kinds(info: DeviceInfo, case: Callable, batch: int, context: int, dtype: str) -> Iterator[Case]:
    """Decode of so many sequences by every kind of attention and of cache."""
    unit, size = info.units[dtype], work.ITEMSIZE[dtype]
    for layout, kv_heads in LAYOUTS.items():
        demand = work.attention(batch, HEADS, kv_heads, 1, context, HEAD_DIM, dtype, unit)
        facts = {"layout": layout, "cache": dtype, "batch": batch, "context": context}
        yield case("attention", facts, demand, partial(_attention, batch, kv_heads, context))
    for method in variants.LATENT:
        wide = MLA_RANK + MLA_ROPE
        demand = work.cached_attention(
            batch * context, batch, MLA_HEADS, wide, MLA_RANK, dtype, unit,
            cached=batch * context * wide * size, activation=size,
        )  # fmt: skip
        facts = {"layout": "mla", "cache": dtype, "batch": batch, "context": context, "method": method}
        yield case("attention", facts, demand, partial(_latent, batch, context, method))
    for narrow in QUANTISED:
        yield _quantised(info, case, batch, context, dtype, narrow)


def _case(
    info: DeviceInfo,
    budget,
    dtype: str,
    part: str,
    facts: dict[str, Any],
    demand: work.Work,
    prepare: Callable,
    skip: str = "",
) -> Case:
    # the LM head's weights are the question itself, as in `layer`
    room = info.memory_bytes * (1 / 4 if part == "LM head" else budget.memory)
    if not skip and demand.bytes > room:
        skip = f"needs {demand.bytes / 2**30:.1f} GiB; this budget allows a case {room / 2**30:.1f} GiB"
    # a slow method must not predict a fast one's time
    family = f"{part} {facts.get('layout', '')} {facts.get('method', '')} {facts.get('cache', '')}"
    params = {"part": part, "dtype": dtype} | facts
    return Case(params=params, work=demand, prepare=partial(prepare, demand.bytes, dtype), family=family, skip=skip)


def _quantised(info: DeviceInfo, case: Callable, batch: int, context: int, dtype: str, narrow: str) -> Case:
    """A GQA cache of narrow numbers, each token and head with a scale of the wide dtype."""
    elements = 2 * batch * GROUPED * context
    demand = work.cached_attention(
        batch * context, batch, HEADS, HEAD_DIM, HEAD_DIM, dtype, info.units[dtype],
        cached=elements * (HEAD_DIM * work.ITEMSIZE[narrow] + work.ITEMSIZE[dtype]),
        activation=work.ITEMSIZE[dtype],
    )  # fmt: skip
    facts = {"layout": "gqa", "cache": narrow, "batch": batch, "context": context}
    skip = "" if narrow in info.units else f"this device has no {narrow}"
    return case("attention", facts, demand, partial(_narrow, batch, context, narrow), skip=skip)


def _attention(batch: int, kv_heads: int, context: int, size: float, dtype: str, device: Device) -> Setup:
    launches = []
    for _ in range(device.rotation(size, "cold")):
        queries = layers.scaled(device, batch, HEADS, 1, HEAD_DIM, dtype=dtype)
        caches = (layers.scaled(device, batch, kv_heads, context, HEAD_DIM, dtype=dtype) for _ in range(2))
        launches.append(Kept(layers.attend, queries, *caches))
    notes = {"method": _by(device, launches[0], "SDPA")}
    return Setup(launches, partial(layers.check_piece, launches[-1]), notes=notes)


def _by(device: Device, launch: Callable, *method: str) -> str:
    """A method's words with the backend that runs it, once it has run."""
    ran = () if device.info.simulated else (layers.ran(launch),)
    return ", ".join((method[0], *ran, *method[1:]))


def _latent(batch: int, context: int, method: str, size: float, dtype: str, device: Device) -> Setup:
    launches, call = [], variants.LATENT[method]
    for _ in range(device.rotation(size, "cold")):
        queries = layers.scaled(device, batch, 1, MLA_HEADS, MLA_RANK + MLA_ROPE, dtype=dtype)
        cache = layers.scaled(device, batch, context, MLA_RANK + MLA_ROPE, dtype=dtype)
        launches.append(Kept(call, queries, cache, MLA_RANK))
    fused = call is variants.latent_fused
    notes = {"method": _by(device, launches[0], "SDPA", "heads as rows") if fused else "two products"}
    return Setup(launches, partial(_check_latent, launches[-1]), notes=notes)


def _check_latent(launch: partial) -> None:
    queries, cache, rank = launch.args
    keys = cache[-1:].double()
    expected = layers.plain_attention(queries[-1, 0].double(), keys, keys[..., :rank])
    layers.compare("latent attention", launch()[-1, 0].double(), expected)


def _narrow(batch: int, context: int, narrow: str, size: float, dtype: str, device: Device) -> Setup:
    # integers fill 8 bits, floats lie in [-1, 1]; either way widened values have a deviation of 1
    unit = 127.0 if narrow == "int8" else 1.0
    launches = []
    for _ in range(device.rotation(size, "cold")):
        queries = layers.scaled(device, batch, HEADS, 1, HEAD_DIM, dtype=dtype)
        cache = []
        for _ in range(2):
            cache.append(device.random(batch, GROUPED, context, HEAD_DIM, dtype=narrow))
            cache.append(device.empty(batch, GROUPED, context, 1, dtype=dtype).fill_(3**0.5 / unit))
        launches.append(Kept(variants.dequantised, queries, *cache))
    notes = {"method": _by(device, launches[0], "dequantise into memory, then SDPA")}
    return Setup(launches, partial(_check_narrow, launches[-1]), notes=notes)


def _check_narrow(launch: partial) -> None:
    queries, keys, key_scales, values, value_scales = (x[-1].double() for x in launch.args)
    expected = layers.plain_attention(queries[:, 0], keys * key_scales, values * value_scales)
    layers.compare("attention", launch()[-1].double(), expected.flatten())


def _ragged(lengths: Sequence[int], size: float, dtype: str, device: Device) -> Setup:
    """Sequences behind one another and one call where torch has it for this device, else a call for each."""
    import torch

    loose, tight = [], []
    for _ in range(device.rotation(size, "cold")):
        queries = layers.scaled(device, len(lengths), HEADS, HEAD_DIM, dtype=dtype)
        caches = [layers.scaled(device, sum(lengths), GROUPED, HEAD_DIM, dtype=dtype) for _ in range(2)]
        split = [[piece.transpose(0, 1)[None] for piece in cache.split(lengths)] for cache in caches]
        loose.append(Kept(variants.one_by_one, queries.unsqueeze(2), *split))
        if not device.info.simulated:
            ends = [torch.tensor(counts).cumsum(0) for counts in ([1] * len(lengths), lengths)]
            begins = [torch.nn.functional.pad(end, (1, 0)).to(queries.device, torch.int32) for end in ends]
            tight.append(Kept(variants.packed, queries, *caches, begins, max(lengths)))
    refused = "" if tight else "no device"
    try:
        if tight:
            tight[0]()
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        refused = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
    if refused:
        notes = {"method": _by(device, loose[0], "a call for each sequence")} | ({"packed": refused} if tight else {})
        return Setup(loose, partial(_check_ragged, loose[-1], loose[-1]), notes=notes)
    notes = {"method": "one call, sequences packed (torch's varlen_attn)"}
    return Setup(tight, partial(_check_ragged, tight[-1], loose[-1]), notes=notes)


def _check_ragged(launch: partial, loose: partial) -> None:
    """The last sequence, by its own buffers."""
    queries, keys, values = loose.args
    expected = layers.plain_attention(queries[-1, :, 0].double(), keys[-1][0].double(), values[-1][0].double())
    layers.compare("ragged attention", launch()[-1].double().view_as(expected), expected)


def _prefix(prefix: int, size: float, dtype: str, device: Device) -> Setup:
    launches = []
    for _ in range(device.rotation(size, "cold")):
        queries = layers.scaled(device, 1, HEADS, NEW, HEAD_DIM, dtype=dtype)
        caches = [layers.scaled(device, 1, GROUPED, prefix + NEW, HEAD_DIM, dtype=dtype) for _ in range(2)]
        launches.append((queries, *caches))
    call = variants.prefixed(*launches[-1])
    calls = [Kept(call, *each) for each in launches]
    return Setup(calls, partial(_check_prefix, calls[-1]), notes={"method": _by(device, calls[0], "SDPA", call.method)})


def _check_prefix(launch: partial) -> None:
    """The first new token, which must see the prefix and itself alone, and the last, which sees everything."""
    queries, keys, values = (x[0].double() for x in launch.args)
    found = launch()[0].double()
    for index in (0, NEW - 1):
        seen = keys.shape[1] - NEW + index + 1
        expected = layers.plain_attention(queries[:, index], keys[:, :seen], values[:, :seen])
        layers.compare(f"attention of new token {index}", found[:, index], expected)


def _append(rows: int, size: float, dtype: str, device: Device) -> Setup:
    shape = rows, GROUPED, HEAD_DIM
    launches = []
    for _ in range(device.rotation(size, "cold")):
        new = (layers.scaled(device, *shape, dtype=dtype) for _ in range(2))
        # each sequence's row lies in a cache of its own
        # written once before: a host hands out pages at the first write, which is not what an append costs
        caches = (device.empty(rows, GROUPED, 16, HEAD_DIM, dtype=dtype).zero_()[:, :, -1] for _ in range(2))
        launches.append(partial(variants.append, *new, *caches))
    return Setup(launches, partial(_check_append, launches[-1]))


def _check_append(launch: partial) -> None:
    for slots in launch.args[2:]:
        slots.fill_(float("nan"))
    launch()
    for new, slots in zip(launch.args[:2], launch.args[2:], strict=True):
        layers.compare("appended row", slots.double(), new.double(), 0.0)


def _head(rows: int, size: float, dtype: str, device: Device) -> Setup:
    launches = []
    for _ in range(device.rotation(size, "cold")):
        x, weight = layers.scaled(device, rows, WIDTH, dtype=dtype), layers.matrix(device, VOCABULARY, WIDTH, dtype)
        out = device.empty(rows, VOCABULARY, dtype="float32")
        launches.append(partial(variants.head, x, weight, out))
    return Setup(launches, partial(_check_head, launches[-1]))


def _check_head(launch: partial) -> None:
    x, weight, out = launch.args
    out.fill_(float("nan"))
    layers.compare("logits", launch()[-1, -64:].double(), weight[-64:].double() @ x[-1].double())


def _sampling(rows: int, sampler: str, size: float, dtype: str, device: Device) -> Setup:
    launches = []
    for _ in range(device.rotation(size, "cold")):
        logits = layers.scaled(device, rows, VOCABULARY, dtype="float32", deviation=4.0)
        if sampler == "argmax":
            launches.append(Kept(variants.greedy, logits))
        else:
            uniform = device.random(rows, 1, dtype="float32").add_(1.0).mul_(0.4995)
            launches.append(Kept(variants.top_p, logits, uniform))
    return Setup(launches, partial(_check_sampling, launches[-1]))


def _check_sampling(launch: partial) -> None:
    """The last row's token: the likeliest, or the one at which the kept probabilities pass the drawn number."""
    logits, *uniform = (x[-1].double().cpu() for x in launch.args)
    found = int(launch()[-1])
    if not uniform:
        if logits[found] != logits.max():
            raise CheckFailed(f"token {found} is not the likeliest")
        return
    chances = logits.softmax(-1)
    likelier = float(chances[logits > logits[found]].sum())
    kept = chances.sort(descending=True).values
    kept = float(kept[kept.cumsum(-1) - kept < variants.TOP_P].sum())
    drawn, slack = float(uniform[0]) * kept, 1e-4
    # tokens of equal chance may come in any order
    level = float(chances[logits == logits[found]].sum())
    if not likelier - slack <= drawn <= likelier + level + slack:
        raise CheckFailed(f"top-p chose the token at {likelier:.4f} of the probability; drawn was {drawn:.4f}")
