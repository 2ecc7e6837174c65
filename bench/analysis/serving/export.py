"""What the page's evaluator computes with: every model's operators as coefficients, and what times them here.

An operator's flops, bytes and place on its curve are linear in a few quantities of a step ("features"): one, the rows,
the visible keys or the causal pairs of each kind of layer, the distinct experts. Bytes are linear in the bytes of a
weight and of a cached element besides. The coefficients are solved for, exactly and in whole numbers, from what
bench.transformer.operations says of a few small steps; so a formula changed there is changed here. What an operator is
timed by in each format is Machine.look's; the script knows no model and no machine of its own.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from bench.analysis.serving.curves import Curve, Messages, Surface
from bench.analysis.serving.machine import PLACES, PROVENANCE, Look, Machine
from bench.analysis.serving.planner import PAGE, capacity
from bench.analysis.serving.request import DEVICES, KV, USABLE, WEIGHTS, served
from bench.analysis.serving.step import decoding, prefilling, undivided
from bench.models import models
from bench.transformer import (
    FORMATS,
    Format,
    Model,
    Operation,
    Precision,
    Ranks,
    Step,
    distinct_experts,
    operations,
    visible_keys,
    visible_pairs,
)

# Formats that make the bytes of weights and of the cache vanish or count once.
NOTHING, BYTE = Format("nothing", 0, "bfloat16"), Format("byte", 8, "bfloat16")
# A feature's number, then its coefficients.
Sparse = tuple[tuple[int | float, ...], ...]


def exported(machine: Machine, known: Sequence[Model] = ()) -> dict[str, Any]:
    """What evaluator.js computes with, as plain values. Raises MissingRoof where the machine cannot multiply.

    known: the models on offer, all that have a table where none are named.
    """
    tables = _Tables(machine)
    listed = [_model(each, tables) for each in known or models()]
    return {
        "machine": {
            "name": machine.name,
            "simulated": machine.simulated,
            "room": machine.memory_bytes * USABLE - machine.reserve,
            "page": PAGE,
            "bandwidth": machine.bandwidth,
            "start": machine.device_start,
            "least": machine.start,
            "host": machine.host,
            "bars": {phase: errors.bar(1.0) for phase, errors in machine.errors.items()},
        },
        "origins": list(PROVENANCE),
        "weights": [{"name": name, "bytes": FORMATS[name].bytes} for name in WEIGHTS],
        "kv": [{"name": name, "bytes": FORMATS[name].bytes} for name in KV],
        "devices": list(DEVICES),
        "roofs": list(map(list, tables.roofs.entries)),
        "curves": list(map(_curve, tables.curves.entries)),
        "looks": [dict(look) for look in tables.looks.entries],
        "models": listed,
    }


# --- a machine


@dataclass
class _Numbered:
    """Entries by the order in which they first came, each once."""

    entries: list = field(default_factory=list)
    _of: dict = field(default_factory=dict)

    def number(self, entry: Any, key: Hashable = None) -> int:
        key = entry if key is None else key
        if key not in self._of:
            self._of[key] = len(self.entries)
            self.entries.append(entry)
        return self._of[key]


@dataclass
class _Tables:
    machine: Machine
    roofs: _Numbered = field(default_factory=_Numbered)
    curves: _Numbered = field(default_factory=_Numbered)
    looks: _Numbered = field(default_factory=_Numbered)

    def look(self, look: Look) -> int:
        """The number of what an operator is timed by, as plain values."""
        plain: dict[str, Any] = {"roof": self.roofs.number((look.roof.key, look.roof.rate)) if look.roof else -1}
        if isinstance(look.curve, Messages):
            plain |= {"message": self.curves.number(look.curve, id(look.curve)), "times": look.times}
        elif look.curve:
            plain |= {"curve": self.curves.number(look.curve, id(look.curve)), "shaped": look.shaped}
        elif look.lines:
            plain["lines"] = look.lines
        else:
            plain |= {"up": look.up, "down": look.down}
        return self.looks.number((*plain.items(), ("origin", PROVENANCE.index(look.origin))))


def _curve(curve: Curve | Surface | Messages) -> dict[str, Any]:
    """x is the logarithm of what was measured at; y the utilisation, or the curve over the second quantity ("of"), or
    the logarithm of a message's seconds.
    """
    if isinstance(curve, Messages):
        return {"x": curve.times.xs, "y": curve.times.ys, "largest": curve.largest}
    if isinstance(curve, Surface):
        return {"x": curve.xs, "of": list(map(_curve, curve.curves))}
    return {"x": curve.xs, "y": curve.ys} | ({"held": True} if curve.held else {})


# --- a model


def _model(model: Model, tables: _Tables) -> dict[str, Any]:
    ranks, why = {}, {}
    for layout in (Ranks(tensor=count) for count in DEVICES):
        if reason := undivided(model, layout):
            why[layout.tensor] = reason
            continue
        phases = {phase: list(_rows(model, layout, phase, tables)) for phase in ("decode", "prefill")}
        ranks[layout.tensor] = phases | _resident(model, layout, tables.machine)
    return {
        "name": model.name,
        "context": model.context,
        "experts": [model.experts, model.active_experts],
        "windows": [window for _, window in model.windows],
        "chunked": model.window_kind == "chunked",
        "ranks": ranks,
        "impossible": why,
    }


def _resident(model: Model, ranks: Ranks, machine: Machine) -> dict[str, Any]:
    """Bytes on one device: weights = a + w x bytes of a weight; of one sequence, per byte of a cached element, so many
    per token in layers that see all and in those that see a window.
    """

    def held(weights: Format, kv: Format, context: int) -> tuple[float, float]:
        found = capacity(model, machine, Precision(weights=weights, kv=kv), context, ranks)
        return found.weights, found.sequence

    bare, page = held(NOTHING, BYTE, PAGE)
    full = held(BYTE, BYTE, PAGE)[0]
    window = model.window if model.window_layers else 0
    kept = [page / PAGE]
    if window:
        # beyond the window only the layers that see all keep on growing
        far = 32 * PAGE * window
        grows = (held(NOTHING, BYTE, 2 * far)[1] - held(NOTHING, BYTE, far)[1]) / far
        kept = [grows, page / PAGE - grows] if len(model.windows) > 1 else [kept[0]]
    return {"weights": [bare, full - bare], "kept": kept}


@lru_cache(maxsize=256)
def _forms(model: Model, ranks: Ranks, phase: str) -> tuple[tuple[dict[Hashable, Operation], tuple], ...]:
    """For each operator: one Operation per key, and its key with each format of weights, then of the KV cache."""
    step = StepKind(phase, model).any
    weighted = [operations(model, served(name, KV[0]), step, ranks) for name in WEIGHTS]
    stored = [operations(model, served(WEIGHTS[0], name), step, ranks) for name in KV]
    found = []
    for each in zip(*weighted, *stored, strict=True):
        # which roof and which curve it is under depends on the formats, and not on how much is asked
        keys = tuple((op.work.dtype, *map(op.params.get, ("dtype", "weights", "kv"))) for op in each)
        found.append((dict(zip(keys, each, strict=True)), keys))
    return tuple(found)


def _rows(model: Model, ranks: Ranks, phase: str, tables: _Tables) -> Iterator[dict[str, Any]]:
    for each, (forms, keys) in zip(coefficients(model, ranks, phase), _forms(model, ranks, phase), strict=True):
        looks = {key: tables.look(tables.machine.look(operation)) for key, operation in forms.items()}
        by_weights, by_kv = ([looks[key] for key in part] for part in (keys[: len(WEIGHTS)], keys[len(WEIGHTS) :]))
        row = {"name": each.name, "count": each.count, "flops": each.flops, "bytes": each.bytes, "look": by_weights[0]}
        if len(set(by_kv)) > 1:
            row |= {"look": by_kv, "over": "kv"}
        elif len(set(by_weights)) > 1:
            row["look"] = by_weights
        if each.at:
            row["at"] = each.at
        if each.keys >= 0:
            row["keys"] = each.keys
        yield row


# --- its operators as coefficients


@dataclass(frozen=True)
class Coefficients:
    """One operator. flops, at: (feature, coefficient); bytes: (feature, plain, per byte of a weight, per byte of a
    cached element). at: what its curve is measured over, () where that is its bytes; keys: the kind of layer whose keys
    per sequence are the curve's second quantity, or -1.
    """

    name: str
    count: int
    flops: Sparse
    bytes: Sparse
    at: Sparse
    keys: int


@dataclass(frozen=True)
class StepKind:
    """One way to run a step, and the features in which its operators are linear; evaluator.js makes the same ones."""

    name: str
    model: Model

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Small steps that tell the features apart: (sequences, context) of decode, (tokens,) of prefill."""
        model = self.model
        many, far = model.experts + 1, 2 * model.window + 5
        if self.name == "decode":
            shapes = [(1, 1), (2, 1), (1, 4)]
            return shapes + [(many, 1)] * bool(model.experts) + [(1, far)] * (len(model.windows) > 1)
        return [(1,), (2,), (3,)] + [(many + 3,)] * bool(model.experts) + [(far,)] * (len(model.windows) > 1)

    def step(self, shape: Sequence[int]) -> Step:
        return decoding(*shape) if self.name == "decode" else prefilling(*shape)

    @property
    def any(self) -> Step:
        """A step that runs every operator."""
        return self.step(self.shapes[1])

    def features(self, shape: tuple[int, ...]) -> list[int]:
        model, tokens = self.model, shape[0]
        if self.name == "decode":
            seen = [tokens * visible_keys(shape[1], window, model.window_kind) for _, window in model.windows]
        else:
            seen = [visible_pairs(tokens, 0, window, model.window_kind) for _, window in model.windows]
        # dealt out evenly, the experts that are met are a whole number
        met = [int(distinct_experts(model.experts, model.active_experts, tokens, "balanced"))] * bool(model.experts)
        return [1, tokens, *seen, *met]


