"""Attention in every form that serving meets, which kernel of torch's ran it, and plain references.

Which one ran is read back from the operators that torch dispatched, never asked for beforehand: torch's own forecast
(torch._fused_sdp_choice) is private, and a build may run another one: 2.11 made cuDNN the first choice on Hopper.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from bench.measure.device.protocol import Device, Unsupported
from bench.measure.workloads import compare, no_refusal

# torch's backends in one word each, as it stands in the names of the operators that they dispatch
# (_scaled_dot_product_flash_attention_for_cpu).
_BACKENDS = ("flash", "cudnn", "efficient", "overrideable", "math")


def heads_of(heads: int, kv_heads: int, head_dim: int) -> dict[str, int]:
    """What stands last in the params of a case of attention: its heads, and how wide one's score is."""
    return {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}


class KvCache(NamedTuple):
    """Keys and values of a span, [batch, KV heads, tokens, head dimension] each."""

    keys: Any
    values: Any

    def newest(self, tokens: int) -> "KvCache":
        """Where the last tokens lie: what an append writes."""
        return KvCache(self.keys[:, :, -tokens:], self.values[:, :, -tokens:])

    def poison(self) -> None:
        """What is then read before it is written spoils everything after it."""
        for rows in self:
            rows.fill_(float("nan"))


def ran(launched: Callable[[], Any], asked: str = "") -> str:
    """Runs a launch once and names the SDPA backend of it, or "unknown" with the reason.

    That run is a warm-up too: cuDNN plans each shape and its strides at the first call, for about 0.4 s, and keeps the
    plan for all that are alike, as the launches of a ring are. asked: the backend that the launch insists on. Raises
    Unsupported where torch refuses, in its own words, which come as warnings.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Operators(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with Operators():
                launched()
        except no_refusal():
            raise
        except RuntimeError as error:
            reasons = [str(warning.message).split(" (Triggered")[0] for warning in said]
            why = next((reason for reason in reasons if "because" in reason or "not" in reason), str(error))
            who = f"SDPA's {asked} backend" if asked else "SDPA"
            raise Unsupported(f"{who} refuses: {(why.strip() or 'no reason given').splitlines()[0]}") from None
    # the softmax that knows rows without a key is the math backend's alone
    names = ["attention_math" if name == "_safe_softmax" else name for name in seen]
    backends = dict.fromkeys(word for name in names for word in _BACKENDS if word in name and "attention" in name)
    return " and ".join(backends) or "unknown (torch dispatched no attention operator that is known)"


def backend_note(device: Device, launched: Callable[[], Any], name: str = "backend", asked: str = "") -> dict[str, str]:
    """A note of the backend that `ran`; nothing runs on a simulated device, and there is none."""
    return {} if device.info.simulated else {name: ran(launched, asked)}


def one_backend(backend: str, query: Any, key: Any, value: Any, **more: Any) -> Any:
    """SDPA by one backend alone; torch raises where it cannot, with the reasons as warnings."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    with sdpa_kernel(getattr(SDPBackend, "MATH" if backend == "math" else f"{backend.upper()}_ATTENTION")):
        return sdpa(query, key, value, **more)


def unfused(query: Any, key: Any, value: Any) -> Any:
    """Scores, softmax and mix as three calls, each through memory; no mask, equal heads."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.softmax(-1) @ value


def attend(queries: Any, keys: Any, values: Any) -> Any:
    """Mixed values [tokens, heads x head dimension]; several queries are the whole of their context, and causal."""
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    how = {"is_causal": queries.shape[2] > 1, "enable_gqa": queries.shape[1] != keys.shape[1]}
    return sdpa(queries, keys, values, **how).transpose(1, 2).flatten(0, 1).flatten(1)


def dequantised(queries: Any, keys: Any, key_scales: Any, values: Any, value_scales: Any) -> Any:
    """A cache of narrow numbers with a scale per token and head, widened in memory and then attended to."""
    return attend(queries, keys.to(queries.dtype) * key_scales, values.to(queries.dtype) * value_scales)


def latent_fused(queries: Any, cache: Any, rank: int) -> Any:
    """Absorbed MLA by SDPA: all heads share one key, so they are the rows of one head [batch, 1, heads, rank + rope].

    cache: [batch, tokens, rank + rope]; its first `rank` columns are the values too, so that each is read once.
    """
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    keys = cache.unsqueeze(1)
    return sdpa(queries, keys, keys[..., :rank])


def latent_products(queries: Any, cache: Any, rank: int) -> Any:
    """The same by two batched products and a softmax; the scores go through memory."""
    keys = cache.unsqueeze(1)
    return unfused(queries, keys, keys[..., :rank])


def one_by_one(queries: Any, keys: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Decode of sequences of any length, [batch, heads, 1, head dimension], a call for each."""
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    grouped = queries.shape[1] != keys[0].shape[1]
    triples = zip(queries, keys, values, strict=True)
    return [sdpa(query[None], key, value, enable_gqa=grouped) for query, key, value in triples]


def packed(queries: Any, keys: Any, values: Any, begins: Any, longest: int) -> Any:
    """The same in one call: sequences behind one another, [tokens, heads, head dimension]; begins: queries', keys'."""
    from torch.nn.attention.varlen import varlen_attn

    grouped = queries.shape[1] != keys.shape[1]
    return varlen_attn(queries, keys, values, *begins, 1, longest, enable_gqa=grouped)


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


def plain_attention(query: Any, keys: Any, values: Any) -> Any:
    """One token's heads [heads, head dimension] against all keys [KV heads, tokens, head dimension], as written."""
    grouped = query.unflatten(0, (keys.shape[0], -1))
    scores = grouped @ keys.transpose(1, 2) / query.shape[-1] ** 0.5
    return (scores.softmax(-1) @ values).flatten(0, 1)


def check_attend(launched: partial) -> None:
    """The last token of `attend` or of `dequantised` against the plain reference. Raises CheckFailed."""
    queries, *cache = (tensor[-1] for tensor in launched.args)
    cache = [tensor.double() for tensor in cache]
    keys, values = cache if len(cache) == 2 else (cache[0] * cache[1], cache[2] * cache[3])
    compare("attention", launched()[-1], plain_attention(queries[:, -1].double(), keys, values).flatten())


def check_last_head(launched: partial, allowed: float, queries: int = 1) -> None:
    """The last queries of the last head, which see every key, against a float64 softmax. Raises CheckFailed."""
    query, key, value = (tensor[-1, -1].double() for tensor in launched.args[-3:])
    expected = (query[-queries:] @ key.T / query.shape[-1] ** 0.5).softmax(-1) @ value
    compare("attention", launched()[-1, -1, -queries:], expected, allowed, "float64")
