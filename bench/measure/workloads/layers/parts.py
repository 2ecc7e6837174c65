"""The parts of a layer as torch's kernels, and the layer that they make.

`out`: where a result goes. A part that is measured alone on cold buffers writes to its ring's own; inside a layer
torch allocates what one part hands to the next, which finds it in the cache as it does in serving.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

EPSILON = 1e-5


class Weights(NamedTuple):
    """A layer's parameters; matrices lie as [outputs, inputs]."""

    first: Any
    qkv: Any
    out: Any
    second: Any
    gate_up: Any
    down: Any


class Cache(NamedTuple):
    """Keys and values of a span, [batch, KV heads, tokens, head dimension] each."""

    keys: Any
    values: Any

    def newest(self, tokens: int) -> "Cache":
        """Where the last tokens lie: what an append writes."""
        return Cache(self.keys[:, :, -tokens:], self.values[:, :, -tokens:])


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


def rotary_append(qkv: Any, table: Any, slots: Sequence[Cache], out: Any = None) -> Any:
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


def attend(queries: Any, keys: Any, values: Any) -> Any:
    """Mixed values [tokens, heads x head dimension]; several queries are the whole of their context, and causal."""
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    return sdpa(queries, keys, values, **_how(queries, keys)).transpose(1, 2).flatten(0, 1).flatten(1)


def gated(gate_up: Any, out: Any = None) -> Any:
    import torch
    from torch.nn.functional import silu

    gate, up = gate_up.chunk(2, -1)
    return torch.mul(silu(gate), up, out=out)


def layer(
    hidden: Any,
    delta: Any,
    weights: Weights,
    table: Any,
    caches: Sequence[Cache],
    new: Sequence[int],
    out: tuple[Any, Any] = (None, None),
) -> Any:
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


def _how(queries: Any, keys: Any) -> dict[str, bool]:
    return {"is_causal": queries.shape[2] > 1, "enable_gqa": queries.shape[1] != keys.shape[1]}
