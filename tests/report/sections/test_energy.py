"""Energy under lasting load: power over rate, the balance, and why there is none."""

import importlib
from dataclasses import replace

import pytest

from bench import units
from bench.analysis.fit import fit
from bench.measure.budget import BUDGETS
from bench.schema import SUSTAINED
from tests.report.runs import by_hand, simulated
from tests.report.sections.conftest import of_probe, view

STANDARD = replace(BUDGETS["standard"], rounds=6)


def energy(run):
    return importlib.import_module("bench.report.sections.energy").section(view(run))


@pytest.fixture(scope="module")
def lasting():
    return simulated("sim:h200-sxm,sustained=0.88", ("bandwidth", "peak", "intensity"), STANDARD)


def test_energy_in_words(lasting):
    made = energy(lasting)
    texts = [finding.text for finding in made.findings]
    # the simulated GPU draws its 700 W all the time
    assert texts[0].startswith("BF16 GEMM sustained costs 0.804 pJ/FLOP (")
    assert texts[0].endswith("at 700 W: 1.24 TFLOP/s per watt.")
    assert texts[1] == "Bytes cost 146 pJ/B from DRAM."
    assert texts[2] == "The energy balance, 181 FLOP/B, lies near the sustained ridge of time, 181 FLOP/B."
    assert "BF16 181" in made.notes[0]
    worst = max(each.fineness for each in fit(lasting)[0].sustained.energy.values())
    assert f"each value may be off by {units.percent(worst, 2)}" in made.notes[1]
    assert made.group == "Energy"


def test_a_balance_beyond_the_ridge_is_told(lasting):
    """A roof that draws a third of the power under arithmetic: a flop costs less than its bytes for longer."""

    def spent(m):
        drawn = {"before": m.telemetry["before"], "after": dict(m.telemetry["after"])}
        before, after = drawn["before"].get("energy_j"), drawn["after"].get("energy_j")
        if m.probe == "peak" and before is not None:
            drawn["after"]["energy_j"] = before + (after - before) / 3
        return replace(m, telemetry=m.telemetry | drawn)

    rows = tuple(spent(m) if m.regime == SUSTAINED and m.telemetry else m for m in lasting.measurements)
    texts = [finding.text for finding in energy(replace(lasting, measurements=rows)).findings]
    assert texts[2] == "The energy balance, 544 FLOP/B, lies above the sustained ridge of time, 181 FLOP/B."


def test_the_table_has_a_row_per_roof(lasting):
    (table,) = energy(lasting).tables
    names = [column.name for column in table.shown]
    assert names == ["roof", "key", "energy", "interval", "n", "power", "sustained", "per watt"]
    row = next(cells for cells in table.cells if cells[1].value == "dram")
    assert [cell.text for cell in row][:3] == ["DRAM", "dram", "146 pJ/B"]
    assert row[-1].text == "6.86 GB/s/W"
    assert row[names.index("energy")].value == pytest.approx(700 / 4.8e12, rel=1e-3)


def test_the_energy_roofline_marks_its_balance(lasting):
    (plot,) = energy(lasting).plots
    marks = [trace for trace in plot.figure.data if trace.meta == "balance"]
    balances = [mark.x[0] for mark in marks]
    assert balances[0] == pytest.approx(181.4, rel=1e-2)
    assert marks[0].name == "balance"
    assert [bool(mark.showlegend) for mark in marks] == [True] + [False] * (len(marks) - 1)
    curve = plot.figure.data[0]
    assert (curve.x[0], curve.x[-1]) == pytest.approx((min(balances) / 30, max(balances) * 30))
    assert all(a > b for a, b in zip(curve.y, curve.y[1:], strict=False))
    # where energy falls to twice a flop's, half of it is arithmetic
    middle = min(range(61), key=lambda at: abs(curve.x[at] / balances[0] - 1))
    share = 1 / (1 + balances[0] / curve.x[middle])
    assert f", {units.percent(share, 2)} arithmetic" in curve.customdata[middle]


def test_absent_energy_has_its_reason(lasting):
    def said(run) -> str:
        made = energy(run)
        assert not made.tables
        assert not made.plots
        (finding,) = made.findings
        return finding.text

    def without(**reading) -> str:
        told = {"before": reading, "after": reading, "launched": 1} if reading else {}
        return said(replace(lasting, measurements=tuple(replace(m, telemetry=told) for m in lasting.measurements)))

    assert without(absent={"energy_j": "Not Supported"}) == (
        "Not measured: the energy counter is not available (Not Supported)."
    )
    assert "was not read, or it did not move" in without(energy_j=5.0)
    burst = replace(lasting, measurements=tuple(m for m in lasting.measurements if m.regime != SUSTAINED))
    assert "no sustained regime" in said(burst)
    hot = [
        replace(m, validity="invalid", reasons=("too hot",)) if m.regime == SUSTAINED else m
        for m in lasting.measurements
    ]
    assert "no measurement under lasting load is valid (too hot)" in said(replace(lasting, measurements=tuple(hot)))


def test_who_measured_one_probe_did_not_ask_for_energy():
    assert energy(by_hand()) is None
    assert energy(simulated("sim:h200-sxm", ("bandwidth",))) is None
    assert energy(simulated("sim:h200-sxm", ("bandwidth", "peak"))) is not None


def test_sections_of_memory_and_compute_say_what_lasting_load_leaves(lasting):
    chosen = view(lasting)
    assert fit(lasting)[0].sustained is not None
    peak = of_probe("peak", chosen).findings()
    assert "Sustained, BF16 GEMM keeps 871 TFLOP/s, 88.0 % of its burst." in list(peak)
    bandwidth = of_probe("bandwidth", chosen).findings()
    assert "Sustained, DRAM keeps 4.80 TB/s, 100 % of its burst." in list(bandwidth)
