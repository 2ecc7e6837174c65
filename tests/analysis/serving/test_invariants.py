"""What must hold of any model on any machine: bounds, monotony, scale, Little's law, ranks, drafts."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench import models
from bench.analysis.serving import formulas, queueing
from bench.analysis.serving.curves import curve
from bench.analysis.serving.efficiency_curves import MeasuredCase, curves_of
from bench.analysis.serving.planner import capacity
from bench.analysis.serving.step import decoding, mixing, prefilling, timed, undivided
from bench.roofline import Roof, Roofline
from bench.transformer import FORMATS, Precision, Ranks
from bench.work import gemm
from tests.analysis.serving.flat import flat

FLAT = flat(700e12, 2.8e12, start=3e-6)
model = st.sampled_from(models.models())
batch, context = st.integers(1, 512), st.integers(1, 4096)
machine = st.builds(
    flat, st.floats(1e13, 1e16), st.floats(1e11, 1e13), start=st.floats(0, 1e-4), attention=st.floats(1e13, 1e15)
)
steps = st.one_of(
    st.builds(decoding, batch, context),
    st.builds(prefilling, st.integers(1, 4096), st.integers(0, 4096)),
    st.builds(mixing, batch, context, st.integers(1, 2048)),
)


@settings(max_examples=60, deadline=None)
@given(model, machine, steps)
def test_the_sum_of_maxima_lies_between_the_whole_step_bound_and_the_sum_of_both(model, machine, step):
    found = timed(model, machine, Precision(), step)
    slack = 1 + 1e-12
    whole, each, both = found.bounds.values()
    assert whole <= each * slack
    assert each <= both * slack
    assert each <= found.seconds * slack
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.mfu <= slack
    assert found.mbu <= slack


@settings(max_examples=60, deadline=None)
@given(model, machine, batch, batch, context, context)
def test_on_flat_roofs_time_never_decreases_with_batch_or_context(model, machine, b1, b2, s1, s2):
    assume(model.window_kind != "chunked")  # a chunk that ends drops its keys
    few, many, short, long = min(b1, b2), max(b1, b2), min(s1, s2), max(s1, s2)
    base = timed(model, machine, Precision(), decoding(few, short)).seconds * (1 - 1e-12)
    assert timed(model, machine, Precision(), decoding(many, short)).seconds >= base
    assert timed(model, machine, Precision(), decoding(few, long)).seconds >= base


@settings(max_examples=60, deadline=None)
@given(model, steps, st.floats(0.1, 10))
def test_a_machine_twice_as_fast_takes_half_the_time(model, step, factor):
    slow = timed(model, flat(7e14, 3e12, start=3e-6), Precision(), step).seconds
    fast = timed(model, flat(7e14 * factor, 3e12 * factor, start=3e-6 / factor), Precision(), step).seconds
    assert fast == pytest.approx(slow / factor, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(model, batch, context)
def test_fewer_bytes_never_take_longer_and_one_device_has_nobody_to_talk_to(model, batch, context):
    wide = timed(model, FLAT, Precision(), decoding(batch, context))
    for narrow in (Precision(weights=FORMATS["fp8"]), Precision(kv=FORMATS["fp8"])):
        assert timed(model, FLAT, narrow, decoding(batch, context)).seconds <= wide.seconds * (1 + 1e-12)
    assert wide.parts["communication"] == 0


@settings(max_examples=60, deadline=None)
@given(model, st.floats(1e9, 1e13), st.integers(0, 100_000), st.integers(0, 100_000))
def test_the_largest_batch_is_a_whole_number_that_falls_with_context_and_grows_with_ranks(model, memory, one, other):
    machine = flat(7e14, 3e12, memory_bytes=memory)
    short, long = sorted((one, other))
    found = [capacity(model, machine, Precision(), tokens) for tokens in (short + 1, long + 1)]
    assert all(isinstance(each.batch, int) and each.batch >= 0 for each in found)
    assert found[0].batch >= found[1].batch
    assert all(each.batch == 0 for each in found if each.weights > each.room)
    for ranks in (Ranks(tensor=2), Ranks(tensor=4)):
        if not undivided(model, ranks) and ranks.tensor <= model.kv_heads and not model.latent:
            assert capacity(model, machine, Precision(), short + 1, ranks).batch >= found[0].batch


@given(st.integers(1, 500), st.integers(2, 500), st.floats(1e-4, 1), st.floats(1e-4, 10), st.booleans())
def test_a_closed_loop_keeps_its_users_and_its_time(batch, output, decode, prefill, phase):
    loop = queueing.closed(batch, output, decode, prefill, phase)
    assert loop.ttft + (output - 1) * loop.tpot == pytest.approx(loop.latency)
    assert loop.rate * loop.latency == pytest.approx(batch)
    other = queueing.closed(batch, output, decode, prefill, not phase)
    assert (other.latency, other.rate) == pytest.approx((loop.latency, loop.rate))


@given(st.floats(0.0, 1.0), st.integers(0, 12))
def test_drafts_give_between_one_token_and_one_more_than_were_drafted(acceptance, drafts):
    found = formulas.speculated(acceptance, drafts)
    assert 1 - 1e-12 <= found <= drafts + 1 + 1e-9
    assert formulas.speculated(1.0, drafts) == drafts + 1
    assert formulas.speculated(0.0, drafts) == 1


@given(st.floats(0.05, 0.95), st.floats(1e-3, 1.0), st.floats(0.5, 0.99))
def test_the_wait_that_a_share_meets_is_the_inverse_of_its_distribution(busy, service, quantile):
    wait = queueing.md1_wait(quantile, busy, service)
    assert wait >= 0
    if wait:
        assert queueing.md1_cdf(wait, busy, service) == pytest.approx(quantile, abs=1e-4)
        # the exponential form is a little high in the tail, and never far off
        rough = service / (2 * (1 - busy)) * math.log(busy / (1 - quantile))
        assert wait <= max(rough, 0) * 1.3 + service


@given(
    st.lists(st.tuples(st.integers(1, 1 << 20), st.floats(0.01, 1.0)), min_size=1, max_size=12), st.integers(1, 1 << 21)
)
def test_a_curve_stays_within_what_was_measured(points, at):
    found = curve(points)(at)
    assert min(y for _, y in points) - 1e-12 <= found <= max(y for _, y in points) + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.05, 1.5), min_size=14, max_size=14), batch, context)
def test_no_operator_beats_its_roof_whatever_was_measured(shares, batch, context):
    roofline = Roofline("X", (Roof("dram", 2.8e12), Roof("tensor.bfloat16.library", 7e14)))
    points = []
    for power, share in enumerate(shares):
        work = gemm(1 << power, 4096, 4096, "bfloat16", "tensor")
        params = {"dtype": "bfloat16", "batch": 1 << power, "n": 4096, "k": 4096, "strided": 0}
        points.append(MeasuredCase("gemm", params, work, roofline.seconds(work) / share))
    machine = replace(FLAT, curves=curves_of(points, roofline))
    assert len(machine.curves.beaten) == sum(share > 1.03 for share in shares)
    for row in timed(models.model("Llama-3.1-8B"), machine, Precision(), decoding(batch, context)).rows:
        assert row.timed.seconds >= max(row.timed.compute, row.timed.memory) * (1 - 1e-9)
