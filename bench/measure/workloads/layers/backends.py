"""Which attention kernel ran: read back from the operators that torch dispatched, never asked for beforehand.

torch's own forecast (torch._fused_sdp_choice) is private, and a build may run another one: 2.11 made cuDNN the first
choice on Hopper.
"""

import warnings
from collections.abc import Callable
from typing import Any

from bench.measure.device.protocol import Unsupported

# torch's names of its backends, in one word each (torch.nn.attention.SDPBackend).
SHORT = {
    "FLASH_ATTENTION": "flash",
    "CUDNN_ATTENTION": "cudnn",
    "EFFICIENT_ATTENTION": "efficient",
    "MATH": "math",
    "OVERRIDEABLE": "overrideable",
}
# The operator that each of them dispatches; the softmax that knows rows without a key is the math backend's alone.
_OPERATORS = {
    "_scaled_dot_product_flash_attention": "flash",
    "_scaled_dot_product_flash_attention_for_cpu": "flash",
    "_flash_attention_forward": "flash",
    "_scaled_dot_product_cudnn_attention": "cudnn",
    "_cudnn_attention_forward": "cudnn",
    "_scaled_dot_product_efficient_attention": "efficient",
    "_efficient_attention_forward": "efficient",
    "_scaled_dot_product_fused_attention_overrideable": "overrideable",
    "_scaled_dot_product_attention_math": "math",
    "_safe_softmax": "math",
}


def ran(launched: Callable[[], Any], asked: str = "") -> str:
    """Runs a launch once and names the SDPA backend of it, or "unknown" with the reason.

    That run is a warm-up too: cuDNN plans each shape and its strides at the first call, for about 0.4 s, and keeps the
    plan for all that are alike, as the launches of a ring are. asked: the backend that the launch insists on. Raises
    Unsupported where torch refuses, in its own words, which come as warnings.
    """
    import torch
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
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise  # the one has its own word, the other is no refusal but a broken device
        except RuntimeError as error:
            reasons = [str(each.message).split(" (Triggered")[0] for each in said]
            why = next((reason for reason in reasons if "because" in reason or "not" in reason), str(error))
            who = f"SDPA's {asked} backend" if asked else "SDPA"
            raise Unsupported(f"{who} refuses: {(why.strip() or 'no reason given').splitlines()[0]}") from None
    found = dict.fromkeys(_OPERATORS[name] for name in seen if name in _OPERATORS)
    return " and ".join(found) or "unknown (torch dispatched no attention operator that is known)"
