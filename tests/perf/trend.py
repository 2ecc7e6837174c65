"""How long is a long history's page in the making? `python -m tests.perf.trend --runs 100,1000,10000 --folder DIR`

Every Run is a file of its own, none alike: one simulated Run of the standard budget (about 1,100 measurements,
1.5 MB) whose raw seconds are rescaled with seeded noise, a memory that slows by 2 % from the first Run to the last, and
a driver after 60 % of them that costs another 3 % of bandwidth. Each page is made twice by a process of its own: cold,
reading and fitting every file, and warm, from the cache that the first one left. Time is from the start of the process
to its end; memory is the peak of that process and, beside it, of the largest of those that read and fit. The files were
just written, so a cold time is without waiting for a disk, and CPU seconds show what other work on the machine hides.
DIR needs 1.5 MB per Run and is emptied after each count.
"""

import argparse
import math
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from bench import store
from bench.analysis.history import history
from bench.measure.budget import BUDGETS
from bench.measure.device.sim import open_simulated
from bench.measure.environment import environment
from bench.measure.probes import select
from bench.measure.session import session
from bench.schema import End, Environment, Run

SPEC = "sim:h200-sxm,noise=0.002:0.007,overhead=2us,sustained=0.9"
DRIVERS, CHANGED_AT, STEP, DRIFT = ("570.86.15", "580.159.03"), 0.6, 0.97, 0.98
# Between Runs, and between the repetitions of one.
BETWEEN, WITHIN = 0.002, 0.002
PAGE_SECONDS, PAGE_BYTES, PAGE_RSS = 20.0, 8e6, 2**30
_FIRST = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Template:
    """A Run taken apart: its environment, and its other lines split at the raw seconds."""

    about: Environment
    lines: tuple[tuple[bytes, np.ndarray, bytes, bool], ...]
    end: bytes


def template(spec: str = SPEC, probes: Sequence[str] = (), budget: str = "standard") -> Template:
    """One simulated Run to be rescaled."""
    device = open_simulated(spec)[0]
    found = tuple(session(device, select(list(probes)), BUDGETS[budget]))
    about = environment([device.info], ("python", "-m", "bench", "all", "--device", spec), budget, 0)
    _, *lines, end = store.raw_lines(Run(about, found, End("complete", 0, store.utc_now(), 1.0)))
    parts = []
    for line, measured in zip(lines, found, strict=True):
        match = re.search(r'"seconds":(\[[^\]]*\])', line)
        seconds = np.array(msgspec.json.decode(match[1]), dtype=float)
        memory = measured.probe == "bandwidth" and measured.work.channel == "dram"
        parts.append((line[: match.start(1)].encode(), seconds, line[match.end(1) :].encode(), memory))
    return Template(about, tuple(parts), end.encode())


def written(made_of: Template, folder: Path, total: int, numbers: range) -> None:
    """Runs `numbers` of a history of `total`, six hours apart."""
    for number in numbers:
        chance = np.random.default_rng(number)
        share = number / max(1, total - 1)
        later = share >= CHANGED_AT
        slower = 1 / (DRIFT**share * (STEP if later else 1.0))
        own = math.exp(chance.normal(0, BETWEEN))
        started = (_FIRST + timedelta(hours=6 * number)).isoformat().replace("+00:00", "Z")
        facts = {**made_of.about.devices[0].facts, "driver": DRIVERS[later], "power_limit_w": "700"}
        device = replace(made_of.about.devices[0], facts=facts)
        run_id = f"{random.Random(number).getrandbits(128):032x}"
        about = replace(made_of.about, run_id=run_id, started=started, host="node", devices=(device,))
        head = next(iter(store.raw_lines(Run(about, ())))).encode()
        factors = own * np.exp(chance.normal(0, WITHIN, len(made_of.lines)))
        body = (
            before + msgspec.json.encode((seconds * factor * (slower if memory else 1.0)).tolist()) + after
            for (before, seconds, after, memory), factor in zip(made_of.lines, factors, strict=True)
        )
        path = store.run_path(folder, about)
        path.write_bytes(b"\n".join((head, *body, made_of.end, b"")))
        os.utime(path, ns=(time.time_ns() - 10_000_000_000,) * 2)


