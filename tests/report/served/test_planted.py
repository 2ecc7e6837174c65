"""Sections of serving's probes: planted rows whose ratios are known come back as sentences and as points."""

import random
from dataclasses import replace
from functools import cache

import pandas as pd
import pytest

from bench import work
from bench.analysis.fit import fit
from bench.report import frame
from bench.report.known import KNOWN
from bench.report.sections import sections
from bench.report.served import capacity, decode, drawn, fusion, layer, mixed, moe, quantised
from tests.report.runs import QUICK, by_hand, cpu, measured, simulated

SERVED = {
    "layer": layer, "decode": decode, "mixed": mixed, "quantised": quantised, "moe": moe, "fusion": fusion,
    "capacity": capacity,
}  # fmt: skip
LAYER = {"model": "Llama-3.1-8B", "ranks": 1, "dtype": "bfloat16"}
DEMAND = work.Work(bytes=1e6)


def case(probe, params, seconds=1e-3, demand=DEMAND, **more):
    return measured(probe, params, demand, (seconds,) * 6 if seconds else (), **more)


def read(rows, **about):
    fitted = fit(by_hand(rows, cpu(**about)))[0]
    return frame.burst(frame.cases(fitted, None)), fitted


def told(name, rows, **about):
    table, fitted = read(rows, **about)
    return " ".join(SERVED[name].words(table, fitted, None))


def shown(name, rows, **about):
    """Figures by their titles, those that draw something."""
    table, fitted = read(rows, **about)
    return {title: fig for title, _, fig in SERVED[name].figures(table, fitted, None) if fig is not None}


def points(fig, name):
    trace = next(trace for trace in fig.data if trace.name == name)
    return list(trace.x), [pytest.approx(value) for value in trace.y]


@cache
def h200():
    fitted = fit(simulated("sim:h200-sxm,noise=0.002:0.007,seed=3", list(SERVED), replace(QUICK, rounds=1)))[0]
    return frame.burst(frame.cases(fitted, None)), fitted


def one_layer(batch=8, context=1024, whole=12e-3, phase="decode", parts=None, **more):
    """A whole of 12 ms beside parts of 10 ms: two norms of 1 ms, a product of 5 ms, attention of 3 ms."""
    parts = parts or {"norm": (2, 1e-3), "gate-up": (1, 5e-3), f"{phase} attention": (1, 3e-3)}
    at = LAYER | {"phase": phase, "tokens": batch if phase == "decode" else context}
    place = {"batch": batch, "context": context}
    rows = []
    for name, (count, seconds) in parts.items():
        own = place if name.endswith("attention") else {"batch": 0, "context": 0}
        rows.append(case("layer", at | {"part": name, "count": count} | own, seconds))
    return [*rows, case("layer", at | {"part": "layer", "count": 1} | place, whole, **more)]


def test_a_layer_is_held_against_the_sum_of_its_parts():
    text = told("layer", one_layer())
    assert "A whole layer takes 1.20 times the sum of its parts measured alone, over 1 point." in text
    assert "1 point clearly above 1" in text
    assert "below 1" not in text
    assert "spends 50 % in gate-up" in text
    figures = shown("layer", one_layer())
    assert points(figures["Decode"], "Llama-3.1-8B, 1,024 tokens of context") == ([8], [12e-3])
    assert points(figures["Decode"], "Llama-3.1-8B, 1,024 tokens of context: its parts") == ([8], [10e-3])
    assert points(figures["Composition"], "Llama-3.1-8B, 1,024 tokens of context, decode") == ([8], [1.2])
    shares = {trace.name: trace.x[0] for trace in figures["Where a layer's time goes"].data}
    assert shares == {name: pytest.approx(x) for name, x in (("norm", 20), ("gate-up", 50), ("attention", 30))}


def test_attention_of_another_context_is_no_part_of_a_layer():
    rows = one_layer(context=1024) + one_layer(context=8192, whole=40e-3)[2:]
    table, _ = read(rows)
    assert layer.wholes(table)["parts"].tolist() == [pytest.approx(10e-3)] * 2
    rows = one_layer(context=1024) + one_layer(context=8192, whole=40e-3)[3:]
    table, _ = read(rows)
    known = layer.wholes(table).set_index("context")["parts"]
    assert known[1024] == pytest.approx(10e-3)
    assert pd.isna(known[8192])


