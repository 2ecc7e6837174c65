"""Whether others are faster: libraries called in a plain loop, plain kernels that share no line with ours, likwid."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

from bench.measure.device.host import CORES
from bench.measure.device.protocol import Kernel, Unsupported
from bench.measure.probes import probes
from bench.measure.probes.bandwidth import dram_bytes
from bench.measure.verify import Outcome, absent, failed, passed
from bench.measure.verify.kernels import planned
from bench.measure.verify.launches import MIB, SAMPLE, Launch, TimedLaunches, chains, plainly, steps, stream
from bench.measure.verify.pairs import interval, judged, ratios
from bench.measure.workloads import matmul


def gemm(device: Any, rounds: int, least: float, most: float) -> Outcome:
    import torch

    rows, width, dtype = (8192, 8192, "bfloat16") if device.info.sms else (1024, 768, "float32")
    a, b, c = matmul.operands(device, rows, width, width, dtype)
    ours = TimedLaunches(device, [matmul.launch(device, a, b, c, dtype)])
    return _beside(rounds, least, most, ours, partial(torch.mm, a, b, out=c))


def scaled_mm(device: Any, rounds: int, least: float, most: float) -> Outcome:
    import torch

    if "float8_e4m3" not in device.info.units:
        return absent("no float8 here")
    a, b, c = matmul.operands(device, 8192, 8192, 8192, "float8_e4m3")
    one = torch.ones((), dtype=torch.float32, device=a.device)
    ours = TimedLaunches(device, [matmul.launch(device, a, b, c, "float8_e4m3", "fast_accum")])
    plain = partial(torch._scaled_mm, a, b, scale_a=one, scale_b=one, out_dtype=c.dtype, use_fast_accum=True, out=c)
    return _beside(rounds, least, most, ours, plain)


def sdpa(device: Any, rounds: int, least: float, most: float) -> Outcome:
    from torch.nn.functional import scaled_dot_product_attention as attention

    heads, tokens, dtype = (32, 4096, "bfloat16") if device.info.sms else (8, 256, "float32")
    tensors = [device.random(1, heads, tokens, 128, dtype=dtype) for _ in range(3)]
    launch = partial(attention, *tensors, is_causal=True)
    return _beside(rounds, least, most, TimedLaunches(device, [launch]), launch)


def copy(device: Any, rounds: int, least: float, most: float) -> Outcome:
    ours = stream(device, "copy", dram_bytes(device.info), "cold", ring=1)
    x, y = ours.launches[0].args[:2]
    return _beside(rounds, least, most, ours, partial(y.copy_, x))


def _beside(rounds: int, least: float, most: float, ours: TimedLaunches, plain: Launch) -> Outcome:
    count = ours.count(4 * SAMPLE)

    def theirs() -> float:
        plain()
        return plainly(ours.device, plain, count)

    def mine() -> float:
        ours.seconds(1)
        return ours.seconds(count)

    reason = "a plain loop gets more" if most == inf else "a plain loop reads another time for the same call"
    return judged(interval(ratios(rounds, theirs, mine)), least, most, reason)


def captures(device: Any, rounds: int) -> Outcome:
    taken, refused = 0, []
    known = probes()
    names = ("gemm", "attention", "layer", "decode", "quantised", "moe", "fusion")
    for name, case in planned(device.info, [known[name] for name in names if name in known]):
        if case.timing or case.work.bytes > 256 * MIB:
            continue
        try:
            setup = case.prepare(device)
            node = replace(case, timing="graph")
            device.begin(node)
            device.time(node, setup.launches[:2], 2)
            taken += 1
        except Unsupported as error:
            refused.append(f"{name}: {error}")
    text = f"{taken} captured" + (f", {len(refused)} refused" if refused else "")
    if problem := _after_a_failure(device):
        return failed(text, problem)
    return failed(text, "; ".join(refused[:5])) if any("captured" in refusal for refusal in refused) else passed(text)


def _after_a_failure(device: Any) -> str:
    """What is wrong after a capture that cannot work, or "" where the next one does."""
    spoiled = TimedLaunches(device, [device.synchronize], timing="graph")
    device.begin(spoiled.case)
    try:
        spoiled.seconds(4)
        return "a launch that waits for the GPU was captured"
    except Exception:  # how a device says so is its own affair; that the next one works is what counts
        pass
    sound = replace(stream(device, "copy", MIB, "hot", ring=1), timing="graph")
    try:
        sound.seconds(100)
    except Exception as error:
        return f"after a failed capture nothing can be captured any more: {error}"
    return ""


def plain_memory(device: Any, rounds: int, mix: str, most: float) -> Outcome:
    stores = device.info.stores if mix != "read" else device.info.stores[:1]
    # the roof's own size: of four last levels, walked again and again, a tenth was once served by the cache
    rivals = [stream(device, mix, dram_bytes(device.info), "cold", ring=1, store=store) for store in stores]
    ours = min(rivals, key=lambda rival: min(rival.seconds(2) for _ in range(4)))
    # a sum ends every block with an addition to one address: a few blocks per SM
    waves = 8 if mix == "read" else 0
    kernel = Kernel("witness", f"witness_{mix}", None, elements=2 if mix != "triad" else 3, waves=waves)
    # the same arrays, or where they lie would be compared too
    arrays_and_n = ours.launches[0].args[: 4 if mix == "triad" else 3]
    scalars = (0.75,) if mix == "triad" else ()
    plain = TimedLaunches(device, [partial(device.load(kernel), *arrays_and_n, *scalars)], cache="cold")
    return race(rounds, most, ours, plain)


def plain_fma(device: Any, rounds: int, most: float) -> Outcome:
    long = steps(device)
    kernel = Kernel("witness", "witness_fma", None, elements=2)
    return race(rounds, most, chains(device, long), chains(device, long, kernel))


def race(rounds: int, most: float, ours: TimedLaunches, plain: TimedLaunches) -> Outcome:
    """Whether plain launches are no faster than ours."""
    count = ours.count(2 * SAMPLE)
    plain.seconds(1)
    ratio = interval(ratios(rounds, partial(ours.seconds, count), partial(plain.seconds, count)))
    return judged(ratio, most=most, reason="a plain kernel is faster than ours")


def likwid(device: Any, rounds: int, most: float, kernels: Mapping[str, Sequence[str]]) -> Outcome:
    outcomes, footprint = [], dram_bytes(device.info)
    for mix, names in kernels.items():
        ours = stream(device, mix, footprint, "cold", ring=1)
        count = ours.count(0.3)
        name = next((each for each in names if _likwid(each, footprint, 1)), "")
        if not name:
            return absent(f"likwid-bench runs none of {', '.join(names)} here")
        shares = [ours.seconds(count) * _likwid(name, footprint, count) / ours.work.bytes for _ in range(8)]
        outcomes.append(judged(interval(shares), most=most, reason=f"likwid's {name} is faster than our {mix}"))
    return max(outcomes, key=lambda outcome: ("pass", "not available", "fail").index(outcome.state))


def _likwid(name: str, size: int, iterations: int) -> float:
    """Bytes per second of one run; 0 where likwid-bench refuses."""
    workers = f"N:{size // 1000}kB:{len(CORES)}"
    command = ["likwid-bench", "-t", name, "-w", workers, "-i", str(max(10, iterations))]

    def unpin() -> None:  # our OpenMP runtime has pinned this thread to one core, and a child would inherit that
        os.sched_setaffinity(0, CORES)

    done = subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=unpin)
    rate = re.search(r"^MByte/s:\s+(\S+)", done.stdout, re.MULTILINE)
    return float(rate[1]) * 1e6 if rate and not done.returncode else 0.0
