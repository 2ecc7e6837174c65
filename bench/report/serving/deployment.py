"""What the page serves: the formats, devices and models on offer, and the model that its figures speak of."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench import models
from bench.analysis.serving.capacity import Capacity
from bench.analysis.serving.machine import Machine
from bench.analysis.serving.planner import Planner
from bench.analysis.serving.request import Request, filled
from bench.analysis.serving.request import served as precision
from bench.transformer import FORMATS, Model

# Formats that serving engines run today, and how many devices of one node share a model.
WEIGHTS = ("bf16", "fp8", "int8", "int4-g128", "mxfp4")
KV = ("bf16", "fp8", "int8")
DEVICES = (1, 2, 4, 8)
# The first of these that fits is drawn, in the widest of these weights: small models are for small memories.
_MODELS = ("Llama-3.1-8B", "Mistral-7B", "Llama-2-7B")
_WIDEST = ("bf16", "int8", "int4-g128")


@dataclass(frozen=True)
class Chosen:
    """One model on one device. fits: what fits at the request's full context."""

    planner: Planner
    weights: str
    kv: str
    fits: Capacity

    @property
    def model(self) -> Model:
        return self.planner.model

    @property
    def batch(self) -> int:
        """Of figures that need one: 64 where they fit, as many as do otherwise, and one where none does."""
        return max(1, min(64, self.fits.batch))

    @property
    def context(self) -> int:
        """Tokens that a sequence holds on average while it is answered."""
        return self.planner.mean_context

    @property
    def name(self) -> str:
        return f"{self.model.name} with {served(self.weights, self.kv)}"

    def beside(self) -> list["Chosen"]:
        """The same model in this and in narrower pairs of formats, of those that this machine multiplies itself."""
        machine = self.planner.machine
        quick = machine.compute(FORMATS["fp8"].math)[1]
        pairs = (
            _PAIRS if quick else [(weights.replace("fp8", "int8"), kv.replace("fp8", "int8")) for weights, kv in _PAIRS]
        )
        found = [_on(self.model.name, machine, *pair) for pair in pairs]
        return [each for each in found if FORMATS[each.weights].bytes <= FORMATS[self.weights].bytes]


# (weights, KV): what narrower formats buy. FP8 stands for 8 bits where a unit multiplies it, INT8 elsewhere.
_PAIRS = (("bf16", "bf16"), ("fp8", "bf16"), ("fp8", "fp8"), ("int4-g128", "bf16"))


def chosen(machine: Machine, names: Sequence[str] = _MODELS) -> Chosen:
    """The first of a short list that fits on one device; the smallest of all, fitting or not, where none does."""
    tried = []
    for name in names:
        for weights in _WIDEST:
            tried.append(_on(name, machine, weights, "bf16"))
            if tried[-1].fits.batch:
                return tried[-1]
    return min(tried, key=lambda each: each.fits.weights)


def _on(name: str, machine: Machine, weights: str, kv: str) -> Chosen:
    model = models.model(name)
    request = Request(precision=precision(weights, kv))
    start = Planner(model, machine, request)
    fits = start.fits(request.prompt + request.output)
    return Chosen(Planner(model, machine, filled(request, model, fits.batch)), weights, kv, fits)


def label(name: str) -> str:
    """A format as people write it: "BF16", "INT4 (groups of 128)"."""
    head, dash, group = name.partition("-g")
    return f"{head.upper()} (groups of {group})" if dash else head.upper()


def served(weights: str, kv: str) -> str:
    if weights == kv:
        return f"{label(weights)} weights and KV"
    return f"{label(weights)} weights, {label(kv)} KV"
