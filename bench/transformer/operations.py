"""One step as rows, a row per kernel: what it is called, how often it runs, and what one launch asks of one device."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from bench import work
from bench.transformer.model import Format, Model, Precision, read_keys, visible_keys, visible_pairs
from bench.transformer.step import ALONE, Ranks, Routing, Step, distinct_experts
from bench.work import Work

# Bytes of what a router hands on per chosen expert: its number and its weight, 4 each.
CHOICE = 8
# Bytes of a logit: float32.
LOGIT = 4


@dataclass(frozen=True)
class Operation:
    """One kernel of a step: `count` launches of the same Work. kind: "gemm", "attention decode", "attention prefill",
    "experts", "stream" or "collective". params: the shape by which a measured curve is looked up: m, n, k; batch,
    queries, keys (the mean), heads, kv_heads, head_dim; bytes.
    """

    name: str
    kind: str
    count: int
    work: Work
    params: Mapping[str, int | float | str] = field(default_factory=dict, hash=False)


def operations(
    model: Model, precision: Precision, step: Step, ranks: Ranks = ALONE, routing: Routing = "uniform"
) -> tuple[Operation, ...]:
    """The rows of one step on the fullest device, in the order in which they first run. A pipeline changes no row: a
    token passes every stage, and the hand-overs between them are added.
    """
    ranks.check(model)
    return tuple(row for row in _Pass(model, precision, step, ranks, routing).rows() if row.count)


class _AttentionHeads(NamedTuple):
    """On one rank: bytes per key in a layer's cache, KV heads, and what a head compares and collects (elements)."""

    cached: float
    kv_heads: int
    score_dim: int
    value_dim: int


