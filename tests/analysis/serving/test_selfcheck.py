"""The planner against a measured layer: what is compared, the bars that follow from it, and what it once found."""

import json
import math
from dataclasses import replace

import pytest

from bench import models
from bench.analysis.facts import facts as fit_facts
from bench.analysis.fit import fit
from bench.analysis.serving import ServingError, sla_search
from bench.analysis.serving.answers import answer, to_json
from bench.analysis.serving.curves import curve, family, reaching
from bench.analysis.serving.efficiency_curves import MeasuredCase, curves_of
from bench.analysis.serving.machine import ErrorRange
from bench.analysis.serving.machine_io import of_facts, of_file, of_product, of_run
from bench.analysis.serving.planner import Planner, mixed_of, of_step
from bench.analysis.serving.request import ServingRequest, sla
from bench.analysis.serving.selfcheck import errors, self_check
from bench.analysis.serving.step import decoding, mixing, prefilling, timed
from bench.roofline import Roof, Roofline
from bench.transformer import FORMATS, Precision, Ranks
from bench.work import cached_attention, gemm
from tests.analysis.serving.flat import flat

LLAMA8 = models.model("Llama-3.1-8B")
PROBES = ("peak", "bandwidth", "gemm", "attention", "launch", "layer", "decode", "mixed", "capacity")


@pytest.fixture(scope="module")
def simulated(run_of):
    """A fit whose numbers are known, taken for a measured one: of a simulated machine nothing is checked."""
    found = fit(run_of("sim:h200-sxm,overhead=2us", PROBES))[0]
    return replace(found, info=replace(found.info, simulated=False))


@pytest.fixture(scope="module")
def machine(simulated):
    return of_run(simulated)


def slowed(found, times: float, **asked):
    """The same fit, with the cases that have these params (as strings) measured to take so many times as long."""

    def changed(case):
        if not case.seconds or any(str(case.params.get(name)) != str(value) for name, value in asked.items()):
            return case
        seconds = replace(case.seconds, value=case.seconds.value * times)
        return replace(case, seconds=seconds)

    return replace(found, cases=tuple(map(changed, found.cases)))


def test_decode_prefill_and_mixed_steps_are_checked(simulated, machine):
    assert machine.name == simulated.info.name
    found = self_check(simulated, machine)
    assert set(found.phases) == {"decode", "prefill", "mixed"}
    assert all(each.chunk for each in found.of("mixed").checks)
    assert not any(each.chunk for each in found.of("decode").checks)
    assert {each.model for each in found.checks} == {"Llama-3.1-8B", "Llama-3.1-70B"}


def test_a_layer_that_takes_twice_as_long_is_off_by_half_and_only_its_phase_is(simulated, machine):
    before, after = (
        self_check(each, machine) for each in (simulated, slowed(simulated, 2.0, phase="decode", part="layer"))
    )
    for one, other in zip(before.of("decode").checks, after.of("decode").checks, strict=True):
        assert other.measured == pytest.approx(2 * one.measured)
        assert 1 + other.error == pytest.approx((1 + one.error) / 2)
        assert other.composition == pytest.approx(2 * one.composition)
    assert before.of("prefill") == after.of("prefill")


def test_a_part_that_slows_moves_the_sum_of_the_parts_and_not_the_prediction(simulated, machine):
    before, after = (
        self_check(each, machine) for each in (simulated, slowed(simulated, 3.0, part="gate-up", phase="decode"))
    )
    for one, other in zip(before.of("decode").checks, after.of("decode").checks, strict=True):
        assert other.predicted == one.predicted
        assert other.parts > 1.1 * one.parts


def test_the_whole_model_by_layers_and_by_the_planner(simulated, machine):
    """By hand: 32 layers, the LM head and the argmax of that many rows."""
    [check] = [
        each
        for each in self_check(simulated, machine).checks
        if (each.model, each.phase, each.batch, each.context) == ("Llama-3.1-8B", "decode", 1, 1024)
    ]
    rows = [case for case in simulated.cases if case.probe == "decode" and case.params.get("rows") == 1]
    head = next(case.seconds.value for case in rows if case.params["part"] == "LM head")
    argmax = next(case.seconds.value for case in rows if case.params.get("method") == "argmax")
    assert check.token.layers == pytest.approx(32 * check.measured + head + argmax)
    assert check.token.planned == pytest.approx(32 * check.predicted + head + argmax, rel=0.05)


def test_a_model_or_a_dtype_from_elsewhere_is_left_out(simulated, machine):
    def foreign(case):
        params = dict(case.params) | {"model": "a model of next year", "dtype": "bfloat16"}
        return replace(case, params=params) if case.probe in ("layer", "mixed") else case

    found = self_check(replace(simulated, cases=tuple(map(foreign, simulated.cases))), machine)
    assert not found.checks
    assert found.missing


# --- the bars


