"""A model's operators as coefficients: what a step asks, for any batch, context, prompt and format, as a few numbers.

An operator's flops, bytes and place on its curve are linear in a few quantities of a step ("features"): one, the rows,
the visible keys or the causal pairs of each kind of layer, the distinct experts. Bytes are linear in the bytes of a
weight and of a cached element besides. The coefficients are solved for, exactly and in whole numbers, from what
bench.transformer.operations says of a few small steps; so a formula changed there is changed here.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

from bench.analysis.serving.step import decoding, prefilling
from bench.transformer import (
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
class Phase:
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
    return tuple(_solved(model, ranks, Phase(name, model)))


def _solved(model: Model, ranks: Ranks, phase: Phase) -> Iterator[Coefficients]:
    shapes = phase.shapes
    solve = _solver([phase.features(shape) for shape in shapes])

    def asked(weights: Format, kv: Format) -> list[tuple[Operation, ...]]:
        made = Precision(weights=weights, kv=kv)
        return [operations(model, made, phase.step(shape), ranks, "balanced") for shape in shapes]

    bare, heavy, cached = asked(NOTHING, NOTHING), asked(BYTE, NOTHING), asked(NOTHING, BYTE)
    for number, first in enumerate(bare[0]):

        def solved(what: Callable[[Operation], float], steps: list = bare, number: int = number) -> list:
            return solve([what(step[number]) for step in steps])

        plain = solved(_bytes)
        by_weight = [a - b for a, b in zip(solved(_bytes, heavy), plain, strict=True)]
        by_kv = [a - b for a, b in zip(solved(_bytes, cached), plain, strict=True)]
        at, keys = _at(first), -1
        if first.kind == "attention decode":
            keys = next(i for i, (_, window) in enumerate(model.windows) if window == first.params["window"])
        yield Coefficients(
            first.name,
            first.count,
            _sparse(solved(lambda op: op.work.flops)),
            _sparse(plain, by_weight, by_kv),
            _sparse(solved(at)) if at else (),
            keys,
        )


def _bytes(operation: Operation) -> float:
    """Of a collective its message, by which its time is looked up; it takes no memory traffic of its own."""
    return operation.params["bytes"] if operation.kind == "collective" else operation.work.bytes


def _at(operation: Operation) -> Callable[[Operation], Any] | None:
    return {
        "gemm": lambda op: op.params["m"],
        "experts": lambda op: op.params["tokens"],
        "attention decode": lambda op: op.params["batch"] * op.params["kv_heads"],
        "attention prefill": lambda op: op.params["queries"],
    }.get(operation.kind)


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
