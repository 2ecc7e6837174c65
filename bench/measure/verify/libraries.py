"""Whether library calls take as long here as for whoever just calls them, and whether graphs hold what they should."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from bench.measure.device.protocol import Unsupported
from bench.measure.probes import probes
from bench.measure.probes.bandwidth import dram_bytes
from bench.measure.verify.assumption import NO_COMPILER, NO_GPU, Outcome, absent, assumption, compiled, failed, passed
from bench.measure.verify.interval import interval, judged
from bench.measure.verify.kernels import planned
from bench.measure.verify.pairs import MIB, SAMPLE, Timed, ratios, stream, timed
from bench.measure.workloads import matmul

# Our rate over a plain caller's, at least; at most, where both make the same call.
LEAST, MOST = 0.99, 1.05

_PLAIN = {
    "expected": f"≥ {LEAST:g} of a plain loop",
    "fix": "the suite's own launch or timing costs something: its library numbers are too low here",
    "seconds": 1.0,
}


@assumption(**_PLAIN)
def gemm(device: Any, rounds: int) -> Outcome:
    """Our GEMM is as fast as torch.mm in a plain loop with a plain clock, on the same tensors."""
    import torch

    rows, width, dtype = (8192, 8192, "bfloat16") if device.info.sms else (1024, 768, "float32")
    a, b, c = matmul.operands(device, rows, width, width, dtype)
    ours = timed([matmul.launch(device, a, b, c, dtype)])
    return _beside(device, rounds, ours, partial(torch.mm, a, b, out=c))


@assumption(**_PLAIN)
def scaled_mm(device: Any, rounds: int) -> Outcome:
    """Our float8 GEMM is as fast as torch._scaled_mm in a plain loop with plain events, on the same tensors."""
    import torch

    if "float8_e4m3" not in device.info.units:
        return absent("no float8 here" if device.info.sms else NO_GPU)
    a, b, c = matmul.operands(device, 8192, 8192, 8192, "float8_e4m3")
    one = torch.ones((), dtype=torch.float32, device=a.device)
    ours = timed([matmul.launch(device, a, b, c, "float8_e4m3", "fast_accum")])
    plain = partial(torch._scaled_mm, a, b, scale_a=one, scale_b=one, out_dtype=c.dtype, use_fast_accum=True, out=c)
    return _beside(device, rounds, ours, plain)


@assumption(**_PLAIN)
def sdpa(device: Any, rounds: int) -> Outcome:
    """Our attention is as fast as torch's scaled_dot_product_attention in a plain loop, on the same tensors."""
    from torch.nn.functional import scaled_dot_product_attention as attention

    heads, tokens, dtype = (32, 4096, "bfloat16") if device.info.sms else (8, 256, "float32")
    tensors = [device.random(1, heads, tokens, 128, dtype=dtype) for _ in range(3)]
    launch = partial(attention, *tensors, is_causal=True)
    return _beside(device, rounds, timed([launch]), launch)


@assumption(**_PLAIN)
def copy(device: Any, rounds: int) -> Outcome:
    """Our copy is as fast as torch's copy_ in a plain loop, on the same arrays, larger than every cache."""
    if not compiled(device):
        return absent(NO_COMPILER)
    ours = stream(device, "copy", dram_bytes(device.info), "cold", ring=1)
    x, y = ours.launches[0].args[:2]
    return _beside(device, rounds, ours, partial(y.copy_, x), most=float("inf"))


def _beside(device: Any, rounds: int, ours: Timed, plain: Callable[[], Any], most: float = MOST) -> Outcome:
    count = ours.count(device, 4 * SAMPLE)

    def theirs() -> float:
        plain()
        return _plainly(device, plain, count)

    def mine() -> float:
        ours.seconds(device, 1)
        return ours.seconds(device, count)

    reason = "a plain loop gets more" if most == float("inf") else "a plain loop reads another time for the same call"
    return judged(interval(ratios(rounds, theirs, mine)), LEAST, most, reason)


def _plainly(device: Any, launch: Callable[[], Any], count: int) -> float:
    """Seconds of one launch as anybody would time it: events around a loop on a GPU, a clock around it elsewhere."""
    if not device.info.sms:
        begun = time.perf_counter()
        for _ in range(count):
            launch()
        return (time.perf_counter() - begun) / count
    import torch

    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begun.record()
    for _ in range(count):
        launch()
    ended.record()
    torch.cuda.synchronize()
    return begun.elapsed_time(ended) / 1e3 / count


@assumption(
    expected="every one, and the next after a failure",
    fix="short cases of what is named are paced by the host, or all that follow one: their times read too long",
    timed=False,
    seconds=10.0,
)
def captures(device: Any, rounds: int) -> Outcome:
    """Every library operation goes into a graph; a capture that fails leaves nothing behind, and the next one works."""
    if not device.info.sms:
        return absent(NO_GPU)
    taken, refused = 0, []
    for name in ("gemm", "attention", "layer", "decode", "quantised", "moe", "fusion"):
        if name not in probes():
            continue
        for case in planned(device.info, probes()[name]):
            if case.timing or case.work.bytes > 256 * MIB:
                continue
            try:
                setup = case.prepare(device)
                node = replace(case, timing="graph")
                device.begin(node)
                device.time(node, setup.launches[:2], 2)
                taken += 1
            except Unsupported as error:
                words = " ".join(str(value) for value in case.params.values() if isinstance(value, str))
                refused.append(f"{name} {words}: {error}")
    text = f"{taken} captured" + (f", {len(refused)} refused" if refused else "")
    if problem := after_a_failure(device):
        return failed(text, problem)
    return failed(text, "; ".join(refused[:5])) if any("captured" in each for each in refused) else passed(text)


def after_a_failure(device: Any) -> str:
    """What is wrong after a capture that cannot work, or "" where the next one does."""
    spoiled = timed([device.synchronize], timing="graph")
    device.begin(spoiled.case)
    try:
        spoiled.seconds(device, 4)
        return "a launch that waits for the GPU was captured"
    except Exception:  # how a device says so is its own affair; that the next one works is what counts
        pass
    sound = stream(device, "copy", MIB, "hot", ring=1)
    try:
        timed(sound.launches, timing="graph").seconds(device, 100)
    except Exception as error:
        return f"after a failed capture nothing can be captured any more: {error}"
    return ""
