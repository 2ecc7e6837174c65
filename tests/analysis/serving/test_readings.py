"""What a curve is read for and what not: each of these once printed a number that was wrong."""

import json
import math
import random

import pytest

from bench import cli, models
from bench.analysis.fit import fit
from bench.analysis.serving import ServingError, formulas, queueing, sla_search
from bench.analysis.serving.answers import answer, to_json
from bench.analysis.serving.curves import curve, family, length, messages, surface
from bench.analysis.serving.efficiency_curves import Curves, MeasuredCase, curves_of
from bench.analysis.serving.export import exported
from bench.analysis.serving.machine import BUS, ErrorRange, scaled
from bench.analysis.serving.machine_io import of_facts
from bench.analysis.serving.planner import Planner
from bench.analysis.serving.request import ServingRequest, served, sla
from bench.analysis.serving.step import decoding, prefilling, timed
from bench.roofline import Roof, Roofline
from bench.transformer import Operation, Precision, Ranks, operations
from bench.work import Work, linear
from tests.analysis.serving.flat import flat

LLAMA8 = models.model("Llama-3.1-8B")
ROOFS = Roofline("x", (Roof("dram", 1e12), Roof("tensor.bfloat16.library", 1e14)))


def product(m, n, k, share, weights="bf16", size=2):
    work = linear(m, n, k, "bfloat16", "tensor", weight=size, activation=2, out=2)
    params = {"batch": m, "n": n, "k": k, "weights": weights, "dtype": "bfloat16"}
    return MeasuredCase("quantised", params, work, ROOFS.seconds(work) / share)


# --- a dtype that the unit lacks


def test_fp8_weights_without_an_fp8_unit_are_as_slow_as_they_were_measured():
    points = [product(1, 4096, 4096, 0.8), product(1, 4096, 4096, 0.02, "fp8", 1)]
    machine = flat(1e14, 1e12).using(roofline=ROOFS, curves=curves_of(points, ROOFS), origin="measured")
    wide, narrow = (timed(LLAMA8, machine, served(name, "bf16"), decoding(1, 64)) for name in ("bf16", "fp8"))

    def row(step, name):
        return next(each.timed for each in step.rows if each.operation.name == name)

    assert row(narrow, "O").seconds > 10 * row(wide, "O").seconds
    assert row(narrow, "O").origin == "measured"
    # nobody measured INT4 here: the wide kernel's utilisation at its bytes, and it says so
    other = row(timed(LLAMA8, machine, served("int4-g128", "bf16"), decoding(1, 64)), "O")
    assert other.seconds < row(wide, "O").seconds
    assert other.origin == "assumed"


def test_a_format_is_served_the_same_way_wherever_it_is_asked_for():
    machine = flat(1e14, 1e12)
    plain = to_json(answer(LLAMA8, machine, ServingRequest(served("int8", "bf16"))))
    assert plain["inputs"]["math"] == "bfloat16"
    batch = max(each["about"]["batch"] for each in plain["answers"]["quantisation"])
    planner = Planner(LLAMA8, machine, ServingRequest(served("int8", "bf16")))
    [mine] = [
        each["value"]
        for each in plain["answers"]["quantisation"]
        if each["name"] == "quantised tpot" and each["about"]["weights"] == "int8"
    ]
    assert mine == pytest.approx(planner.decode(batch, planner.mean_context).seconds)


def test_a_look_is_decided_once_and_says_roof_curve_range_and_provenance():
    points = [product(m, 4096, 4096, 0.5) for m in (1, 256)]
    machine = flat(1e14, 1e12).using(roofline=ROOFS, curves=curves_of(points, ROOFS), origin="measured")
    rows = {row.name: row for row in operations(LLAMA8, Precision(), decoding(8, 1024), Ranks(tensor=2))}
    known, wider = machine.look(rows["QKV"]), machine.look(rows["decode attention"])
    assert (known.roof.key, known.origin, known.shaped) == ("tensor.bfloat16.library", "measured", False)
    assert known.range == pytest.approx((1, 256))
    assert (wider.curve, wider.range, wider.up, wider.down) == (None, None, 1.0, 1.0)
    message = machine.look(rows["all-reduce"])
    assert (message.roof.key, message.origin) == ("link", "assumed")
    size = rows["all-reduce"].params["bytes"]
    least = min(start + each * size for start, each in message.lines)
    assert machine.seconds(rows["all-reduce"]).seconds == pytest.approx(least)
    # the page is told the same, by number
    (told,) = exported(machine, [LLAMA8])["models"]
    look = next(row["look"] for row in told["ranks"][1]["decode"] if row["name"] == "O")
    assert exported(machine, [LLAMA8])["looks"][look[0]]["shaped"] is True


# --- collectives among other numbers of ranks


