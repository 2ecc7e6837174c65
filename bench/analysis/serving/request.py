"""What a user asks: shapes, precision, layout, load, limits and prices; every default is named here and printed.

>>> sla("ttft=2s,tps=30")
Sla(ttft=2.0, tpot=0.03333333333333333, latency=inf, name='', quantile=0.95)
>>> sla("mlperf llama-2-70b interactive").tpot
0.04
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bench import units
from bench.analysis.serving import ServingError
from bench.transformer import Model, Precision, Ranks, format_named

USABLE = 0.9  # share of the memory that common engines use
# Formats that serving engines run today, and how many devices of one node share a model.
WEIGHTS = ("bf16", "fp8", "int8", "int4-g128", "mxfp4")
KV = ("bf16", "fp8", "int8")
DEVICES = (1, 2, 4, 8)


def served(weights: str, kv: str) -> Precision:
    """How engines serve these formats: INT8 weights are widened before they are multiplied, FP8 and FP4 are multiplied
    as they are where a unit can. Raises ValueError for a format that is unknown.
    """
    made = format_named(weights)
    return Precision(weights=made, kv=format_named(kv), math=made.math != "int8")


@dataclass(frozen=True)
class Sla:
    """Limits: TTFT that a share `quantile` of requests must meet, seconds between tokens, seconds of a request."""

    ttft: float = 2.0
    tpot: float = 1 / 30
    latency: float = math.inf
    name: str = ""
    quantile: float = 0.95

    def __post_init__(self):
        for what, value in (("ttft", self.ttft), ("tpot", self.tpot), ("latency", self.latency)):
            if not value > 0:
                raise ServingError(f"the {what} limit must be more than 0, not {value:g}")
        if self.latency <= self.ttft < math.inf:
            raise ServingError(
                f"the limits contradict each other: a request may take {units.seconds(self.latency)} in all, "
                f"but its first token alone {units.seconds(self.ttft)}"
            )


# MLPerf Inference, Server scenario: limits of the 99th percentile (mlcommons/inference, loadgen/mlperf.conf, in
# milliseconds there; the `interactive` variants are benchmarks of their own).
_MLPERF = {
    "llama-2-70b server": (2.0, 0.2),
    "llama-2-70b interactive": (0.45, 0.04),
    "llama-3.1-405b server": (6.0, 0.175),
    "llama-3.1-405b interactive": (4.5, 0.08),
    "llama-3.1-8b server": (2.0, 0.1),
    "llama-3.1-8b interactive": (0.5, 0.03),
    "mixtral-8x7b server": (2.0, 0.2),
    "deepseek-r1 server": (2.0, 0.08),
    "deepseek-r1 interactive": (1.5, 0.015),
}
PRESETS: Mapping[str, Sla] = {"chat": Sla(name="chat")} | {
    f"mlperf {name}": Sla(ttft, tpot, name=f"mlperf {name}", quantile=0.99) for name, (ttft, tpot) in _MLPERF.items()
}


def sla(text: str) -> Sla:
    """Limits from a preset's name, or from "ttft=2s,tps=30" (tpot=33ms and latency=10s are understood too)."""
    words = text.strip().lower()
    if words in PRESETS:
        return PRESETS[words]
    found: dict[str, float] = {}
    for part in words.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in ("ttft", "tps", "tpot", "latency"):
            raise ServingError(
                f"cannot read the limit {part.strip()!r}; write ttft=2s,tps=30 or one of: {', '.join(PRESETS)}"
            )
        if name in found:
            raise ServingError(f"the limits contradict each other: {name} is given twice")
        try:
            found[name] = float(value) if name == "tps" else units.duration(value)
        except ValueError:
            raise ServingError(
                f"cannot read {name}={value}: give {'tokens/s' if name == 'tps' else 'a time'}"
            ) from None
        if not (found[name] > 0 and math.isfinite(found[name])):
            raise ServingError(f"the {name} limit must be more than 0, not {value}")
    if "tps" in found and "tpot" in found and abs(found["tps"] * found["tpot"] - 1) > 0.01:
        raise ServingError(
            f"the limits contradict each other: {found['tps']:g} tokens/s per user are "
            f"{units.seconds(1 / found['tps'])} per token, not {units.seconds(found['tpot'])}; give one of the two"
        )
    tpot = found.get("tpot", 1 / found["tps"] if "tps" in found else Sla.tpot)
    return Sla(found.get("ttft", Sla.ttft), tpot, found.get("latency", math.inf))


