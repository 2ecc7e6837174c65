"""Curves from measured points: what each kind of kernel keeps of its roof, and what was left out.

Points that beat their roof, and points that lack what their curve needs, are not used and named.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from bench.analysis.serving.curves import (
    BEATS,
    Curve,
    Family,
    Messages,
    curve,
    family,
    length,
    messages,
    reaching,
    surface,
)
from bench.analysis.serving.points import PROBES, Point
from bench.roofline import Roofline
from bench.work import ITEMSIZE, Work, move


@dataclass(frozen=True)
class Curves:
    """What was measured, by kind. gemm: (weights, math) -> by (n, k) over rows. decode: by (queries per KV head, head
    dimension) over (sequences x KV heads, context); narrow: the same of caches in fewer bits, by format. prefill: over
    new tokens. experts: by (experts, active), over tokens. stream: of a copy over bytes; named: of a layer's small
    parts and of sampling, by the beginning of their name. reduce: by ranks. singles: seconds of one row against a
    weight. beaten: points above their roof, not used; unread: points that lack what they need, not used either.
    """

    gemm: Mapping[tuple[str, str], Family] = field(default_factory=dict, hash=False)
    decode: Family | None = None
    narrow: Mapping[str, Family] = field(default_factory=dict, hash=False)
    prefill: Family | None = None
    experts: Family | None = None
    stream: Any = None
    named: Mapping[str, Any] = field(default_factory=dict, hash=False)
    reduce: tuple[Messages, ...] = ()
    launch: Mapping[str, float] = field(default_factory=dict, hash=False)
    singles: Mapping[tuple[str, str, int, int], float] = field(default_factory=dict, hash=False)
    beaten: tuple[Point, ...] = ()
    unread: tuple[Point, ...] = ()

    def decoding(self, params: Mapping[str, Any]) -> tuple[Any, bool] | None:
        """(the curve of decode attention for these heads, whether it was measured with such a cache), None without one.

        A narrow cache is no faster than it was measured to be: where its own kernel was, that one is taken.
        """
        shape = params["heads"] / params["kv_heads"], float(params["head_dim"])
        own = self.narrow.get(params.get("kv", ""))
        if own and (near := own.nearest(shape))[1][1] == shape[1]:
            return near[0], True
        if not self.decode:
            return None
        plane, known = self.decode.nearest(shape)
        return plane, wide(params) and known[1] == shape[1]


def wide(params: Mapping[str, Any]) -> bool:
    """Whether the cache is of 16 bits or more, as that of the attention probe."""
    return params.get("kv", "bf16") in ("bf16", "fp16", "fp32")


def curves_of(points: Iterable[Point], roofline: Roofline) -> Curves:
    """Every curve that the points support under these roofs."""
    beaten, used, unread = [], [], []
    bare = Roofline(roofline.name, roofline.roofs)
    for point in map(_beside_dram, points):
        if not _readable(point, bare):
            unread.append(point)
        elif point.probe in ("launch", "allreduce"):
            used.append((point, 0.0))
        elif _roofed(point.work, bare):
            share = bare.seconds(point.work) / point.seconds
            if share > BEATS:
                beaten.append(point)
            elif share > 0:
                used.append((point, min(1.0, share)))
    by = {probe: [each for each in used if each[0].probe == probe] for probe in PROBES}
    # a whole layer is what the planner is checked against, never a curve
    parts = [each for each in by["layer"] if each[0].params.get("part") != "layer"]
    return Curves(
        gemm=_gemm((*by["gemm"], *by["quantised"], *parts, *by["decode"])),
        decode=family((*_decode(by["attention"]), *_kinds(by["decode"]), *_layer_decode(parts)), surface),
        narrow=_narrow(by["decode"]),
        prefill=family(
            (*_prefill(by["attention"]), *_prefixed(by["decode"]), *_layer_prefill(parts)), partial(curve, held=True)
        ),
        experts=family(_experts(by["moe"], bare), curve),
        named=_named((*parts, *by["decode"])),
        stream=_stream(by["bandwidth"]),
        reduce=_reduce(by["allreduce"]),
        launch={str(p.params["way"]): p.seconds for p, _ in by["launch"] if p.params.get("way")},
        singles={
            (_weights(p), p.work.dtype, int(p.params["n"]), int(p.params["k"])): p.seconds
            for p, _ in by["gemm"]
            if p.params.get("batch") == 1 and not p.params.get("strided")
        },
        beaten=tuple(beaten),
        unread=tuple(unread),
    )


def _beside_dram(point: Point) -> Point:
    """A curve is a share of the memory's roof, also where a kernel was too small to be measured out of a cache."""
    if point.probe == "allreduce" or point.params.get("cache") == "hot":
        return point
    return replace(point, work=replace(point.work, channel="dram"))


