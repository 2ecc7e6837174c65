"""How many bytes an element takes with its scales, and in which dtype it is multiplied."""

from dataclasses import dataclass
from difflib import get_close_matches


class UnknownFormat(ValueError):
    """No format has that name; the message names those that exist."""


@dataclass(frozen=True)
class Format:
    """A number format of weights, activations or a KV cache.

    scale: bytes of scale and zero point per group of `group` elements (0: one scale for so many that it does not
    count). math: the dtype of bench.work.ITEMSIZE that a tensor unit multiplies it in; INT4 is stored in 4 bits and
    multiplied as bfloat16, for no current GPU has a tensor roof for it.
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
FORMATS = {
    each.name: each
    for each in (
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
}

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
    """The formats of one deployment.

    weights: every linear layer; experts: the routed experts where they differ (gpt-oss is released so); head: the
    embedding and the LM head. math: linear layers multiply in their weights' own dtype, otherwise in that of the
    activations (weight-only). Activations move at their own width even then: quantising them is taken as fused into
    the operation before, and its saving on the next read is not claimed. unit: "tensor", or "vector" on a machine
    whose matrices run there. Logits are float32.
    """

    weights: Format = FORMATS["bf16"]
    activations: Format = FORMATS["bf16"]
    kv: Format = FORMATS["bf16"]
    head: Format = FORMATS["bf16"]
    logit_bytes: int = 4
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
