"""What several probes run and share: here what a case may need, rings of cold buffers, and how a result is judged.

torch is imported inside the functions of this room, so that describing cases costs no import.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from bench.measure.device.protocol import CheckFailed, Device
from bench.schema import DeviceInfo, Setup


def dtype_of(info: DeviceInfo) -> str:
    """The dtype that a model is served in here, "" where there is none."""
    return next((dtype for dtype in ("bfloat16", "float16", "float32") if dtype in info.units), "")


def too_large(size: float, info: DeviceInfo, share: float) -> str:
    """Why a case of so many bytes is skipped where it may take that share of the memory, or ""."""
    room = share * info.memory_bytes
    return f"needs {size / 2**30:.1f} GiB; this budget allows a case {room / 2**30:.1f} GiB" if size > room else ""


def over_a_quarter(size: float, info: DeviceInfo) -> str:
    """Why a case of so many bytes is skipped whatever the budget, or ""."""
    return f"needs {size / 2**30:.1f} GiB, over a quarter of the memory" if size > info.memory_bytes / 4 else ""


def ring(make: Callable, check: Callable, size: float, note: Callable | None, device: Device) -> Setup:
    """A cold case made ready: launches of `size` bytes on distinct buffers, as many as it needs.

    make(device) -> one launch; check(the last launch); note(device, the first launch) -> what shows only now.
    """
    launches = [make(device) for _ in range(device.rotation(size, "cold"))]
    return Setup(launches, partial(check, launches[-1]), note(device, launches[0]) if note else {})


def scaled(device: Device, *shape: int, dtype: str, deviation: float = 1.0) -> Any:
    """Random values of that standard deviation."""
    return device.random(*shape, dtype=dtype).mul_(deviation * 3**0.5)


def matrix(device: Device, n: int, k: int, dtype: str) -> Any:
    """A weight matrix that keeps the variance of what it multiplies: a softmax of large scores would show one key."""
    return scaled(device, n, k, dtype=dtype, deviation=k**-0.5)


def no_refusal() -> tuple[type[Exception], ...]:
    """What is no refusal of a library: too little memory, and a broken device (older torch has no word for it)."""
    import torch

    return torch.OutOfMemoryError, getattr(torch, "AcceleratorError", torch.OutOfMemoryError)


def attempted(call: Callable[[], Any]) -> tuple[Any, str]:
    """(what a call returns, "") or, where this torch cannot run it here, (None, the first line of its own words).

    An older torch has no such function, or has it for newer GPUs alone.
    """
    try:
        return call(), ""
    except no_refusal():
        raise
    except (AttributeError, ImportError, RuntimeError, TypeError, ValueError) as error:
        return None, (str(error).strip() or type(error).__name__).splitlines()[0]


def compare(what: str, found: Any, expected: Any, allowed=5e-2, reference="the plain reference") -> None:
    """Raises CheckFailed where two tensors differ by more than a share of the second's norm, by default some roundings
    to 8 bits of mantissa in a row.
    """
    error = float((found.double() - expected).norm() / expected.norm())
    if not error <= allowed:
        raise CheckFailed(f"{what} differs from {reference} by {error:.2g} (allowed {allowed:g})")


def compare_sum(what: str, found: Any, expected: float) -> None:
    """Raises CheckFailed where a sum of positive numbers is off: by what short float32 sums cannot explain."""
    if not abs(float(found) - expected) <= 1e-5 * expected:
        raise CheckFailed(f"{what} sums to {float(found):g}, not {expected:g}")
