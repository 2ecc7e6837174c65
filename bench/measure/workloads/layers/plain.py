"""The layer in plain arithmetic, to check a measured one against: no fused kernel, no batch, every sum as written."""

from functools import partial
from typing import Any

from bench.measure.device.protocol import CheckFailed
from bench.measure.workloads.layers.parts import EPSILON, gated, linear, norm, rotary_append

# Largest relative error of a sound result: some roundings to 8 bits of mantissa in a row.
_TOLERANCE = 5e-2


def plain_norm(hidden: Any, gain: Any) -> Any:
    return hidden / (hidden.square().mean(-1, keepdim=True) + EPSILON).sqrt() * gain


def plain_turned(heads: Any, table: Any) -> Any:
    """Each pair of neighbours (a, b) turned by its angle: (a cos - b sin, a sin + b cos)."""
    import torch

    cos, sin = table.real, table.imag
    even, odd = heads[..., 0::2], heads[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def plain_attention(query: Any, keys: Any, values: Any) -> Any:
    """One token's heads [heads, head dimension] against all keys [KV heads, tokens, head dimension]."""
    import torch

    grouped = query.unflatten(0, (keys.shape[0], -1))
    scores = grouped @ keys.transpose(1, 2) / query.shape[-1] ** 0.5
    return (torch.softmax(scores, -1) @ values).flatten(0, 1)


def plain_gated(gate_up: Any) -> Any:
    gate, up = gate_up.tensor_split(2, -1)
    return gate / (1 + (-gate).exp()) * up


def check(launched: partial) -> None:
    """The last token of each span through the layer in float32, and the cache rows that it must have written.

    The rows are poisoned first: an append that misses them spoils everything after it. Raises CheckFailed.
    """
    hidden, delta, weights, table, caches, new = launched.args
    for cache, tokens in zip(caches, new, strict=True):
        for rows in cache.newest(tokens):
            rows.fill_(float("nan"))
    found = launched()
    end = 0
    for cache, tokens in zip(caches, new, strict=True):
        end += cache.keys.shape[0] * tokens
        keys, values = (rows[-1].float() for rows in cache)
        stream, x = hidden[end - 1].float() + delta[end - 1].float(), weights.first.float()
        qkv = _product(weights.qkv, plain_norm(stream, x)).unflatten(0, (-1, keys.shape[-1]))
        turned = plain_turned(qkv[: -len(keys)], table[end - 1])
        compare("appended key", keys[:, -1], turned[-len(keys) :])
        compare("appended value", values[:, -1], qkv[-len(keys) :])
        mixed = plain_attention(turned[: -len(keys)], keys, values).flatten()
        stream = stream + _product(weights.out, mixed)
        inner = plain_gated(_product(weights.gate_up, plain_norm(stream, weights.second.float())))
        compare("residual stream", found[0][end - 1].float(), stream)
        compare("MLP", found[1][end - 1].float(), _product(weights.down, inner))


def compare(what: str, found: Any, expected: Any, allowed: float = _TOLERANCE) -> None:
    """Raises CheckFailed where two tensors differ by more than a share of the second's norm."""
    import torch

    error = float(torch.linalg.norm(found - expected) / torch.linalg.norm(expected))
    if not error <= allowed:
        raise CheckFailed(f"{what} differs from the plain reference by {error:.2g} (allowed {allowed:.0e})")


def _product(weight: Any, x: Any, rows: int = 4096) -> Any:
    """weight @ x in float32, some rows at a time: a second copy of all weights would not always fit."""
    import torch

    return torch.cat([piece.float() @ x for piece in weight.split(rows)])


def check_piece(launched: partial) -> None:
    """The last token of a part against the plain reference. Raises CheckFailed."""
    func, args = launched.func, launched.args
    if func is rotary_append:
        qkv, table, [slots] = args
        for rows in slots:
            rows.fill_(float("nan"))
        found = launched()[-1].double()
        heads = qkv[-1].double().unflatten(0, (-1, slots.keys.shape[-1]))
        kv_heads = slots.keys.shape[1]
        expected = plain_turned(heads[:-kv_heads], table[-1])
        compare("appended key", slots.keys[-1, :, -1].double(), expected[-kv_heads:])
        compare("appended value", slots.values[-1, :, -1].double(), heads[-kv_heads:])
        return compare("rotated query", found, expected[:-kv_heads])
    found = launched()
    if func is norm:
        stream = args[0][-1].double() + args[1][-1].double()
        compare("residual stream", found[0][-1].double(), stream)
        return compare("norm", found[1][-1].double(), plain_norm(stream, args[2].double()))
    if func is linear:
        return compare("product", found[-1, -64:].double(), args[1][-64:].double() @ args[0][-1].double())
    if func is gated:
        return compare("activation", found[-1].double(), plain_gated(args[0][-1].double()))
    queries, keys, values = args
    expected = plain_attention(queries[-1, :, -1].double(), keys[-1].double(), values[-1].double())
    return compare("attention", found[-1].double(), expected.flatten())