_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONTEXTS = (1024, 8192, 32768)
_PROMPTS = (128, 1024, 8192)


@dataclass(frozen=True)
class ServingRequest:
    """One question. Lists that are empty are chosen to fit the model; what the user names is checked, never changed.

    prompt, output: tokens of a request under load; cached: shares of a prompt that a prefix cache holds. chunk: prompt
    tokens per mixed step. drafts, acceptances, draft_cost (of a draft step, in target steps): speculation. price: USD
    per device and hour. network: B/s between a prefill and a decode device. rate: requests/s of an open loop. skew: the
    fullest expert rank's tokens over the mean. error: a share added to every time before it is compared with a limit,
    where the self-check asks for less. reserve: bytes that neither weights nor KV may take; NaN for the machine's own.
    """

    precision: Precision = field(default_factory=Precision)
    ranks: Ranks = field(default_factory=Ranks)
    batches: tuple[int, ...] = ()
    contexts: tuple[int, ...] = ()
    prompts: tuple[int, ...] = ()
    cached: tuple[float, ...] = (0.0, 0.75)
    prompt: int = 1024
    output: int = 256
    sla: Sla = field(default_factory=Sla)
    chunk: int = 512
    drafts: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    acceptances: tuple[float, ...] = (0.6, 0.7, 0.8, 0.9)
    draft_cost: float = 0.1
    price: float = math.nan
    watts: float = math.nan
    network: float = 50e9
    rate: float = math.nan
    routing: str = "uniform"
    skew: float = 1.0
    usable: float = USABLE
    reserve: float = math.nan
    mode: str = "graph"
    quantising: str = "fused"
    host: float = math.nan
    error: float = 0.0


def check(request: ServingRequest, model: Model) -> None:
    """Raises ServingError for what no machine can serve: one line that names it."""
    for name, values in (("batch", request.batches), ("prompt", request.prompts)):
        for value in values:
            if value < 1 or value != int(value):
                raise ServingError(f"{name} must be a whole number of 1 or more, not {value:g}")
    for value in request.contexts:
        if value < 0:
            raise ServingError(f"a context cannot be negative: {value}")
    for name in ("prompt", "output", "chunk"):
        if (value := getattr(request, name)) < 1:
            raise ServingError(f"{name} must be 1 or more, not {value}")
    for share in request.cached:
        if not 0 <= share < 1:
            raise ServingError(f"a cached share must be at least 0 and below 1, not {share:g}")
    for share in request.acceptances:
        if not 0 <= share <= 1:
            raise ServingError(f"an acceptance must be between 0 and 1, not {share:g}")
    longest = max((*request.contexts, *request.prompts, request.prompt + request.output))
    if model.context and longest > model.context:
        raise ServingError(f"{model.name} takes {model.context} tokens of context; {longest} were asked for")


def filled(request: ServingRequest, model: Model, most: int) -> ServingRequest:
    """The request with its empty lists chosen: what the model's context and the memory (`most` sequences) allow."""
    longest = model.context or max(_CONTEXTS)
    batches = request.batches or tuple(b for b in _BATCHES if b <= max(1, most))
    contexts = request.contexts or tuple(c for c in _CONTEXTS if c <= longest) or (longest,)
    prompts = request.prompts or tuple(dict.fromkeys((request.prompt, *(p for p in _PROMPTS if p <= longest))))
    return replace(request, batches=batches, contexts=contexts, prompts=prompts)