def _readable(point: Point, roofline: Roofline) -> bool:
    """Whether a point has every number that its curves need: a file may be foreign, newer or broken."""
    one = [(point, 0.5)]
    try:
        read = {
            "gemm": lambda: [_product(point)],
            "quantised": lambda: [_product(point)],
            "attention": lambda: [*_decode(one), *_prefill(one)],
            "decode": lambda: [
                _product(point),
                *_kinds(one, str(point.params.get("cache", ""))),
                *_prefixed(one),
                _named(one),
            ],
            "layer": lambda: [_product(point), *_layer_decode(one), *_layer_prefill(one), _named(one)],
            "moe": lambda: list(_experts(one, roofline)),
            "bandwidth": lambda: [_stream(one)],
            "allreduce": lambda: [_reduce(one)],
        }.get(point.probe, list)()
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError):
        return False
    amounts = [point.work.flops, point.work.bytes]
    return (
        0 < point.seconds < math.inf
        and all(0 <= amount < math.inf for amount in amounts)
        and all(_positive(x) for each in read if each is not None for x in _flat(each))
    )


def _flat(found: Any) -> Iterator[Any]:
    """The numbers in nested tuples and lists; curves and names have been made of usable ones."""
    if isinstance(found, list | tuple) and not hasattr(found, "_fields"):
        for each in found:
            yield from _flat(each)
    elif not isinstance(found, dict | Curve | Messages):
        yield found


def _positive(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and 0 < x < math.inf


def _roofed(work: Work, roofline: Roofline) -> bool:
    return bool(work.asks) and not roofline.missing(work)


# The formats' names, by the dtype of a plain product.
_NAMES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "int8": "int8", "float8_e4m3": "fp8"}
_NAMES |= {"float4": "nvfp4"}


def _weights(point: Point) -> str:
    return str(point.params.get("weights") or _NAMES.get(point.work.dtype, point.work.dtype))


Used = Iterable[tuple[Point, float]]


def _gemm(used: Used) -> dict[tuple[str, str], Family]:
    found: dict[tuple[str, str], list] = {}
    for p, share in used:
        shape = _product(p)
        if shape and not p.params.get("strided"):
            m, n, k = shape
            found.setdefault((_weights(p), p.work.dtype), []).append(((n, k), (m, share)))
    return {key: reaching(made) for key, rows in found.items() if (made := family(rows, curve))}


# (n, k) of the weights in the layers that the layer probe measures, per model and ranks, by part. From its shapes:
# width, heads, KV heads, head dimension and FFN width of one rank.
_LAYERS = {("Llama-3.1-8B", 1): (4096, 32, 8, 128, 14336), ("Llama-3.1-70B", 2): (8192, 32, 4, 128, 14336)}


def _product(p: Point) -> tuple[float, float, float] | None:
    """(m, n, k) of a measured matrix product."""
    if {"batch", "n", "k"} <= p.params.keys():
        return float(p.params["batch"]), float(p.params["n"]), float(p.params["k"])
    if p.params.get("part") == "LM head" and {"rows", "vocabulary", "width"} <= p.params.keys():
        return float(p.params["rows"]), float(p.params["vocabulary"]), float(p.params["width"])
    known = _LAYERS.get((p.params.get("model"), p.params.get("ranks")))
    if p.probe != "layer" or not known:
        return None
    width, heads, kv_heads, head_dim, ffn = known
    inner = heads * head_dim
    weights = {"QKV": (inner + 2 * kv_heads * head_dim, width), "O": (width, inner), "gate-up": (2 * ffn, width),
               "down": (width, ffn)}.get(p.params.get("part"))  # fmt: skip
    return (float(p.params["tokens"]), *map(float, weights)) if weights else None


# Heads and head dimension of the attention probe's cases, which its params do not repeat.
_HEADS, _HEAD_DIM = 32, 128


def _decode(used: Used) -> Iterable[tuple[tuple[float, ...], tuple]]:
    for p, share in used:
        if p.params.get("phase") == "decode" and p.params.get("backend", "default") == "default":
            kv_heads = 8 if p.params.get("layout") == "gqa" else _HEADS
            yield (_HEADS / kv_heads, float(_HEAD_DIM)), (p.params["batch"] * kv_heads, p.params["keys"], share)


# heads, KV heads and head dimension of the decode probe's layouts
_KINDS = {"mha": (32, 32, 128), "gqa": (32, 8, 128), "mqa": (32, 1, 128), "mla": (128, 1, 576)}