@cache
def coefficients(model: Model, ranks: Ranks, name: str) -> tuple[Coefficients, ...]:
    """Of every operator that one of `ranks` runs in a "decode" or "prefill" step, in the order of operations()."""
    kind = StepKind(name, model)
    solve = _solver([kind.features(shape) for shape in kind.shapes])

    def asked(weights: Format, kv: Format) -> list[tuple[Operation, ...]]:
        """Of each operator, what it is in every one of these steps."""
        made = Precision(weights=weights, kv=kv)
        steps = (operations(model, made, kind.step(shape), ranks, "balanced") for shape in kind.shapes)
        return list(zip(*steps, strict=True))

    def one(bare: Sequence[Operation], heavy: Sequence[Operation], cached: Sequence[Operation]) -> Coefficients:
        first, place = bare[0], PLACES.get(bare[0].kind)
        plain, full, kept = (solve(list(map(_bytes, steps))) for steps in (bare, heavy, cached))
        by_weight, by_kv = ([a - b for a, b in zip(more, plain, strict=True)] for more in (full, kept))
        at = _sparse(solve([place(op.params)[0] for op in bare])) if place else ()
        windows = [window for _, window in model.windows]
        keys = windows.index(first.params["window"]) if first.kind == "attention decode" else -1
        flops = _sparse(solve([op.work.flops for op in bare]))
        return Coefficients(first.name, first.count, flops, _sparse(plain, by_weight, by_kv), at, keys)

    return tuple(map(one, asked(NOTHING, NOTHING), asked(BYTE, NOTHING), asked(NOTHING, BYTE)))