@dataclass(frozen=True)
class _Pass:
    """The facts that the rows of one step share."""

    model: Model
    precision: Precision
    step: Step
    ranks: Ranks
    routing: Routing

    @cached_property
    def mine(self) -> Step:
        """What this device's replica of the attention runs."""
        return self.step.share(self.ranks.replicas)

    @cached_property
    def heads(self) -> int:
        return self.ranks.heads(self.model)

    @cached_property
    def kv_heads(self) -> int:
        return self.ranks.kv_heads(self.model)

    def rows(self) -> Iterator[Operation]:
        model, tokens, size = self.model, self.mine.tokens, self.precision.activations.bytes
        yield self._stream("embedding gather", 1, tokens * model.width * (self.precision.head.bytes + size))
        yield self._norm("norm + residual (first)", model.layers, tokens)
        yield from self._latent_rows() if model.latent else self._grouped_rows()
        yield self._norm("norm + residual (second)", model.layers, tokens)
        width = math.ceil(model.ffn / self.ranks.tensor)
        yield from self._gated("", model.dense_layers, tokens, width)
        if model.moe_layers:
            yield from self._expert_rows()
        if sampled := self.mine.sampled:
            vocab, head = math.ceil(model.vocab / self.ranks.tensor), self.precision.head
            yield self._norm("final norm", 1, sampled)
            yield self._linear("LM head", 1, sampled, vocab, model.width, weights=head, out=LOGIT)
            yield self._stream("sampling", 1, sampled * model.vocab * LOGIT)
        yield from self._collectives()

    # attention

    def _grouped_rows(self) -> Iterator[Operation]:
        """Grouped-query attention; MHA and MQA are its ends."""
        model, heads, kv_heads, tokens = self.model, self.heads, self.kv_heads, self.mine.tokens
        head_dim, size, kv = model.head_dim, self.precision.activations.bytes, self.precision.kv.bytes
        yield self._linear("QKV", model.layers, tokens, (heads + 2 * kv_heads) * head_dim, model.width)
        moved = tokens * head_dim * (size * (2 * heads + 2 * kv_heads) + kv * 2 * kv_heads)
        yield self._stream("rotary + KV append", model.layers, moved)
        shape = _AttentionHeads(2 * kv_heads * head_dim * kv, kv_heads, head_dim, head_dim)
        yield from self._decode_rows(shape)
        yield from self._prefill_rows(shape)
        yield self._linear("O", model.layers, tokens, model.width, heads * head_dim)

    def _latent_rows(self) -> Iterator[Operation]:
        """Latent attention: decode compares with the latent itself (absorbed), prefill expands it to keys and values.
        DeepSeek-V2 (arXiv 2405.04434, 2.1). Each rank holds the whole latent and its down-projections.
        """
        model, heads, layers, tokens = self.model, self.heads, self.model.layers, self.mine.tokens
        rank, size, kv = model.kv_rank, self.precision.activations.bytes, self.precision.kv.bytes
        query = model.nope_dim + model.rope_dim
        down = (model.q_rank or heads * query) + rank + model.rope_dim
        yield self._linear("QKV down", layers, tokens, down, model.width)
        normed = model.q_rank + rank
        yield self._stream("latent norm", layers, (2 * tokens + 1) * normed * size)
        if model.q_rank:
            yield self._linear("Q up", layers, tokens, heads * query, model.q_rank)
        rotated = heads * model.rope_dim
        moved = tokens * (size * (2 * rotated + rank + model.rope_dim) + kv * (rank + model.rope_dim))
        yield self._stream("rotary + KV append", layers, moved)
        if rows := self.mine.decoding * heads:
            yield self._linear("absorb K", layers, rows, rank, model.nope_dim, matrices=heads)
            latent = rank + model.rope_dim
            yield from self._decode_rows(_AttentionHeads(latent * kv, 1, latent, rank))
            yield self._linear("absorb V", layers, rows, model.v_dim, rank, matrices=heads)
        if keys := sum(new + cached for new, cached, _ in self.mine.prefill):
            yield self._linear("KV up", layers, keys, heads * (model.nope_dim + model.v_dim), rank)
            expanded = heads * (query + model.v_dim) * size
            yield from self._prefill_rows(_AttentionHeads(expanded, heads, query, model.v_dim))
        yield self._linear("O", layers, tokens, model.width, heads * model.v_dim)

    def _decode_rows(self, heads: _AttentionHeads) -> Iterator[Operation]:
        step = self.mine
        for layers, window in self.model.windows if step.decode else ():
            keys = sum(count * visible_keys(at, window, self.model.window_kind) for count, at in step.decode)
            mean = {"batch": step.sequences, "queries": step.queries, "keys": keys / step.sequences}
            yield self._attention("decode", layers, window, heads, (keys, keys * step.queries, step.decoding), mean)

    def _prefill_rows(self, heads: _AttentionHeads) -> Iterator[Operation]:
        """One launch for all prompts of the step, as kernels of variable length do it."""
        chunks, kind, new = self.mine.prefill, self.model.window_kind, self.mine.prefilling
        for layers, window in self.model.windows if chunks else ():
            pairs = sum(visible_pairs(rows, before, window, kind) for rows, before, _ in chunks)
            keys = sum(read_keys(rows, before, window, kind) for rows, before, _ in chunks)
            mean = {"batch": len(chunks), "queries": new / len(chunks), "keys": keys / len(chunks)}
            yield self._attention("prefill", layers, window, heads, (keys, pairs, new), mean)

    def _attention(
        self, phase: str, layers: int, window: int, heads: _AttentionHeads, counts: tuple[int, int, int], mean: dict
    ) -> Operation:
        """counts: keys that are read, pairs of query and key, and rows. A prefill is compute-bound below the GEMM's
        roof, for its softmax: its variant lets a machine state that.
        """
        precision, (keys, pairs, rows) = self.precision, counts
        demand = work.cached_attention(
            pairs, rows, self.heads, heads.score_dim, heads.value_dim, precision.activations.math, precision.unit,
            cached=keys * heads.cached, activation=precision.activations.bytes,
            variant="attention" if phase == "prefill" else "",
        )  # fmt: skip
        shape = {"heads": self.heads, "kv_heads": heads.kv_heads, "head_dim": heads.score_dim}
        shape |= {"value_dim": heads.value_dim, "window": window, "kv": precision.kv.name}
        name = f"{phase} attention" + (f" ({self.model.window_kind} window)" if window else "")
        return Operation(name, f"attention {phase}", layers, demand, mean | shape)

    # feed-forward

    def _gated(self, prefix: str, layers: int, rows: int, width: int) -> Iterator[Operation]:
        """A dense gated feed-forward: one GEMM for gate and up, their product, one GEMM down."""
        model = self.model
        yield self._linear(f"{prefix}gate-up", layers, rows, 2 * width, model.width)
        name = f"{prefix}activation" if prefix else "gated activation"
        yield self._stream(name, layers, 3 * rows * width * self.precision.activations.bytes)
        yield self._linear(f"{prefix}down", layers, rows, model.width, width)

    def _expert_rows(self) -> Iterator[Operation]:
        """Router, routed experts as grouped GEMMs over the distinct ones, their sum; the shared experts as one."""
        model, ranks, layers = self.model, self.ranks, self.model.moe_layers
        size, tokens, chosen = self.precision.activations.bytes, self.mine.tokens, self.model.active_experts
        yield self._linear("router", layers, tokens, model.experts, model.width)
        yield self._stream("top-k", layers, tokens * (model.experts * size + chosen * CHOICE))
        everyone = self.step.tokens
        distinct = distinct_experts(model.experts, chosen, everyone, self.routing) / ranks.expert
        rows = chosen * everyone * (ranks.imbalance / ranks.expert if ranks.expert > 1 else 1)
        width = model.expert_ffn if ranks.expert > 1 else math.ceil(model.expert_ffn / ranks.tensor)
        yield self._grouped("expert gate-up", rows, 2 * width, model.width, distinct)
        yield self._stream("expert activation", layers, 3 * rows * width * size)
        yield self._grouped("expert down", rows, model.width, width, distinct)
        if model.shared_experts:
            shared = math.ceil(model.shared_experts * model.expert_ffn / ranks.tensor)
            yield from self._gated("shared ", layers, tokens, shared)
        terms = chosen + (1 if model.shared_experts else 0)
        yield self._stream("expert sum", layers, (terms + 1) * tokens * model.width * size)

    def _grouped(self, name: str, rows: float, n: int, k: int, distinct: float) -> Operation:
        model, routed = self.model, self.precision.routed
        facts = {"experts": model.experts // self.ranks.expert, "active": model.active_experts}
        facts |= {"distinct": distinct, "tokens": self.step.tokens}
        row = self._linear(name, model.moe_layers, rows, n, k, weights=routed, matrices=distinct)
        return Operation(name, "experts", row.count, row.work, {**row.params, **facts})

    # collectives

    def _collectives(self) -> Iterator[Operation]:
        model, ranks, tokens = self.model, self.ranks, self.mine.tokens
        size, n = self.precision.activations.bytes, ranks.tensor
        message = tokens * model.width * size
        if n > 1:
            yield _collective("all-reduce", "all_reduce", 2 * model.layers, message, n)
            yield _collective("embedding all-reduce", "all_reduce", 1, message, n)
            if sampled := self.mine.sampled:
                logits = sampled * model.vocab * LOGIT
                yield _collective("logits gather", "all_gather", 1, logits, n)
        if ranks.expert > 1:
            sent = self.step.tokens / ranks.expert * ranks.imbalance * model.active_experts * model.width
            # experts that multiply 8-bit or 4-bit rows are sent them as 8 bits; results return at full width
            narrow = self.precision.multiplied(self.precision.routed) != self.precision.activations.math
            yield _collective("dispatch", "all_to_all", model.moe_layers, sent * (1 if narrow else size), ranks.expert)
            yield _collective("combine", "all_to_all", model.moe_layers, sent * size, ranks.expert)
        if ranks.pipeline > 1:
            yield _collective("pipeline send", "send", ranks.pipeline - 1, message, 2)

    # primitives

    def _linear(
        self, name: str, count: int, m: float, n: int, k: int, *, weights: Format | None = None, out: float = 0.0,
        matrices: float = 1,
    ) -> Operation:  # fmt: skip
        """m counts the rows over all matrices, one per head or one per expert touched."""
        precision = self.precision
        weights = weights or precision.weights
        size, dtype = precision.activations.bytes, precision.multiplied(weights)
        demand = work.linear(
            m, n, k, dtype, precision.unit, weight=weights.bytes, activation=size, out=out or size, matrices=matrices
        )
        params = {"m": m, "n": n, "k": k, "matrices": matrices, "weights": weights.name, "dtype": dtype}
        return Operation(name, "gemm", count, demand, params)

    def _norm(self, name: str, count: int, rows: int) -> Operation:
        """A norm fused with the residual's addition: reads both, writes both."""
        return self._stream(name, count, (4 * rows + 1) * self.model.width * self.precision.activations.bytes)

    @staticmethod
    def _stream(name: str, count: int, size: float) -> Operation:
        return Operation(name, "stream", count, work.move(size), {"bytes": size})


_SENT = {
    "all_reduce": work.all_reduce,
    "all_gather": work.all_gather,
    "all_to_all": work.all_to_all,
    "send": lambda size, ranks: work.move(size, "link"),
}


def _collective(name: str, collective: str, count: int, size: float, ranks: int) -> Operation:
    """bytes in params are the message: what nccl-tests calls size, by which a measured curve is looked up."""
    params = {"collective": collective, "bytes": size, "ranks": ranks}
    return Operation(name, "collective", count, _SENT[collective](size, ranks), params)