def _narrow(used: Used) -> dict[str, Family]:
    """By the name of a cache's format, of those in fewer bits than what is computed in."""
    used = list(used)
    caches = {str(p.params.get("cache")) for p, _ in used if p.params.get("cache") != p.params.get("dtype")}
    made = {_NAMES[cache]: family(_kinds(used, cache), surface) for cache in sorted(caches) if cache in _NAMES}
    return {name: found for name, found in made.items() if found}


def _kinds(used: Used, cache: str = "") -> Iterable[tuple[tuple[float, ...], tuple]]:
    """Of several methods for one kind, the fastest at each point is what an engine would choose. cache: its dtype, ""
    for the one that is computed in.
    """
    best: dict[tuple, float] = {}
    for p, share in used:
        kind, stored = _KINDS.get(p.params.get("layout")), cache or p.params.get("dtype")
        if kind and p.params.get("part") == "attention" and p.params.get("cache") == stored:
            heads, kv_heads, head_dim = kind
            key = (heads / kv_heads, float(head_dim)), p.params["batch"] * kv_heads, p.params["context"]
            best[key] = max(best.get(key, 0.0), share)
    for (shape, items, context), share in best.items():
        yield shape, (items, context, share)


def _layer_decode(used: Used) -> Iterable[tuple[tuple[float, ...], tuple]]:
    for p, share in used:
        known = _LAYERS.get((p.params.get("model"), p.params.get("ranks")))
        if known and p.params.get("part") == "decode attention":
            _, heads, kv_heads, head_dim, _ = known
            yield (heads / kv_heads, float(head_dim)), (p.params["batch"] * kv_heads, p.params["context"], share)


def _layer_prefill(used: Used) -> Iterable[tuple[tuple[float, ...], tuple]]:
    for p, share in used:
        known = _LAYERS.get((p.params.get("model"), p.params.get("ranks")))
        if known and p.params.get("part") == "prefill attention":
            yield (float(known[3]),), (p.params["tokens"], share)


def _prefixed(used: Used) -> Iterable[tuple[tuple[float, ...], tuple]]:
    for p, share in used:
        if p.params.get("part") == "prefill attention":
            new = p.params["new"]
            yield (float(_HEAD_DIM),), (length(new, new + p.params["prefix"]), share)


def _experts(used: Used, roofline: Roofline) -> Iterable[tuple[tuple[float, ...], tuple]]:
    """Of the products alone: the probe times the gate between them too, which the planner counts apart."""
    for p, share in used:
        if p.params.get("routing") == "uniform":
            rows = p.params["tokens"] * p.params["active"]
            gate = move(3 * rows * p.params["expert_ffn"] * ITEMSIZE[p.work.dtype])
            ideal = roofline.seconds(p.work)
            products = max(ideal, ideal / share - roofline.seconds(gate))
            yield (float(p.params["experts"]), float(p.params["active"])), (p.params["tokens"], ideal / products)


_SMALL = ("norm + residual", "rotary + KV append", "gated activation", "sampling")


def _named(used: Used) -> dict[str, Any]:
    found: dict[str, list] = {}
    for p, share in used:
        # of the ways to sample the plainest
        if p.params.get("part") in _SMALL and p.params.get("method", "argmax") == "argmax":
            found.setdefault(p.params["part"], []).append((p.work.bytes, share))
    return {name: curve(rows, held=True) for name, rows in found.items()}


def _prefill(used: Used) -> Iterable[tuple[tuple[float, ...], tuple]]:
    for p, share in used:
        if (
            p.params.get("phase") == "prefill"
            and p.params.get("causal")
            and p.params.get("backend", "default") == "default"
        ):
            yield (float(_HEAD_DIM),), (p.params["queries"], share)


def _stream(used: Used) -> Any:
    cold = [
        (p.work.bytes, share)
        for p, share in used
        if p.params.get("mix") == "copy" and p.params.get("cache") == "cold" and p.params.get("store") != "plain"
    ]
    return curve(cold, held=True) if cold else None


def _reduce(used: Used) -> tuple[Messages, ...]:
    """One curve per number of ranks and way to launch: of the library's own choice if there is one, else the ring."""
    # a probe's time is the device's alone, as in a graph, unless it names another way
    found: dict[tuple[int, str, str], list] = {}
    for p, _ in used:
        if p.params.get("bytes") and p.params.get("ranks", 1) > 1:
            key = (int(p.params["ranks"]), str(p.params.get("way", "graph")), str(p.params.get("algorithm", "")))
            found.setdefault(key, []).append((float(p.params["bytes"]), p.seconds))
    best: dict[tuple[int, str], tuple[str, list]] = {}
    for (ranks, mode, algorithm), rows in found.items():
        if (ranks, mode) not in best or algorithm == "default":
            best[ranks, mode] = (algorithm, rows)
    return tuple(messages(ranks, rows, mode, algorithm) for (ranks, mode), (algorithm, rows) in best.items())
