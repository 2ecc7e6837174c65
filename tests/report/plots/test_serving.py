"""The figures of serving hold what the planner says, on axes that hold all of it."""

import math
from dataclasses import replace

import pytest

from bench import models
from bench.analysis.serving.machine_io import of_product
from bench.analysis.serving.planner import Planner
from bench.analysis.serving.records import Deployment, default
from bench.analysis.serving.request import ServingRequest, served
from bench.report.plots import serving as figures
from bench.transformer import Ranks
from tests.report.serving_machines import MACHINES


@pytest.fixture(scope="module")
def found():
    return default(of_product("h200-sxm"))


def test_no_operator_stands_above_its_roof(found):
    fig = figures.operators(found)
    roofs = [trace for trace in fig.data if trace.mode == "lines"]
    slope = roofs[0].y[0] / roofs[0].x[0]
    top = max(roof.y[0] for roof in roofs[1:])
    marks = [(x, y) for trace in fig.data if trace.mode == "markers" for x, y in zip(trace.x, trace.y, strict=True)]
    assert len(marks) > 10
    assert all(y <= min(slope * x, top) * (1 + 1e-9) for x, y in marks)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_point_is_within_its_axes(machine):
    made = default(MACHINES[machine]())
    for draw in (figures.pareto, figures.operators, figures.capacity, figures.crossovers):
        fig = draw(made)
        for side in ("x", "y"):
            low, high = fig.layout[f"{side}axis"].range
            values = [value for trace in fig.data for value in trace[side] or ()]
            assert values
            assert all(low - 1e-9 <= math.log10(value) <= high + 1e-9 for value in values), (draw.__name__, side)


def test_what_fits_is_the_planners_and_a_line_that_hides_another_is_left_out(found):
    fig = figures.capacity(found)
    first = fig.data[0]
    assert [found.planner.fits(length).batch for length in first.x] == list(first.y)
    drawn = [tuple(trace.y) for trace in fig.data]
    assert len(drawn) == len(set(drawn))


def test_weights_and_cache_meet_where_the_diamond_is(found):
    fig = figures.crossovers(found)
    diamonds = [trace for trace in fig.data if trace.marker.symbol == "diamond-open"]
    assert [trace.x[0] for trace in diamonds] == [found.meeting(1), found.meeting(found.batch)]


def test_nothing_that_fits_is_nothing_to_draw(found):
    tiny = Deployment(Planner(found.model, replace(found.planner.machine, memory_bytes=1e9), found.planner.request))
    assert figures.pareto(tiny) is None
    assert figures.capacity(tiny) is None


def test_several_devices_are_drawn_as_one_engine():
    request = ServingRequest(ranks=Ranks(tensor=2))
    made = Deployment(Planner(models.model("Llama-3.1-70B"), of_product("h200-sxm"), request))
    step = made.planner.decode(1, made.context)
    assert figures.pareto(made).data[0].x[0] == pytest.approx(1 / step.seconds)


@pytest.mark.parametrize(
    ("weights", "kv", "words"),
    [
        ("bf16", "bf16", "BF16 weights and KV"),
        ("fp8", "bf16", "FP8 weights, BF16 KV"),
        ("int4-g128", "int8", "INT4 (groups of 128) weights, INT8 KV"),
    ],
)
def test_formats_are_called_as_people_call_them(found, weights, kv, words):
    request = ServingRequest(precision=served(weights, kv))
    assert figures.formats(Deployment(Planner(found.model, found.planner.machine, request))) == words
