"""Buffers and launches of a layer and of its parts."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from bench.measure.device.protocol import Device
from bench.measure.workloads.layers.backends import ran
from bench.measure.workloads.layers.parts import Cache, Weights, attend, gated, layer, linear, norm, rotary_append
from bench.measure.workloads.layers.plain import check, check_piece
from bench.measure.workloads.layers.shape import Shape, Span, whole
from bench.schema import Kept, Setup

ROTARY_BASE = 500000.0


def scaled(device: Device, *shape: int, dtype: str, deviation: float = 1.0) -> Any:
    """Random values of that standard deviation."""
    return device.random(*shape, dtype=dtype).mul_(deviation * 3**0.5)


def matrix(device: Device, n: int, k: int, dtype: str) -> Any:
    """A weight matrix that keeps the variance of what it multiplies: a softmax of large scores would show one key."""
    return scaled(device, n, k, dtype=dtype, deviation=k**-0.5)


def table_of(spans: Sequence[Span], head_dim: int, like: Any) -> Any:
    """A step's rotary table, complex64[tokens, 1, head_dim / 2], where `like` lies."""
    import torch

    if like.is_meta:
        # torch loads its compiler, for seconds, to compute where there is nothing to compute
        rows = sum(span.tokens for span in spans)
        return torch.empty(rows, 1, head_dim // 2, dtype=torch.complex64, device=like.device)
    place = {"dtype": torch.float64, "device": like.device}
    positions = [
        torch.arange(span.context - span.new, span.context, **place).repeat(span.batch) for span in spans if span.tokens
    ]
    rates = ROTARY_BASE ** (-torch.arange(0, head_dim, 2, **place) / head_dim)
    angles = torch.cat(positions)[:, None, None] * rates
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def cache_of(device: Device, shape: Shape, span: Span, dtype: str) -> Cache:
    size = span.batch, shape.kv_heads, span.context, shape.head_dim
    return Cache(*(scaled(device, *size, dtype=dtype) for _ in range(2)))


def setup(shape: Shape, spans: Sequence[Span], dtype: str, device: Device) -> Setup:
    """A whole layer, made ready for one step."""
    launches = []
    for _ in range(device.rotation(whole(shape, spans, dtype, "").bytes, "cold")):
        matrices = {name: matrix(device, n, k, dtype) for name, (n, k) in shape.products.items()}
        gains = [scaled(device, shape.width, dtype=dtype) for _ in range(2)]
        weights = Weights(gains[0], matrices["QKV"], matrices["O"], gains[1], matrices["gate-up"], matrices["down"])
        caches = [cache_of(device, shape, span, dtype) for span in spans]
        tokens = sum(span.tokens for span in spans)
        stream = [scaled(device, tokens, shape.width, dtype=dtype) for _ in range(2)]
        table = table_of(spans, shape.head_dim, stream[0])
        out = tuple(device.empty(tokens, shape.width, dtype=dtype) for _ in range(2))
        launches.append(partial(layer, *stream, weights, table, caches, [span.new for span in spans], out=out))
    notes = {}
    for span, cache in zip(spans, launches[0].args[4], strict=True):
        if not device.info.simulated:
            notes[f"{span.phase} attention"] = ran(partial(attend, _queries(shape, span, dtype, device), *cache))
    return Setup(launches, partial(check, launches[-1]), notes=notes)


def _queries(shape: Shape, span: Span, dtype: str, device: Device) -> Any:
    """Laid out as the layer has them, tokens first: another layout would add a copy to the result, and another plan."""
    rows = scaled(device, span.tokens, shape.heads, shape.head_dim, dtype=dtype)
    return rows.unflatten(0, (span.batch, span.new)).transpose(1, 2)


def part_setup(shape: Shape, span: Span, part: str, size: float, dtype: str, device: Device) -> Setup:
    """One part alone, made ready; size: bytes of a launch."""
    rotates = part.startswith("rotary")
    table = table_of([span], shape.head_dim, device.empty(0, dtype=dtype)) if rotates else None
    launches = [_part(shape, span, part, table, dtype, device) for _ in range(device.rotation(size, "cold"))]
    notes = {"backend": ran(launches[0])} if part.endswith("attention") and not device.info.simulated else {}
    return Setup(launches, partial(check_piece, launches[-1]), notes=notes)


def _part(shape: Shape, span: Span, part: str, table: Any, dtype: str, device: Device) -> partial:
    """A launch of one part alone, on buffers of its own: its results' too, and its copy of the table."""
    tokens = span.tokens
    if part in shape.products:
        n, k = shape.products[part]
        out = device.empty(tokens, n, dtype=dtype)
        return partial(linear, scaled(device, tokens, k, dtype=dtype), matrix(device, n, k, dtype), out=out)
    if part.endswith("attention"):
        return Kept(attend, _queries(shape, span, dtype, device), *cache_of(device, shape, span, dtype))
    if part == "gated activation":
        out = device.empty(tokens, shape.ffn, dtype=dtype)
        return partial(gated, scaled(device, tokens, 2 * shape.ffn, dtype=dtype), out=out)
    if part == "norm + residual":
        stream = [scaled(device, tokens, shape.width, dtype=dtype) for _ in range(2)]
        out = device.empty(tokens, shape.width, dtype=dtype)
        return Kept(norm, *stream, scaled(device, shape.width, dtype=dtype), out=out)
    qkv = scaled(device, tokens, shape.products["QKV"][0], dtype=dtype)
    slots = cache_of(device, shape, Span(span.batch, span.new, span.new), dtype)
    out = device.empty(tokens, shape.heads, shape.head_dim, dtype=dtype)
    return partial(rotary_append, qkv, table.clone(), [slots], out=out)
