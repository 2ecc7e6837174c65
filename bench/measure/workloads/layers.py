"""One transformer layer as serving runs it: its shape and Work, its parts as torch's kernels, and plain references.

The parts are those that engines launch: norm with the residual add, QKV, rotary with the KV append, attention, O,
gate-up, gated activation, down. The last residual add belongs to the next layer's first norm, so a layer takes and
gives two tensors: the residual stream and what is still to be added to it.

Work is compulsory: what passes between the parts need not reach memory and is counted only where a part stands alone.
So the parts' bytes add up to more than the whole's; their flops are equal. `out` is where a result goes: a part alone
on cold buffers writes to its ring's own; inside a layer torch allocates what one part hands to the next, which finds it
in the cache as it does in serving.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from bench import work
from bench.measure.device.protocol import Device
from bench.measure.workloads import compare, matrix, ring, scaled
from bench.measure.workloads.attention import KvCache, attend, backend_note, check_attend
from bench.schema import Kept, Setup

EPSILON, ROTARY_BASE = 1e-5, 500000.0


@dataclass(frozen=True)
class Shape:
    """The layer of a model as one of `ranks` tensor-parallel ranks holds it; no rank talks to another here."""

    model: str
    ranks: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int

    @property
    def products(self) -> Mapping[str, tuple[int, int]]:
        """(n, k) of each weight matrix, by the name of its part."""
        inner, kv, width = self.heads * self.head_dim, self.kv_heads * self.head_dim, self.width
        qkv = inner + 2 * kv, width
        return {"QKV": qkv, "O": (width, inner), "gate-up": (2 * self.ffn, width), "down": (width, self.ffn)}

    @property
    def matrices(self) -> int:
        """Parameters of the weight matrices."""
        return sum(n * k for n, k in self.products.values())

    @property
    def weights(self) -> int:
        """Parameters: the matrices and the gains of two norms."""
        return self.matrices + 2 * self.width

    def cached(self, spans: Sequence["Span"]) -> int:
        """Elements of the KV cache."""
        return sum(2 * span.batch * span.context * self.kv_heads * self.head_dim for span in spans)


# The layer that is always measured, and a larger one as each of two ranks holds it (meta-llama, config.json of each).
SHAPES = (
    Shape("Llama-3.1-8B", 1, 4096, 32, 8, 128, 14336),
    Shape("Llama-3.1-70B", 2, 8192, 32, 4, 128, 14336),
)


@dataclass(frozen=True)
class Span:
    """`batch` sequences of a step, each with `new` tokens, the last ones of its `context`."""

    batch: int
    new: int
    context: int

    @property
    def tokens(self) -> int:
        return self.batch * self.new

    @property
    def phase(self) -> str:
        return "decode" if self.new == 1 else "prefill"


def parts(shape: Shape, spans: Sequence[Span], dtype: str, unit: str) -> dict[str, tuple[int, work.Work]]:
    """(how often a layer launches it, Work of one launch) of each distinct part of a step.

    Attention is one launch for each span. Rotary includes its table, one complex64 for each pair of a token's head.
    """
    size, tokens = work.ITEMSIZE[dtype], sum(span.tokens for span in spans)
    head, heads, kv_heads = shape.head_dim, shape.heads, shape.kv_heads
    product = {name: (1, work.gemm(tokens, n, k, dtype, unit)) for name, (n, k) in shape.products.items()}
    attentions = {}
    for span in spans:
        sizes = span.batch, heads, kv_heads, span.new, span.context, head
        attentions[f"{span.phase} attention"] = 1, work.attention(*sizes, dtype, unit, causal=span.new > 1)
    return {
        "norm + residual": (2, work.move(size * (4 * tokens + 1) * shape.width)),
        "QKV": product["QKV"],
        "rotary + KV append": (1, work.move(tokens * head * (size * (2 * heads + 4 * kv_heads) + 4))),
        **attentions,
        "O": product["O"],
        "gate-up": product["gate-up"],
        "gated activation": (1, work.move(3 * size * tokens * shape.ffn)),
        "down": product["down"],
    }


def whole(shape: Shape, spans: Sequence[Span], dtype: str, unit: str) -> work.Work:
    """The Work of a layer: flops of its parts; weights, the cache with its new rows, rotary table, inputs, outputs."""
    size, tokens = work.ITEMSIZE[dtype], sum(span.tokens for span in spans)
    flops = sum(count * part.flops for count, part in parts(shape, spans, dtype, unit).values())
    moved = shape.weights + shape.cached(spans) + 4 * tokens * shape.width
    return work.Work(flops, unit, dtype, bytes=float(size * moved + 4 * tokens * shape.head_dim))


class Weights(NamedTuple):
    """A layer's parameters; matrices lie as [outputs, inputs]."""

    first: Any
    qkv: Any
    out: Any
    second: Any
    gate_up: Any
    down: Any


