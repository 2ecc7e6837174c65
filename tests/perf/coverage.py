"""Do the intervals hold what they promise? `python -m tests.perf.coverage [--runs 4000]`

Each seeded run measures a simulated H200 with noise 0.002 within and 0.007 between repetitions, through the same
session and fit as a real Run. The truth is the datasheet: it must lie
inside the 95 % intervals in 94 to 96 % of them.
"""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from bench import theory
from bench.analysis.fit import _fit
from bench.analysis.summary import summaries
from bench.budget import BUDGETS
from bench.device.sim import open_simulated
from bench.probes import select
from bench.session import session

SKU, NOISE = "h200-sxm", "0.002:0.007"
LOW, HIGH = 0.94, 0.96
# Sweeps claim nothing; without them a run is all roofs and rounds of the standard budget.
BUDGET = replace(BUDGETS["standard"], levels=(1,), seconds=1e6)
# What must reach the target; the knee of the ladder is a fit of three parameters and is printed beside them.
REQUIRED = ("dram", "tensor.bfloat16.library", "ridge")


def hits(seed: int, probes: tuple[str, ...] = ("bandwidth", "peak", "intensity")) -> dict[str, bool]:
    """Whether each truth lies in its interval, in the run of one seed."""
    device = open_simulated(f"sim:{SKU},seed={seed},noise={NOISE}")[0]
    fitted = _fit(device.info, summaries(session(device, select(list(probes)), BUDGET, seed)))
    truth = theory.product(SKU).roofline
    found = {roof.key: truth.roof(roof.quantity).rate in roof.estimate for roof in fitted.roofline.roofs}
    found["ridge"] = truth.ridge("tensor.bfloat16") in fitted.headline.estimate
    if fitted.knee:
        found["knee"] = truth.ridge("vector.float32") in fitted.knee.intensity
    return found


def covered(runs: int, first: int = 0) -> dict[str, float]:
    """Share of runs whose interval holds the truth, by roof."""
    total: Counter[str] = Counter()
    with ProcessPoolExecutor() as pool:
        for found in pool.map(hits, range(first, first + runs), chunksize=20):
            total.update({key: int(hit) for key, hit in found.items()})
    return {key: count / runs for key, count in total.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    options = parser.parse_args()
    begun = time.perf_counter()
    shares = covered(options.runs)
    print(f"sim:{SKU}, noise {NOISE}, seeds 0 to {options.runs - 1}, {time.perf_counter() - begun:.0f} s")
    for key, share in shares.items():
        mark = "" if key not in REQUIRED else "  met" if LOW <= share <= HIGH else f"  MISSED ({LOW:.0%} to {HIGH:.0%})"
        print(f"  {key:<42} {100 * share:6.2f} %{mark}")
    return 0 if all(LOW <= shares[key] <= HIGH for key in REQUIRED) else 1


if __name__ == "__main__":
    sys.exit(main())
