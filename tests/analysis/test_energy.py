"""What a flop and a byte cost, where both cost the same, and why nothing is known where it is not."""

from dataclasses import replace

import pytest

from bench.analysis import fit as energy
from bench.analysis.fit import fit
from bench.measure.budget import BUDGETS
from bench.schema import SUSTAINED
from bench.work import Work
from tests.report.runs import by_hand, gpu, rounds, simulated


@pytest.fixture(scope="module")
def lasting():
    return simulated("sim:h200-sxm,sustained=0.88", ("bandwidth", "peak"), BUDGETS["standard"])


@pytest.fixture(scope="module")
def found(lasting):
    return fit(lasting)[0]


def test_energy_is_power_over_rate(found):
    # the simulated GPU draws its 700 W all the time
    cost = next(cost for cost in energy.energy_costs(found) if cost.dtype == "bfloat16")
    assert cost.flop.joules.value == pytest.approx(700 / (0.88 * 989.4e12), rel=1e-3)
    assert cost.byte.joules.value == pytest.approx(700 / 4.8e12, rel=1e-3)
    assert cost.balance == pytest.approx(0.88 * 989.4 / 4.8, rel=1e-3)
    assert cost.joules(cost.balance) == pytest.approx(2 * cost.flop.joules.value)
    assert found.lasting("tensor.bfloat16.library").roof.rate == pytest.approx(0.88 * 989.4e12, rel=1e-3)
    assert found.lasting("no.such.roof") is None


def test_the_headline_comes_first_then_the_dearest(found):
    dtypes = [cost.dtype for cost in energy.energy_costs(found)]
    assert dtypes[0] == "bfloat16"
    dear = [cost.flop.joules.value for cost in energy.energy_costs(found)][1:]
    assert dear == sorted(dear, reverse=True)
    assert "int32" not in dtypes


def test_where_it_is_known_nothing_is_said_of_why(found):
    assert energy.no_energy(found) == ("", "")


def without(run, **reading):
    kept = [
        replace(m, telemetry={"before": reading, "after": reading, "launched": 1} if reading else {})
        for m in run.measurements
    ]
    return fit(replace(run, measurements=tuple(kept)))[0]


def test_every_lack_has_its_cause(lasting):
    refused = without(lasting, absent={"energy_j": "Not Supported"})
    assert energy.no_energy(refused) == (energy.NOT_READ, "Not Supported")
    assert energy.no_energy(without(lasting, absent={"nvml": "no driver"})) == (energy.NOT_READ, "no driver")
    assert energy.no_energy(without(lasting, energy_j=5.0)) == (energy.NOT_MOVED, "")
    burst = replace(lasting, measurements=tuple(m for m in lasting.measurements if m.regime != SUSTAINED))
    assert energy.no_energy(fit(burst)[0]) == (energy.NO_SUSTAINED, "")
    assert energy.no_energy(fit(by_hand())[0]) == (energy.NO_COUNTER, "")
    lost = rounds(
        "bandwidth", {"mix": "read"}, Work(bytes=1e9), 1e-3, saturates="dram", regime=SUSTAINED, validity="invalid",
        reasons=("too hot",),
    )  # fmt: skip
    assert energy.no_energy(fit(by_hand(lost, gpu()))[0]) == (energy.NOT_USABLE, "too hot")
    assert energy.energy_costs(fit(by_hand(lost, gpu()))[0]) == []
    assert fit(by_hand())[0].energy == {}
