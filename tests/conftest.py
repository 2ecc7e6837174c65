"""Simulated Runs, built in process, for every room's tests."""

from collections.abc import Callable, Sequence

import pytest

from bench.budget import BUDGETS, Budget
from bench.device.sim import open_simulated
from bench.environment import environment
from bench.probes import select
from bench.schema import End, Run

RunOf = Callable[..., Run]


def simulated_run(spec: str, probes: Sequence[str] = (), budget: Budget = BUDGETS["quick"], seed: int = 0) -> Run:
    """A complete Run of sim:SKU without files or processes."""
    from bench import workers

    chosen = select(list(probes))
    infos = [device.info for device in open_simulated(spec)]
    measured = [e.measurement for e in workers.run([spec], chosen, budget, seed) if isinstance(e, workers.Measured)]
    about = environment(infos, ("python", "-m", "bench", "all", "--device", spec), budget.name, seed)
    return Run(about, tuple(measured), End("complete", 0, "2026-01-01T00:00:00Z"))


@pytest.fixture(scope="session")
def run_of() -> RunOf:
    return simulated_run


@pytest.fixture(scope="session")
def h200(run_of: RunOf) -> Run:
    return run_of("sim:h200-sxm")