def _bytes(operation: Operation) -> float:
    """Of a collective its message, by which its time is looked up; it takes no memory traffic of its own."""
    return operation.params["bytes"] if operation.kind == "collective" else operation.work.bytes


def _sparse(*vectors: Sequence[int | float]) -> Sparse:
    return tuple((i, *each) for i, each in enumerate(zip(*vectors, strict=True)) if any(each))


def _solver(rows: list[list[int]]) -> Callable[[list[float]], list[int | float]]:
    """The coefficients c with rows c = values, exact: whole numbers in, whole numbers or their ratios out."""
    size = len(rows)
    wide = [[Fraction(x) for x in row] + [Fraction(i == j) for j in range(size)] for i, row in enumerate(rows)]
    for column in range(size):
        pivot = next((i for i in range(column, size) if wide[i][column]), None)
        if pivot is None:
            raise ValueError(f"these steps do not tell the features apart: {rows}")
        wide[column], wide[pivot] = wide[pivot], wide[column]
        wide[column] = [x / wide[column][column] for x in wide[column]]
        for i in range(size):
            if i != column and wide[i][column]:
                wide[i] = [x - wide[i][column] * y for x, y in zip(wide[i], wide[column], strict=True)]
    common = math.lcm(*(x.denominator for row in wide for x in row[size:]))
    inverse = [[int(x * common) for x in row[size:]] for row in wide]

    def solve(values: list[float]) -> list[int | float]:
        whole = [int(value) for value in values]
        if whole != values:
            raise ValueError(f"operators count in whole flops and bytes, not {values}")
        sums = [sum(a * w for a, w in zip(row, whole, strict=True)) for row in inverse]
        return [total // common if total % common == 0 else total / common for total in sums]

    return solve
