"""Machines with flat roofs, as the golden values assume, and any that a property may be asked of."""

from bench.analysis.serving.machine import FORMULA, Machine
from bench.roofline import Roof, Roofline


def flat(
    compute: float,
    memory: float,
    *,
    attention: float = 0.0,
    start: float = 0.0,
    memory_bytes: float = 141e9,
    link: float = 450e9,
    alpha: float = 5e-6,
) -> Machine:
    """Every kernel on its roof. attention: a roof of its own for prefill attention."""
    roofs = [Roof("dram", memory), Roof("link", link)]
    for dtype in ("bfloat16", "float8_e4m3", "int8", "float4"):
        roofs.append(Roof(f"tensor.{dtype}.library", compute))
        if attention:
            roofs.append(Roof(f"tensor.{dtype}.attention.library", attention))
    return Machine(
        name="X",
        origin=FORMULA,
        memory_bytes=memory_bytes,
        roofline=Roofline("X", tuple(roofs)),
        launch={"graph": start, "eager": 2 * start},
        latency={"library": 3 * alpha, "custom": alpha},
        typical={},
        typical_origin=FORMULA,
    )
