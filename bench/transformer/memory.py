"""What weights and KV caches occupy on one device, and how many bytes of weights a step streams from it."""

from bench.transformer.experts import Routing, distinct_experts
from bench.transformer.formats import Format, Precision
from bench.transformer.model import Model
from bench.transformer.step import ALONE, Ranks


def resident_weights(model: Model, precision: Precision, ranks: Ranks = ALONE) -> float:
    """Bytes of weights on one device, layers shared evenly by the pipeline.

    Norms and biases are taken at the weights' width, though checkpoints keep them wider: below 0.1 % of any model.
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