def norm(hidden: Any, delta: Any, gain: Any, out: Any = None) -> tuple[Any, Any]:
    """(the residual stream with delta added, its RMS norm). out: where the stream goes; torch's norm takes none."""
    import torch
    from torch.nn.functional import rms_norm

    hidden = torch.add(hidden, delta, out=out)
    return hidden, rms_norm(hidden, gain.shape, gain, EPSILON)


def linear(x: Any, weight: Any, out: Any = None) -> Any:
    """The product that torch's own `linear` calls for rows without a bias, which takes no `out`."""
    import torch

    return torch.mm(x, weight.t(), out=out)


def rotary_append(qkv: Any, table: Any, slots: Sequence[KvCache], out: Any = None) -> Any:
    """Queries [tokens, heads, head dimension], rotated; keys (rotated) and values are written into their slots.

    Neighbours make a pair and are turned as one complex number, as Meta's reference code does.
    """
    import torch

    _, kv_heads, _, head = slots[0].keys.shape
    rows = qkv.unflatten(1, (-1, head))
    pairs = rows[:, :-kv_heads].float().unflatten(2, (-1, 2))
    turned = torch.view_as_real(torch.view_as_complex(pairs) * table).flatten(2)
    begin = 0
    for keys, values in slots:
        batch, _, new, _ = keys.shape
        span = slice(begin, begin + batch * new)
        keys.copy_(turned[span, -kv_heads:].unflatten(0, (batch, new)).transpose(1, 2))
        values.copy_(rows[span, -kv_heads:].unflatten(0, (batch, new)).transpose(1, 2))
        begin += batch * new
    return turned[:, :-kv_heads].to(qkv.dtype) if out is None else out.copy_(turned[:, :-kv_heads])


def gated(gate_up: Any, out: Any = None) -> Any:
    import torch
    from torch.nn.functional import silu

    gate, up = gate_up.chunk(2, -1)
    return torch.mul(silu(gate), up, out=out)


def layer(hidden, delta, weights: Weights, table, caches: Sequence[KvCache], new, out=(None, None)) -> tuple[Any, Any]:
    """(residual stream, what the next layer adds to it) after one layer; the tokens of each span follow one another.

    new: tokens of each sequence, by cache. They overwrite the cache's last ones, so that it never grows.
    """
    import torch

    hidden, x = norm(hidden, delta, weights.first)
    slots = [cache.newest(tokens) for cache, tokens in zip(caches, new, strict=True)]
    queries = rotary_append(linear(x, weights.qkv), table, slots)
    mixed, begin = [], 0
    for cache, tokens in zip(caches, new, strict=True):
        batch = cache.keys.shape[0]
        mine = queries[begin : begin + batch * tokens].unflatten(0, (batch, tokens)).transpose(1, 2)
        mixed.append(attend(mine, *cache))
        begin += batch * tokens
    delta = linear(mixed[0] if len(mixed) == 1 else torch.cat(mixed), weights.out)
    hidden, x = norm(hidden, delta, weights.second, out[0])
    return hidden, linear(gated(linear(x, weights.gate_up)), weights.down, out[1])


def setup(shape: Shape, spans: Sequence[Span], dtype: str, device: Device) -> Setup:
    """A whole layer, made ready for one step."""
    size = whole(shape, spans, dtype, "").bytes
    return ring(partial(_layer, shape, spans, dtype), check, size, partial(_note, shape, spans, dtype), device)


def _layer(shape: Shape, spans: Sequence[Span], dtype: str, device: Device) -> partial:
    qkv, o, gate_up, down = (matrix(device, n, k, dtype) for n, k in shape.products.values())
    first, second = (scaled(device, shape.width, dtype=dtype) for _ in range(2))
    caches = [cache_of(device, shape, span, dtype) for span in spans]
    size = sum(span.tokens for span in spans), shape.width
    stream = [scaled(device, *size, dtype=dtype) for _ in range(2)]
    table = table_of(spans, shape.head_dim, stream[0])
    out = tuple(device.empty(*size, dtype=dtype) for _ in range(2))
    weights = Weights(first, qkv, o, second, gate_up, down)
    return partial(layer, *stream, weights, table, caches, [span.new for span in spans], out=out)


def _note(shape: Shape, spans: Sequence[Span], dtype: str, device: Device, launch: partial) -> dict[str, str]:
    """The backend of each span's attention, run alone."""
    notes: dict[str, str] = {}
    for span, cache in zip(spans, launch.args[4], strict=True):
        alone = partial(attend, _queries(shape, span, dtype, device), *cache)
        notes |= backend_note(device, alone, f"{span.phase} attention")
    return notes


def part_setup(shape: Shape, span: Span, part: str, size: float, dtype: str, device: Device) -> Setup:
    """One part alone, made ready; size: bytes of a launch."""
    table = table_of([span], shape.head_dim, device.empty(0, dtype=dtype)) if part.startswith("rotary") else None
    note = backend_note if part.endswith("attention") else None
    return ring(partial(_part, shape, span, part, table, dtype), check_part, size, note, device)


