"""An independent witness: plain kernels that share no line with ours must not be faster."""

import re
import subprocess
from functools import partial
from shutil import which
from typing import Any

from bench.measure.device.protocol import Kernel
from bench.measure.probes.bandwidth import dram_bytes
from bench.measure.verify.assumption import NO_COMPILER, Outcome, absent, assumption, compiled
from bench.measure.verify.interval import interval, judged
from bench.measure.verify.pairs import SAMPLE, Timed, chains, ratios, steps, stream, timed

# The witness's rate over ours, at most.
BEATEN = 1.01
LIKWID = {
    "copy": ("copy_mem_avx512", "copy_mem_avx", "copy_mem_sse", "copy"),
    "read": ("load_avx512", "load_avx", "load"),
}

_WITNESS = {
    "expected": f"witness ≤ {BEATEN:g} of ours",
    "fix": "our kernel does not state this machine's roof: report CPU or GPU and compiler, and search its settings",
    "seconds": 1.5,
}


def copy_twin(x, y, n):
    y.copy_(x)


def triad_twin(x, z, y, n, a):
    import torch

    torch.add(x, z, alpha=a, out=y)


def read_twin(x, out, n):
    out += x.double().sum()


@assumption(**_WITNESS)
def copy(device: Any, rounds: int) -> Outcome:
    """No plain copy is faster than the copy that states the roof of memory."""
    return _memory(device, rounds, "copy", copy_twin)


@assumption(**_WITNESS)
def triad(device: Any, rounds: int) -> Outcome:
    """No plain triad is faster than the triad that states the roof of memory."""
    return _memory(device, rounds, "triad", triad_twin)


@assumption(**_WITNESS)
def read(device: Any, rounds: int) -> Outcome:
    """No plain sum is faster than the read that states the roof of memory."""
    return _memory(device, rounds, "read", read_twin)


def _memory(device: Any, rounds: int, mix: str, twin: Any) -> Outcome:
    if not compiled(device):
        return absent(NO_COMPILER)
    # the roof's own size: of four last levels, walked again and again, a tenth was once served by the cache
    footprint = dram_bytes(device.info)
    stores = device.info.stores if mix != "read" else device.info.stores[:1]
    rivals = [stream(device, mix, footprint, "cold", ring=1, store=store) for store in stores]
    ours = min(rivals, key=lambda rival: min(rival.seconds(device, 2) for _ in range(4)))
    # a sum ends every block with an addition to one address: a few blocks per SM
    waves = 8 if mix == "read" else 0
    run = device.load(Kernel("witness", f"witness_{mix}", twin, elements=2 if mix != "triad" else 3, waves=waves))
    # the same arrays, or where they lie would be compared too
    arguments = list(ours.launches[0].args)
    n = next(i for i, value in enumerate(arguments) if isinstance(value, int))
    plain = timed([partial(run, *arguments[: n + 1], *((0.75,) if mix == "triad" else ()))], cache="cold")
    return _race(device, rounds, ours, plain)


@assumption(**_WITNESS)
def fma(device: Any, rounds: int) -> Outcome:
    """No plain chain of multiply-adds is faster than the loop that states the roof of arithmetic."""
    if not compiled(device):
        return absent(NO_COMPILER)
    long = steps(device)
    kernel = Kernel("witness", "witness_fma", None, elements=2)
    return _race(device, rounds, chains(device, long), chains(device, long, kernel=kernel))


def _race(device: Any, rounds: int, ours: Timed, plain: Timed) -> Outcome:
    count = ours.count(device, 2 * SAMPLE)
    plain.seconds(device, 1)
    found = ratios(rounds, lambda: ours.seconds(device, count), lambda: plain.seconds(device, count))
    return judged(interval(found), most=BEATEN, reason="a plain kernel is faster than ours")


@assumption(
    expected="likwid ≤ 1.03 of ours",
    fix="our kernel does not state this machine's roof: compare python -m tests.perf.likwid",
    seconds=10.0,
    deep=True,
)
def likwid(device: Any, rounds: int) -> Outcome:
    """No kernel of likwid-bench, hand-written assembly, is faster than the copy and the read that state the roof."""
    if device.info.sms:
        return absent("likwid-bench is for CPUs")
    if not which("likwid-bench"):
        return absent("likwid-bench is not on the PATH (apt-get install likwid)")
    if not compiled(device):
        return absent(NO_COMPILER)
    outcomes = []
    for mix, names in LIKWID.items():
        footprint = dram_bytes(device.info)
        ours = stream(device, mix, footprint, "cold", ring=1)
        count, found = ours.count(device, 0.3), []
        name = next((each for each in names if _likwid(each, footprint, 1)), "")
        if not name:
            return absent(f"likwid-bench runs none of {', '.join(names)} here")
        for _ in range(8):
            rate = ours.case.work.bytes / ours.seconds(device, count)
            found.append(_likwid(name, footprint, count) / rate)
        outcomes.append(judged(interval(found), most=1.03, reason=f"likwid's {name} is faster than our {mix}"))
    return max(outcomes, key=lambda each: ("pass", "not available", "fail").index(each.state))


def _likwid(name: str, size: int, iterations: int) -> float:
    """Bytes per second of one run; 0 where likwid-bench refuses."""
    import os

    from bench.measure.device.cpu import CORES

    # our OpenMP runtime has pinned this thread to one core, and a child would inherit that
    command = ["likwid-bench", "-t", name, "-w", f"N:{size // 1000}kB:{len(CORES)}", "-i", str(max(10, iterations))]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, CORES)
    )
    rate = re.search(r"^MByte/s:\s+(\S+)", done.stdout, re.MULTILINE)
    return float(rate[1]) * 1e6 if rate and not done.returncode else 0.0