def test_the_bar_is_the_range_of_the_phase(simulated):
    slow = of_run(slowed(slowed(simulated, 2.0, phase="decode", part="layer"), 0.8, phase="prefill", part="layer"))
    (low, high, points), (first, last, _) = slow.errors["decode"], slow.errors["prefill"]
    assert high < 0 < first <= last
    assert points == len(self_check(simulated, slow).of("decode").checks)
    step = timed(LLAMA8, slow, Precision(), decoding(8, 1024))
    assert step.range == pytest.approx((step.seconds, step.seconds / (1 + low))), "all took longer than predicted"
    prompt = timed(LLAMA8, slow, Precision(), prefilling(2048))
    assert prompt.range == pytest.approx((prompt.seconds / (1 + last), prompt.seconds)), "all were quicker"


def test_times_rates_and_sums_carry_the_bar_and_nothing_else_does():
    errors = {"decode": ErrorRange(-0.2, 0.25), "prefill": ErrorRange(-0.5, 0.0)}
    checked = flat(700e12, 2.8e12).using(errors=errors, launch_origin="measured", origin="measured")
    decode = timed(LLAMA8, checked, Precision(), decoding(8, 1024))
    prefill = timed(LLAMA8, checked, Precision(), prefilling(1024))
    time = of_step("t", decode.seconds, "s", decode)
    assert (time.low, time.high) == pytest.approx((decode.seconds / 1.25, decode.seconds / 0.8))
    rate = of_step("r", 8 / decode.seconds, "tokens/s", decode)
    assert (rate.low, rate.high) == pytest.approx((0.8 * rate.value, 1.25 * rate.value))
    total = decode.seconds + prefill.seconds
    both = mixed_of("b", total, "s", [(1, decode), (1, prefill)])
    expected = decode.seconds / 1.25 + prefill.seconds, decode.seconds / 0.8 + prefill.seconds / 0.5
    assert (both.low, both.high) == pytest.approx(expected)
    assert math.isnan(of_step("share", 0.5, "1", decode).low)
    chunk = timed(LLAMA8, checked, Precision(), mixing(8, 1024, 512))
    assert chunk.range is None, "no mixed step was checked"
    assert math.isnan(of_step("t", chunk.seconds, "s", chunk).low)
    assert math.isnan(mixed_of("m", 1.0, "s", [(1, decode), (1, chunk)]).low)


def test_a_datasheet_has_no_bars_and_json_says_null():
    found = to_json(answer(LLAMA8, of_product("h200-sxm"), ServingRequest()))
    assert found["inputs"]["self_check"] == {}
    assert all(each["low"] is None and each["high"] is None for group in found["answers"].values() for each in group)


def test_every_bar_of_a_full_answer_holds_its_range_in_order(machine):
    found = [each for group in answer(LLAMA8, machine, ServingRequest(price=2.0)).groups.values() for each in group]
    barred = [each for each in found if not math.isnan(each.low)]
    assert {each.unit for each in barred} >= {"s", "tokens/s", "USD per 1e6 tokens"}
    assert all(0 < each.low <= each.high for each in barred)


def test_the_picker_stays_on_the_safe_side():
    """A limit is met by the slowest that the self-check allows; what is faster than predicted buys nothing."""
    plain = flat(700e12, 2.8e12)
    limits = ServingRequest(sla=sla("tps=60,ttft=10s"))

    def batch(errors):
        return sla_search.pick(Planner(LLAMA8, plain.using(errors=errors), limits), Ranks()).chosen.batch

    free = batch({})
    assert batch({"decode": ErrorRange(0.0, 0.3), "prefill": ErrorRange(0.0, 0.3)}) == free
    careful = batch({"decode": ErrorRange(-0.2, 0.3), "prefill": ErrorRange(-0.2, 0.0)})
    assert careful < free
    slower = flat(700e12 * 0.8, 2.8e12 * 0.8)
    assert careful == sla_search.pick(Planner(LLAMA8, slower, limits), Ranks()).chosen.batch


def test_a_file_carries_the_bars_and_the_reserve(simulated, tmp_path):
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({"devices": [fit_facts(simulated)]}))
    assert of_file(path).errors == of_run(simulated).errors
    assert of_file(path).reserve == of_run(simulated).reserve


@pytest.mark.parametrize(
    "wrong",
    [
        {"decode": {"low": 0.1, "high": -0.1}},
        {"decode": {"low": -1.5, "high": 0}},
        {"decode": {"low": 0}},
        {"decode": 3},
        7,
    ],
)
def test_a_self_check_that_is_none_is_one_line(wrong):
    bare = {
        "roofs": [{"key": "dram", "rate": 4.5e12}, {"key": "tensor.bfloat16.library", "rate": 7.9e14}],
        "memory_bytes": 1.5e11,
        "self_check": wrong,
    }
    with pytest.raises(ServingError) as caught:
        of_facts(bare, "x.json")
    assert "\n" not in str(caught.value)