def _part(shape: Shape, span: Span, part: str, table: Any, dtype: str, device: Device) -> partial:
    """A launch of one part alone, on buffers of its own: its results' too, and its copy of the table."""
    tokens, width = span.tokens, shape.width
    drawn, empty = partial(scaled, device, dtype=dtype), partial(device.empty, dtype=dtype)
    if part in shape.products:
        n, k = shape.products[part]
        return partial(linear, drawn(tokens, k), matrix(device, n, k, dtype), out=empty(tokens, n))
    if part.endswith("attention"):
        return Kept(attend, _queries(shape, span, dtype, device), *cache_of(device, shape, span, dtype))
    if part == "gated activation":
        return partial(gated, drawn(tokens, 2 * shape.ffn), out=empty(tokens, shape.ffn))
    if part == "norm + residual":
        return Kept(norm, drawn(tokens, width), drawn(tokens, width), drawn(width), out=empty(tokens, width))
    qkv, slots = drawn(tokens, shape.products["QKV"][0]), replace(span, context=span.new)
    out = empty(tokens, shape.heads, shape.head_dim)
    return partial(rotary_append, qkv, table.clone(), [cache_of(device, shape, slots, dtype)], out=out)


def table_of(spans: Sequence[Span], head_dim: int, like: Any) -> Any:
    """A step's rotary table, complex64[tokens, 1, head_dim / 2], where `like` lies."""
    import torch

    if like.is_meta:
        # torch loads its compiler, for seconds, to compute where there is nothing to compute
        rows = sum(span.tokens for span in spans)
        return torch.empty(rows, 1, head_dim // 2, dtype=torch.complex64, device=like.device)
    place = {"dtype": torch.float64, "device": like.device}
    positions = [torch.arange(span.context - span.new, span.context, **place).repeat(span.batch) for span in spans]
    rates = ROTARY_BASE ** (-torch.arange(0, head_dim, 2, **place) / head_dim)
    angles = torch.cat(positions)[:, None, None] * rates
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def cache_of(device: Device, shape: Shape, span: Span, dtype: str) -> KvCache:
    size = span.batch, shape.kv_heads, span.context, shape.head_dim
    return KvCache(*(scaled(device, *size, dtype=dtype) for _ in range(2)))


def _queries(shape: Shape, span: Span, dtype: str, device: Device) -> Any:
    """Laid out as the layer has them, tokens first: another layout would add a copy to the result, and another plan."""
    rows = scaled(device, span.tokens, shape.heads, shape.head_dim, dtype=dtype)
    return rows.unflatten(0, (span.batch, span.new)).transpose(1, 2)


def check(launched: partial) -> None:
    """The last token of each span against the layer in float32, as the one step of a sequence by itself.

    There no kernel is fused and no batch is split. Raises CheckFailed.
    """
    hidden, delta, weights, table, caches, new = launched.args
    for cache, tokens in zip(caches, new, strict=True):
        cache.newest(tokens).poison()
    found = launched()
    wide = Weights(*(weight.float() for weight in weights))
    end = 0
    for cache, tokens in zip(caches, new, strict=True):
        end += cache.keys.shape[0] * tokens
        row, alone = slice(end - 1, end), KvCache(*(rows[-1:].float().clone() for rows in cache))
        expected = layer(hidden[row].float(), delta[row].float(), wide, table[row], [alone], [1])
        for what, rows, ours in zip(("appended key", "appended value"), cache.newest(1), alone.newest(1), strict=True):
            compare(what, rows[-1:], ours)
        for what, rows, ours in zip(("residual stream", "MLP"), found, expected, strict=True):
            compare(what, rows[row], ours)


def check_part(launched: partial) -> None:
    """The last token of a part against the same in float64, where no kernel is fused. Raises CheckFailed."""
    func, args = launched.func, launched.args
    if func is attend:
        return check_attend(launched)
    if func is rotary_append:
        qkv, table, [slots] = args
        slots.poison()
        alone = KvCache(*(rows[-1:, :, -1:].double() for rows in slots))
        compare("rotated query", launched()[-1:], rotary_append(qkv[-1:].double(), table[-1:], [alone]))
        compare("appended key", slots.keys[-1:, :, -1:], alone.keys)
        return compare("appended value", slots.values[-1:, :, -1:], alone.values)
    if func is norm:
        expected = norm(args[0][-1:].double(), args[1][-1:].double(), args[2].double())
        for what, rows, ours in zip(("residual stream", "norm"), launched(), expected, strict=True):
            compare(what, rows[-1:], ours)
        return None
    if func is linear:
        return compare("product", launched()[-1:, -64:], linear(args[0][-1:].double(), args[1][-64:].double()))
    return compare("activation", launched()[-1:], gated(args[0][-1:].double()))
