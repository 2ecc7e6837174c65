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


# Runs a benchmark for about so many seconds and returns its rate, in FLOP/s or B/s.
Rate = Callable[[float], float]


@dataclass(frozen=True)
class Contest:
    """Our kernel against the best of likwid's `candidates` (pairs of kernel and size in bytes)."""

    name: str
    ours: Rate
    candidates: tuple[tuple[str, int], ...]
    unit: str
    target: float


def once(launch: Callable[[int], None], amount: float) -> Rate:
    """The rate of launch(count), which does count * `amount` flops or bytes in one launch.

    One, because likwid-bench's threads meet only at its start and its end too: where another process takes part of a
    core, each further barrier makes every thread wait for the unlucky one.
    """

    def elapsed(count: int) -> float:
        start = time.perf_counter()
        launch(count)
        return time.perf_counter() - start

    elapsed(1)
    one = elapsed(4) / 4

    def rate(seconds: float) -> float:
        count = max(1, round(seconds / one))
        return count * amount / elapsed(count)

    return rate


def likwid(kernel: str, size: int, unit: str) -> Rate:
    """likwid-bench running `kernel` over `size` bytes; raises RuntimeError with its own words where it cannot."""

    def run(iterations: int) -> tuple[float, float]:
        command = ["likwid-bench", "-t", kernel, "-w", f"N:{size // 1000}kB:{len(CORES)}", "-i", str(iterations)]
        # Our OpenMP runtime has pinned this thread to one core, and a child would inherit that.
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, CORES)
        )
        took, rate = (re.search(rf"^{re.escape(key)}:\s+(\S+)", done.stdout, re.MULTILINE) for key in ("Time", unit))
        if done.returncode or not (took and rate):
            raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
        return float(took[1]), float(rate[1]) * 1e6

    iterations = 10
    while (took := run(iterations)[0]) < SECONDS / 4:
        iterations = max(2 * iterations, min(100 * iterations, round(iterations * SECONDS / 2 / took)))
    return lambda seconds: run(max(1, round(iterations * seconds / took)))[1]


def best(contest: Contest) -> tuple[str, Rate]:
    """likwid's fastest candidate by the median of three short runs each, the candidates taking turns."""
    rivals: dict[str, Rate] = {}
    for kernel, size in contest.candidates:
        try:
            rivals[f"{kernel} at {size // 1000} kB"] = likwid(kernel, size, contest.unit)
        except RuntimeError as error:  # an instruction that this CPU lacks
            print(f"  {error}", file=sys.stderr)
    rounds = [{name: rate(SECONDS / 2) for name, rate in rivals.items()} for _ in range(3)]
    name = max(rivals, key=lambda name: median(rates[name] for rates in rounds))
    return name, rivals[name]


def contests() -> tuple[Contest, ...]:
    """The three roofs of a CPU that have a target, our buffers allocated as the product allocates them."""
    from bench.measure.device import cc
    from bench.measure.device.cpu import open_cpu
    from bench.measure.device.protocol import Kernel
    from bench.work import fma_loop, stream

    def ours(name: str, function: str) -> Callable[..., None]:
        return cc.function(Kernel(name, function, print, elements=2))

    def theirs(kernels: str, *sizes: int) -> tuple[tuple[str, int], ...]:
        return tuple((kernel, size) for kernel in kernels.split() for size in sizes)

    device = open_cpu()
    registers, steps = len(CORES) * cc.integer("fma", "fma_lanes_float32"), 1_000_000
    x, y = device.random(registers, dtype="float32"), device.empty(registers, dtype="float32")
    n = GB // 4 // 2048 * 2048
    whole, out = device.random(n, dtype="float32"), device.empty(1, dtype="float64")
    source, target = whole[: n // 2], device.empty(n // 2, dtype="float32")
    out.zero_(), target.zero_()  # touched here, not under the clock
    fma, read, copy = ours("fma", "fma_float32"), ours("stream", "read"), ours("stream", "copy")
    return (
        Contest(
            "float32 FMA loop",
            once(
                lambda count: fma(x, y, registers, steps * count, 0.5, 0.5), fma_loop(registers, steps, "float32").flops
            ),
            theirs(
                "peakflops_sp_avx512_fma peakflops_sp_avx_fma peakflops_sp_sse peakflops_sp",
                *(kilobytes * 1000 * len(CORES) for kilobytes in (16, 32, 64)),
            ),
            "MFlops/s",
            0.97,
        ),
        Contest(
            "DRAM read",
            once(lambda count: read(whole, out, n, count), stream("read", n).bytes),
            theirs("load_avx512 load_avx load_sse load_mem load", GB),
            "MByte/s",
            1.00,
        ),
        Contest(
            "streaming copy",
            once(lambda count: copy(source, target, n // 2, count), stream("copy", n // 2).bytes),
            theirs("copy_mem_avx512 copy_mem_avx copy_mem_sse copy_mem", GB),
            "MByte/s",
            1.00,
        ),
    )


def met(contest: Contest, pairs: int) -> bool:
    """Fights one contest, prints it, and says whether the median ratio reaches the target."""
    name, theirs = best(contest)
    rates = []
    for pair in range(pairs):
        if pair % 2:
            mine, other = contest.ours(SECONDS), theirs(SECONDS)
        else:
            other, mine = theirs(SECONDS), contest.ours(SECONDS)
        rates.append((mine, other))
    ratios = [mine / other for mine, other in rates]
    low, ratio, high = quantiles(ratios, n=4)
    good = ratio >= contest.target
    mine, other = (median(side) / 1e9 for side in zip(*rates, strict=True))
    print(
        f"{contest.name}: {'met' if good else 'MISSED'}\n"
        f"  ours / likwid  median {ratio:.3f} of {pairs} pairs (target {contest.target:.2f}), "
        f"quartiles {low:.3f} to {high:.3f}, all {min(ratios):.3f} to {max(ratios):.3f}\n"
        f"  medians        {mine:.1f} and {other:.1f} {'GFLOP/s' if 'Flop' in contest.unit else 'GB/s'}\n"
        f"  likwid kernel  {name}",
        flush=True,
    )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=15, help="adjacent pairs per contest, 15 or more (default 15)")
    pairs = max(15, parser.parse_args().pairs)
    if not shutil.which("likwid-bench"):
        print("likwid-bench is not installed (Debian and Ubuntu: apt-get install likwid)", file=sys.stderr)
        return 3
    # Read when the OpenMP runtime is loaded, which comes with torch, hence its import further up.
    os.environ |= {"OMP_PROC_BIND": "close", "OMP_PLACES": "threads", "OMP_NUM_THREADS": str(len(CORES))}
    print(f"{len(CORES)} cores, load average before the start {os.getloadavg()[0]:.1f} (other work widens the spread)")
    results = [met(contest, pairs) for contest in contests()]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
