"""Base units to human text and back: the only file that spells "GB/s".

Inside the suite every quantity is in SI base units (seconds, bytes, flops, hertz, watts, joules) and 1 GB is
1e9 bytes. Sizes of memory and of buffers are powers of two by nature, so they print in GiB and say so.
"""

import math
import re
from collections.abc import Callable

from bench.work import RoofKey

_SI = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_ENERGY = ((1e6, "M"), (1e3, "k"), *_SMALL, (1e-12, "p"))
_IEC = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_DURATION = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def digits(value: float, significant: int = 3) -> str:
    """The number with `significant` digits and no exponent: 4.8, 989, 0.0123."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, significant - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    # 9.999 rounds up to 10.00: one digit too many, so round again from the rounded value
    if places and abs(float(text)) >= 10 ** (significant - places):
        text = f"{value:.{places - 1}f}"
    return text


def _scaled(value: float, steps, unit: str, significant: int) -> str:
    if not math.isfinite(value):
        return f"{value:g} {unit}"
    magnitude = abs(value)
    for factor, prefix in steps:
        # half a unit in the last digit below the step already prints as the step ("1.00 T", not "1000 G")
        if magnitude >= factor * (1 - 0.5 * 10.0**-significant):
            return f"{digits(value / factor, significant)} {prefix}{unit}".rstrip()
    factor, prefix = steps[-1]
    return f"{digits(value / factor, significant)} {prefix}{unit}".rstrip()


def rate(key: str) -> str:
    """The unit of a roof, by its key: FLOP/s, OP/s for integers, B/s for channels."""
    if not RoofKey(key).is_compute:
        return "B/s"
    return "OP/s" if RoofKey(key).dtype.startswith("int") else "FLOP/s"


def rate_text(value: float, key: str, significant: int = 3) -> str:
    """A roof's rate: rate_text(4.8e12, "dram") is "4.80 TB/s"."""
    return _scaled(value, _SI, rate(key), significant)


def bandwidth(value: float, significant: int = 3) -> str:
    return _scaled(value, _SI, "B/s", significant)


def flops(value: float, significant: int = 3) -> str:
    return _scaled(value, _SI, "FLOP/s", significant)


def hertz(value: float, significant: int = 3) -> str:
    return _scaled(value, _SI, "Hz", significant)


def watts(value: float, significant: int = 3) -> str:
    return _scaled(value, _SI, "W", significant)


def joules(value: float, per: str = "", significant: int = 3) -> str:
    """Energy, or energy per something: joules(8.1e-13, "FLOP") is "0.810 pJ/FLOP"."""
    if per:
        # what is compared side by side keeps one unit
        return f"{digits(value * 1e12, significant)} pJ/{per}"
    return _scaled(value, _ENERGY, "J", significant)


def seconds(value: float, significant: int = 3) -> str:
    if abs(value) >= 120:
        return f"{int(value // 60)} min {value % 60:.0f} s"
    return _scaled(value, _SMALL, "s", significant)


def size(value: float, significant: int = 3) -> str:
    """A size of memory, in powers of two: size(2**30) is "1 GiB"."""
    for factor, unit in _IEC:
        if abs(value) >= factor:
            text = digits(value / factor, significant)
            return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"
    return f"{value:.0f} B"


def intensity(value: float, significant: int = 3) -> str:
    return f"{digits(value, significant)} FLOP/B"


def percent(ratio: float, significant: int = 3) -> str:
    return f"{digits(100 * ratio, significant)} %"


def number(value: float, significant: int = 3) -> str:
    """A bare number with an SI prefix, for axes whose title carries the unit: number(1e13, 1) is "10 T"."""
    return _scaled(value, _SI, "", significant)


def between(low: float, high: float, text: Callable[[float], str]) -> str:
    """Two values that say their unit once: between(4.7e12, 4.9e12, bandwidth) is "4.70–4.90 TB/s"."""
    first, last = text(low), text(high)
    value, space, unit = first.rpartition(" ")
    return f"{value}–{last}" if space and last.endswith(f" {unit}") else f"{first}–{last}"


def duration(text: str) -> float:
    """Seconds from "20us", "1.5ms", "3" (seconds). Raises ValueError on anything else, NaN and negatives included."""
    match = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*(ns|us|µs|ms|s|m|h)?\s*", text)
    if not match:
        raise ValueError(f"not a duration: {text!r} (examples: 20us, 1.5ms, 3s)")
    return float(match[1]) * _DURATION[match[2] or "s"]
