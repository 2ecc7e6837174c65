"""The suite's dtype names as torch's."""

from typing import Any

from bench.measure.device.protocol import Unsupported

_TORCH = {
    "float64": "float64",
    "float32": "float32",
    "tf32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float8_e4m3": "float8_e4m3fn",
    "int8": "int8",
    "int32": "int32",
    "int64": "int64",
    "float4": "float4_e2m1fn_x2",
}


def torch_dtype(name: str) -> Any:
    """torch's dtype of that name. Raises Unsupported for one that this torch lacks."""
    import torch

    try:
        return getattr(torch, _TORCH[name])
    except (KeyError, AttributeError):
        raise Unsupported(f"torch {torch.__version__} has no dtype {name}") from None
