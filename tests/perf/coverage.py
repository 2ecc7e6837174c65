"""Do the intervals hold what they promise? `python -m tests.perf.coverage [--runs 4000]`

Each seeded run measures a simulated H200 with noise 0.002 within and 0.007 between repetitions, through the same
session and fit as a real Run. The truth is the datasheet: it must lie
inside the 95 % intervals in 94 to 96 % of them.

The knee alone, of a ladder whose corner is rounded and that has more rounds, takes a tenth of the time:
`python -m tests.perf.coverage --probes intensity --options soft=4 --rounds 12`. A rounded corner slows the GEMMs too,
so that the datasheet is not their truth.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

from bench import theory
from bench.analysis.fit import _fit
from bench.analysis.summary import summaries
from bench.measure.budget import BUDGETS
from bench.measure.device.sim import open_simulated
from bench.measure.probes import select
from bench.measure.session import session

SKU, NOISE = "h200-sxm", "0.002:0.007"
LOW, HIGH = 0.94, 0.96
# Sweeps claim nothing; without them a run is all roofs and rounds of the standard budget.
BUDGET = replace(BUDGETS["standard"], levels=(1,), seconds=1e6, sustained_rounds=0)
PROBES = ("bandwidth", "peak", "intensity")
# What must reach the target, where the probes measure it.
REQUIRED = ("dram", "tensor.bfloat16.library", "ridge", "knee")


def hits(
    seed: int, probes: Sequence[str] = PROBES, options: Sequence[str] = (), rounds: int = BUDGET.rounds
) -> dict[str, bool]:
    """Whether each truth lies in its interval, in the run of one seed. options: more of the simulated device's."""
    device = open_simulated(",".join((f"sim:{SKU},seed={seed},noise={NOISE}", *options)))[0]
    measurements = session(device, select(list(probes)), replace(BUDGET, rounds=rounds), seed)
    fitted = _fit(device.info, summaries(measurements))
    truth = theory.product(SKU).roofline
    found = {roof.key: truth.roof(roof.quantity).rate in roof.estimate for roof in fitted.roofline.roofs}
    if fitted.headline:
        found["ridge"] = truth.ridge("tensor.bfloat16") in fitted.headline.estimate
    if knee := fitted.knees.get("float32"):
        found["knee"] = truth.ridge("vector.float32") in knee.intensity
    return found


def covered(runs: int, first: int = 0, **measured: object) -> dict[str, float]:
    """Share of runs whose interval holds the truth, by roof. measured: what hits() takes beside the seed."""
    total: Counter[str] = Counter()
    with ProcessPoolExecutor() as pool:
        for found in pool.map(partial(hits, **measured), range(first, first + runs), chunksize=20):
            total.update({key: int(hit) for key, hit in found.items()})
    return {key: count / runs for key, count in total.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--probes", nargs="+", default=PROBES)
    parser.add_argument("--options", nargs="*", default=(), help="more options of the simulated device: soft=4")
    parser.add_argument("--rounds", type=int, default=BUDGET.rounds, help="the first pass and the rounds that count")
    options = parser.parse_args()
    begun = time.perf_counter()
    shares = covered(options.runs, options.first, probes=options.probes, options=options.options, rounds=options.rounds)
    device = ",".join((f"sim:{SKU},noise={NOISE}", *options.options))
    print(
        f"{device}, seeds {options.first} to {options.first + options.runs - 1},"
        f" {options.rounds - 1} rounds, {time.perf_counter() - begun:.0f} s"
    )
    for key, share in shares.items():
        mark = "" if key not in REQUIRED else "  met" if LOW <= share <= HIGH else f"  MISSED ({LOW:.0%} to {HIGH:.0%})"
        print(f"  {key:<42} {100 * share:6.2f} %{mark}")
    judged = [shares[key] for key in REQUIRED if key in shares]
    return 0 if judged and all(LOW <= share <= HIGH for share in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
