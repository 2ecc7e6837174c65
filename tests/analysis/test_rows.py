"""Rows beside their partners: a ratio is no better than its worse half."""

import pandas as pd
import pytest

from bench.analysis.rows import along_param, ratio
from bench.work import Work


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
