"""Whether a budget is kept on this machine, idle and beside a busy neighbour: python -m tests.perf.budget

Runs `bench all` as a user would, report included, and takes the wall time of each command; then the simulated node of
eight GPUs, whose clock is its own. Exit code: 0 where every one is kept within 10 %, 1 where one is not.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.measure import supervisor
from bench.measure.budget import BUDGETS, budget
from bench.measure.probes import select
from bench.measure.supervisor import Measured
from bench.store import read

# Wall costs of a node as eight GPUs have them: a case, a graph, a plan of attention, a start of processes.
NODE = "sim:h200-sxm,gpus=8,noise=0.002:0.007,cost=20ms:2ms:400ms:3s"
STARTS, AROUND = 3 * 3.0, 6.0
SLACK = 1.1


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in spinning:
            each.kill()
            each.wait()


def taken(name: str) -> tuple[float, str]:
    """(wall seconds of the command, what it reached)."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["all", "--device", "cpu", "--budget", name, "--out", f"{folder}/r"]
        words += [] if name == "sniff" else ["--reports", f"{folder}/p"]  # which writes none unless it is asked to
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "bench", *words], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begun
        if done.returncode:
            return seconds, f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"
        (path,) = Path(folder, "r").glob("*/*.jsonl")
        run = read(path)
        roofs = len({m.saturates for m in run.measurements if m.saturates and m.seconds})
        left = sum(each.cases for each in run.end.unreached)
        return seconds, f"{roofs} roofs, {len(run.measurements)} measurements, {left} cases not reached"


def of_node(name: str) -> tuple[float, str]:
    """As taken, of the simulated node, by its own clock; opening and report are what they usually take."""
    left, spent, reached = BUDGETS[name].seconds - AROUND, {}, 0
    for event in supervisor.run([NODE], select([]), BUDGETS[name], 0, left=lambda: left):
        if isinstance(event, Measured):
            m = event.measurement
            spent[m.device] = spent.get(m.device, 0.0) + m.elapsed
            reached += 1
    return max(spent.values()) + STARTS + AROUND, f"{len(spent)} GPUs, {reached} measurements"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", nargs="+", default=["sniff", "quick", "standard"])
    options = parser.parse_args(arguments)
    kept = True
    for neighbours in (0, 1):
        for name in options.budgets:
            with busy(neighbours):
                seconds, reached = taken(name)
            promised = budget(name, host=True).seconds
            kept = kept and seconds <= SLACK * promised
            print(
                f"cpu, {neighbours} busy: {name:<9} promised {promised:5.0f} s, took {seconds:6.1f} s; {reached}",
                flush=True,
            )
    for name in ("quick", "standard"):
        seconds, reached = of_node(name)
        promised = BUDGETS[name].seconds
        kept = kept and seconds <= SLACK * promised
        print(f"node of eight:  {name:<9} promised {promised:5.0f} s, took {seconds:6.1f} s; {reached}", flush=True)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