def test_an_all_reduce_among_more_ranks_takes_no_less_than_the_measured_one_and_is_assumed():
    reduced = (messages(2, [(8192, 464e-6), (1 << 20, 1e-3)]),)
    machine = flat(1e14, 1e12).using(curves=Curves(reduce=reduced), origin="measured", launch_origin="measured")
    steps = {n: timed(LLAMA8, machine, Precision(), decoding(1, 1), Ranks(tensor=n)) for n in (2, 4, 8)}
    assert steps[2].parts["communication"] > 65 * 464e-6
    assert steps[2].parts["communication"] < steps[4].parts["communication"] < steps[8].parts["communication"]
    assert steps[4].origin == steps[8].origin == "assumed"


def test_beyond_the_largest_message_the_bus_is_as_fast_and_below_the_smallest_the_time_stays():
    found = messages(2, [(1 << 10, 1e-5), (1 << 20, 1e-4)])
    assert found(2 << 20) == pytest.approx(2 * found(1 << 20)) == pytest.approx(2e-4)
    assert found(1) == pytest.approx(found(1 << 10)) == pytest.approx(1e-5)


def test_scaling_follows_the_steps_of_a_tree_up_and_the_bus_down():
    assert scaled(2, 2) == 1
    assert scaled(2, 8) == 3
    assert scaled(8, 2) == pytest.approx((1 / 2) / (7 / 8))


def test_a_collective_that_was_not_measured_sends_what_the_bus_must_carry():
    """2 (n - 1) / n of a long message for an all-reduce, half of that for an all-gather."""
    machine, size = flat(1e14, 1e12, link=1e12, alpha=1e-12), 8e9

    def seconds(kind):
        asked = {"bytes": size, "ranks": 8, "collective": kind}
        return machine.seconds(Operation(kind, "collective", 1, Work(), asked)).seconds

    assert seconds("all_reduce") == pytest.approx(2 * 7 / 8 * size / (BUS * 1e12))
    assert seconds("all_gather") == pytest.approx(7 / 8 * size / (BUS * 1e12))


def test_a_short_collective_that_is_assumed_makes_its_step_assumed():
    quick = flat(1e14, 1e12, alpha=1e-12, link=1e18).using(origin="measured", launch_origin="measured")
    alone, shared = (timed(LLAMA8, quick, Precision(), decoding(1, 1), Ranks(tensor=n)) for n in (1, 2))
    assert shared.shares["communication"] < 0.01
    assert (alone.origin, shared.origin) == ("formula", "assumed")


# --- places on a curve


@pytest.mark.parametrize("tokens", [1, 7, 512, 8192])
def test_without_a_prefix_a_prompt_is_as_long_as_it_is(tokens):
    assert length(tokens, tokens) == pytest.approx(tokens)


def test_a_prefix_makes_a_prompt_as_long_as_its_pairs_say():
    long = length(512, 512 + 32256)
    assert long * (long + 1) / 2 == pytest.approx(512 * 32256 + 512 * 513 / 2)
    line = family([((128.0,), (512, 0.1)), ((128.0,), (8192, 0.8))], curve)
    machine = flat(1e14, 1e12).using(curves=Curves(prefill=line))

    def share(cached):
        step = timed(LLAMA8, machine, Precision(), prefilling(512, cached))
        row = next(each.timed for each in step.rows if each.operation.kind == "attention prefill")
        return max(row.compute, row.memory) / row.seconds

    assert share(0) == pytest.approx(0.1)
    assert share(32256) == pytest.approx(line.by[128.0,](long))
    assert share(32256) > 0.6


def test_below_the_first_point_the_time_stays():
    line = curve([(8, 0.4), (64, 0.8)], held=True)
    work = {x: x / line(x) for x in (1, 2, 8)}
    assert work[1] == pytest.approx(work[8])
    assert work[2] == pytest.approx(work[8])
    assert curve([(8, 0.4)])(1) == 0.4


def test_below_the_fewest_items_a_surface_is_as_efficient_as_with_as_much_work():
    plane = surface([(8, 128, 0.1), (8, 1024, 0.3), (8, 8192, 0.9), (64, 1024, 0.7), (64, 8192, 0.95)])
    assert plane(1, 8192) == pytest.approx(plane(8, 1024))
    assert plane(1, 1024) == pytest.approx(plane(8, 128))
    assert 1 * 128 / plane(1, 128) == pytest.approx(8 * 128 / plane(8, 128)), "the time of the least that was measured"
    assert plane(8, 1024) == pytest.approx(0.3)