def made(folder: Path, total: int) -> Path:
    """A folder of `total` different Runs."""
    one = template()
    product = folder / one.about.product
    product.mkdir(parents=True)
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores) as pool:
        parts = [range(start, min(total, start + 50)) for start in range(0, total, 50)]
        list(pool.map(partial(written, one, folder, total), parts))
    return product


def measured(folder: Path, page: Path) -> dict:
    """One page made by a process of its own: its seconds, memory and size in bytes, and how many files were fitted."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tests.perf.trend", "--page", str(page), "--folder", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return msgspec.json.decode(done.stdout) | {"seconds": time.perf_counter() - begun, "page": page.stat().st_size}


def _page(folder: Path, page: Path) -> dict:
    from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

    from bench.report.trend import write

    found = history(folder)
    write(found, page)
    used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    steps = [move for move in found.moves if (move.series.key, move.kind, move.verdict) == ("dram", "change", "moved")]
    return {
        "fitted": found.fitted,
        "cpu": sum(each.ru_utime + each.ru_stime for each in used),
        "rss": 1024 * used[0].ru_maxrss,
        "child_rss": 1024 * used[1].ru_maxrss,
        "steps": [f"{move.series.regime} {100 * (move.ratio - 1):+.2f} %" for move in steps],
    }


def _results(counts: Sequence[int], folder: Path) -> Iterator[tuple[int, float, dict, dict]]:
    for count in counts:
        begun = time.perf_counter()
        product = made(folder, count)
        making = time.perf_counter() - begun
        try:
            pages = [measured(product, folder / f"{name}.html") for name in ("cold", "warm")]
            yield count, making, *pages
        finally:
            shutil.rmtree(product)
            for name in ("cold", "warm"):
                (folder / f"{name}.html").unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="100,1000,10000", help="how many, separated by commas")
    parser.add_argument("--folder", type=Path, required=True, help="where the Runs are written and deleted again")
    parser.add_argument("--page", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.page:
        print(msgspec.json.encode(_page(options.folder, options.page)).decode())
        return 0
    load = f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the start"
    print(f"{load}; all Runs differ; planted: drift -2 %, at the driver's change -3 %")
    last, met = None, True
    for count, making, cold, warm in _results([int(n) for n in options.runs.split(",")], options.folder):
        found = ", ".join(warm["steps"]) or "nothing"
        print(f"{count} Runs (made in {making:.0f} s), page {warm['page'] / 1e6:.2f} MB; DRAM at the change: {found}")
        for name, each in (("cold", cold), ("warm", warm)):
            memory = f"peak {each['rss'] / 2**20:.0f} MiB" + (
                f", a reading process {each['child_rss'] / 2**20:.0f} MiB" if each["fitted"] else ""
            )
            spent = f"{each['seconds']:.1f} s ({each['cpu']:.1f} s of CPU)"
            print(f"  {name}: {spent}, {memory}, {each['fitted']} files fitted")
        if last:
            n, *before = last
            for name, old, new in zip(("cold", "warm"), before, (cold, warm), strict=True):
                times, cpu, memory = (new[what] / old[what] for what in ("seconds", "cpu", "rss"))
                growth = f"time x{times:.1f}, CPU x{cpu:.1f}, memory x{memory:.2f}"
                print(f"  {name}, from {n} to {count} Runs (x{count / n:g}): {growth}", flush=True)
        met &= warm["seconds"] <= PAGE_SECONDS and warm["rss"] <= PAGE_RSS and warm["page"] <= PAGE_BYTES
        last = count, cold, warm
    print(f"warm page within {PAGE_SECONDS:.0f} s, 1 GiB and 8 MB: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
