"""Curves from measured cases: what each kind of kernel keeps of its roof, and what was left out.

Cases that beat their roof, and cases that lack what their curve needs, are not used and named.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from typing import Any

from bench import models
from bench.analysis.fit import Fit
from bench.analysis.serving.curves import (
    BEATS,
    Curve,
    Family,
    Messages,
    Surface,
    curve,
    family,
    length,
    messages,
    reaching,
    surface,
)
from bench.roofline import Roofline
from bench.store import unsaid_params
from bench.transformer import FORMAT_OF, Model, Operation, Precision, Step, operations
from bench.work import ITEMSIZE, Work, move

# The probes whose cases a planner reads, in the order in which their samples are taken.
PROBES = ("gemm", "quantised", "attention", "decode", "layer", "moe", "bandwidth", "launch", "allreduce")
# Of these a time is read, whatever their roof.
_TIMED = ("launch", "allreduce")
# Parts of a step that have a curve of their own, by the beginning of an operation's name.
_SMALL = ("norm + residual", "rotary + KV append", "gated activation", "sampling")


@dataclass(frozen=True)
class MeasuredCase:
    """One case, of a Run or of a file. seconds: of a launch, whatever it costs to start included."""

    probe: str
    params: Mapping[str, Any]
    work: Work
    seconds: float


def cases_of(fit: Fit) -> tuple[MeasuredCase, ...]:
    """The cases of a fitted device that serving needs; nothing that was skipped or unsound."""
    return tuple(
        MeasuredCase(case.probe, dict(case.params), case.work, case.seconds.value)
        for case in fit.cases
        if case.probe in PROBES and case.seconds and case.regime != "sustained"
    )


def to_json(cases: Iterable[MeasuredCase]) -> list[dict[str, Any]]:
    """Cases as plain values; `cases_from` reads them back."""
    return [
        {"probe": case.probe, "params": dict(case.params), **asdict(case.work), "seconds": case.seconds}
        for case in cases
    ]


def cases_from(rows: Iterable[Mapping[str, Any]], fail: Callable[[str], Exception]) -> tuple[MeasuredCase, ...]:
    """The inverse of to_json. `fail` makes the exception from one line."""
    found = []
    for number, row in enumerate(rows, 1):
        try:
            work = Work(
                float(row.get("flops", 0)), str(row.get("unit", "")), str(row.get("dtype", "")),
                str(row.get("variant", "")), float(row.get("bytes", 0)), str(row.get("channel", "dram")),
            )  # fmt: skip
            probe, params = str(row["probe"]), dict(row.get("params", {}))
            case = MeasuredCase(probe, params | unsaid_params(probe, params), work, float(row["seconds"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise fail(f"case {number} cannot be read: {error!r}") from None
        if not case.seconds > 0:
            raise fail(f"case {number}: seconds must be more than 0")
        found.append(case)
    return tuple(found)


@dataclass(frozen=True)
class Curves:
    """What was measured, by kind. gemm: (weights, math) -> by (n, k) over rows. decode: by (queries per KV head, head
    dimension) over (sequences x KV heads, context); narrow: the same of caches in fewer bits, by format. prefill: over
    new tokens. experts: by (experts, active), over tokens. stream: of a copy over bytes; named: of a layer's small
    parts and of sampling, by the beginning of their name. reduce: by ranks. singles: seconds of one row against a
    weight. beaten: cases above their roof, not used; unread: cases that lack what they need, not used either.
    """

    gemm: Mapping[tuple[str, str], Family] = field(default_factory=dict, hash=False)
    decode: Family | None = None
    narrow: Mapping[str, Family] = field(default_factory=dict, hash=False)
    prefill: Family | None = None
    experts: Family | None = None
    stream: Curve | None = None
    named: Mapping[str, Curve] = field(default_factory=dict, hash=False)
    reduce: tuple[Messages, ...] = ()
    singles: Mapping[tuple[str, str, int, int], float] = field(default_factory=dict, hash=False)
    beaten: tuple[MeasuredCase, ...] = ()
    unread: tuple[MeasuredCase, ...] = ()


@dataclass(frozen=True)
class _Sample:
    """What one case says of a curve: which one, of what shape, and its value at a place."""

    kind: tuple
    shape: tuple[float, ...]
    place: tuple[float, ...]
    value: float


def curves_of(cases: Iterable[MeasuredCase], roofline: Roofline) -> Curves:
    """Every curve that the cases support under these roofs."""
    by_probe: dict[str, list[_Sample]] = {probe: [] for probe in PROBES}
    beaten, unread = [], []
    bare = Roofline(roofline.name, roofline.roofs)
    for case in map(_beside_dram, cases):
        roofed = case.probe not in _TIMED and bool(case.work.asks) and not bare.missing(case.work)
        share = bare.seconds(case.work) / case.seconds if roofed else 0.0
        samples = _read(case, min(1.0, share), bare)
        if samples is None:
            unread.append(case)
        elif share > BEATS:
            beaten.append(case)
        elif case.probe in _TIMED or share > 0:
            by_probe.get(case.probe, []).extend(samples)
    # of several methods for one kind of attention, the fastest at each place is what an engine would choose
    fastest: dict[tuple, _Sample] = {}
    for sample in by_probe["decode"]:
        at = sample.kind, sample.shape, sample.place
        fastest[at] = max(sample, fastest.get(at, sample), key=lambda each: each.value)
    by_probe["decode"] = list(fastest.values())
    return _made([sample for samples in by_probe.values() for sample in samples], tuple(beaten), tuple(unread))


def _made(samples: list[_Sample], beaten: tuple[MeasuredCase, ...], unread: tuple[MeasuredCase, ...]) -> Curves:
    grouped: dict[str, dict[tuple, list]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        name, *which = sample.kind
        grouped[name][tuple(which)].append((sample.shape, (*sample.place, sample.value)))

    def families(name: str, make: Callable[[list], Curve | Surface]) -> dict[tuple, Family]:
        return {which: family(rows, make) for which, rows in grouped[name].items()}

    held = partial(curve, held=True)
    flat = {
        name: {which: [row for _, row in rows] for which, rows in grouped[name].items()}
        for name in ("stream", "named", "reduce", "single")
    }
    return Curves(
        gemm={which: reaching(each) for which, each in families("gemm", curve).items()},
        decode=families("decode", surface).get(()),
        narrow={name: each for (name,), each in sorted(families("narrow", surface).items())},
        prefill=families("prefill", held).get(()),
        experts=families("experts", curve).get(()),
        stream=held(flat["stream"][()]) if flat["stream"] else None,
        named={name: held(rows) for (name,), rows in flat["named"].items()},
        reduce=_reduce(flat["reduce"]),
        singles={which: rows[-1][-1] for which, rows in flat["single"].items()},
        beaten=beaten,
        unread=unread,
    )


def _reduce(found: Mapping[tuple, list[tuple[float, float]]]) -> tuple[Messages, ...]:
    """One curve per number of ranks and way to launch: of the library's own choice if there is one, else the ring."""
    best: dict[tuple[int, str], Messages] = {}
    for (ranks, mode, algorithm), rows in found.items():
        if (ranks, mode) not in best or algorithm == "default":
            best[ranks, mode] = messages(ranks, rows, mode, algorithm)
    return tuple(best.values())


