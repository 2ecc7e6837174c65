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
from bench.measure.workloads import attempted, compare, dtype_of, matrix, ring, scaled, too_large
from bench.measure.workloads import attention as attentions
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
LATENT = {"SDPA, heads as rows": attentions.latent_fused, "products": attentions.latent_products}
TOP_P = 0.9


@probe(version=3, asked=True, title="Attention variants")
def decode(info: DeviceInfo, budget) -> Cases:
    """What do the kind of attention, a narrow cache, uneven lengths and the sampling cost a step?

    Attention: 2 × (width of a score + width of a value) flops per head and query-key pair; bytes = the cache, with
    its scales if it is quantised, read once, queries and outputs beside it. LM head: a GEMM. KV append and
    sampling: bytes only, each row read and written once.
    """
    dtype = dtype_of(info)
    if not dtype:
        return
    unit, size = info.units[dtype], work.ITEMSIZE[dtype]
    case = partial(_case, info, budget, dtype)
    rows = budget.thin(ROWS)
    grid = [(batch, context) for batch in budget.thin(BATCHES) for context in budget.thin(CONTEXTS)]
    # what is quick first, and every kind at the smallest point before any at the next: time may run out for the rest
    for count in rows:
        demand = work.move(4 * count * GROUPED * HEAD_DIM * size)  # keys and values, read and written
        yield case("KV append", {"rows": count}, demand, _cold(partial(_append, count, dtype), check_append, demand))
    for count in rows:
        yield _sampling(case, count, "argmax")
    yield from _kinds(info, case, *grid[0], dtype)
    for count in rows:
        demand = work.linear(count, VOCABULARY, WIDTH, dtype, unit, weight=size, activation=size, out=4)
        facts = {"rows": count, "vocabulary": VOCABULARY, "width": WIDTH}
        yield case("LM head", facts, demand, _cold(partial(_head, count, dtype), check_head, demand))
    for prefix in budget.thin(PREFIXES):
        demand = work.attention(1, HEADS, GROUPED, NEW, prefix + NEW, HEAD_DIM, dtype, unit, causal=True)
        facts = {"new": NEW, "prefix": prefix} | attentions.heads_of(HEADS, GROUPED, HEAD_DIM)
        yield case("prefill attention", facts, demand, partial(_prefix, prefix, demand.bytes, dtype))
    for batch, context in grid[1:]:
        yield from _kinds(info, case, batch, context, dtype)
    for count in rows:
        yield _sampling(case, count, "top-p")
    for spread, lengths in RAGGED.items():
        works = [work.attention(1, HEADS, GROUPED, 1, keys, HEAD_DIM, dtype, unit) for keys in lengths]
        demand = work.Work(sum(w.flops for w in works), unit, dtype, bytes=sum(w.bytes for w in works))
        facts = {"layout": "gqa", "cache": dtype, "batch": len(lengths), "context": sum(lengths), "spread": spread}
        facts |= attentions.heads_of(HEADS, GROUPED, HEAD_DIM)
        yield case("ragged attention", facts, demand, partial(_ragged, lengths, demand.bytes, dtype))


def _sampling(case: Callable, rows: int, method: str) -> Case:
    # logits in, token ids of 8 bytes out, and for top-p a random number for each row
    demand = work.move(4 * rows * VOCABULARY + 8 * rows + (4 * rows if method == "top-p" else 0))
    facts = {"rows": rows, "vocabulary": VOCABULARY, "method": method}
    return case("sampling", facts, demand, _cold(partial(_sampler, rows, method), check_sampling, demand))


def _kinds(info: DeviceInfo, case: Callable, batch: int, context: int, dtype: str) -> Iterator[Case]:
    """Decode of so many sequences by every kind of attention and of cache."""
    unit, size, tokens = info.units[dtype], work.ITEMSIZE[dtype], batch * context
    sizes = {"batch": batch, "context": context}
    for layout, kv_heads in LAYOUTS.items():
        demand = work.attention(batch, HEADS, kv_heads, 1, context, HEAD_DIM, dtype, unit)
        facts = {"layout": layout, "cache": dtype} | sizes | attentions.heads_of(HEADS, kv_heads, HEAD_DIM)
        make = partial(_attention, batch, kv_heads, context, dtype)
        yield case("attention", facts, demand, _cold(make, attentions.check_attend, demand, "SDPA"))
    for method, call in LATENT.items():
        shape = tokens, batch, MLA_HEADS, MLA_RANK + MLA_ROPE, MLA_RANK
        cached = tokens * (MLA_RANK + MLA_ROPE) * size
        demand = work.cached_attention(*shape, dtype, unit, cached=cached, activation=size)
        facts = {"layout": "mla", "cache": dtype} | sizes | {"method": method}
        facts |= attentions.heads_of(MLA_HEADS, 1, MLA_RANK + MLA_ROPE)
        make = partial(_latent, batch, context, call, dtype)
        yield case("attention", facts, demand, _cold(make, check_latent, demand, *method.split(", ")))
    for narrow in QUANTISED:
        # each token and head has a scale of the wide dtype
        shape = tokens, batch, HEADS, HEAD_DIM, HEAD_DIM
        cached = 2 * tokens * GROUPED * (HEAD_DIM * work.ITEMSIZE[narrow] + size)
        demand = work.cached_attention(*shape, dtype, unit, cached=cached, activation=size)
        facts = {"layout": "gqa", "cache": narrow} | sizes | attentions.heads_of(HEADS, GROUPED, HEAD_DIM)
        lacking = "" if narrow in info.units else f"this device has no {narrow}"
        make = partial(_narrow, batch, context, narrow, dtype)
        prepare = _cold(make, attentions.check_attend, demand, "dequantise into memory, then SDPA")
        yield case("attention", facts, demand, prepare, lacking)


