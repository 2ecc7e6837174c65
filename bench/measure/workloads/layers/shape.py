"""The shapes of a layer and of a step, and the Work that follows from them.

Work is compulsory: of the whole layer its weights, its KV cache and its two inputs and outputs; what passes between
the parts need not reach memory and is counted only where a part stands alone. So the parts' bytes add up to more than
the whole's; their flops are equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import work
from bench.schema import DeviceInfo


@dataclass(frozen=True)
class Shape:
    """The layer of a model as one of `ranks` tensor-parallel ranks holds it; no rank talks to another here."""

    model: str
    ranks: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int

    @property
    def products(self) -> Mapping[str, tuple[int, int]]:
        """(n, k) of each weight matrix, by the name of its part."""
        inner = self.heads * self.head_dim
        return {
            "QKV": (inner + 2 * self.kv_heads * self.head_dim, self.width),
            "O": (self.width, inner),
            "gate-up": (2 * self.ffn, self.width),
            "down": (self.width, self.ffn),
        }

    @property
    def weights(self) -> int:
        """Parameters: the matrices and the gains of two norms."""
        return sum(n * k for n, k in self.products.values()) + 2 * self.width


# The layer that is always measured, and a larger one as each of two ranks holds it (meta-llama, config.json of each).
SHAPES = (
    Shape("Llama-3.1-8B", 1, 4096, 32, 8, 128, 14336),
    Shape("Llama-3.1-70B", 2, 8192, 32, 4, 128, 14336),
)


# Whole layers and their products predict each other's time, in every probe that measures them.
FAMILY = "transformer layer"


@dataclass(frozen=True)
class Span:
    """`batch` sequences of a step, each with `new` tokens, the last ones of its `context`."""

    batch: int
    new: int
    context: int

    @property
    def tokens(self) -> int:
        return self.batch * self.new

    @property
    def phase(self) -> str:
        return "decode" if self.new == 1 else "prefill"


def dtype_of(info: DeviceInfo) -> str:
    """The dtype that a model is served in here, "" where there is none."""
    return next((dtype for dtype in ("bfloat16", "float16", "float32") if dtype in info.units), "")


def parts(shape: Shape, spans: Sequence[Span], dtype: str, unit: str) -> dict[str, tuple[int, work.Work]]:
    """(how often a layer launches it, Work of one launch) of each distinct part of a step.

    Attention is one launch for each span. Rotary includes its table, one complex64 for each pair of a token's head.
    """
    size, tokens = work.ITEMSIZE[dtype], sum(span.tokens for span in spans)
    head, heads, kv_heads = shape.head_dim, shape.heads, shape.kv_heads

    product = {name: (1, work.gemm(tokens, n, k, dtype, unit)) for name, (n, k) in shape.products.items()}
    turned = tokens * head * (size * (2 * heads + 4 * kv_heads) + 4)
    return {
        "norm + residual": (2, work.move(size * (4 * tokens + 1) * shape.width)),
        "QKV": product["QKV"],
        "rotary + KV append": (1, work.move(turned)),
        **{f"{span.phase} attention": (1, _attention(shape, span, dtype, unit)) for span in spans},
        "O": product["O"],
        "gate-up": product["gate-up"],
        "gated activation": (1, work.move(3 * size * tokens * shape.ffn)),
        "down": product["down"],
    }


def whole(shape: Shape, spans: Sequence[Span], dtype: str, unit: str) -> work.Work:
    """The Work of a layer: flops of its parts; weights, the cache with its new rows, rotary table, inputs, outputs."""
    size, tokens = work.ITEMSIZE[dtype], sum(span.tokens for span in spans)
    flops = sum(count * part.flops for count, part in parts(shape, spans, dtype, unit).values())
    moved = shape.weights + resident(shape, spans) + 4 * tokens * shape.width
    return work.Work(flops, unit, dtype, bytes=float(size * moved + 4 * tokens * shape.head_dim))


def resident(shape: Shape, spans: Sequence[Span]) -> int:
    """Elements of the KV cache."""
    return sum(2 * span.batch * span.context * shape.kv_heads * shape.head_dim for span in spans)


def passing(shape: Shape, spans: Sequence[Span]) -> int:
    """Elements between the parts that live at once, at most: what the gated MLP holds beside the residual stream."""
    return sum(span.tokens for span in spans) * (6 * shape.width + 3 * shape.ffn)


def refusal(info: DeviceInfo, budget, shape: Shape, spans: list[Span], dtype: str) -> str:
    """Why a layer is too large for this budget, or "". The first model's weights do not count: it is the question."""
    size, room = work.ITEMSIZE[dtype], budget.memory * info.memory_bytes
    weights = size * shape.weights
    beside = size * (resident(shape, spans) + passing(shape, spans))
    asked = beside if shape == SHAPES[0] else beside + weights
    if asked > room:
        return f"needs {asked / 2**30:.1f} GiB; this budget allows a case {room / 2**30:.1f} GiB"
    if beside + weights > info.memory_bytes / 4:
        return f"needs {(beside + weights) / 2**30:.1f} GiB, over a quarter of the memory"
    return ""


def _attention(shape: Shape, span: Span, dtype: str, unit: str) -> work.Work:
    return work.attention(
        span.batch,
        shape.heads,
        shape.kv_heads,
        span.new,
        span.context,
        shape.head_dim,
        dtype,
        unit,
        causal=span.new > 1,
    )
