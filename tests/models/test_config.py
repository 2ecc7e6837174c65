"""A config.json of each family gives the model of the table, and each fault gives one line."""

import json
from dataclasses import replace

import pytest

from bench.models import ModelError, model
from bench.models.config import FAMILIES


def base(kind, layers, width, heads, kv_heads, vocab, context, **more):
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "tie_word_embeddings": False,
    } | more


def latent(kind, heads, vocab, context, experts, dense):
    more = {
        "intermediate_size": 18432,
        "n_routed_experts": experts,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 2048,
        "first_k_dense_replace": dense,
        "moe_layer_freq": 1,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
    }
    return base(kind, 61, 7168, heads, heads, vocab, context, **more)


def llama4(experts, every, context, **more):
    inner = {
        "head_dim": 128,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "num_local_experts": experts,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": every,
        "attention_chunk_size": 8192,
    }
    text = base("llama4_text", 48, 5120, 40, 8, 202048, context, **inner, **more)
    return {"model_type": "llama4", "text_config": text, "vision_config": {"hidden_size": 1408}}


MIXTRAL = {"intermediate_size": 14336, "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None}
QWEN_MOE = {
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "use_sliding_window": False,
    "sliding_window": None,
    "max_window_layers": 48,
}
OSS = {
    "head_dim": 64,
    "attention_bias": True,
    "intermediate_size": 2880,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
}
QWEN_DENSE = {"head_dim": 128, "use_sliding_window": False, "sliding_window": None, "attention_bias": False}
MINIMAX = {"head_dim": 128, "intermediate_size": 1536, "num_local_experts": 256, "num_experts_per_tok": 8}

LLAMA = base("llama", 32, 4096, 32, 8, 128256, 131072, intermediate_size=14336)
# A model of the table -> the keys of its public config.json that state its shapes.
PUBLIC = {
    "Llama-2-7B": {
        key: value
        for key, value in base("llama", 32, 4096, 32, 32, 32000, 4096, intermediate_size=11008).items()
        if key != "num_key_value_heads"
    },
    "Llama-3.1-8B": LLAMA,
    "Mistral-7B": base("mistral", 32, 4096, 32, 8, 32000, 32768, intermediate_size=14336, sliding_window=None),
    "Qwen2.5-72B": base(
        "qwen2",
        80,
        8192,
        64,
        8,
        152064,
        32768,
        intermediate_size=29568,
        use_sliding_window=False,
        sliding_window=131072,
    ),
    "Qwen3-32B": base("qwen3", 64, 5120, 64, 8, 151936, 40960, intermediate_size=25600, **QWEN_DENSE),
    "Mixtral-8x7B": base("mixtral", 32, 4096, 32, 8, 32000, 32768, **MIXTRAL),
    "Qwen3-30B-A3B": base("qwen3_moe", 48, 2048, 32, 4, 151936, 40960, **QWEN_MOE),
    "gpt-oss-20b": base("gpt_oss", 24, 2880, 64, 8, 201088, 131072, **OSS)
    | {"layer_types": ["sliding_attention", "full_attention"] * 12},
    "DeepSeek-V3": latent("deepseek_v3", 128, 129280, 163840, 256, 3),
    "Kimi-K2": latent("kimi_k2", 64, 163840, 131072, 384, 1),
    "Llama-4-Scout": llama4(16, 1, 10485760, no_rope_layers=[]),
    "Llama-4-Maverick": llama4(128, 2, 1048576, no_rope_layers=[1, 1, 1, 0] * 12),
    "MiniMax-M2.5": base("minimax_m2", 62, 3072, 48, 8, 200064, 196608, **MINIMAX, use_qk_norm=True),
}


def written(folder, found):
    folder.mkdir(exist_ok=True)
    file = folder / "config.json"
    file.write_text(found if isinstance(found, str) else json.dumps(found), encoding="utf-8")
    return file


def without(found, *keys):
    return {key: value for key, value in found.items() if key not in keys}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_config_gives_the_model_of_the_table(tmp_path, name):
    file = written(tmp_path / "mine", PUBLIC[name])
    found, known = model(str(file)), model(name)
    assert found.name == "mine"
    assert replace(found, name=known.name) == known
    assert model(str(file.parent)) == found


def test_every_family_is_tried():
    tried = {found["model_type"] for found in PUBLIC.values()} | {"llama4_text", "deepseek_v2"}
    assert set(FAMILIES) == tried


def test_deepseek_v2_has_no_bias_in_its_router(tmp_path):
    found = model(str(written(tmp_path, latent("deepseek_v2", 128, 129280, 163840, 256, 3))))
    assert model("DeepSeek-V3").params_total - found.params_total == 58 * 256


@pytest.mark.parametrize(
    ("found", "layers"),
    [
        (PUBLIC["Mistral-7B"] | {"sliding_window": 4096}, 32),
        (PUBLIC["Qwen3-32B"] | {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 60}, 4),
        (without(PUBLIC["gpt-oss-20b"], "layer_types"), 12),
    ],
)
def test_windows(tmp_path, found, layers):
    assert model(str(written(tmp_path, found))).window_layers == layers


def test_tied_embeddings_and_biases(tmp_path):
    plain, tied, biased = (
        model(str(written(tmp_path, LLAMA | more)))
        for more in ({}, {"tie_word_embeddings": True}, {"attention_bias": True})
    )
    assert plain.params_total - tied.params_total == 128256 * 4096
    assert biased.params_total - plain.params_total == 32 * ((32 + 16) * 128 + 4096)


DEEPSEEK, OSS_20B, QWEN = PUBLIC["DeepSeek-V3"], PUBLIC["gpt-oss-20b"], PUBLIC["Qwen3-30B-A3B"]
BAD = {
    "two keys missing": (without(LLAMA, "hidden_size", "vocab_size"), "missing: hidden_size, vocab_size"),
    "null counts as missing": (LLAMA | {"num_hidden_layers": None}, "missing: num_hidden_layers"),
    "experts missing": (without(QWEN, "num_experts", "num_experts_per_tok"), "missing: num_experts, num_experts_per_t"),
    "latent rank missing": (without(DEEPSEEK, "kv_lora_rank"), "missing: kv_lora_rank"),
    "heads missing": (without(LLAMA, "num_attention_heads"), "missing: num_attention_heads"),
    "kv heads missing": (without(PUBLIC["Qwen3-32B"], "num_key_value_heads"), "missing: num_key_value_heads"),
    "kv heads": (LLAMA | {"num_key_value_heads": 5}, "num_attention_heads 32 does not divide by num_key_value_heads 5"),
    "head_dim": (LLAMA | {"num_attention_heads": 24}, "hidden_size 4096 does not divide by num_attention_heads 24"),
    "odd head_dim": (LLAMA | {"head_dim": 127}, "head_dim 127 is odd"),
    "wide head_dim": (LLAMA | {"hidden_size": 64, "head_dim": 128}, "head_dim 128 is more than hidden_size 64"),
    "experts": (QWEN | {"num_experts_per_tok": 129}, "num_experts_per_tok 129 is more than num_experts 128"),
    "dense layers": (DEEPSEEK | {"first_k_dense_replace": 62}, "first_k_dense_replace 62 is more than"),
    "layer types": (OSS_20B | {"layer_types": ["full_attention"]}, "layer_types has 1 entries for 24 layers"),
    "unknown layers": (OSS_20B | {"layer_types": ["linear_attention"] * 24}, "layer_types has linear_attention"),
    "no window": (without(OSS_20B, "sliding_window"), "layer_types has windowed layers, but sliding_window is absent"),
    "negative": (
        LLAMA | {"num_hidden_layers": -3},
        "num_hidden_layers is -3; it must be a whole number from 1 to",
    ),
    "zero": (LLAMA | {"num_key_value_heads": 0}, "num_key_value_heads is 0"),
    "huge": (LLAMA | {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
    "text": (LLAMA | {"hidden_size": "4096"}, 'hidden_size is "4096"'),
    "fraction": (LLAMA | {"hidden_size": 4096.5}, "hidden_size is 4096.5"),
    "truth": (LLAMA | {"hidden_size": True}, "hidden_size is true"),
    "list": (LLAMA | {"hidden_size": list(range(99))}, r"hidden_size is \[0, 1"),
    "flag": (LLAMA | {"tie_word_embeddings": "no"}, "it must be true or false"),
    "no list": (OSS_20B | {"layer_types": 3}, "layer_types is 3; it must be a list"),
    "family": (
        {"model_type": "mamba", "num_hidden_layers": 3},
        "model_type 'mamba' is not supported; supported: llama",
    ),
    "no family": (without(LLAMA, "model_type"), "model_type None is not supported"),
    "an odd family": (LLAMA | {"model_type": ["llama"]}, "is not supported"),
    "no transformer": ({"name": "a web page"}, "not a transformer's config.json"),
    "no object": ("[1, 2]", "one JSON object"),
    "not JSON": ("{'hidden_size': 4096}", "not JSON: .* in line 1"),
    "empty": ("", "not JSON"),
    "nested": ("[" * 100_000, "not JSON"),
    "infinite": (json.dumps(LLAMA | {"hidden_size": float("inf")}), "hidden_size is Infinity"),
    "large": (" " * (4 * 2**20 + 1), "are no config.json"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_fault_is_one_line(tmp_path, fault):
    found, message = BAD[fault]
    file = written(tmp_path, found)
    with pytest.raises(ModelError, match=message) as caught:
        model(str(file))
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(file)) + 300


def test_bytes_that_are_no_text(tmp_path):
    file = tmp_path / "config.json"
    file.write_bytes(b"\xff\xfe\x00weights")
    with pytest.raises(ModelError, match="not JSON"):
        model(str(file))


def test_a_folder_without_a_config(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json: no such file"):
        model(str(tmp_path))
