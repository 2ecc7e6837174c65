"""How our CPU kernels compare with likwid-bench, the field's hand-written assembly: python -m tests.perf.likwid

Each half of a pair takes about half a second and the pairs alternate their order, so that a machine whose speed
drifts drifts through both sides; only adjacent halves are compared. likwid-bench runs its best kernel for this CPU at
its best working set, both chosen by a short search. Both sides use every core that this process may use and count
bytes alike: a copy moves each byte twice, and a line read only to be overwritten is not counted.

Exit code: 0 where every target is met, 1 where one is missed, 3 without likwid-bench.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

CORES = sorted(os.sched_getaffinity(0))
SECONDS = 0.5
GB = 1_000_000_000


@dataclass(frozen=True)
class Side:
    """One way to run a benchmark: rate(seconds) runs it for about so long and returns units per second."""

    name: str
    rate: Callable[[float], float]


@dataclass(frozen=True)
class Contest:
    """Our kernel against the best of likwid's `candidates` (pairs of kernel and size in bytes)."""

    name: str
    ours: Side
    candidates: tuple[tuple[str, int], ...]
    unit: str
    target: float


def launches(launch: Callable[[], None], amount: float) -> Callable[[float], float]:
    """The rate of one of our kernels, `amount` flops or bytes per launch."""

    def elapsed(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            launch()
        return time.perf_counter() - start

    one = [elapsed(1), elapsed(1)][-1]

    def rate(seconds: float) -> float:
        count = max(1, round(seconds / one))
        return count * amount / elapsed(count)

    return rate


def likwid(kernel: str, size: int, unit: str) -> Side:
    """likwid-bench running `kernel` over `size` bytes; raises RuntimeError with its own words where it cannot."""

    def run(iterations: int) -> tuple[float, float]:
        command = ["likwid-bench", "-t", kernel, "-w", f"N:{size // 1000}kB:{len(CORES)}", "-i", str(iterations)]
        # Our OpenMP runtime has pinned this thread to one core, and a child would inherit that.
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, CORES)
        )
        took, rate = (re.search(rf"^{re.escape(key)}:\s+(\S+)", done.stdout, re.M) for key in ("Time", unit))
        if done.returncode or not (took and rate):
            raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
        return float(took[1]), float(rate[1]) * 1e6

    iterations = 10
    while (took := run(iterations)[0]) < SECONDS / 4:
        iterations = max(2 * iterations, min(100 * iterations, round(iterations * SECONDS / 2 / took)))
    return Side(f"{kernel} at {size // 1000} kB", lambda seconds: run(max(1, round(iterations * seconds / took)))[1])


def best(contest: Contest) -> Side:
    """The fastest candidate by the median of three short runs each, the candidates taking turns."""
    sides = []
    for kernel, size in contest.candidates:
        try:
            sides.append(likwid(kernel, size, contest.unit))
        except RuntimeError as error:  # an instruction that this CPU lacks
            print(f"  {kernel} does not run here: {error}", file=sys.stderr)
    rates = [[side.rate(SECONDS / 2) for side in sides] for _ in range(3)]
    return max(zip(sides, zip(*rates, strict=True), strict=True), key=lambda pair: median(pair[1]))[0]


def contests() -> tuple[Contest, ...]:
    """The three roofs of a CPU that have a target, our buffers allocated as the product allocates them."""
    import torch

    from bench.device import Kernel, cc
    from bench.work import fma_loop, stream

    def load(name: str, function: str) -> Callable[..., None]:
        return cc.function(Kernel(name, function, print, elements=2))

    def runs(kernels: str, *sizes: int) -> tuple[tuple[str, int], ...]:
        listed = subprocess.run(["likwid-bench", "-a"], check=True, capture_output=True, text=True).stdout
        present = {line.split()[0] for line in listed.splitlines() if line.strip()}
        return tuple((kernel, size) for kernel in kernels.split() if kernel in present for size in sizes)

    lanes = load("fma", "fma_lanes_float32")
    lanes_per_thread = cc.integer("fma", "fma_lanes_float32")
    del lanes
    n, steps = lanes_per_thread * len(CORES), 1_000_000
    x, y = torch.rand(n), torch.empty(n)
    fma = load("fma", "fma_float32")
    flops = fma_loop(n, steps, "float32").flops

    whole, out = torch.rand(GB // 4 // 1024 * 1024), torch.zeros(1, dtype=torch.float64)
    half = whole.numel() // 2048 * 1024
    source, target = whole[:half], torch.empty(half)
    read, copy = load("stream", "read"), load("stream", "copy")
    return ()
