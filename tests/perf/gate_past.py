"""How long does a long history take the gate? `python -m tests.perf.gate_past --runs 1000 --folder DIR`

Standard-size Runs of 1.5 MB as tests.perf.trend makes them, none alike; the newest is judged by `bench gate --run`, a
process of its own each time: cold, reading every file, and warm, from what the first one remembered. DIR needs 1.5 MB
per Run and is emptied afterwards.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.analysis.gate.baselines import bless
from bench.store import read
from tests.perf.trend import made

WARM_SECONDS = 2.0


def gated(run: Path) -> tuple[float, float, str]:
    """(seconds, seconds of CPU, the verdict's line) of one command."""
    before, begun = os.times(), time.perf_counter()
    words = [sys.executable, "-m", "bench", "gate", "--run", str(run), "--fail-on", "never"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begun, os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used, next(line for line in done.stdout.splitlines() if "gated metrics" in line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    product = made(options.folder, options.runs + 1)
    try:
        runs = sorted(product.glob("*.jsonl"))
        bless(read(runs[-2]), product)
        for name in ("cold", "warm", "warm again"):
            seconds, cpu, line = gated(runs[-1])
            print(
                f"{name}: {seconds:.2f} s ({cpu:.2f} s of CPU) against {options.runs} Runs; {line.strip()}", flush=True
            )
    finally:
        shutil.rmtree(product)
    met = seconds <= WARM_SECONDS
    print(f"warm within {WARM_SECONDS:g} s: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
