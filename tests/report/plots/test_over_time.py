"""A number over time: the axes hold every point, most of the figure is theirs, and many Runs hide nothing."""

import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis import thinning
from bench.analysis.history import history
from bench.report.plots import over_time
from tests.analysis.histories import DRAM, put, run


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "some-gpu"
    put(folder, run(0, rounds=2))
    return history(folder)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.5, 2), min_size=2, max_size=9), st.floats(0, 3), st.sampled_from(["valid", "suspect"]))
def test_points_fill_most_of_the_axis_and_none_is_cut(one, levels, width, validity):
    line = next(each for each in one.series if (each.key, each.regime) == ("dram", "burst"))
    like, n = line.points[0], len(levels)
    points = []
    for day, level in enumerate(levels):
        value = replace(like.value, value=DRAM * level, low=DRAM * level / (1 + width), high=DRAM * level * (1 + width))
        value = replace(value, validity=validity if day == n - 1 else "valid")
        points.append(replace(like, run=replace(like.run, at=60.0 * day), value=value))
    series = replace(line, segments=(replace(line.segments[0], points=tuple(points)),))
    low, high = thinning.reach([series])
    least, most = DRAM * min(levels), DRAM * max(levels)
    assert low < least <= most < high
    if most > 1.002 * least:
        assert most - least > 0.55 * (high - low)
    start, end = over_time.over_time([series]).layout.xaxis.range
    assert (start < "1970-01-01 00:00:00", end) == (True, end)
    assert end < "1970-01-01 00:10:00", "minutes apart, and not a sliver between hours"


def test_a_wide_suspect_interval_is_in_the_hover_and_not_on_the_axis(tmp_path):
    folder = tmp_path / "some-gpu"
    for day in range(5):
        odd = {"validity": "suspect", "noise": 0.5} if day == 2 else {"dram": DRAM * (1 - day / 100)}
        put(folder, run(day, **odd))
    found = history(folder)
    series = next(each for each in found.series if (each.key, each.regime) == ("dram", "burst"))
    fig, seen = over_time.over_time([series]), [point.value.value for point in series.points]
    low, high = fig.layout.yaxis.range
    assert low < min(seen) <= max(seen) < high
    assert max(seen) - min(seen) > 0.6 * (high - low)
    line = next(trace for trace in fig.data if trace.mode == "lines+markers")
    assert re.search(r"95 % interval [\d.]+–[\d.]+ TB/s, n 5", line.customdata[2])


def test_many_runs_are_drawn_as_stretches_that_hide_nothing(one):
    dram = next(each for each in one.series if (each.key, each.regime) == ("dram", "burst"))
    point = dram.points[0]
    many = [
        replace(point, run=replace(point.run, at=3600.0 * n), value=replace(point.value, low=4e12 + n, high=5e12 + n))
        for n in range(10_000)
    ]
    line = replace(dram, segments=(replace(dram.segments[0], points=tuple(many)),))
    fig = over_time.over_time([line])
    band, markers = fig.data
    assert len(markers.x) <= thinning.MOST
    assert len(fig.to_json()) < 400_000
    assert min(band.y) == float(f"{4e12:.6g}")
    assert max(band.y) == pytest.approx(5e12 + 9999)
    assert sum(int(re.search(r"(\d+) Runs", text)[1]) for text in markers.customdata) == 10_000
    assert not any(isinstance(trace, go.Scattergl) for trace in fig.data), "its renderer needs unsafe-eval"
