"""One real transformer layer, decode and prefill, beside its parts: what composing kernels costs or saves.

The whole is what a planner that adds kernels up must predict. Its parts are measured alone, at the same shapes, from
cold buffers into cold buffers; in the layer they find what the part before them left in the cache, so the whole may be
faster than the sum. A part of so few bytes that no ring of it leaves the cache is recorded as hot. A whole has part
"layer"; its parts have the same model, ranks, dtype, phase and tokens, attention also the same batch and context (0
where a part does not depend on them), and `count` launches each.

What could mislead: the kernels are torch's, so a norm with its residual add is two or more launches where an engine
has one; a rank of a larger model is measured without the all-reduces that it would wait for; sequences of a batch are
equally long and their cache is one piece, not pages.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import zip_longest

from bench import units
from bench.measure.probes import Cases, probe
from bench.measure.workloads import layers
from bench.measure.workloads.layers import SHAPES, Shape, Span
from bench.schema import Case, DeviceInfo
from bench.work import Work

BATCHES = (1, 8, 64, 256)
CONTEXTS = (1024, 8192, 32768)
# 512, 2048 and 8192 are what serving meets; 128 is what a CPU can do
PROMPTS = (128, 512, 2048, 8192)
# of a model beside the first: enough to see that the sum holds at another width
FEW_BATCHES, FEW_CONTEXTS, FEW_PROMPTS = (1, 64), (1024, 8192), (2048,)
# Of a coarse pass, which leaves the other models to a finer one: attention may have to be planned, shape by shape.
COARSE_BATCHES, COARSE_CONTEXTS, COARSE_PROMPTS = (1, 8), (1024,), (128, 2048)


@probe(
    version=3,
    title="Transformer layer",
    question="Does a whole layer take as long as its parts do one by one, and which of them takes most?",
    formula=(
        "flops of the layer = the sum over its parts; bytes = weights, KV cache and rotary table read once, the new"
        " rows' inputs and outputs. A part alone reads its inputs and writes its outputs once. Compared are the"
        " layer's time and the sum of launches × time of its parts."
    ),
)
def layer(info: DeviceInfo, budget) -> Cases:
    """A whole transformer layer by batch, context and prompt length, and each of its parts alone at the same shapes."""
    dtype = layers.dtype_of(info)
    if not dtype:
        return
    for shape in SHAPES[:1] if budget.coarse else SHAPES:
        # seconds of the parts that were measured, by what they depend on, and the best seconds per flop of a kind
        known: dict[tuple, float] = {}
        pace: dict[tuple, float] = {}
        for span in _spans(shape, budget):
            case = _whole(info, budget, shape, span, dtype)
            # a part without its whole answers nothing here; they come first, because they are shorter and predict it
            parts = {} if case.skip else layers.parts(shape, [span], dtype, info.units[dtype])
            # a decode step's products are bound by memory: their flops predict nothing
            paced = {name: pace.get((name, span.phase), 0.0) * part.flops for name, (_, part) in parts.items()}
            least = sum(count * paced[name] for name, (count, _) in parts.items())
            if least > budget.launch:
                yield replace(case, skip=_long("would take", least, budget))
                continue
            least = 0.0
            for name, (count, demand) in parts.items():
                attention = name.endswith("attention")
                key = (name, span if attention else (span.phase, span.tokens))
                if key not in known:
                    known[key] = (yield _part(shape, span, name, count, demand, dtype)) or 0.0
                if demand.flops and known[key] and (attention or span.new > 1):
                    kind = name, span.phase
                    pace[kind] = min(pace.get(kind, math.inf), known[key] / demand.flops)
                least += count * (known[key] or (paced[name] if attention else 0.0))
                if least > budget.launch:
                    case = replace(case, skip=_long("take", least, budget))
                    break
            yield case


def _long(take: str, least: float, budget) -> str:
    return (
        f"its parts alone {take} {units.seconds(least)} or more; "
        f"the {budget.name} budget allows a launch {units.seconds(budget.launch)}"
    )


def _spans(shape: Shape, budget) -> Iterator[Span]:
    """Decode and prefill in turn, from small to large: one predicts the next, and time runs out for the largest."""
    batches, contexts, prompts = BATCHES, CONTEXTS, PROMPTS
    if shape != SHAPES[0]:
        batches, contexts, prompts = FEW_BATCHES, FEW_CONTEXTS, FEW_PROMPTS
    elif budget.coarse:
        batches, contexts, prompts = COARSE_BATCHES, COARSE_CONTEXTS, COARSE_PROMPTS
    decode = [Span(batch, 1, context) for batch in batches for context in contexts]
    prefill = [Span(1, length, length) for length in prompts]
    for pair in zip_longest(sorted(decode, key=lambda span: span.batch * span.context), prefill):
        yield from filter(None, pair)


def _params(shape: Shape, span: Span, part: str, count: int, dtype: str, *, sequences: bool) -> dict:
    return {
        "model": shape.model,
        "ranks": shape.ranks,
        "part": part,
        "count": count,
        "dtype": dtype,
        "phase": span.phase,
        "tokens": span.tokens,
        "batch": span.batch if sequences else 0,
        "context": span.context if sequences else 0,
    }


def _whole(info: DeviceInfo, budget, shape: Shape, span: Span, dtype: str) -> Case:
    return Case(
        params=_params(shape, span, "layer", 1, dtype, sequences=True),
        work=layers.whole(shape, [span], dtype, info.units[dtype]),
        prepare=partial(layers.setup, shape, [span], dtype),
        family=layers.FAMILY,
        skip=layers.refusal(info, budget, shape, [span], dtype),
    )


def _part(shape: Shape, span: Span, name: str, count: int, demand: Work, dtype: str) -> Case:
    attention = name.endswith("attention")
    return Case(
        params=_params(shape, span, name, count, dtype, sequences=attention),
        work=demand,
        prepare=partial(layers.part_setup, shape, span, name, demand.bytes, dtype),
        # attention over a long cache must not predict a product, nor the other way round
        family=f"layer {name}" if attention else layers.FAMILY,
    )