def test_another_head_dimension_is_no_measurement_of_this_one():
    points = family([((4.0, 128.0), (8, 1024, 0.5))], surface)
    machine = flat(1e14, 1e12).using(curves=Curves(decode=points), origin="measured")

    def origin(name):
        step = timed(models.model(name), machine, Precision(), decoding(8, 1024))
        return next(row.timed.origin for row in step.rows if row.operation.kind == "attention decode")

    assert origin("Llama-3.1-70B") == "measured"
    assert origin("DeepSeek-V3") == "assumed"


def test_the_gate_between_the_products_of_experts_is_counted_once():
    tokens, experts, active, width, ffn = 1024, 128, 8, 2048, 768
    rows = tokens * active
    work = Work(
        2.0 * rows * 3 * width * ffn, "tensor", "bfloat16", bytes=2.0 * (experts * 3 * width * ffn + 2 * rows * width)
    )
    gate = 3 * rows * ffn * 2 / 1e12
    params = {"routing": "uniform", "tokens": tokens, "experts": experts, "active": active, "expert_ffn": ffn}
    point = MeasuredCase("moe", params, work, ROOFS.seconds(work) + gate)
    line, _ = curves_of([point], ROOFS).experts.nearest((128.0, 8.0))
    assert line(tokens) == pytest.approx(1.0)


# --- load


