"""What the tests of the report share: Runs that cost a second to make, pages of them, and a browser."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench import report, store, work
from bench.report.document import Document, Table
from bench.schema import Run
from tests.report.runs import QUICK, by_hand, cpu, measured, simulated, through_file

RESULTS = Path(__file__).parents[2] / "results"
HOSTILE = "</script><img src=x onerror=\"window.broken='a string'\"><a href='javascript:broken()'>x</a>"


def every_table(document: Document) -> list[Table]:
    """The matrix, and every table of every section."""
    tables = [document.matrix, *(table for section in document.every_section for table in section.tables)]
    return list(filter(None, tables))


@pytest.fixture(scope="session")
def h200() -> Run:
    return simulated("sim:h200-sxm,noise=0.002:0.007,overhead=2us,seed=3")


@pytest.fixture(scope="session")
def slow_sibling() -> Run:
    return simulated("sim:h200-sxm,gpus=4,noise=0.001:0.002,dram@2=0.9", ("bandwidth", "peak", "allreduce"))


def node() -> Run:
    """Eight GPUs, one of them slow, and more than 5,000 measurements."""
    more = replace(QUICK, rounds=QUICK.rounds + 2)
    return simulated("sim:h200-sxm,gpus=8,noise=0.001:0.002,dram@5=0.9,overhead=2us,seed=3", budget=more)


def kept() -> Run:
    """The Run of a CPU that the repository holds."""
    runs = map(store.read, sorted(RESULTS.glob("*/*.jsonl")))
    return next(run for run in runs if run.complete and run.environment.devices[0].id == "cpu")


def cut() -> Run:
    """A Run that was killed: no end, and most probes not reached."""
    run = simulated("sim:h200-sxm,noise=0.002:0.007,seed=3")
    return through_file(replace(run, measurements=run.measurements[:120], end=None))


def skipped() -> Run:
    """A Run in which one probe could do nothing at all."""
    run = kept()
    rows = [replace(m, seconds=(), clock_hz=(), skip="no memory") if m.probe == "gemm" else m for m in run.measurements]
    return through_file(replace(run, measurements=tuple(rows)))


def hostile() -> Run:
    """A Run whose every string tries to be markup."""
    rows = [measured(HOSTILE, {HOSTILE: n, "kind": HOSTILE}, work.Work(bytes=float(n))) for n in range(1, 9)]
    rows += [
        measured("bandwidth", {"mix": HOSTILE, "bytes": 2**20}, work.stream("copy", 2**17), saturates="dram"),
        measured(HOSTILE, {HOSTILE: 20}, work.Work(bytes=1.0), validity="suspect", reasons=(HOSTILE,)),
        measured(HOSTILE, {HOSTILE: 21}, work.Work(bytes=1.0), (), skip=HOSTILE),
    ]
    about = {"host": HOSTILE, "product": HOSTILE, "command": ("python", HOSTILE), "libraries": {HOSTILE: HOSTILE}}
    run = by_hand(rows, cpu(name=HOSTILE, uuid=HOSTILE, facts={HOSTILE: HOSTILE}), **about)
    return replace(run, warnings=(HOSTILE,), source=f"{HOSTILE}.jsonl")


RUNS = {"node": node, "kept": kept, "cut": cut, "skipped": skipped, "hostile": hostile}


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Callable[[str], tuple[Run, Path]]:
    """A function that gives a Run by its name, and its page, which is made once."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def get(name: str) -> tuple[Run, Path]:
        if name not in made:
            run = RUNS[name]()
            made[name] = run, report.write(run, folder / f"{name}.html")
        return made[name]

    return get


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium; tests that need it are skipped where it or its driver is missing."""
    # selenium takes a while to import: only who asks for a browser waits for it
    from tests.report.browser import Browser, missing

    if reason := missing():
        pytest.skip(reason)
    opened = Browser(tmp_path_factory.mktemp("downloads"))
    yield opened
    opened.close()
