"""A transformer's shapes: number formats, parameters, the KV cache and which keys a query sees."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property

# window_kind -> which keys of a windowed layer a query sees: the last w, or those of its own aligned chunk of w
WINDOW_KINDS = ("", "sliding", "chunked")


class UnknownFormat(ValueError):
    """No format has that name; the message names those that exist."""


@dataclass(frozen=True)
class Format:
    """A number format of weights, activations or a KV cache. scale: bytes of scale and zero point per group of `group`
    elements (0: one scale for so many that it does not count). math: the dtype of bench.work.ITEMSIZE that a tensor
    unit multiplies it in; INT4 is stored in 4 bits and multiplied as bfloat16, for no current GPU has a tensor roof for
    it.
    """

    name: str
    bits: int
    math: str
    scale: float = 0.0
    group: int = 0

    @property
    def bytes(self) -> float:
        """Bytes per element, scales included."""
        return self.bits / 8 + (self.scale / self.group if self.group else 0.0)


# Block and scale sizes: DeepSeek-V3 (arXiv 2412.19437, 3.3) for fp8-block; AWQ and GPTQ checkpoints for int4-g*;
# OCP Microscaling Formats 1.0 for mxfp4; NVIDIA's NVFP4 (blocks of 16, E4M3 scales).
_FORMATS = (
    Format("fp32", 32, "float32"),
    Format("bf16", 16, "bfloat16"),
    Format("fp16", 16, "float16"),
    Format("fp8", 8, "float8_e4m3"),
    Format("fp8-block", 8, "float8_e4m3", scale=4, group=128 * 128),
    Format("int8", 8, "int8"),
    Format("int4", 4, "bfloat16"),
    Format("int4-g128", 4, "bfloat16", scale=4, group=128),
    Format("int4-g128-symmetric", 4, "bfloat16", scale=2, group=128),
    Format("int4-g32", 4, "bfloat16", scale=4, group=32),
    Format("mxfp4", 4, "float4", scale=1, group=32),
    Format("nvfp4", 4, "float4", scale=1, group=16),
)
FORMATS = {each.name: each for each in _FORMATS}

# The format of a plain product's operands, by their dtype.
FORMAT_OF = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "int8": "int8", "float8_e4m3": "fp8"}
FORMAT_OF |= {"float4": "nvfp4"}


def format_named(name: str) -> Format:
    """The format of that name, in any case. Raises UnknownFormat."""
    key = name.strip().lower()
    if key in FORMATS:
        return FORMATS[key]
    near = get_close_matches(key, FORMATS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownFormat(f"no number format {name!r}; {hint}Known: {', '.join(FORMATS)}")


@dataclass(frozen=True)
class Precision:
    """The formats of one deployment. weights: every linear layer; experts: the routed experts where they differ
    (gpt-oss is released so); head: the embedding and the LM head. math: linear layers multiply in their weights' own
    dtype, otherwise in that of the activations (weight-only). Activations move at their own width even then: quantising
    them is taken as fused into the operation before, and its saving on the next read is not claimed. unit: "tensor", or
    "vector" on a machine whose matrices run there. Logits are float32.
    """

    weights: Format = FORMATS["bf16"]
    activations: Format = FORMATS["bf16"]
    kv: Format = FORMATS["bf16"]
    head: Format = FORMATS["bf16"]
    math: bool = True
    experts: Format | None = None
    unit: str = "tensor"

    @property
    def routed(self) -> Format:
        """The format of the routed experts."""
        return self.experts or self.weights

    def multiplied(self, weights: Format) -> str:
        """The dtype in which a linear layer of those weights multiplies."""
        return weights.math if self.math else self.activations.math


@dataclass(frozen=True)
class Model:
    """One decoder of gated feed-forward layers, dense or of experts, with grouped-query or latent attention. kv_heads:
    heads for MHA, 1 for MQA. kv_rank > 0 makes the attention latent (MLA), with q_rank 0 where queries are not
    compressed. window: tokens that each of `window_layers` layers sees (window_kind). extra_*: parameters that multiply
    nothing (norms, biases, sinks). context: the longest the model was made for, 0 if unknown.
    """

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    experts: int = 0
    active_experts: int = 0
    shared_experts: int = 0
    expert_ffn: int = 0
    dense_layers: int = -1
    moe_layers: int = 0
    q_rank: int = 0
    kv_rank: int = 0
    nope_dim: int = 0
    rope_dim: int = 0
    v_dim: int = 0
    window: int = 0
    window_layers: int = 0
    window_kind: str = ""
    tied: bool = False
    extra_total: int = 0
    extra_active: int = 0
    context: int = 0
    aliases: tuple[str, ...] = field(default=(), compare=False)
    note: str = field(default="", compare=False)

    def __post_init__(self):
        if self.dense_layers < 0:
            object.__setattr__(self, "dense_layers", self.layers - self.moe_layers)
        if fault := self._fault():
            raise ValueError(f"{self.name}: {fault}")

    def _fault(self) -> str:
        """The first contradiction among the shapes, in one line."""
        for name in ("layers", "width", "heads", "kv_heads", "head_dim", "vocab"):
            if getattr(self, name) < 1:
                return f"{name.replace('_', ' ')} must be at least 1, not {getattr(self, name)}"
        experts, layers = self.moe_layers, self.dense_layers + self.moe_layers
        split = f"{experts} expert layers and {self.dense_layers} dense ones are not {self.layers} layers"
        routed = self.experts, self.active_experts, self.expert_ffn
        latent = self.nope_dim, self.rope_dim, self.v_dim
        windowed, kind = self.window_layers, self.window_kind
        faults = (
            (self.heads % self.kv_heads, f"{self.heads} heads do not divide into {self.kv_heads} KV heads"),
            (layers != self.layers or self.dense_layers < 0, split),
            (self.dense_layers and self.ffn < 1, "dense layers need a feed-forward width"),
            (experts and min(routed) < 1, "expert layers need experts, experts per token and their width"),
            (self.active_experts > self.experts, f"{self.active_experts} experts per token of only {self.experts}"),
            (windowed > self.layers, f"{windowed} windowed layers of only {self.layers}"),
            (kind not in WINDOW_KINDS, f"window kind {kind!r} is neither sliding nor chunked"),
            (windowed and not (self.window > 0 and kind), "windowed layers need a window and its kind"),
            (self.latent and min(latent) < 1, "latent attention needs its three head dimensions"),
            (self.latent and windowed, "windows over latent attention are not modelled"),
        )
        return next((text for wrong, text in faults if wrong), "")

    @property
    def latent(self) -> bool:
        """Whether one latent per token is cached in place of keys and values (MLA)."""
        return self.kv_rank > 0

    def attention_weights(self, heads: int | None = None, kv_heads: int | None = None) -> int:
        """Weights of one layer's projections, with only so many of its heads (one rank's)."""
        heads, kv_heads = heads or self.heads, kv_heads or self.kv_heads
        if not self.latent:
            return self.width * self.head_dim * 2 * (heads + kv_heads)
        query = self.nope_dim + self.rope_dim
        queries = self.width * self.q_rank + self.q_rank * heads * query if self.q_rank else self.width * heads * query
        latent = self.width * (self.kv_rank + self.rope_dim) + self.kv_rank * heads * (self.nope_dim + self.v_dim)
        return queries + latent + heads * self.v_dim * self.width

    @cached_property
    def head_weights(self) -> int:
        """Weights of the LM head, and as many of the embedding."""
        return self.vocab * self.width

    @cached_property
    def expert_weights(self) -> int:
        """Weights of one routed expert; a shared one is as wide."""
        return 3 * self.width * self.expert_ffn

    def _matmul(self, experts: int) -> int:
        dense = self.dense_layers * 3 * self.width * self.ffn
        routed = self.moe_layers * (self.width * self.experts + self.expert_weights * (experts + self.shared_experts))
        return self.layers * self.attention_weights() + dense + routed + self.head_weights

    @cached_property
    def matmul_params_token(self) -> int:
        """N_mm: weights that multiply one token, the LM head included and the embedding, which is gathered, not."""
        return self._matmul(self.active_experts)

    @cached_property
    def matmul_params_all(self) -> int:
        """N_mm_all: the same with every expert."""
        return self._matmul(self.experts)

    @property
    def params_total(self) -> int:
        return self.matmul_params_all + (0 if self.tied else self.head_weights) + self.extra_total

    @property
    def params_active(self) -> int:
        """Parameters that one token uses."""
        return self.matmul_params_token + (0 if self.tied else self.head_weights) + self.extra_active

    @property
    def kv_elements(self) -> int:
        """Elements that one layer caches per token: keys and values of the KV heads, or the latent with its key."""
        return self.kv_rank + self.rope_dim if self.latent else 2 * self.kv_heads * self.head_dim

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """(layers, window) of each kind of layer that exists; window 0 sees everything."""
        kinds = ((self.layers - self.window_layers, 0), (self.window_layers, self.window))
        return tuple((layers, window) for layers, window in kinds if layers)

    def kv_bytes_per_token(self, kv: Format) -> float:
        """Bytes that a token adds to the cache while no window is full."""
        return self.layers * self.kv_elements * kv.bytes

    def resident_kv(self, kv: Format, tokens: int) -> float:
        """Bytes that one sequence of `tokens` holds now. Chunked layers drop a whole chunk at its end: see peak_kv."""
        kept = sum(layers * visible_keys(tokens, window, self.window_kind) for layers, window in self.windows)
        return kept * self.kv_elements * kv.bytes

    def peak_kv(self, kv: Format, tokens: int) -> float:
        """The most that a sequence holds on its way to `tokens`: what memory must have room for."""
        kept = sum(layers * (min(tokens, window) if window else tokens) for layers, window in self.windows)
        return kept * self.kv_elements * kv.bytes


def visible_keys(context: int, window: int = 0, kind: str = "sliding") -> int:
    """Keys that the last of `context` tokens sees, itself included; window 0 sees all."""
    if not window or context <= 0:
        return max(context, 0)
    return min(context, window) if kind == "sliding" else (context - 1) % window + 1


def visible_pairs(new: int, cached: int = 0, window: int = 0, kind: str = "sliding") -> int:
    """Causal (query, key) pairs of `new` tokens after `cached`, each query seeing itself and what came before."""
    return _pairs(cached + new, window, kind) - _pairs(cached, window, kind)


def read_keys(new: int, cached: int = 0, window: int = 0, kind: str = "sliding") -> int:
    """Keys that at least one of `new` queries after `cached` sees: what a fused kernel reads once."""
    if not window:
        return cached + new
    return new + (min(cached, window - 1) if kind == "sliding" else cached % window)


def _pairs(tokens: int, window: int, kind: str) -> int:
    """Pairs of a whole prompt from an empty cache."""
    if not window or tokens <= window:
        return tokens * (tokens + 1) // 2
    whole = window * (window + 1) // 2
    if kind == "sliding":
        return whole + (tokens - window) * window
    return tokens // window * whole + _pairs(tokens % window, 0, kind)