def simulated_tail(batch, output, decode, prefill, quantile, seed=1):
    """TTFT quantile of a closed loop by events: waiting prompts run first, one at a time; lengths vary by half."""
    draw = random.Random(seed)
    now, waiting, running, found = 0.0, [], [draw.randint(1, output) for _ in range(batch)], []
    for _ in range(60000):
        if waiting:
            now += prefill
            found.append(now - waiting.pop(0))
            running.append(draw.randint(output // 2, output + output // 2))
            continue
        now += decode
        left = [tokens - 1 for tokens in running]
        waiting += [now for tokens in left if tokens <= 0]
        running = [tokens for tokens in left if tokens > 0]
    found = sorted(found[len(found) // 5 :])
    return found[int(quantile * len(found))]


@pytest.mark.parametrize(("batch", "decode", "prefill"), [(64, 0.010, 0.0224), (186, 0.016, 0.0224), (8, 0.01, 0.1)])
def test_out_of_phase_the_tail_of_the_first_token_is_no_less_than_a_simulation_sees(batch, decode, prefill):
    found = queueing.closed(batch, 256, decode, prefill, False)
    seen = simulated_tail(batch, 256, decode, prefill, 0.95)
    assert found.tail >= 0.9 * seen
    assert found.tail <= 3 * seen
    assert queueing.closed(batch, 256, decode, prefill, False, 0.99).tail >= found.tail
    assert queueing.closed(1, 256, decode, prefill, False).tail == prefill


def test_what_is_printed_of_a_limit_is_what_was_held_against_it():
    planner = Planner(
        LLAMA8, flat(7e14, 2.8e12), ServingRequest(sla=sla("mlperf llama-3.1-8b interactive"), prompt=512)
    )
    pick = sla_search.pick(planner, Ranks())
    tails = [each for each in sla_search.answers(planner) if each.name == "sla ttft tail"]
    [tail] = [each for each in tails if each.about["devices"] == 1]
    assert tail.about["quantile"] == 0.99
    assert tail.value == pytest.approx(math.ceil(0.99 * pick.chosen.batch) * pick.chosen.prefill.seconds
                                       + pick.chosen.step.seconds / 2)  # fmt: skip
    assert tail.value <= 0.5


def test_the_bar_of_an_open_loop_is_the_loop_at_its_ends():
    plain = flat(7e14, 2.8e12).using(origin="measured", launch_origin="measured")
    checked = plain.using(errors={"decode": ErrorRange(-0.2, 0.0), "prefill": ErrorRange(-0.2, 0.0)})
    rate = 8.0
    found = answer(LLAMA8, checked, ServingRequest(rate=rate)).find("open loop ttft p95")
    slower = flat(0.8 * 7e14, 0.8 * 2.8e12)
    assert found.low == pytest.approx(found.value)
    assert found.high == pytest.approx(
        answer(LLAMA8, slower, ServingRequest(rate=rate)).find("open loop ttft p95").value
    )
    assert found.high > found.value / 0.8


# --- files from elsewhere


BARE = {
    "roofs": [{"key": "dram", "rate": 1e12}, {"key": "tensor.bfloat16.library", "rate": 1e14}],
    "memory_bytes": 1.5e11,
}
WORK = {"flops": 1e9, "unit": "tensor", "dtype": "bfloat16", "bytes": 1e7, "seconds": 1.0}
BROKEN = [
    {"probe": "attention", "params": {"phase": "decode"}},
    {"probe": "attention", "params": {"phase": "decode", "layout": ["gqa"], "batch": None, "keys": 8}},
    {"probe": "attention", "params": {"phase": "prefill", "causal": True}},
    {"probe": "gemm", "params": {"batch": 1, "n": 0, "k": 4}},
    {"probe": "gemm", "params": {"batch": math.nan, "n": 4, "k": 4}},
    {"probe": "gemm", "params": {"batch": 1, "n": "many", "k": 4}},
    {"probe": "moe", "params": {"routing": "uniform"}},
    {"probe": "allreduce", "params": {"bytes": 8, "ranks": "two"}},
    {"probe": "layer", "params": {"model": "Llama-3.1-8B", "ranks": 1, "part": "O"}},
    {"probe": "layer", "params": {"model": ["x"], "ranks": 1, "part": "O"}},
    {"probe": "decode", "params": {"part": "attention", "layout": "gqa", "cache": "bfloat16", "dtype": "bfloat16"}},
    {"probe": "decode", "params": {"part": "prefill attention", "new": 512}},
    {"probe": "bandwidth", "params": {"mix": "copy", "cache": "cold"}, "bytes": 0, "flops": 0, "channel": "dram"},
    {"probe": "gemm", "params": {"batch": 1, "n": 4, "k": 4}, "flops": math.nan},
    {"probe": "gemm", "params": {"batch": 1, "n": 4, "k": 4}, "bytes": -1.0},
    {"probe": "gemm", "params": {"batch": 1, "n": 4, "k": 4}, "seconds": math.inf},
]


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: f"{case['probe']}-{case['params']}"[:60])
def test_a_case_that_cannot_be_read_is_left_out_and_named(case):
    machine = of_facts(BARE | {"cases": [WORK | case]}, "x.json")
    assert len(machine.curves.unread) == 1 or not machine.curves.stream
    assert answer(LLAMA8, machine).groups
    if machine.curves.unread:
        assert any("cannot be read" in note for note in machine.notes)


@pytest.mark.parametrize(
    "change",
    [
        {"cases": 7},
        {"reserve_bytes": math.inf},
        {"overheads_s": {"launch": {"graph": math.inf}}},
        {"roofs": [*BARE["roofs"], {"key": "dram", "rate": 1e9}]},
        {"simulated": "false"},
        {"self_check": {"decode": {"low": 0, "high": 0, "points": math.inf}}},
    ],
)
def test_a_file_that_makes_no_sense_is_one_line(change):
    with pytest.raises(ServingError) as caught:
        of_facts(BARE | change, "x.json")
    assert "\n" not in str(caught.value)


def test_a_run_with_broken_cases_is_still_fitted(capsys, tmp_path, run_of):
    from dataclasses import replace

    from bench import store

    run = run_of("sim:h200-sxm", ("peak", "bandwidth", "layer", "mixed"))
    spoilt = []
    for number, each in enumerate(run.measurements):
        params = dict(each.params)
        if each.probe in ("layer", "mixed"):
            for name, value in ([("tokens", 0), ("batch", "x"), ("ranks", 0), ("context", None)][number % 4],):
                params[name] = value
            if number % 3 == 0:
                params.pop("phase", None)
        spoilt.append(replace(each, params=params))
    path = tmp_path / "run.jsonl"
    path.write_text("".join(f"{line}\n" for line in store.raw_lines(replace(run, measurements=tuple(spoilt)))))
    assert cli.main(["fit", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["devices"]
    assert cli.main(["serving", "llama-3.1-8b", "--run", str(path)]) == 0
    assert fit(store.read(path))


def test_no_host_time_is_a_time(capsys, tmp_path):
    file = tmp_path / "roofline.json"
    file.write_text(json.dumps(BARE | {"overheads_s": {"host": 0.5}}))
    words = ["serving", "llama-3.1-8b", "--roofline", str(file), "--json"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["inputs"]["host_s"] == 0.5
    assert cli.main([*words, "--host", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"]["host_s"] == 0


def test_the_form_of_a_tree_is_the_one_that_scales():
    assert formulas.tree_steps(8) == 3 * formulas.tree_steps(2)


# --- a kernel that was too small to be measured out of a cache


def test_a_small_parts_curve_is_a_share_of_the_memory_roof_whatever_level_served_it():
    """A norm of a token says l2: held against the l2 roof it would look slow, and make a step slower than it is."""
    roofs = Roofline("r", (*ROOFS.roofs, Roof("l2", 5 * ROOFS.roof("dram").rate)))
    sizes = (40e3, 400e3, 4e6, 4e7)

    def points(channel):
        return [
            MeasuredCase(
                "layer", {"part": "norm + residual", "tokens": 1, "count": 2}, Work(bytes=size, channel=level), 1e-6
            )
            for size, level in zip(sizes, (channel, "dram", "dram", "dram"), strict=True)
        ]

    assert curves_of(points("l2"), roofs).named == curves_of(points("dram"), roofs).named != {}