def _case(info: DeviceInfo, budget, dtype: str, part: str, facts: dict, demand: work.Work, prepare, lacking="") -> Case:
    return Case(
        params={"part": part, "dtype": dtype} | facts,
        work=demand,
        prepare=prepare,
        # a slow method must not predict a fast one's time
        family=f"{part} {facts.get('layout', '')} {facts.get('method', '')} {facts.get('cache', '')}",
        # the LM head's weights are the question itself, as in `layer`
        skip=lacking or too_large(demand.bytes, info, 1 / 4 if part == "LM head" else budget.memory),
    )


def _cold(make: Callable, check: Callable, demand: work.Work, *words: str) -> Callable[[Device], Setup]:
    return partial(ring, make, check, demand.bytes, partial(_method, words) if words else None)


def _method(words: Sequence[str], device: Device, launch: partial) -> dict[str, str]:
    """A method's words, and among them the backend that runs it, once it has run."""
    if launch.func is attentions.latent_products:
        return {"method": "two products"}
    ran = attentions.backend_note(device, launch).values()
    return {"method": ", ".join((words[0], *ran, *words[1:]))}


def _attention(batch: int, kv_heads: int, context: int, dtype: str, device: Device) -> Kept:
    queries = scaled(device, batch, HEADS, 1, HEAD_DIM, dtype=dtype)
    caches = (scaled(device, batch, kv_heads, context, HEAD_DIM, dtype=dtype) for _ in range(2))
    return Kept(attentions.attend, queries, *caches)


def _latent(batch: int, context: int, call: Callable, dtype: str, device: Device) -> Kept:
    queries = scaled(device, batch, 1, MLA_HEADS, MLA_RANK + MLA_ROPE, dtype=dtype)
    return Kept(call, queries, scaled(device, batch, context, MLA_RANK + MLA_ROPE, dtype=dtype), MLA_RANK)


def check_latent(launch: partial) -> None:
    queries, cache, rank = launch.args
    keys = cache[-1:].double()
    expected = attentions.plain_attention(queries[-1, 0].double(), keys, keys[..., :rank])
    compare("latent attention", launch()[-1, 0], expected)


def _narrow(batch: int, context: int, narrow: str, dtype: str, device: Device) -> Kept:
    # integers fill 8 bits, floats lie in [-1, 1]; either way widened values have a deviation of 1
    scale = 3**0.5 / (127.0 if narrow == "int8" else 1.0)
    queries, cache = scaled(device, batch, HEADS, 1, HEAD_DIM, dtype=dtype), []
    for _ in range(2):
        cache.append(device.random(batch, GROUPED, context, HEAD_DIM, dtype=narrow))
        cache.append(device.empty(batch, GROUPED, context, 1, dtype=dtype).fill_(scale))
    return Kept(attentions.dequantised, queries, *cache)


def _ragged(lengths: Sequence[int], size: float, dtype: str, device: Device) -> Setup:
    """Sequences behind one another and one call where torch has it for this device, else a call for each."""
    import torch

    loose, tight = [], []
    for _ in range(device.rotation(size, "cold")):
        queries = scaled(device, len(lengths), HEADS, HEAD_DIM, dtype=dtype)
        caches = [scaled(device, sum(lengths), GROUPED, HEAD_DIM, dtype=dtype) for _ in range(2)]
        split = [[piece.transpose(0, 1)[None] for piece in cache.split(lengths)] for cache in caches]
        loose.append(Kept(attentions.one_by_one, queries.unsqueeze(2), *split))
        if not device.info.simulated:
            ends = [torch.tensor(counts).cumsum(0) for counts in ([1] * len(lengths), lengths)]
            begins = [torch.nn.functional.pad(end, (1, 0)).to(queries.device, torch.int32) for end in ends]
            tight.append(Kept(attentions.packed, queries, *caches, begins, max(lengths)))
    reason = attempted(tight[0])[1].split(". ")[0] if tight else ""
    if tight and not reason:
        notes = {"method": "one call, sequences packed (torch's varlen_attn)"}
        return Setup(tight, partial(_check_ragged, tight[-1], loose[-1]), notes)
    notes = _method(["a call for each sequence"], device, loose[0]) | ({"packed": reason} if reason else {})
    return Setup(loose, partial(_check_ragged, loose[-1], loose[-1]), notes)


