"""One model as one machine serves it: the steps, batches and crossovers that a page draws; and which model it draws."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from bench import models
from bench.analysis.serving import formulas
from bench.analysis.serving.machine import Machine
from bench.analysis.serving.planner import Planner
from bench.analysis.serving.request import Request, served
from bench.analysis.serving.step import StepTime
from bench.transformer import FORMATS, Model

# Formats that serving engines run today, and how many devices of one node share a model.
WEIGHTS = ("bf16", "fp8", "int8", "int4-g128", "mxfp4")
KV = ("bf16", "fp8", "int8")
DEVICES = (1, 2, 4, 8)
# (weights, KV): what narrower formats buy. FP8 stands for 8 bits where a unit multiplies it, INT8 elsewhere.
_PAIRS = (("bf16", "bf16"), ("fp8", "bf16"), ("fp8", "fp8"), ("int4-g128", "bf16"))
# The first of these that fits is drawn, in the widest of these weights: small models are for small memories.
_MODELS = ("Llama-3.1-8B", "Mistral-7B", "Llama-2-7B")
_WIDEST = ("bf16", "int8", "int4-g128")
# Kinds of operators that read the weights, and the one that reads the KV cache.
LINEAR = ("gemm", "experts")
CACHE = ("attention decode",)


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
        found = {f"decode, batch {batch}": self.planner.decode(batch, self.context) for batch in batches}
        return found | {f"prefill of {prompt} tokens": self.planner.prefill(prompt)}

    @property
    def critical(self) -> float:
        """Rows from which on the linear operators as they are served are compute-bound, by roofs alone."""
        precision, machine = self.planner.request.precision, self.planner.machine
        roof, _ = machine.compute(precision.multiplied(precision.weights))
        return formulas.critical(roof.rate, machine.bandwidth, precision.weights.bytes)

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
        Planner(models.model(name), machine, Request(precision=served(weights, "bf16")))
        for name in _MODELS
        for weights in _WIDEST
    ]
    fitting = next((each for each in planners if each.most), None)
    return Deployment(fitting or min(planners, key=lambda each: each.weights))