def test_a_layer_without_one_part_is_drawn_but_not_composed():
    rows = one_layer()
    rows[1] = case("layer", rows[1].params, None, skip="time ran out")
    assert "times the sum" not in told("layer", rows)
    assert set(shown("layer", rows)) == {"Decode"}


def test_a_cache_explains_only_a_device_that_has_one():
    below = one_layer(whole=8e-3)
    assert "finds in the cache" in told("layer", below)
    text = told("layer", below, simulated=True)
    assert "1 point below 1" in text
    assert "cache what" not in text
    assert "None is clearly more than 3 %" in told("layer", one_layer(whole=10.1e-3))


def test_bars_show_every_point_and_each_part_or_their_rest():
    parts = {f"part {n}": (1, n * 1e-3) for n in range(1, 9)} | {"decode attention": (1, 9e-3)}
    rows = [row for batch in range(1, 21) for row in one_layer(batch, whole=45e-3, parts=parts)]
    bars = shown("layer", rows)["Where a layer's time goes"]
    assert {len(trace.y) for trace in bars.data} == {20}
    assert [trace.name for trace in bars.data] == [*(f"part {n}" for n in range(4, 9)), "attention", "all others"]
    assert sum(trace.x[0] for trace in bars.data) == pytest.approx(100)
    assert bars.data[-1].x[0] == pytest.approx(100 * (1 + 2 + 3) / 45)


def attend(cache="bfloat16", layout="gqa", batch=1, context=1024, seconds=1e-3, size=2e6, **more):
    method = {"method": more.pop("method")} if "method" in more else {}
    params = {"part": "attention", "dtype": "bfloat16", "layout": layout, "cache": cache, "batch": batch}
    return case("decode", params | {"context": context} | method, seconds, work.Work(bytes=size), **more)


def test_kinds_of_attention_are_compared_at_one_point_and_by_their_fastest_method():
    rows = [
        attend(layout="mha", seconds=8e-3, size=8e6),
        attend(layout="gqa", seconds=2e-3, size=2e6),
        attend(layout="mla", seconds=9e-3, size=1e6, method="slow"),
        attend(layout="mla", seconds=4e-3, size=1e6, method="fast"),
        case("bandwidth", {"mix": "read", "bytes": 2**30}, 1.0, work.Work(bytes=1e10), saturates="dram"),
    ]
    text = told("decode", rows)
    assert "times as fast as MHA: GQA 4.00 (bytes alone: 4.00) and MLA 2.00 (bytes alone: 8.00)" in text
    # 10 GB/s is the roof, and GQA moves 2 MB in 2 ms
    assert "GQA 10.0 % of memory (DRAM)" in text
    fig = shown("decode", rows)["Kinds of attention"]
    assert points(fig, "GQA, batch 1") == ([1024], [10])


def test_a_narrow_cache_is_held_against_the_wide_one_and_says_its_method():
    notes = {"method": "widened first"}
    rows = [
        attend(seconds=1e-3),
        attend("int8", seconds=4e-3, size=1e6, notes=notes),
        attend(context=8192, seconds=9e-3, size=16e6),
    ]
    text = told("decode", rows)
    assert "INT8 is 0.250 times as fast as the wide one, where its bytes alone would give up to 2.00" in text
    assert "(widened first)" in text
    assert points(shown("decode", rows)["A narrow cache"], "INT8, batch 1") == ([1024], [0.25])
    fused = [attend(seconds=4e-3), attend("int8", seconds=2e-3, size=1e6, notes={"method": "one fused kernel"})]
    assert "INT8 is 2.00 times as fast" in told("decode", fused)
    assert "widened" not in told("decode", fused)


