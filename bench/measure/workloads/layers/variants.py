"""What serving does around plain attention: latent, ragged, narrow and prefixed caches, append, sampling, LM head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TOP_P = 0.9


def latent_fused(queries: Any, cache: Any, rank: int) -> Any:
    """Absorbed MLA by SDPA: all heads share one key, so they are the rows of one head [batch, 1, heads, rank + rope].

    cache: [batch, tokens, rank + rope]; its first `rank` columns are the values too, so that each is read once.
    """
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    keys = cache.unsqueeze(1)
    return sdpa(queries, keys, keys[..., :rank])


def latent_products(queries: Any, cache: Any, rank: int) -> Any:
    """The same by two batched products and a softmax; the scores go through memory."""
    import torch

    keys = cache.unsqueeze(1)
    scores = torch.matmul(queries * queries.shape[-1] ** -0.5, keys.transpose(2, 3))
    return torch.matmul(torch.softmax(scores, -1), keys[..., :rank])


LATENT = {"SDPA, heads as rows": latent_fused, "products": latent_products}


def one_by_one(queries: Any, keys: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Decode of sequences of any length, [batch, heads, 1, head dimension], a call for each."""
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    grouped = queries.shape[1] != keys[0].shape[1]
    return [
        sdpa(query[None], key, value, enable_gqa=grouped)
        for query, key, value in zip(queries, keys, values, strict=True)
    ]


def packed(queries: Any, keys: Any, values: Any, begins: Any, longest: int) -> Any:
    """The same in one call: sequences behind one another, [tokens, heads, head dimension]; begins: queries', keys'."""
    from torch.nn.attention.varlen import varlen_attn

    grouped = queries.shape[1] != keys.shape[1]
    return varlen_attn(queries, keys, values, *begins, 1, longest, enable_gqa=grouped)


def dequantised(queries: Any, keys: Any, key_scales: Any, values: Any, value_scales: Any) -> Any:
    """A cache of narrow numbers with a scale per token and head, widened in memory and then attended to."""
    from bench.measure.workloads.layers.parts import attend

    wide = ((x.to(queries.dtype) * scale) for x, scale in ((keys, key_scales), (values, value_scales)))
    return attend(queries, *wide)


@dataclass(frozen=True)
class Prefixed:
    """Prefill of new tokens over a cached prefix, causal: the last query sees every key. method: its mask, in words."""

    mask: Any
    method: str

    def __call__(self, queries: Any, keys: Any, values: Any) -> Any:
        from torch.nn.functional import scaled_dot_product_attention as sdpa

        return sdpa(queries, keys, values, attn_mask=self.mask, enable_gqa=queries.shape[1] != keys.shape[1])


def prefixed(queries: Any, keys: Any, values: Any) -> Prefixed:
    """By a fused kernel that knows this mask, where there is one; else by truth values written out once."""
    import torch
    from torch.backends.cuda import SDPAParams, can_use_efficient_attention, can_use_flash_attention
    from torch.nn.attention.bias import causal_lower_right

    new, context = queries.shape[2], keys.shape[2]
    if new == context:
        return Prefixed(causal_lower_right(new, context), "is_causal")
    asked = SDPAParams(queries, keys, values, None, 0.0, False, queries.shape[1] != keys.shape[1])
    if can_use_flash_attention(asked) or can_use_efficient_attention(asked):
        return Prefixed(causal_lower_right(new, context), "causal from the lower right")
    mask = torch.ones(new, context, dtype=torch.bool, device=queries.device)
    return Prefixed(mask.tril(context - new), "a mask of truth values")


def append(new_keys: Any, new_values: Any, keys: Any, values: Any) -> None:
    """A token's keys and values of each sequence into their places in the cache."""
    keys.copy_(new_keys)
    values.copy_(new_values)


def head(x: Any, weight: Any, out: Any) -> Any:
    """Logits in float32, into `out`; widened by a kernel of its own, as engines do."""
    import torch

    if x.dtype == out.dtype:
        return torch.mm(x, weight.t(), out=out)
    return out.copy_(torch.mm(x, weight.t()))


def greedy(logits: Any) -> Any:
    import torch

    return torch.argmax(logits, -1)


def top_p(logits: Any, uniform: Any) -> Any:
    """A token per row from the smallest set of likeliest ones whose probability reaches TOP_P, by a number in [0, 1).

    uniform: [rows, 1]. The numbers are given, so that the same ones give the same tokens.
    """
    import torch

    likely, order = torch.sort(torch.softmax(logits, -1), descending=True)
    up_to = likely.cumsum(-1)
    kept = likely.masked_fill(up_to - likely >= TOP_P, 0.0).cumsum(-1)
    chosen = torch.searchsorted(kept, uniform * kept[:, -1:])
    return order.gather(-1, chosen).squeeze(-1)
