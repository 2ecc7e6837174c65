"""A transformer's shapes: its parameters, its KV cache and which keys a query sees."""

from dataclasses import dataclass, field
from functools import cached_property

from bench.transformer.formats import Format

# window_kind -> which keys of a windowed layer a query sees: the last w, or those of its own aligned chunk of w
WINDOW_KINDS = ("", "sliding", "chunked")


@dataclass(frozen=True)
class Model:
    """One decoder of gated feed-forward layers, dense or of experts, with grouped-query or latent attention.

    kv_heads: heads for MHA, 1 for MQA. kv_rank > 0 makes the attention latent (MLA), with q_rank 0 where queries are
    not compressed. window: tokens that each of `window_layers` layers sees (window_kind). extra_*: parameters that
    multiply nothing (norms, biases, sinks). context: the longest the model was made for, 0 if unknown.
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
        faults = (
            (self.heads % self.kv_heads, f"{self.heads} heads do not divide into {self.kv_heads} KV heads"),
            (
                self.dense_layers + self.moe_layers != self.layers or self.dense_layers < 0,
                f"{self.moe_layers} expert layers and {self.dense_layers} dense ones are not {self.layers} layers",
            ),
            (self.dense_layers and self.ffn < 1, "dense layers need a feed-forward width"),
            (
                self.moe_layers and min(self.experts, self.active_experts, self.expert_ffn) < 1,
                "expert layers need experts, experts per token and their width",
            ),
            (self.active_experts > self.experts, f"{self.active_experts} experts per token of only {self.experts}"),
            (self.window_layers > self.layers, f"{self.window_layers} windowed layers of only {self.layers}"),
            (self.window_kind not in WINDOW_KINDS, f"window kind {self.window_kind!r} is neither sliding nor chunked"),
            (
                self.window_layers and not (self.window > 0 and self.window_kind),
                "windowed layers need a window and its kind",
            ),
            (
                self.latent and min(self.nope_dim, self.rope_dim, self.v_dim) < 1,
                "latent attention needs its three head dimensions",
            ),
            (self.latent and self.window_layers, "windows over latent attention are not modelled"),
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
