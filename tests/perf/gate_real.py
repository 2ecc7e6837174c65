"""The gate on a real and noisy machine, where nothing changes: `python -m tests.perf.gate_real --folder DIR`

Calibrates (`--calibrate` Runs), blesses the newest Run that is not in doubt, and gates `--runs` times in a row; then as
often with one core taken by another process. Each gate run is the command a user types, with its processes, its second
look and its files.
A failure (exit code 1) is a false alarm; 3 is what a disturbed machine should answer.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.analysis.gate.baselines import bless
from bench.store import RunError, read


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=folder, capture_output=True, text=True, check=False
    )


@contextmanager
def loaded(cores: int) -> Iterator[None]:
    """So many cores kept busy by other processes, as a neighbour does: arithmetic and memory."""
    code = "import numpy as np\na = np.random.rand(1 << 22)\nwhile True: a = a * 1.0000001 + 1e-9"
    others = [subprocess.Popen([sys.executable, "-c", code], env={"OMP_NUM_THREADS": "1"}) for _ in range(cores)]
    time.sleep(2)
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def blessed(folder: Path, device: str) -> Path:
    """A baseline of the newest Run that can be one; measured again until one can."""
    for _ in range(10):
        for path in sorted(folder.glob("results/*/*.jsonl"), reverse=True):
            try:
                bless(read(path), path.parent)
                return path
            except RunError as error:
                print(f"  {path.name}: {error}")
        bench(folder, "gate", "--device", device)
    raise SystemExit("no Run of this machine is quiet enough for a baseline")


def gated(folder: Path, device: str, count: int) -> None:
    words: Counter[str] = Counter()
    metrics: Counter[str] = Counter()
    begun = time.monotonic()
    for number in range(count):
        done = bench(folder, "gate", "--device", device, "--json")
        try:
            said = json.loads(done.stdout)
        except json.JSONDecodeError:
            raise SystemExit(done.stderr) from None
        words[f"exit {done.returncode}, {said['verdict']}"] += 1
        bad = [
            (v["metric"], v["verdict"])
            for v in said["verdicts"]
            if v["gates"] and v["verdict"] not in ("ok", "improved")
        ]
        metrics.update(f"{metric} {word}" for metric, word in bad)
        print(f"  {number + 1:>3}: exit {done.returncode}, {', '.join(f'{m} {w}' for m, w in bad) or 'ok'}", flush=True)
    print(f"  {dict(words)} in {time.monotonic() - begun:.0f} s; {dict(metrics)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where results/ and reports/ are written")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--calibrate", type=int, default=10)
    parser.add_argument("--cores", type=int, default=1, help="how many the other processes take")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    done = bench(options.folder, "calibrate", "--runs", str(options.calibrate), "--device", options.device)
    print(done.stdout)
    if done.returncode:
        raise SystemExit(done.stderr)
    print(f"baseline: {blessed(options.folder, options.device).name}")
    print(f"{options.runs} gate runs, nothing changed:")
    gated(options.folder, options.device, options.runs)
    with loaded(options.cores):
        print(f"{options.runs} gate runs, {options.cores} core(s) taken by another process:")
        gated(options.folder, options.device, options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