# --- one case


def _beside_dram(case: MeasuredCase) -> MeasuredCase:
    """A curve is a share of the memory's roof, also where a kernel was too small to be measured out of a cache."""
    if case.probe == "allreduce" or case.params.get("cache") == "hot":
        return case
    return replace(case, work=replace(case.work, channel="dram"))


def _read(case: MeasuredCase, share: float, roofline: Roofline) -> list[_Sample] | None:
    """What a case says, None where it lacks a number that its curves need: a file may be foreign, newer or broken."""
    try:
        samples = list(_READERS[case.probe](case, share, roofline)) if case.probe in _READERS else []
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError):
        return None
    sound = 0 < case.seconds < math.inf and all(0 <= x < math.inf for x in (case.work.flops, case.work.bytes))
    return samples if sound and all(_positive(x) for each in samples for x in (*each.shape, *each.place)) else None


def _positive(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and 0 < x < math.inf


def _product(case: MeasuredCase, share: float, m: float, n: float, k: float) -> _Sample:
    weights = str(case.params.get("weights") or FORMAT_OF.get(case.work.dtype, case.work.dtype))
    return _Sample(("gemm", weights, case.work.dtype), (n, k), (m,), share)


def _attends(kind: tuple, params: Mapping[str, Any], batch: float, context: float, share: float) -> _Sample:
    """A decode step's attention, by heads as these params have them."""
    shape = params["heads"] / params["kv_heads"], params["head_dim"]
    return _Sample(kind, shape, (batch * params["kv_heads"], context), share)


def _products(case: MeasuredCase, share: float, roofline: Roofline) -> Iterator[_Sample]:
    params = case.params
    if params.get("strided"):
        return
    made = _product(case, share, params["batch"], params["n"], params["k"])
    yield made
    if case.probe == "gemm" and params["batch"] == 1:
        yield _Sample(("single", *made.kind[1:], int(params["n"]), int(params["k"])), (), (), case.seconds)


def _attention(case: MeasuredCase, share: float, roofline: Roofline) -> Iterator[_Sample]:
    params = case.params
    if params.get("backend", "default") != "default":
        return
    if params.get("phase") == "decode":
        yield _attends(("decode",), params, params["batch"], params["keys"], share)
    elif params.get("phase") == "prefill" and params.get("causal"):
        yield _Sample(("prefill",), (params["head_dim"],), (params["queries"],), share)


def _variants(case: MeasuredCase, share: float, roofline: Roofline) -> Iterator[_Sample]:
    params, part = case.params, case.params.get("part")
    if part == "attention":
        wide = params.get("cache") == params.get("dtype")
        if wide or params.get("cache") in FORMAT_OF:
            kind = ("decode",) if wide else ("narrow", FORMAT_OF[params["cache"]])
            yield _attends(kind, params, params["batch"], params["context"], share)
    elif part == "prefill attention":
        new = params["new"]
        yield _Sample(("prefill",), (params["head_dim"],), (length(new, new + params["prefix"]),), share)
    elif part == "LM head":
        yield _product(case, share, params["rows"], params["vocabulary"], params["width"])
    yield from _small(case, share)


def _small(case: MeasuredCase, share: float) -> Iterator[_Sample]:
    # of the ways to sample the plainest
    if case.params.get("part") in _SMALL and case.params.get("method", "argmax") == "argmax":
        yield _Sample(("named", case.params["part"]), (), (case.work.bytes,), share)


def layer_of(model: Any, ranks: Any) -> Model | None:
    """The model whose layers are as one tensor-parallel rank holds them, so that no collective is in a step; None for
    a model that nobody knows here.
    """
    if not isinstance(model, str) or not isinstance(ranks, int) or ranks < 1:
        return None
    try:
        whole = models.model(model)
    except (models.UnknownModel, models.ModelError):
        return None
    if ranks == 1:
        return whole
    kv_heads = max(1, whole.kv_heads // ranks)
    return replace(whole, heads=whole.heads // ranks, kv_heads=kv_heads, ffn=whole.ffn // ranks)


@cache
def _operators(model: str, ranks: int) -> Mapping[str, Operation]:
    """The operators of a layer by their names, which are those of the layer probe's parts."""
    layer, step = layer_of(model, ranks), Step(decode=((1, 1),), prefill=((1, 0, True),))
    return {row.name: row for row in operations(layer, Precision(), step)} if layer else {}


def _parts(case: MeasuredCase, share: float, roofline: Roofline) -> Iterator[_Sample]:
    """Of a layer's parts; the whole is what the planner is checked against, never a curve."""
    params = case.params
    operator = _operators(params.get("model"), params.get("ranks")).get(params.get("part"))
    if operator and operator.kind == "gemm":
        yield _product(case, share, params["tokens"], operator.params["n"], operator.params["k"])
    elif operator and operator.kind == "attention decode":
        yield _attends(("decode",), operator.params, params["batch"], params["context"], share)
    elif operator and operator.kind == "attention prefill":
        yield _Sample(("prefill",), (operator.params["head_dim"],), (params["tokens"],), share)
    yield from _small(case, share)


def _experts(case: MeasuredCase, share: float, roofline: Roofline) -> Iterator[_Sample]:
    """Of the products alone: the probe times the gate between them too, which the planner counts apart."""
    params = case.params
    if params.get("routing") == "uniform":
        rows = params["tokens"] * params["active"]
        gate = move(3 * rows * params["expert_ffn"] * ITEMSIZE[case.work.dtype])
        ideal = roofline.seconds(case.work)
        products = max(ideal, case.seconds - roofline.seconds(gate))
        yield _Sample(("experts",), (params["experts"], params["active"]), (params["tokens"],), ideal / products)


def _stream(case: MeasuredCase, share: float, roofline: Roofline) -> Iterator[_Sample]:
    params = case.params
    if params.get("mix") == "copy" and params.get("cache") == "cold" and params.get("store") != "plain":
        yield _Sample(("stream",), (), (case.work.bytes,), share)


def _messages(case: MeasuredCase, share: float, roofline: Roofline) -> Iterator[_Sample]:
    params = case.params
    if params.get("bytes") and params.get("ranks", 1) > 1:
        # a probe's time is the device's alone, as in a graph, unless it names another way
        kind = int(params["ranks"]), str(params.get("way", "graph")), str(params.get("algorithm", ""))
        yield _Sample(("reduce", *kind), (), (params["bytes"],), case.seconds)


_READERS: Mapping[str, Callable[[MeasuredCase, float, Roofline], Iterator[_Sample]]] = {
    "gemm": _products,
    "quantised": _products,
    "attention": _attention,
    "decode": _variants,
    "layer": _parts,
    "moe": _experts,
    "bandwidth": _stream,
    "allreduce": _messages,
}
