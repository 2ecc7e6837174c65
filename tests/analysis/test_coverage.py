"""A small version of `python -m tests.perf.coverage`: the intervals of whole simulated Runs hold the truth."""

from collections import Counter

from tests.perf.coverage import REQUIRED, hits

RUNS = 40


def test_intervals_hold_the_truth():
    total: Counter[str] = Counter()
    for seed in range(RUNS):
        total.update({key: int(hit) for key, hit in hits(seed).items()})
    # 95 % of 40 is 38; 34 to 40 holds 99.6 % of binomial draws, and these seeds always draw the same
    assert all(34 <= total[key] <= RUNS for key in REQUIRED), total
    assert sum(total[key] for key in total) < RUNS * len(total), "an interval that always holds is too wide"
