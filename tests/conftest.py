"""Simulated Runs, built in process, for every room's tests; and how many processes share the tests."""

import os
from collections.abc import Callable, Sequence

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Every core has a worker: libraries that start a thread per core as well, and spin, double what each test costs.
    # Before torch and numpy are loaded, which is when they count.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from bench.measure.budget import BUDGETS, Budget
from bench.measure.device.sim import open_simulated
from bench.measure.environment import environment
from bench.measure.probes import select
from bench.schema import End, Run

RunOf = Callable[..., Run]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config) -> int | None:
    """None beside this process where benchmarks measure, which they must do alone, and where files are named: a few
    tests are over before a worker has started, and what they print is wanted. Else a worker per core.
    """
    named = any(".py" in argument for argument in config.args)
    return 0 if named or config.getoption("benchmark_enable", False) else None


# Files that use one node's nights, the same machine code or the same pages: one worker makes them, once.
SHARED = {
    "tests/measure/device/test_chips.py": "machine code",
    "tests/kernels/test_sass.py": "machine code",
    "tests/kernels/test_tensor.py": "machine code",
    "tests/examples/": "nights",
    "tests/report/test_accessibility.py": "pages",
    "tests/report/test_browser.py": "pages",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByWhatIsShared(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            shared = (name for start, name in SHARED.items() if nodeid.startswith(start))
            return next(shared, super()._split_scope(nodeid))

    return ByWhatIsShared(config, log)


# Files that take minutes: they come first, so that no worker is still at one when the others are done.
LONG = (
    "tests/measure/test_supervisor.py",
    "tests/test_house.py",
    "tests/test_gate",
    "tests/test_cli.py",
    "tests/report/",
)
LONG += (
    "tests/examples/",
    "tests/analysis/test_run_comparison.py",
    "tests/hardware/",
    "tests/measure/probes/test_on_cpu.py",
)


def pytest_collection_modifyitems(items) -> None:
    def place(item) -> int:
        return next((at for at, start in enumerate(LONG) if item.nodeid.startswith(start)), len(LONG))

    items.sort(key=place)


def pytest_configure(config) -> None:
    """Examples have no time limit: it is the machine's load that makes them slow."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # by numbers of tests, which say nothing of what they take
    if config.pluginmanager.hasplugin("hypothesispytest"):
        from hypothesis import settings

        settings.register_profile("suite", deadline=None)
        settings.load_profile("suite")


def simulated_run(spec: str, probes: Sequence[str] = (), budget: Budget = BUDGETS["quick"], seed: int = 0) -> Run:
    """A complete Run of sim:SKU without files or processes."""
    from bench.measure import supervisor

    chosen = select(list(probes))
    infos = [device.info for device in open_simulated(spec)]
    measured = [
        e.measurement for e in supervisor.run([spec], chosen, budget, seed) if isinstance(e, supervisor.Measured)
    ]
    about = environment(infos, ("python", "-m", "bench", "all", "--device", spec), budget.name, seed, chosen)
    return Run(about, tuple(measured), End("complete", 0, "2026-01-01T00:00:00Z"))


@pytest.fixture
def unpaged(monkeypatch) -> None:
    """Reports that are files and hold nothing: a page takes longer to make than what these tests are about, and is
    tested in tests/report.
    """
    from bench import report

    def html(run, points=(), baseline=None, gate=None) -> str:
        return "<!doctype html>"

    monkeypatch.setattr(report, "html", html)


@pytest.fixture(scope="session")
def run_of() -> RunOf:
    return simulated_run


@pytest.fixture(scope="session")
def h200(run_of: RunOf) -> Run:
    return run_of("sim:h200-sxm")