def test_uneven_lengths_a_prefix_and_what_follows():
    def row(part, seconds, **facts):
        return case("decode", {"part": part, "dtype": "bfloat16"} | facts, seconds)

    rows = [
        row("ragged attention", 2e-3, spread="equal"),
        row("ragged attention", 5e-3, spread="one long"),
        row("prefill attention", 1e-3, new=512, prefix=0),
        row("prefill attention", 7e-3, new=512, prefix=2048),
        row("LM head", 3e-3, rows=64),
        row("sampling", 4e-6, rows=64, method="argmax"),
    ]
    text = told("decode", rows)
    assert "2.50 times as long (one long)" in text
    assert "512 new tokens after 2,048 cached ones take 7.00 times as long" in text
    assert "For 64 rows: LM head 3.00 ms and argmax sampling 4.00 µs" in text
    figures = shown("decode", rows)
    assert points(figures["A cached prefix"], "prefill")[0] == [512, 2560]


def test_a_chunk_stretches_the_step_of_its_own_batch():
    times = {(8, 0): 10e-3, (8, 64): 15e-3, (8, 256): 60e-3, (64, 0): 20e-3, (64, 256): 70e-3}
    rows = [case("mixed", LAYER | {"batch": b, "chunk": c, "tokens": b + c}, s) for (b, c), s in times.items()]
    text = told("mixed", rows)
    assert "8 users who decode wait 6.00 times as long with 256 tokens" in text
    assert "less than twice as long with up to 64" in text
    assert "64 users who decode wait 3.50 times as long with 256" in text
    # 50 ms more for 256 tokens, beside either batch
    assert "In a chunk of 256 each token of the prompt adds 195 µs beside 8 and 195 µs beside 64" in text
    figures = shown("mixed", rows)
    assert points(figures["Stretch"], "batch 8") == ([64, 256], [1.5, 6])
    assert points(figures["Time of a step"], "batch 8, without the chunk") == ([64, 256], [10e-3, 10e-3])
    assert points(figures["What a token of the prompt adds"], "batch 64") == ([256], [50e-3 / 256])


def test_a_chunk_that_costs_nothing_measurable_is_not_drawn_below_zero():
    rows = [case("mixed", {"batch": 8, "chunk": chunk}, s) for chunk, s in ((0, 10e-3), (64, 9.9e-3))]
    assert "adds" not in told("mixed", rows)
    assert "What a token of the prompt adds" not in shown("mixed", rows)
    assert "No step was measured both" in told("mixed", rows[1:])


def product(kind, weights, batch, seconds, size, method="kernel", n=64):
    params = {"quantised": kind, "weights": weights, "batch": batch, "n": n, "k": 64}
    return case("quantised", params, seconds, work.Work(bytes=size), notes={"method": method})


def test_narrow_weights_are_held_against_the_same_batch_and_shape():
    rows = [
        product("unquantised", "bf16", 1, 99e-3, 99e6, n=128),
        product("unquantised", "bf16", 1, 4e-3, 8e6),
        product("unquantised", "bf16", 64, 6e-3, 9e6),
        product("weights", "int4-g128", 1, 1e-3, 2e6, "packed"),
        product("weights", "int4-g128", 64, 12e-3, 3e6, "packed"),
        product("weights and activations", "fp8", 1, 8e-3, 4e6, "scaled"),
    ]
    text = told("quantised", rows)
    assert "With INT4 weights a product is 4.00 times as fast as unquantised at 1 row" in text
    assert "the bytes alone would give 4.00" in text
    assert "slower than unquantised at 64 rows" in text
    assert "With FP8 weights and activations a product takes 2.00 times as long as unquantised" in text
    assert "it pays nowhere" in text
    assert "packed for INT4 weights and scaled for FP8 weights and activations" in text
    fig = shown("quantised", rows)[""]
    assert points(fig, "INT4 weights") == ([1, 64], [4, 0.5])


def experts(routing, tokens, distinct, seconds, fullest):
    params = {"routing": routing, "tokens": tokens, "experts": 8, "active": 2, "distinct": distinct}
    return case("moe", params, seconds, notes={"fullest": str(fullest), "method": "grouped"})