def _check_ragged(launch: partial, loose: partial) -> None:
    """The last sequence, by its own buffers."""
    queries, keys, values = loose.args
    last = queries[-1, :, 0].double(), keys[-1][0].double(), values[-1][0].double()
    expected = attentions.plain_attention(*last)
    compare("ragged attention", launch()[-1].view_as(expected), expected)


def _prefix(prefix: int, size: float, dtype: str, device: Device) -> Setup:
    def drawn() -> tuple[Any, Any, Any]:
        queries = scaled(device, 1, HEADS, NEW, HEAD_DIM, dtype=dtype)
        keys, values = (scaled(device, 1, GROUPED, prefix + NEW, HEAD_DIM, dtype=dtype) for _ in range(2))
        return queries, keys, values

    inputs = [drawn() for _ in range(device.rotation(size, "cold"))]
    call = attentions.prefixed(*inputs[-1])
    launches = [Kept(call, *tensors) for tensors in inputs]
    notes = _method(["SDPA", call.method], device, launches[0])
    return Setup(launches, partial(_check_prefix, launches[-1]), notes)


def _check_prefix(launch: partial) -> None:
    """The first new token, which must see the prefix and itself alone, and the last, which sees everything."""
    queries, keys, values = (x[0].double() for x in launch.args)
    found = launch()[0]
    for index in (0, NEW - 1):
        seen = keys.shape[1] - NEW + index + 1
        expected = attentions.plain_attention(queries[:, index], keys[:, :seen], values[:, :seen])
        compare(f"attention of new token {index}", found[:, index], expected)


def _append(rows: int, dtype: str, device: Device) -> partial:
    new = (scaled(device, rows, GROUPED, HEAD_DIM, dtype=dtype) for _ in range(2))
    # each sequence's row lies in a cache of its own
    # written once before: a host hands out pages at the first write, which is not what an append costs
    caches = (device.empty(rows, GROUPED, 16, HEAD_DIM, dtype=dtype).zero_()[:, :, -1] for _ in range(2))
    return partial(append, *new, *caches)


def append(new_keys: Any, new_values: Any, keys: Any, values: Any) -> None:
    """A token's keys and values of each sequence into their places in the cache."""
    keys.copy_(new_keys)
    values.copy_(new_values)


def check_append(launch: partial) -> None:
    for slots in launch.args[2:]:
        slots.fill_(float("nan"))
    launch()
    for new, slots in zip(launch.args[:2], launch.args[2:], strict=True):
        compare("appended row", slots, new.double(), 0.0)


def _head(rows: int, dtype: str, device: Device) -> partial:
    x, weight = scaled(device, rows, WIDTH, dtype=dtype), matrix(device, VOCABULARY, WIDTH, dtype)
    return partial(head, x, weight, device.empty(rows, VOCABULARY, dtype="float32"))


def head(x: Any, weight: Any, out: Any) -> Any:
    """Logits in float32, into `out`; widened by a kernel of its own, as engines do."""
    import torch

    return torch.mm(x, weight.t(), out=out) if x.dtype == out.dtype else out.copy_(torch.mm(x, weight.t()))


def check_head(launch: partial) -> None:
    x, weight, out = launch.args
    out.fill_(float("nan"))
    compare("logits", launch()[-1, -64:], weight[-64:].double() @ x[-1].double())


def _sampler(rows: int, method: str, device: Device) -> Kept:
    logits = scaled(device, rows, VOCABULARY, dtype="float32", deviation=4.0)
    if method == "argmax":
        return Kept(greedy, logits)
    return Kept(top_p, logits, device.random(rows, 1, dtype="float32").add_(1.0).mul_(0.4995))


def greedy(logits: Any) -> Any:
    return logits.argmax(-1)


def top_p(logits: Any, uniform: Any) -> Any:
    """A token per row from the smallest set of likeliest ones whose probability reaches TOP_P, by a number in [0, 1).

    uniform: [rows, 1]. The numbers are given, so that the same ones give the same tokens.
    """
    import torch

    likely, order = torch.sort(torch.softmax(logits, -1), descending=True)
    up_to = likely.cumsum(-1)
    kept = likely.masked_fill(up_to - likely >= TOP_P, 0.0).cumsum(-1)
    chosen = torch.searchsorted(kept, uniform * kept[:, -1:])
    return order.gather(-1, chosen).squeeze(-1)


def check_sampling(launch: partial) -> None:
    """The last row's token: the likeliest, or the one at which the kept probabilities pass the drawn number."""
    logits, *uniform = (x[-1].double().cpu() for x in launch.args)
    token = int(launch()[-1])
    if not uniform:
        if logits[token] != logits.max():
            raise CheckFailed(f"token {token} is not the likeliest")
        return
    chances = logits.softmax(-1)
    likelier = float(chances[logits > logits[token]].sum())
    kept = chances.sort(descending=True).values
    kept = float(kept[kept.cumsum(-1) - kept < TOP_P].sum())
    drawn, slack = float(uniform[0]) * kept, 1e-4
    # tokens of equal chance may come in any order
    level = float(chances[logits == logits[token]].sum())
    if not likelier - slack <= drawn <= likelier + level + slack:
        raise CheckFailed(f"top-p chose the token at {likelier:.4f} of the probability; drawn was {drawn:.4f}")
