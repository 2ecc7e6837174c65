"""Burst and sustained are two regimes, each compared with its own roofs and never drawn as duplicates."""

from dataclasses import replace

import pandas as pd
import pytest

from bench.analysis import tidy
from bench.analysis.datasheet import datasheet
from bench.analysis.fit import fit
from bench.analysis.tidy import along_param, ratio
from bench.measure.budget import BUDGETS
from bench.schema import SUSTAINED
from bench.work import Work
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


# Rows beside their partners: a ratio is no better than its worse half.


def test_a_ratio_is_as_valid_as_the_worse_of_its_two():
    def half(seconds, validity):
        columns = {
            "batch": [8.0],
            "seconds": [seconds],
            "validity": [validity],
            "share": [0.5],
            "work": [Work(bytes=1.0)],
        }
        return pd.DataFrame(columns)

    pair = ratio(half(1e-3, "valid"), half(4e-3, "suspect"), ("batch",))
    assert pair["times"].tolist() == pytest.approx([4])
    assert pair["validity"].tolist() == ["suspect"]
    assert ratio(half(1e-3, "valid"), half(4e-3, "valid").iloc[:0], ("batch",)).empty


def test_rows_are_in_order_of_the_last_param_whose_numbers_differ():
    params = [{"a": 2, "b": 8.0, "c": True, "d": "x"}, {"a": 1, "b": 4, "c": False, "d": "y"}, {"a": 1, "b": None}]
    found, name = along_param(pd.DataFrame({"params": params}))
    assert (name, found["x"].tolist(), found.index.tolist()) == ("b", [4, 8], [1, 0])
    found, name = along_param(pd.DataFrame({"params": [{"a": 1}, {"a": 1}]}))
    assert (name, found["x"].tolist()) == ("", [1, 2])
