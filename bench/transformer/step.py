"""What runs in one step, over how many devices, and what weights and KV caches occupy and stream on each of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bench.transformer.model import Format, Model, Precision

# "uniform": each token draws its experts independently and alike; "balanced": as a synthetic router deals them out, the
# most that any routing reads; otherwise the probability of each expert to be among a token's.
Routing = str | Sequence[float]


@dataclass(frozen=True)
class Step:
    """The rows of one forward pass: sequences that decode and prompts, or chunks of them, beside them. decode:
    (sequences, context) pairs, the context counting the new token. prefill: (new, cached, finishes), where a prompt
    that does not finish is not sampled. queries: rows per decoding sequence, more than one where drafted tokens are
    verified; the cache is read once for all of them.
    """

    decode: tuple[tuple[int, int], ...] = ()
    prefill: tuple[tuple[int, int, bool], ...] = ()
    queries: int = 1

    def __post_init__(self):
        if not self.decode and not self.prefill:
            raise ValueError("a step needs a sequence that decodes or a prompt")
        for sequences, context in self.decode:
            _whole("batch", sequences, 1)
            _whole("context", context, 1)
        for new, cached, _ in self.prefill:
            _whole("prompt length", new, 1)
            _whole("cached prefix", cached, 0)
        _whole("rows per sequence", self.queries, 1)

    @cached_property
    def sequences(self) -> int:
        """Sequences that decode."""
        return sum(count for count, _ in self.decode)

    @cached_property
    def decoding(self) -> int:
        """Rows that decode."""
        return self.sequences * self.queries

    @cached_property
    def prefilling(self) -> int:
        """Rows of prompts."""
        return sum(new for new, _, _ in self.prefill)

    @cached_property
    def tokens(self) -> int:
        """T: rows of the linear layers."""
        return self.decoding + self.prefilling

    @cached_property
    def sampled(self) -> int:
        """R: rows that reach the LM head."""
        return self.decoding + sum(1 for *_, finishes in self.prefill if finishes)

    def share(self, replicas: int) -> "Step":
        """The fullest hand when the sequences, longest first, are dealt to `replicas` of the attention."""
        if replicas == 1:
            return self
        decode, start = [], 0
        for count, context in sorted(self.decode, key=lambda pair: -pair[1]):
            mine = -(-(start + count) // replicas) - -(-start // replicas)
            decode += [(mine, context)] if mine else []
            start += count
        prefill = sorted(self.prefill, key=lambda chunk: (-chunk[0], -chunk[1]))[::replicas]
        return replace(self, decode=tuple(decode), prefill=tuple(prefill))


@dataclass(frozen=True)
class Ranks:
    """How a model is spread: tensor-parallel, pipeline and expert-parallel ranks. With expert > 1 the experts of a
    layer lie on `expert` devices, and the attention is tensor-parallel over `tensor` of them, data-parallel over the
    groups. imbalance: tokens of the fullest rank over the mean.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    imbalance: float = 1.0

    def __post_init__(self):
        for name in ("tensor", "pipeline", "expert"):
            _whole(f"{name}-parallel ranks", getattr(self, name), 1)
        if self.expert > 1 and self.expert % self.tensor:
            raise ValueError(f"{self.expert} expert-parallel ranks do not divide into groups of {self.tensor}")
        if not self.imbalance >= 1:
            raise ValueError(f"the imbalance of the experts is max over mean, at least 1, not {self.imbalance}")

    @property
    def devices(self) -> int:
        return self.pipeline * max(self.tensor, self.expert)

    @property
    def replicas(self) -> int:
        """Groups that each run the attention of their own sequences."""
        return max(1, self.expert // self.tensor)

    @property
    def expert_slices(self) -> int:
        """Devices over which the routed experts of a layer are spread, whole or sliced."""
        return max(self.tensor, self.expert)

    def heads(self, model: Model) -> int:
        """Query heads of one rank."""
        return model.heads // self.tensor

    def kv_heads(self, model: Model) -> int:
        """KV heads of one rank: at least one, copied where there are more ranks than heads."""
        return max(1, model.kv_heads // self.tensor)

    def kv_share(self, model: Model) -> float:
        """The part of a sequence's KV cache that one tensor-parallel rank holds: a latent is held whole by each."""
        return 1.0 if model.latent else max(1 / self.tensor, 1 / model.kv_heads)

    def check(self, model: Model) -> None:
        """Raises ValueError, one line, where the model cannot be spread so."""
        if not _splits(model, self.tensor):
            can = ", ".join(str(n) for n in range(1, model.heads + 1) if _splits(model, n))
            heads = f"{model.heads} heads" + (f" and {model.kv_heads} KV heads" if not model.latent else "")
            raise ValueError(
                f"{model.name}: {self.tensor} tensor-parallel ranks cannot share its {heads}; possible: {can}"
            )
        if self.pipeline > model.layers:
            raise ValueError(f"{model.name} has {model.layers} layers, fewer than {self.pipeline} pipeline stages")
        if self.expert > 1 and not model.experts:
            raise ValueError(f"{model.name} has no experts to spread over {self.expert} ranks")
        if self.expert > 1 and model.experts % self.expert:
            raise ValueError(f"{model.name}: {self.expert} ranks cannot share its {model.experts} experts evenly")


def _splits(model: Model, ranks: int) -> bool:
    if model.heads % ranks:
        return False
    return model.latent or not (model.kv_heads % ranks and ranks % model.kv_heads)


def _whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


ALONE = Ranks()


def distinct_experts(experts: int, active: int, tokens: float, routing: Routing = "uniform") -> float:
    """Expected experts that at least one of `tokens` is routed to, of which each takes `active`. A token misses an
    expert with probability 1 - active/experts exactly, because its experts are distinct. Tokens of one text choose
    alike and read fewer than this.
    """
    most = min(experts, active * tokens)
    if tokens <= 0 or routing == "balanced":
        return max(most, 0)
    if routing == "uniform":
        met = experts * (1 - (1 - active / experts) ** tokens)
    elif isinstance(routing, str):
        raise ValueError(f"routing {routing!r}: use uniform, balanced or the probability of each expert")
    else:
        if len(routing) != experts:
            raise ValueError(f"routing gives {len(routing)} probabilities for {experts} experts")
        if any(not 0 <= share <= 1 for share in routing) or not math.isclose(math.fsum(routing), active, rel_tol=1e-6):
            raise ValueError(f"routing probabilities must lie in 0..1 and add up to the {active} experts of a token")
        met = math.fsum(1 - (1 - share) ** tokens for share in routing)
    # k and min(E, k T) bound it; rounding must not break them
    return min(max(met, min(active, most)), most)


def distinct_ranks(experts: int, active: int, ranks: int) -> float:
    """Expected ranks that hold at least one of a token's experts, when each rank holds an equal part of them."""
    elsewhere = math.comb(experts - experts // ranks, active) / math.comb(experts, active)
    return ranks * (1 - elsewhere)


def resident_weights(model: Model, precision: Precision, ranks: Ranks = ALONE) -> float:
    """Bytes of weights on one device, layers shared evenly by the pipeline. Norms and biases are taken at the weights'
    width, though checkpoints keep them wider: below 0.1 % of any model.
    """
    tables = model.head_weights * (1 if model.tied else 2) * precision.head.bytes / ranks.tensor
    experts = model.moe_layers * model.experts * model.expert_weights * precision.routed.bytes / ranks.expert_slices
    rest = (_always(model, ranks) + model.extra_total) * precision.weights.bytes
    return (tables + experts + rest) / ranks.pipeline


def streamed_weights(
    model: Model, precision: Precision, tokens: int, routing: Routing = "uniform", ranks: Ranks = ALONE
) -> float:
    """W_read: bytes of weights that one device reads in a step of `tokens`: all but the embedding and idle experts."""
    distinct = distinct_experts(model.experts, model.active_experts, tokens, routing) if model.moe_layers else 0
    experts = model.moe_layers * distinct * model.expert_weights * precision.routed.bytes / ranks.expert_slices
    head = model.head_weights * precision.head.bytes / ranks.tensor
    return (experts + head + _always(model, ranks) * precision.weights.bytes) / ranks.pipeline


def kv_on_rank(model: Model, kv: Format, tokens: int, ranks: Ranks = ALONE, block: int = 1) -> float:
    """Bytes of one sequence's cache on one tensor-parallel rank, in pages of `block` tokens, at its largest."""
    return model.peak_kv(kv, -(-tokens // block) * block) * ranks.kv_share(model)


def _always(model: Model, ranks: Ranks) -> float:
    """Weights of the layers that every step multiplies, on one rank; routers and what latents share are on each."""
    attention = model.layers * model.attention_weights(ranks.heads(model), ranks.kv_heads(model))
    dense = model.dense_layers * 3 * model.width * model.ffn / ranks.tensor
    shared = model.moe_layers * model.shared_experts * model.expert_weights / ranks.tensor
    return attention + dense + shared + model.moe_layers * model.width * model.experts