# --- what it found


def test_a_curve_that_ends_early_is_continued_by_the_nearest_shape():
    short, long, far = (32.0, 32.0), (32.0, 64.0), (4.0, 4.0)
    points = [
        (short, (1, 0.9)),
        (short, (8, 0.8)),
        (long, (4, 0.1)),
        (long, (64, 0.5)),
        (far, (1, 0.2)),
        (far, (512, 0.3)),
    ]
    made = reaching(family(points, curve)).by
    assert made[short](8) == pytest.approx(0.8), "what was measured stays"
    assert made[short](64) == pytest.approx(0.5)
    assert made[short](512) == pytest.approx(0.3), "what the nearest lacks comes from the next"
    assert made[long](1) == pytest.approx(0.9)
    assert made[far](4) == pytest.approx(0.2 + 0.1 * math.log(4) / math.log(512)), "measured itself"


def test_few_tokens_of_a_shape_say_nothing_of_many():
    """A layer's weights measured at 1 row made steps of 512 rows as inefficient as that one."""
    roofline = Roofline("x", (Roof("dram", 1e12), Roof("tensor.bfloat16.library", 1e14)))

    def point(m, n, k, share):
        work = gemm(m, n, k, "bfloat16", "tensor")
        params = {"dtype": "bfloat16", "batch": m, "n": n, "k": k}
        return MeasuredCase("gemm", params, work, roofline.seconds(work) / share)

    curves = curves_of([point(1, 4096, 4096, 0.1), *(point(m, 8192, 8192, 0.9) for m in (1, 64, 1024))], roofline)
    line, known = curves.gemm["bf16", "bfloat16"].nearest((4096.0, 4096.0))
    assert known == (4096.0, 4096.0)
    assert line(1) == pytest.approx(0.1)
    assert line(1024) == pytest.approx(0.9)


# --- narrow caches


def _cache(dtype: str, element: float, share: float, context: int, roofline: Roofline) -> MeasuredCase:
    work = cached_attention(
        8 * context, 8, 32, 128, 128, "bfloat16", "tensor", cached=2 * 8 * 8 * context * 128 * element, activation=2
    )
    params = {"part": "attention", "layout": "gqa", "cache": dtype, "dtype": "bfloat16", "batch": 8, "context": context}
    params |= {"heads": 32, "kv_heads": 8, "head_dim": 128}
    return MeasuredCase("decode", params, work, roofline.seconds(work) / share)


def test_a_narrow_cache_is_as_fast_as_it_was_measured_and_no_faster():
    roofline = Roofline("x", (Roof("dram", 1e12), Roof("tensor.bfloat16.library", 1e15)))
    points = [_cache("bfloat16", 2, 0.9, 8192, roofline), _cache("int8", 1, 0.2, 8192, roofline)]
    machine = flat(1e15, 1e12).using(curves=curves_of(points, roofline), roofline=roofline, origin="measured")

    def row(kv):
        step = timed(LLAMA8, machine, Precision(kv=FORMATS[kv]), decoding(8, 8192))
        return next(row.timed for row in step.rows if row.operation.kind == "attention decode")

    assert row("bf16").origin == row("int8").origin == "measured"
    assert row("int8").seconds == pytest.approx(row("bf16").seconds * 0.5 * 0.9 / 0.2, rel=0.01)
    # nobody measured this one: the wide curve at half the bytes, and it says so
    assert row("fp8").seconds == pytest.approx(row("bf16").seconds * 0.5, rel=0.01)
    assert row("fp8").origin == "assumed"


# --- memory that is never free


def test_memory_in_use_before_the_model_came_is_no_room_for_it(simulated):
    def taken(case):
        notes = dict(case.notes) | {"total_bytes": "150e9", "free_bytes": "140e9"}
        return replace(case, notes=notes) if case.probe == "capacity" else case

    free, full = of_run(simulated), of_run(replace(simulated, cases=tuple(map(taken, simulated.cases))))
    assert (free.reserve, full.reserve) == (0.0, 10e9)
    one, other = (Planner(LLAMA8, each, ServingRequest()).fits(8192) for each in (free, full))
    assert one.room - other.room == pytest.approx(10e9)
    assert other.batch < one.batch
    asked = Planner(LLAMA8, full, ServingRequest(reserve=0.0))
    assert asked.fits(8192).batch == one.batch, "what the user says goes before"
    assert to_json(answer(LLAMA8, full, ServingRequest()))["inputs"]["reserve"] == 10e9


def test_both_sets_of_curves_make_the_bars(simulated, machine):
    """Answers use a layer's own curves, the table shows the prediction without them: the bar holds both."""
    found = errors(simulated, machine)
    for independent in (True, False):
        checked = self_check(simulated, machine, independent)
        for phase in checked.phases:
            low, high = checked.of(phase).range
            assert found[phase].low <= low <= high <= found[phase].high
