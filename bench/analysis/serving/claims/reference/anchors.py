"""What the documents' arithmetic stands on: the models and GPUs that they name, and the counts of both."""

from dataclasses import replace
from functools import cache

from bench import theory
from bench.analysis.serving.machine import FORMULA, Machine
from bench.models import model
from bench.roofline import Roof, Roofline
from bench.transformer import FORMATS, Model, Precision
from bench.work import gemm

BF16, FP8, INT4 = FORMATS["bf16"], FORMATS["fp8"], FORMATS["int4-g128"]
H100, H200, A100, A100_40 = "h100-sxm5-80gb", "h200-sxm", "a100-sxm4-80gb", "a100-sxm4-40gb"
# Memory by the products' names, as the documents count it; drivers report more.
NAMED = {H100: 80e9, H200: 141e9, A100: 80e9, A100_40: 40e9}
# TPU v5e: peak FLOP/s, B/s and memory (JAX scaling book); the suite's table holds GPUs only.
TPU_BANDWIDTH, TPU_MEMORY = 8.2e11, 16e9
# Parameters that the text itself rounds 405B to.
ROUNDED = 405e9


def peak(sku: str, dtype: str = "bfloat16") -> float:
    return theory.product(sku).roofline.roof(f"tensor.{dtype}").rate


def bandwidth(sku: str) -> float:
    return theory.product(sku).roofline.roof("dram").rate


def link(sku: str) -> float:
    """B/s to another GPU, one way."""
    return theory.product(sku).roofline.roof("link").rate


def ridge(sku: str, dtype: str = "bfloat16") -> float:
    return peak(sku, dtype) / bandwidth(sku)


def llama(size: str) -> Model:
    """7B and 2-70B have Llama 2's vocabulary, the others are Llama 3.1."""
    return model({"7B": "Llama-2-7B", "2-70B": "Llama-2-70B"}.get(size, f"Llama-3.1-{size}"))


def mha(shape: Model) -> Model:
    """The same model with a KV head for every query head."""
    return replace(shape, kv_heads=shape.heads)


def kv(shape: Model, tokens: float = 1.0, form=BF16) -> float:
    """Bytes of KV."""
    return shape.kv_bytes_per_token(form) * tokens


def layer_weights(shape: Model) -> int:
    """Weights of all layers that multiply a token, the LM head left out."""
    return shape.matmul_params_token - shape.head_weights


def attention_flops(shape: Model, pairs: float) -> float:
    """Scores and values for so many (query, key) pairs, over all layers."""
    return 4.0 * shape.layers * shape.heads * shape.head_dim * pairs


def eleven(shape: Model, tokens: float) -> float:
    """FLOP by the chapter's own count: 11 d^2 weights per layer."""
    return 2.0 * shape.layers * 11 * tokens * shape.width**2


def intensity(rows: int, width: int) -> float:
    """FLOP/B of `rows` against one square weight."""
    return gemm(rows, width, width, "bfloat16", "tensor").intensity


def streamed(shape: Model, form=BF16) -> float:
    """Bytes of weights read for one token."""
    return shape.matmul_params_token * form.bytes


@cache
def example() -> Machine:
    """The machine of the worked steps: 700 TFLOP/s (300 in prefill attention), 2.8 TB/s, 3 microseconds per kernel."""
    roofs = (Roof("tensor.bfloat16.library", 700e12), Roof("dram", 2.8e12))
    return Machine(
        name="worked example",
        origin=FORMULA,
        memory_bytes=NAMED[H100],
        roofline=Roofline("worked example", roofs),
        launch={"graph": 3e-6},
        typical={"attention prefill": (3 / 7, 1.0)},
        typical_origin=FORMULA,
    )


PLAIN = Precision()
