"""How often `verify` fails a machine that nothing is wrong with: python -m tests.perf.verify --runs 50 --busy 10

Each run is what `python -m bench verify --device cpu` does, in a fresh process. The last --busy of them have a
neighbour that keeps one core busy. A failure that comes in every run is no false one, and is said as such.

Exit code: 0 where no run has a failure, 1 where one has.
"""

import argparse
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bench.measure.verify import apart
from bench.schema import FAIL, NOT_AVAILABLE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--busy", type=int, default=10, help="how many of them, the last ones, have a busy neighbour")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    failed: Counter[str] = Counter()
    noisy: Counter[str] = Counter()
    times = []
    for number in range(1, options.runs + 1):
        busy = number > options.runs - options.busy
        begun = time.perf_counter()
        with neighbour(busy):
            checks = list(apart.checks(options.device))
        times.append(time.perf_counter() - begun)
        failures = [check for check in checks if check.state == FAIL]
        unsure = [check for check in checks if check.state == NOT_AVAILABLE and check.reason.startswith("too noisy")]
        failed.update(check.name for check in failures)
        noisy.update(check.name for check in unsure)
        said = "; ".join(f"{check.name} {check.value}: {check.reason[:150]}" for check in failures) or "no failure"
        words = f"{'busy' if busy else 'idle'} {times[-1]:5.1f} s, {len(unsure)} too noisy, {said}"
        print(f"run {number:2} of {options.runs}: {words}", flush=True)
    print(f"{options.runs} runs, {options.busy} with a busy neighbour; median {sorted(times)[len(times) // 2]:.1f} s")
    for name, count in failed.most_common():
        print(
            f"  failed {count} times: {name}" + (" (in every run: no false failure)" if count == options.runs else "")
        )
    print(f"  {sum(count for count in failed.values() if count < options.runs)} failures that not every run has")
    print("  too noisy:", ", ".join(f"{name} {count}" for name, count in noisy.most_common()) or "never")
    return 1 if failed else 0


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """Another process that keeps one core busy."""
    if not busy:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        sum(range(100_000))


if __name__ == "__main__":
    raise SystemExit(main())
