"""Routed experts: how many a routing touches, that the ring meets none twice, and that the products are right."""

from functools import partial

import pytest

from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed
from bench.measure.probes import moe as probe
from bench.transformer import distinct_experts

QWEN, THIN = probe.SHAPES
SMALL = probe.Experts("small", 8, 2, 64, 32)


@pytest.fixture(scope="module")
def device():
    return cpu.open_cpu(seed=1)


@pytest.mark.parametrize("routing", probe.ROUTINGS)
@pytest.mark.parametrize("shape", probe.SHAPES)
def test_distinct_experts_keep_their_bounds_and_never_fall(shape, routing):
    last = 0
    for tokens in probe.TOKENS:
        loads = probe.routed(shape, tokens, routing)
        distinct = sum(load > 0 for load in loads)
        assert sum(loads) == tokens * shape.active
        assert max(loads) <= tokens  # a token takes an expert once
        assert max(shape.active, last) <= distinct <= min(shape.experts, shape.active * tokens)
        last = distinct


def test_uniform_routing_touches_what_the_model_expects_and_skewed_fewer():
    for tokens in (4, 16, 64):
        uniform, skewed = (sum(x > 0 for x in probe.routed(QWEN, tokens, routing)) for routing in probe.ROUTINGS)
        assert uniform == pytest.approx(distinct_experts(QWEN.experts, QWEN.active, tokens), rel=0.1)
        assert skewed < uniform


@pytest.mark.parametrize("tokens", [1, 2, 16])
def test_the_ring_has_the_same_rows_on_disjoint_experts(tokens):
    loads = probe.routed(THIN, tokens, "skewed")
    places = probe.placed(loads)
    busy = [{expert for expert, load in enumerate(place) if load} for place in places]
    assert len(places) == THIN.experts // len(busy[0])
    assert sum(map(len, busy)) == len(set.union(*busy))
    assert all([load for load in place if load] == [load for load in loads if load] for place in places)


def test_a_loop_gives_what_the_grouped_product_gives(device):
    loads = (3, 0, 5, 0, 0, 4, 0, 4)
    setup = probe._prepare(SMALL, 8, loads, "bfloat16", device)
    setup.check()
    assert setup.notes["distinct"] == "4"
    place = probe.placed(loads)[-1]
    looped = probe._looped(place, *setup.launches[-1].args[-4:])
    assert float((looped.double() - setup.launches[-1]().double()).norm() / looped.double().norm()) < 2e-2


def test_rows_given_to_a_wrong_expert_are_noticed(device):
    loads = (3, 0, 5, 0, 0, 4, 0, 4)
    setup = probe._prepare(SMALL, 8, loads, "bfloat16", device)
    arguments, place = setup.launches[-1].args[-4:], probe.placed(loads)[-1]
    probe._check(partial(probe._grouped, *arguments), place, "bfloat16")
    with pytest.raises(CheckFailed, match="differs"):
        probe._check(partial(shifted, *arguments), place, "bfloat16")
    with pytest.raises(CheckFailed, match="unwritten"):
        probe._check(partial(unfinished, *arguments), place, "bfloat16")


def shifted(rows, up, down, ends):
    return probe._grouped(rows, up.roll(1, 0), down, ends)


def unfinished(rows, up, down, ends):
    out = probe._grouped(rows, up, down, ends)
    out[len(out) // 2] = float("nan")
    return out


def test_only_touched_experts_are_declared():
    assert probe.work_of(QWEN, 1, 8, "bfloat16", "tensor").bytes == 2 * (8 * 3 * 2048 * 768 + 2 * 8 * 2048)
    assert probe.work_of(QWEN, 1, 8, "bfloat16", "tensor").flops == 6 * 8 * 2048 * 768
