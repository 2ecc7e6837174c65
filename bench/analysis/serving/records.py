"""One model as one machine serves it, as a page draws it: which model, its steps, batches and crossovers, and the
records that figures and tables are made of.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import pairwise, takewhile
from typing import Any

import pandas as pd

from bench import models, units
from bench.analysis.serving import formulas, latency
from bench.analysis.serving.claims import CheckedClaim
from bench.analysis.serving.machine import Machine, least_sure
from bench.analysis.serving.planner import Answer, Planner
from bench.analysis.serving.request import DEVICES, KV, WEIGHTS, ServingRequest, served
from bench.analysis.serving.selfcheck import SelfCheck
from bench.analysis.serving.step import StepTime
from bench.transformer import FORMATS, Model

# (weights, KV): what narrower formats buy. FP8 stands for 8 bits where a unit multiplies it, INT8 elsewhere.
_PAIRS = (("bf16", "bf16"), ("fp8", "bf16"), ("fp8", "fp8"), ("int4-g128", "bf16"))
# The first of these that fits is drawn, in the widest of these weights: small models are for small memories.
_MODELS = ("Llama-3.1-8B", "Mistral-7B", "Llama-2-7B")
_WIDEST = ("bf16", "int8", "int4-g128")
# Kinds of operators that read the weights, and the one that reads the KV cache.
LINEAR = ("gemm", "experts")
CACHE = ("attention decode",)
# Batches this near to one another over all contexts are one line of a figure.
_NEAR = 0.1


@dataclass(frozen=True)
class Deployment:
    """A model, a machine and a request, as its planner has them."""

    planner: Planner

    @property
    def model(self) -> Model:
        return self.planner.model

    @property
    def formats(self) -> tuple[str, str]:
        """Of the weights and of the KV cache."""
        precision = self.planner.request.precision
        return precision.weights.name, precision.kv.name

    @property
    def batch(self) -> int:
        """Of figures that need one: 64 where they fit, as many as do otherwise, and one where none does."""
        return max(1, min(64, self.planner.most))

    @property
    def context(self) -> int:
        """Tokens that a sequence holds on average while it is answered."""
        return self.planner.mean_context

    @property
    def lengths(self) -> list[int]:
        """Powers of two up to the context that the model takes."""
        return [1 << power for power in range(8, 21) if 1 << power <= (self.model.context or 131072)]

    @property
    def choice(self) -> dict[str, int]:
        """What a page's form asks at first: places in the lists on offer, and numbers."""
        request, (weights, kv) = self.planner.request, self.formats
        return {
            "model": [model.name for model in models.models()].index(self.model.name),
            "weights": WEIGHTS.index(weights),
            "kv": KV.index(kv),
            "devices": DEVICES.index(request.ranks.devices),
            "batch": min(self.batch, 16),
            "context": request.prompt,
            "output": request.output,
        }

    def beside(self) -> list["Deployment"]:
        """The same in this and in narrower pairs of formats, of those that this machine multiplies itself."""
        request, machine = self.planner.request, self.planner.machine
        quick = machine.compute(FORMATS["fp8"].math)[1]
        pairs = (pair if quick else tuple(name.replace("fp8", "int8") for name in pair) for pair in _PAIRS)
        least = request.precision.weights.bytes
        pairs = [pair for pair in pairs if FORMATS[pair[0]].bytes <= least and pair != self.formats]
        asked = (replace(request, precision=served(*pair)) for pair in pairs)
        return [self, *(Deployment(Planner(self.model, machine, each)) for each in asked)]

    @cached_property
    def steps(self) -> dict[str, StepTime]:
        """The three steps that tell most: a token for one, tokens for many, and a prompt."""
        prompt = self.planner.request.prompt
        batches = sorted({1, self.batch})
        steps = {f"decode, batch {batch}": self.planner.decode(batch, self.context) for batch in batches}
        return steps | {f"prefill of {prompt} tokens": self.planner.prefill(prompt)}

    @property
    def critical(self) -> float:
        """Rows from which on the linear operators as they are served are compute-bound, by roofs alone."""
        roof, _ = self.planner.machine.compute(self.planner.math_dtype)
        weights = self.planner.request.precision.weights
        return formulas.critical(roof.rate, self.planner.machine.bandwidth, weights.bytes)

    def seconds(self, kinds: Iterable[str], batch: int, context: int) -> float:
        """Of a decode step's operators of some kinds."""
        return sum(row.seconds for row in self.planner.decode(batch, context).rows if row.operation.kind in kinds)

    def meeting(self, batch: int) -> int | None:
        """The context from which on the KV cache takes longer than the weights; None beyond the model's."""

        def over(context: int) -> bool:
            return self.seconds(CACHE, batch, context) >= self.seconds(LINEAR, batch, context)

        for low, high in pairwise(self.lengths):
            if not over(low) and over(high):
                while high - low > max(1, low // 1000):
                    middle = math.isqrt(low * high)
                    middle = middle if low < middle < high else (low + high) // 2
                    low, high = (low, middle) if over(middle) else (middle, high)
                return high
        return None


def default(machine: Machine) -> Deployment:
    """The first of a short list that fits on one device; the smallest of all, fitting or not, where none does."""
    planners = [
        Planner(models.model(name), machine, ServingRequest(precision=served(weights, "bf16")))
        for name in _MODELS
        for weights in _WIDEST
    ]
    fitting = next((planner for planner in planners if planner.most), None)
    return Deployment(fitting or min(planners, key=lambda planner: planner.weights))


# --- records


def throughput(deployment: Deployment) -> pd.DataFrame:
    """Tokens/s of each user and in all over the batches that fit, a row per batch."""
    return pd.DataFrame([asdict(each) | each.about for each in latency.pareto(deployment.planner)])


def operators(deployment: Deployment) -> list[dict[str, Any]]:
    """Every operator of the steps that are drawn, those without arithmetic too. bound: the roof, or "overhead"."""
    return [
        asdict(row.operation.work)
        | asdict(row.timed)
        | {"step": phase, "operator": row.operation.name, "count": row.operation.count}
        | {"part": row.seconds / step.seconds, "fixed": row.timed.share}
        | {"bound": "overhead" if row.timed.label == "fixed" else row.timed.limit}
        | ({"intensity": row.operation.work.intensity} if row.operation.work.flops else {"flops": None})
        for phase, step in deployment.steps.items()
        for row in step.rows
    ]


def fits(deployment: Deployment) -> list[tuple[Deployment, pd.DataFrame]]:
    """The largest batch at each context, for each pair of formats."""
    lengths = deployment.lengths
    return [
        (each, pd.DataFrame({"context": lengths, "batch": [each.planner.fits(length).batch for length in lengths]}))
        for each in deployment.beside()
    ]


def capacities(deployment: Deployment) -> list[tuple[Deployment, pd.DataFrame]]:
    """What `fits` at all, without lines that would lie on another."""
    kept: list[tuple[Deployment, pd.DataFrame]] = []
    for each, rows in fits(deployment):
        pairs = (zip(rows["batch"], other["batch"], strict=True) for _, other in kept)
        if any(rows["batch"]) and all(any(abs(a - b) > _NEAR * max(a, b) for a, b in both) for both in pairs):
            kept.append((each, rows))
    return kept


def growing(deployment: Deployment) -> list[tuple[str, int, pd.DataFrame]]:
    """("KV" or "weights", batch, seconds of a step at each context), for one sequence and for many."""
    contexts = pd.DataFrame({"context": deployment.lengths})
    return [
        (what, batch, contexts.assign(seconds=[deployment.seconds(kinds, batch, each) for each in deployment.lengths]))
        for batch in sorted({1, deployment.batch})
        for what, kinds in (("KV", CACHE), ("weights", LINEAR))
    ]


def checks(found: SelfCheck) -> list[dict[str, Any]]:
    """Every measured layer beside its prediction; the bad ones too."""
    return [
        asdict(each)
        | (asdict(each.token) if each.token else {})
        | {"beside": each.chunk or None, "error": each.error, "composition": each.composition}
        for each in found.checks
    ]


def claim(each: CheckedClaim) -> dict[str, Any]:
    """A claim, with its chapter before it unless the text has none, and the probe that it lacks."""
    grouped = each.group and each.document not in each.group
    return asdict(each) | {"said": f"{each.group}: {each.claim}" if grouped else each.claim, "changed": each.changed}


def best(answers: Sequence[Answer]) -> tuple[list[Answer], Answer | None]:
    """The batches tried within the limits, one per number of devices, and the best that meets them."""
    batches = [each for each in answers if each.name == "sla batch"]
    return batches, next((each for each in batches if each.about.get("best")), None)


def grouped(answers: Iterable[Answer], over: Sequence[str]) -> dict[tuple, list[Answer]]:
    """Answers by what they hold for."""
    groups: dict[tuple, list[Answer]] = {}
    for each in answers:
        groups.setdefault(tuple(each.about.get(key) for key in over), []).append(each)
    return groups


def together(answers: Sequence[Answer]) -> dict[str, Any]:
    """Of numbers beside one another: what binds each, where the least sure comes from, and what stops a larger batch,
    which is said instead of what binds its steps.
    """
    bound = [each.bound for each in takewhile(lambda each: not each.about.get("stops"), answers)]
    stops = next((each.about["stops"] for each in answers if each.about.get("stops")), None)
    return {"bound": bound, "origin": least_sure(each.origin for each in answers), "stops": stops}


def spelt(value: float, unit: str) -> str:
    """A value for people: what is counted stays whole."""
    made = {"s": units.seconds, "B": units.size, "FLOP/B": units.intensity, "1": units.digits}.get(unit)
    if made:
        return made(value)
    if unit == "J per 1e6 tokens":
        return f"{units.digits(value / 1e6)} J per token"
    return f"{value:,.0f} {unit}" if value >= 100 or float(value).is_integer() else f"{units.digits(value)} {unit}"


def bar(each: Answer) -> str:
    """The error bar of an answer, "" where it has none."""
    return units.between(each.low, each.high, partial(spelt, unit=each.unit)) if each.low == each.low else ""