def test_skew_is_said_where_it_matters_and_the_expectation_is_drawn():
    rows = [
        experts("uniform", 1, 2, 1e-3, 1),
        experts("uniform", 4, 6, 3e-3, 2),
        experts("uniform", 64, 8, 4e-3, 20),
        experts("skewed", 4, 3, 1.5e-3, 4),
        experts("skewed", 64, 8, 6e-3, 50),
    ]
    text = told("moe", rows)
    assert "8 experts, of which a token takes 2" in text
    assert "Skewed routing of 4 tokens touches 3 experts, uniform 6, and takes 0.500 times as long" in text
    assert "Of 64 tokens its fullest expert has 50 rows, uniform routing's 20, and it takes 1.50 times as long" in text
    # of 4 tokens 8 (1 - 0.75^4) = 5.47 are expected
    assert "within 9.7 %" in text
    xs, ys = points(shown("moe", rows)["Experts touched"], moe.EXPECTED)
    assert xs == [1, 4, 64]
    assert ys[:2] == [2, 8 * (1 - 0.75**4)]


def test_the_expectation_has_the_colour_of_uniform_routing_or_its_own():
    rows = [experts("skewed", 4, 3, 1e-3, 4), experts("uniform", 4, 6, 2e-3, 2)]
    for kept, alike in ((rows, "uniform routing"), (rows[:1], None)):
        colours = {trace.name: trace.line.color for trace in shown("moe", kept)["Experts touched"].data}
        same = [name for name in colours if name != moe.EXPECTED and colours[name] == colours[moe.EXPECTED]]
        assert same == ([alike] if alike else [])


def fused(form, tokens, seconds, peak="0"):
    params = {"part": "attention", "form": form, "tokens": tokens}
    return case("fusion", params, seconds, notes={"peak_bytes": peak})


def test_fusion_that_loses_is_said_so_though_its_longest_wins():
    rows = [fused("fused", n, s, str(2**20)) for n, s in ((256, 2e-3), (512, 6e-3), (1024, 5e-3))]
    rows += [fused("unfused", n, s, str(2**24)) for n, s in ((256, 1e-3), (512, 2e-3), (1024, 10e-3))]
    text = told("fusion", rows)
    assert "At 1,024 tokens attention in one call is 2.00 times as fast as in three" in text
    assert "at 256: 0.500 times the speed" in text
    assert "fusion loses at 2 of 3 lengths, most at 512 (3.00 times as long)" in text
    assert "holds 1 MiB at 1,024 tokens, in three calls 16 MiB" in text
    assert points(shown("fusion", rows)["Fused attention"], "fused") == ([256, 512, 1024], [0.5, 1 / 3, 2])


def test_a_cache_and_packing_save_what_was_planted():
    rows = [
        case("fusion", {"part": "cache", "form": form, "tokens": 128}, seconds)
        for form, seconds in (("cached", 1e-3), ("recomputed", 30e-3))
    ]
    rows += [
        case("fusion", {"part": "padding", "form": form, "sequences": 8, "rows": count}, seconds)
        for form, count, seconds in (("packed", 100, 1e-3), ("padded", 250, 2e-3))
    ]
    text = told("fusion", rows)
    assert "comes 30.0 times as fast at 128 tokens" in text
    assert "Padding 8 prompts to the longest multiplies the rows by 2.50 and the time of a product by 2.00" in text
    fig = shown("fusion", rows)["Padding"]
    assert points(fig, "time") == ([8], [2])
    assert points(fig, "rows") == ([8], [2.5])


def held(context, **notes):
    params = {"model": "thin", "context": context, "mix": "read"}
    return case("capacity", params, 2e-3, notes={name: str(value) for name, value in notes.items()})


def test_what_fits_is_confirmed_and_read():
    rows = [held(2048, predicted=12, confirmed=10, stopped="memory was refused", largest=99)]
    text = told("capacity", rows)
    assert "10 sequences of 2,048 tokens of thin really lie in memory, where 12 were predicted" in text
    assert "(memory was refused); a step that reads them all spends 20.0 ms on it" in text
    assert "99 of 2,048 tokens are predicted to fit, which nothing here confirms" in text
    bars = {title: {trace.name: list(trace.x) for trace in fig.data} for title, fig in shown("capacity", rows).items()}
    assert bars["The largest batch"] == {"predicted": [12], "really allocated": [10]}
    assert bars["Reading all of it"] == {"read": [pytest.approx(20e-3)]}


