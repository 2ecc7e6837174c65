"""What is drawn of a model and a machine: which model, its batches and formats, and where one line crosses another."""

from dataclasses import replace

import pytest

from bench import models
from bench.analysis.serving import ServingError
from bench.analysis.serving.answers import answer
from bench.analysis.serving.machine_io import of_product
from bench.analysis.serving.planner import Planner
from bench.analysis.serving.records import CACHE, DEVICES, KV, LINEAR, WEIGHTS, Deployment, default
from bench.analysis.serving.request import ServingRequest, served


@pytest.fixture(scope="module")
def h200():
    return of_product("h200-sxm")


def test_a_small_memory_gets_a_model_that_fits_and_a_tiny_one_is_told_by_how_much_it_is_too_small(h200):
    assert default(h200).formats == ("bf16", "bf16")
    small = default(replace(h200, memory_bytes=12e9))
    assert small.planner.most > 0
    assert small.formats[0] != "bf16"
    tiny = default(replace(h200, memory_bytes=1e9))
    assert tiny.planner.most == 0
    assert tiny.batch == 1
    with pytest.raises(ServingError, match=r"GiB short"):
        answer(tiny.model, tiny.planner.machine, tiny.planner.request)


def test_the_cache_overtakes_the_weights_where_it_is_said_to(h200):
    found = default(h200)
    met = found.meeting(64)
    for context, later in ((met - 8, False), (met + 8, True)):
        over = found.seconds(CACHE, 64, context) >= found.seconds(LINEAR, 64, context)
        assert over is later, context


def test_narrower_formats_come_after_ones_own_and_none_of_them_twice(h200):
    for weights, kv in (("bf16", "bf16"), ("fp8", "fp8"), ("int4-g128", "int8")):
        request = ServingRequest(precision=served(weights, kv))
        found = Deployment(Planner(models.model("Llama-3.1-8B"), h200, request)).beside()
        pairs = [each.formats for each in found]
        assert pairs[0] == (weights, kv)
        assert len(pairs) == len(set(pairs))
        own = request.precision.weights.bytes
        assert all(each.planner.request.precision.weights.bytes <= own for each in found)


def test_a_unit_without_fp8_is_offered_int8(h200):
    roofs = tuple(roof for roof in h200.roofline.roofs if "float8" not in roof.key)
    plain = replace(h200, roofline=replace(h200.roofline, roofs=roofs))
    assert {each.formats[0] for each in default(plain).beside()} == {"bf16", "int8", "int4-g128"}


def test_the_choice_of_a_form_is_the_request(h200):
    found = default(h200)
    at = found.choice
    assert models.models()[at["model"]] == found.model
    assert (WEIGHTS[at["weights"]], KV[at["kv"]]) == found.formats
    assert DEVICES[at["devices"]] == 1
    assert (at["context"], at["output"]) == (found.planner.request.prompt, found.planner.request.output)
