"""The parts of a layer as torch's kernels, and the layer that they make."""

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


def norm(hidden: Any, delta: Any, gain: Any) -> tuple[Any, Any]:
    """(the residual stream with delta added, its RMS norm)."""
    from torch.nn.functional import rms_norm

    hidden = hidden + delta
    return hidden, rms_norm(hidden, gain.shape, gain, EPSILON)


def linear(x: Any, weight: Any) -> Any:
    from torch.nn.functional import linear

    return linear(x, weight)


def rotary_append(qkv: Any, table: Any, slots: Sequence[Cache]) -> Any:
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
    return turned[:, :-kv_heads].to(qkv.dtype)


def attend(queries: Any, keys: Any, values: Any) -> Any:
    """Mixed values [tokens, heads x head dimension]; several queries are the whole of their context, and causal."""
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    return sdpa(queries, keys, values, **_how(queries, keys)).transpose(1, 2).flatten(0, 1).flatten(1)


def gated(gate_up: Any) -> Any:
    from torch.nn.functional import silu

    gate, up = gate_up.chunk(2, -1)
    return silu(gate) * up


def layer(hidden: Any, delta: Any, weights: Weights, table: Any, caches: Sequence[Cache], new: Sequence[int]) -> Any:
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
    hidden, x = norm(hidden, delta, weights.second)
    return hidden, linear(gated(linear(x, weights.gate_up)), weights.down)


def _how(queries: Any, keys: Any) -> dict[str, bool]:
    return {"is_causal": queries.shape[2] > 1, "enable_gqa": queries.shape[1] != keys.shape[1]}


def backend(queries: Any, keys: Any, values: Any, **more: Any) -> str:
    """SDPA's own choice for these tensors, in one word."""
    import torch
    from torch.nn.attention import SDPBackend

    number = torch._fused_sdp_choice(queries, keys, values, **(more or _how(queries, keys)))
    known = {member.value: name for name, member in SDPBackend.__members__.items()}
    return known.get(number, str(number)).removesuffix("_ATTENTION").lower()
