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

from bench import units, work
from bench.measure.probes import Cases, probe
from bench.measure.workloads import dtype_of, layers, over_a_quarter, too_large
from bench.measure.workloads.layers import SHAPES, Shape, Span
from bench.schema import Case, DeviceInfo

# Whole layers and their products predict each other's time.
FAMILY = "transformer layer"
BATCHES = (1, 8, 64, 256)
CONTEXTS = (1024, 8192, 32768)
# 512, 2048 and 8192 are what serving meets; 128 is what a CPU can do
PROMPTS = (128, 512, 2048, 8192)
# of a model beside the first: enough to see that the sum holds at another width
FEW_BATCHES, FEW_CONTEXTS, FEW_PROMPTS = (1, 64), (1024, 8192), (2048,)
# Of a coarse pass, which leaves the other models to a finer one: attention may have to be planned, shape by shape.
COARSE_BATCHES, COARSE_CONTEXTS, COARSE_PROMPTS = (1, 8), (1024,), (128, 2048)


@probe(version=3, title="Transformer layer")
def layer(info: DeviceInfo, budget) -> Cases:
    """Does a whole layer take as long as its parts do one by one, and which of them takes most?

    flops of the layer = the sum over its parts; bytes = weights, KV cache and rotary table read once, the new rows'
    inputs and outputs. A part alone reads its inputs and writes its outputs once. Compared are the layer's time and
    the sum of launches × time of its parts.
    """
    dtype = dtype_of(info)
    if not dtype:
        return
    for shape in SHAPES[:1] if budget.coarse else SHAPES:
        # seconds of the parts that were measured, by what they depend on, and the best seconds per flop of a kind
        known: dict[tuple, float] = {}
        pace: dict[tuple, float] = {}
        for span in _spans(shape, budget):
            case = whole_case(info, budget, _params(shape, span, "layer", 1, dtype), shape, [span], dtype)
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
                    part = Case(
                        params=_params(shape, span, name, count, dtype),
                        work=demand,
                        prepare=partial(layers.part_setup, shape, span, name, demand.bytes, dtype),
                        # attention over a long cache must not predict a product, nor the other way round
                        family=f"layer {name}" if attention else FAMILY,
                    )
                    known[key] = (yield part) or 0.0
                if demand.flops and known[key] and (attention or span.new > 1):
                    kind = name, span.phase
                    pace[kind] = min(pace.get(kind, math.inf), known[key] / demand.flops)
                least += count * (known[key] or (paced[name] if attention else 0.0))
                if least > budget.launch:
                    case = replace(case, skip=_long("take", least, budget))
                    break
            yield case


def _long(take: str, least: float, budget) -> str:
    allowed = f"the {budget.name} budget allows a launch {units.seconds(budget.launch)}"
    return f"its parts alone {take} {units.seconds(least)} or more; {allowed}"


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


def whole_case(
    info: DeviceInfo, budget, params: dict, shape: Shape, spans: list[Span], dtype: str, family=FAMILY
) -> Case:
    """A whole layer where it is not too large. The first model's weights do not count: they are the question."""
    tokens = sum(span.tokens for span in spans)
    # between the parts lives at once, at most, what the gated MLP holds beside the residual stream
    beside = work.ITEMSIZE[dtype] * (shape.cached(spans) + tokens * (6 * shape.width + 3 * shape.ffn))
    needed = beside + work.ITEMSIZE[dtype] * shape.weights
    return Case(
        params=params,
        work=layers.whole(shape, spans, dtype, info.units[dtype]),
        prepare=partial(layers.setup, shape, spans, dtype),
        family=family,
        skip=too_large(beside if shape == SHAPES[0] else needed, info, budget.memory) or over_a_quarter(needed, info),
    )


def _params(shape: Shape, span: Span, part: str, count: int, dtype: str) -> dict:
    params = {"model": shape.model, "ranks": shape.ranks, "part": part, "count": count, "dtype": dtype}
    # only attention, and a layer with it, depends on more than the tokens
    sequences = part == "layer" or part.endswith("attention")
    params |= {"phase": span.phase, "tokens": span.tokens}
    return params | {"batch": span.batch if sequences else 0, "context": span.context if sequences else 0}
