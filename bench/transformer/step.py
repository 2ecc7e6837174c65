"""What runs in one step and over how many devices."""

from dataclasses import dataclass, replace
from functools import cached_property

from bench.transformer.model import Model


@dataclass(frozen=True)
class Step:
    """The rows of one forward pass: sequences that decode and prompts, or chunks of them, beside them.

    decode: (sequences, context) pairs, the context counting the new token. prefill: (new, cached, finishes), where a
    prompt that does not finish is not sampled. queries: rows per decoding sequence, more than one where drafted
    tokens are verified; the cache is read once for all of them.
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
    """How a model is spread: tensor-parallel, pipeline and expert-parallel ranks.

    With expert > 1 the experts of a layer lie on `expert` devices, and the attention is tensor-parallel over `tensor`
    of them, data-parallel over the groups. imbalance: tokens of the fullest rank over the mean. once_per_rank: a token
    travels once to a rank that holds several of its experts (DeepEP), not once per expert.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    imbalance: float = 1.0
    once_per_rank: bool = False

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
            can = (n for n in range(1, model.heads + 1) if _splits(model, n))
            raise ValueError(
                f"{model.name}: {self.tensor} tensor-parallel ranks cannot share its {_heads(model)}; "
                f"possible: {', '.join(map(str, can))}"
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


def _heads(model: Model) -> str:
    return f"{model.heads} heads" if model.latent else f"{model.heads} heads and {model.kv_heads} KV heads"


def _whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


ALONE = Ranks()
