"""Burst and sustained are two regimes, each compared with its own roofs and never drawn as duplicates."""

from dataclasses import replace

import pytest

from bench.analysis import tidy
from bench.analysis.datasheet import datasheet
from bench.analysis.fit import fit
from bench.measure.budget import BUDGETS
from bench.schema import SUSTAINED
from tests.report.runs import simulated
from tests.report.sections.conftest import section


@pytest.fixture(scope="module")
def lasting():
    budget = replace(BUDGETS["standard"], rounds=6)
    return simulated("sim:h200-sxm,sustained=0.88", ("bandwidth", "peak"), budget)


def test_a_case_is_compared_with_the_roofs_of_its_regime(lasting):
    chosen = fit(lasting)[0]
    rows = tidy.cases(chosen, datasheet(chosen.info))
    both = rows[rows["saturates"] == "tensor.bfloat16.library"]
    shares = {row.regime: row.share for row in tidy.each(both)}
    assert shares == {"burst": pytest.approx(1), SUSTAINED: pytest.approx(1)}
    claimed = {row.regime: row.theory_share for row in tidy.each(both)}
    assert claimed == {"burst": pytest.approx(1), SUSTAINED: pytest.approx(0.88)}
    assert not rows["above"].any()
    assert len(tidy.burst(rows)) < len(rows)
    assert set(tidy.burst(rows)["regime"]) == {"burst"}


def test_tables_name_the_regime_of_a_case(lasting):
    (table,) = section(lasting, "bandwidth").tables
    names = [column.name for column in table.shown]
    assert {cells[names.index("regime")].text for cells in table.cells} == {"burst", SUSTAINED}