def test_what_was_only_predicted_is_not_called_confirmed():
    rows = [held(2048, predicted=12, stopped="a simulated device has no memory")]
    assert "12 sequences of 2,048 tokens of thin are predicted; nothing was allocated here (a simulated" in told(
        "capacity", rows
    )
    assert "really" not in told("capacity", rows)
    assert set(shown("capacity", rows)) == {"The largest batch"}


def test_a_suspect_half_makes_a_suspect_pair_with_an_open_marker():
    doubt = {"validity": "suspect", "reasons": ("hot",)}
    rows = [product("unquantised", "bf16", 1, 4e-3, 8e6), product("weights", "int8", 1, 2e-3, 4e6)]
    assert not shown("quantised", rows)[""].data[0].marker.symbol[0].endswith("-open")
    rows[0] = case("quantised", rows[0].params, 4e-3, **doubt)
    assert shown("quantised", rows)[""].data[0].marker.symbol[0].endswith("-open")


@pytest.mark.parametrize("probe", SERVED)
def test_a_probe_that_was_skipped_has_a_section_that_says_why(probe):
    rows, fitted = read([case(probe, {"part": "layer"}, None, skip="no memory for it")])
    (found,) = sections(rows, fitted, None)
    assert found.title == KNOWN[probe].title
    assert not found.plots
    assert "no memory for it" in found.paragraph


@pytest.mark.parametrize("probe", SERVED)
@pytest.mark.parametrize("params", [{}, {"part": "layer", "phase": "verify"}, {"part": 7, "tokens": "many"}])
def test_a_case_of_a_newer_version_is_passed_over(probe, params):
    assert isinstance(told(probe, [case(probe, params)]), str)
    shown(probe, [case(probe, params)])


@pytest.mark.parametrize("probe", SERVED)
def test_any_subset_with_odd_params_and_notes_is_drawn_without_error(probe):
    whole, fitted = h200()
    mine, odd = whole[whole["probe"] == probe], (None, "x", -1, 0, [], {}, True, float("inf"), 10**400, float("nan"))
    assert len(mine) > 1
    for seed in range(3):
        draw = random.Random(f"{probe} {seed}")

        def bent(given, draw=draw):
            return {name: draw.choice(odd) if draw.random() < 0.1 else value for name, value in given.items()}

        rows = mine.sample(n=draw.choice((1, 2, len(mine))), random_state=seed)
        notes = [{name: str(value) for name, value in bent(each).items()} for each in rows["notes"]]
        demands = [work.Work() if draw.random() < 0.1 else each for each in rows["work"]]
        rows = rows.assign(params=[bent(each) for each in rows["params"]], notes=notes, work=demands)
        list(SERVED[probe].figures(rows, fitted, None))
        assert all(isinstance(text, str) for text in SERVED[probe].words(rows, fitted, None))


@pytest.mark.parametrize(("kind", "drawable"), [(drawn.SECONDS, 2), (drawn.PERCENT, 2), (drawn.FACTOR, 2)])
def test_a_line_leaves_out_what_no_axis_holds(kind, drawable):
    values = [0.5, 2.0, float("nan"), float("inf"), -1.0]
    part = pd.DataFrame({"x": [1.0, 2, 4, 8, 16], "y": values, "validity": "valid"})
    fig = drawn.sweep({"a": part}, "x", "y", kind)
    assert len(fig.data[0].x) == drawable
    assert drawn.sweep({"a": part[part["x"] > 2]}, "x", "y", kind) is None


def test_two_bars_at_one_place_stand_beside_each_other():
    fig = drawn.bars(["a", "a"], {"one": ([1.0, 2.0], ["", ""])}, "", stacked=False)
    assert list(fig.data[0].y) == ["a", "a (2)"]
