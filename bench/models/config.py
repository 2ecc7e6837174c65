"""A Hugging Face config.json as a Model: what each family calls its shapes, and one line for whatever is wrong.

Keys and defaults are those of the families' configuration classes in Hugging Face transformers; a default is taken only
where the class has one that does not change the shapes silently. Only parameters are read, never weights, so a file
that lies about its model is believed.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bench.transformer import Model

# More than any config.json holds; a checkpoint given by mistake is far larger.
LARGEST_FILE = 4 * 2**20
# key -> the largest value that is not a typing error
LIMITS = {"num_hidden_layers": 2000, "head_dim": 4096, "vocab_size": 10**7, "max_position_embeddings": 10**9}
LIMIT = 10**6


class ModelError(ValueError):
    """A config.json cannot be read as a transformer; one line says why."""


class Keys:
    """The keys of a config.json, checked as they are read; those that are missing are named together."""

    def __init__(self, found: Mapping[str, Any]):
        self.found = found
        self.missing: list[str] = []

    def count(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number; a key that is absent or null has its default, or counts as missing and is 1 until then."""
        value = self.found.get(key)
        if value is None:
            if default is None:
                self.missing += [key] if key not in self.missing else []
                return 1
            return default
        most = LIMITS.get(key, LIMIT)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            shown = json.dumps(value)
            shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
            raise ModelError(f"{key} is {shown}; it must be a whole number from {least} to {most}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        return self._typed(key, bool, default, "true or false")

    def list(self, key: str) -> list:
        return self._typed(key, list, [], "a list")

    def _typed(self, key: str, kind: type, default: Any, words: str) -> Any:
        value = self.found.get(key)
        if value is not None and not isinstance(value, kind):
            raise ModelError(f"{key} is {json.dumps(value)[:40]}; it must be {words}")
        return default if value is None else value

    def per_layer(self, key: str) -> list:
        """A list with one entry per layer, or empty."""
        value, layers = self.list(key), self.count("num_hidden_layers")
        self.refuse(bool(value) and len(value) != layers, f"{key} has {len(value)} entries for {layers} layers")
        return value

    def refuse(self, contradiction: bool, text: str) -> None:
        """Raises ModelError for a contradiction, unless it is only a missing key's stand-in that contradicts."""
        if contradiction and not self.missing:
            raise ModelError(text)

    def complete(self) -> None:
        """Raises ModelError with every key that was missing."""
        if self.missing:
            raise ModelError(f"missing: {', '.join(self.missing)}")


def read_config(path: Path) -> Model:
    """The model of a config.json, or of the folder that holds one. Raises ModelError."""
    file = path
    try:
        path = file = path.expanduser()
        if path.is_dir():
            file = path / "config.json"
        return _model(_text(file), path)
    except (OSError, RuntimeError) as error:  # a name too long for the file system, the home of nobody
        raise ModelError(f"{str(path)[:200]}: no such file ({getattr(error, 'strerror', None) or error})") from None
    except ValueError as error:
        raise ModelError(f"{file}: {str(error).removeprefix(f'{_name(path)}: ')}") from None


def _text(file: Path) -> dict:
    """What the file holds, which must be one JSON object."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ModelError(f"{file.stat().st_size} bytes are no config.json")
        found = json.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ModelError("no such file") from None
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ModelError(f"not JSON: {error.msg} in line {error.lineno}") from None
    except (UnicodeDecodeError, RecursionError):
        raise ModelError("not JSON") from None
    if not isinstance(found, dict):
        raise ModelError("a config.json holds one JSON object, in braces")
    return found


def _model(found: dict, path: Path) -> Model:
    kind = found.get("model_type")
    # models of text and images keep the decoder's shapes one level down
    inner = found.get("text_config")
    if isinstance(inner, dict):
        found = inner
        kind = found.get("model_type", kind)
    if kind is None and "num_hidden_layers" not in found and "num_attention_heads" not in found:
        raise ModelError("not a transformer's config.json: no model_type, num_hidden_layers or num_attention_heads")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ModelError(f"model_type {kind!r} is not supported; supported: {', '.join(FAMILIES)}")
    keys = Keys(found)
    facts = FAMILIES[kind](keys)
    common = {
        "layers": keys.count("num_hidden_layers"),
        "width": keys.count("hidden_size"),
        "heads": keys.count("num_attention_heads"),
        "vocab": keys.count("vocab_size"),
        "tied": keys.flag("tie_word_embeddings"),
        "context": keys.count("max_position_embeddings", 0),
    }
    keys.complete()
    return Model(name=_name(path), **common, **facts)


def _name(path: Path) -> str:
    """A config.json is called after its folder."""
    folder = path if path.is_dir() else path.absolute().parent
    return (folder.name if path.is_dir() or path.name == "config.json" else path.stem) or "model"


def _attention(keys: Keys, *, grouped: bool = True, bias: str = "", norm: str = "") -> dict:
    """Heads, and the parameters that multiply nothing. Without num_key_value_heads each head has its own, but in a
    family whose class is `grouped` the key is missing. bias: "qkv" or "qkvo"; norm: of query and key, per "head" or
    over the whole "projection".
    """
    width, heads = keys.count("hidden_size"), keys.count("num_attention_heads")
    kv_heads = keys.count("num_key_value_heads", None if grouped else heads)
    uneven = f"num_attention_heads {heads} does not divide by num_key_value_heads {kv_heads}"
    keys.refuse(heads % kv_heads != 0, uneven)
    uneven = f"hidden_size {width} does not divide by num_attention_heads {heads}, and head_dim is absent"
    keys.refuse(keys.found.get("head_dim") is None and width % heads != 0, uneven)
    head_dim = keys.count("head_dim", max(width // heads, 1))
    keys.refuse(head_dim % 2 != 0, f"head_dim {head_dim} is odd: rotary embeddings turn pairs")
    keys.refuse(head_dim > width, f"head_dim {head_dim} is more than hidden_size {width}")
    if not bias and keys.flag("attention_bias"):
        bias = "qkvo"
    extra = 2 * width
    extra += {"": 0, "head": 2 * head_dim, "projection": (heads + kv_heads) * head_dim}[norm]
    extra += (heads + 2 * kv_heads) * head_dim if bias else 0
    extra += width if bias == "qkvo" else 0
    extra = keys.count("num_hidden_layers") * extra + width
    return {"kv_heads": kv_heads, "head_dim": head_dim, "extra_total": extra, "extra_active": extra}


def _windows(keys: Keys, key: str, kind: str, layers: int) -> dict:
    """`layers` windowed ones, or as many as layer_types says, if the config has a window."""
    window = keys.count(key, 0)
    types = keys.per_layer("layer_types")
    if types:
        layers = sum(each == f"{kind}_attention" for each in types)
        if odd := set(map(str, types)) - {f"{kind}_attention", "full_attention"}:
            raise ModelError(f"layer_types has {', '.join(sorted(odd))}; known: {kind}_attention, full_attention")
        keys.refuse(bool(layers) and not window, f"layer_types has windowed layers, but {key} is absent")
    return {"window": window, "window_layers": layers, "window_kind": kind} if window and layers else {}


def _routed(keys: Keys, experts: str, width: str, moe_layers: int, shared: int = 0) -> dict:
    """Experts of which each token takes num_experts_per_tok, in `moe_layers` layers."""
    count, active = keys.count(experts), keys.count("num_experts_per_tok")
    keys.refuse(active > count, f"num_experts_per_tok {active} is more than {experts} {count}")
    facts = {"experts": count, "active_experts": active, "shared_experts": shared, "expert_ffn": keys.count(width)}
    return facts | {"moe_layers": moe_layers, "dense_layers": keys.count("num_hidden_layers") - moe_layers}


def _dense(keys: Keys, windows: Callable[[Keys], dict] = lambda _: {}, **attention: Any) -> dict:
    return _attention(keys, **attention) | {"ffn": keys.count("intermediate_size")} | windows(keys)


def _sliding(keys: Keys) -> dict:
    return _windows(keys, "sliding_window", "sliding", keys.count("num_hidden_layers"))


def _qwen_windows(keys: Keys) -> dict:
    """Layers from max_window_layers on are windowed, if use_sliding_window says so."""
    if not keys.flag("use_sliding_window"):
        return {}
    layers = keys.count("num_hidden_layers")
    full = keys.count("max_window_layers", 28, least=0)
    return _windows(keys, "sliding_window", "sliding", max(layers - full, 0))


def _mixtral(keys: Keys) -> dict:
    layers = keys.count("num_hidden_layers")
    routed = _routed(keys, "num_local_experts", "intermediate_size", layers)
    return _attention(keys) | {"ffn": 0} | routed | _sliding(keys)


def _qwen3_moe(keys: Keys) -> dict:
    layers, every = keys.count("num_hidden_layers"), keys.count("decoder_sparse_step", 1)
    plain = keys.list("mlp_only_layers")
    moe = sum(layer not in plain and (layer + 1) % every == 0 for layer in range(layers))
    ffn = keys.count("intermediate_size") if moe < layers else 0
    routed = _routed(keys, "num_experts", "moe_intermediate_size", moe)
    return _attention(keys, norm="head") | {"ffn": ffn} | routed | _qwen_windows(keys)


def _gpt_oss(keys: Keys) -> dict:
    """Biases on every projection, a sink per head, every other layer windowed."""
    layers, width, heads = (keys.count(k) for k in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    facts = _attention(keys, bias="qkvo")
    routed = _routed(keys, "num_local_experts", "intermediate_size", layers)
    always = heads + routed["experts"]
    each = 2 * routed["expert_ffn"] + width
    facts["extra_total"] += layers * (always + routed["experts"] * each)
    facts["extra_active"] += layers * (always + routed["active_experts"] * each)
    return facts | {"ffn": 0} | routed | _windows(keys, "sliding_window", "sliding", (layers + 1) // 2)


def _minimax_m2(keys: Keys) -> dict:
    layers = keys.count("num_hidden_layers")
    facts = _attention(keys, norm="projection" if keys.flag("use_qk_norm", True) else "")
    routed = _routed(keys, "num_local_experts", "intermediate_size", layers)
    return _with_router_bias(facts | {"ffn": 0} | routed)


def _deepseek(keys: Keys) -> dict:
    """Latent attention; the first layers dense, then experts with shared ones beside them."""
    layers, width, heads = (keys.count(k) for k in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    dense = keys.count("first_k_dense_replace", least=0)
    keys.refuse(dense > layers, f"first_k_dense_replace {dense} is more than num_hidden_layers {layers}")
    every = keys.count("moe_layer_freq", 1)
    moe = sum(layer % every == 0 for layer in range(dense, layers))
    shared = keys.count("n_shared_experts", 0, least=0)
    q_rank, kv_rank = keys.count("q_lora_rank", 0), keys.count("kv_lora_rank")
    dims = {"nope_dim": keys.count("qk_nope_head_dim"), "rope_dim": keys.count("qk_rope_head_dim")}
    extra = layers * (2 * width + q_rank + kv_rank) + width
    return {
        "kv_heads": heads,
        "head_dim": sum(dims.values()),
        "q_rank": q_rank,
        "kv_rank": kv_rank,
        "v_dim": keys.count("v_head_dim"),
        "ffn": keys.count("intermediate_size") if moe < layers else 0,
        "extra_total": extra,
        "extra_active": extra,
        **dims,
        **_routed(keys, "n_routed_experts", "moe_intermediate_size", moe, shared),
    }


def _deepseek_v3(keys: Keys) -> dict:
    return _with_router_bias(_deepseek(keys))


def _with_router_bias(facts: dict) -> dict:
    """One number per expert and layer corrects the router's choice (DeepSeek-V3, arXiv 2412.19437, 2.1.2)."""
    more = facts["moe_layers"] * facts["experts"]
    return facts | {"extra_total": facts["extra_total"] + more, "extra_active": facts["extra_active"] + more}


def _llama4(keys: Keys) -> dict:
    """Every interleave-th layer of experts with a shared one; chunks on the layers that have rotary embeddings."""
    layers, every = keys.count("num_hidden_layers"), keys.count("interleave_moe_layer_step", 1)
    listed = keys.list("moe_layers")
    moe = len(listed) if listed else layers // every
    keys.refuse(moe > layers, f"moe_layers lists {moe} of only {layers} layers")
    # 1 where a layer has rotary embeddings; without a list every fourth layer has none
    rotary = keys.per_layer("no_rope_layers")
    interval = keys.count("no_rope_layer_interval", 4)
    chunked = sum(map(bool, rotary)) if rotary else layers - layers // interval
    return (
        _attention(keys)
        | {"ffn": keys.count("intermediate_size_mlp") if moe < layers else 0}
        | _routed(keys, "num_local_experts", "intermediate_size", moe, shared=1)
        | _windows(keys, "attention_chunk_size", "chunked", chunked)
    )


# model_type -> its reader
FAMILIES = {
    "llama": partial(_dense, grouped=False),
    "mistral": partial(_dense, windows=_sliding),
    "qwen2": partial(_dense, windows=_qwen_windows, bias="qkv"),
    "qwen3": partial(_dense, windows=_qwen_windows, norm="head"),
    "mixtral": _mixtral,
    "qwen3_moe": _qwen3_moe,
    "gpt_oss": _gpt_oss,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek_v3,
    "kimi_k2": _deepseek_v3,
    "llama4": _llama4,
    "llama4_text": _llama4,
    "minimax_m2": _minimax_m2,
}
