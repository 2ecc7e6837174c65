"""Each section of serving's probes says of planted rows what was planted, and survives whatever a Run may lack."""

import pytest

from bench.analysis.fit import fit
from bench.report import frame
from bench.report.known import KNOWN
from bench.report.sections import sections
from bench.report.served import capacity, decode, drawn, fusion, layer, mixed, moe, quantised
from bench.work import Work, gemm, move
from tests.report.runs import by_hand, cpu, measured, simulated

ALL = ("layer", "decode", "mixed", "quantised", "moe", "fusion", "capacity")
WORK = gemm(8, 64, 64, "float32", "vector")


def rows_of(*measurements):
    found = fit(by_hand(measurements, cpu()))[0]
    return frame.cases(found, None), found


def planted(probe, seconds, work=WORK, notes=(), **params):
    return measured(probe, params, work, (seconds,) * 6, notes=dict(notes))


def text(module, *measurements) -> str:
    rows, found = rows_of(*measurements)
    return " ".join(module.words(rows, found, None))


def figures(module, *measurements) -> dict:
    rows, found = rows_of(*measurements)
    return {title: figure for title, _, figure in module.figures(rows, found, None)}


# --- layer


def a_layer(whole: float, gate_up: float = 3e-3, phase="decode", batch=4, context=1024, tokens=4):
    about = {"model": "Llama-3.1-8B", "ranks": 1, "dtype": "float32", "phase": phase, "tokens": tokens}
    alone = {"batch": 0, "context": 0}
    yield planted("layer", 1e-3, part="norm + residual", count=2, **about, **alone)
    yield planted("layer", gate_up, part="gate-up", count=1, **about, **alone)
    yield planted("layer", 5e-3, part=f"{phase} attention", count=1, batch=batch, context=context, **about)
    yield planted("layer", whole, part="layer", count=1, batch=batch, context=context, **about)


def test_a_layer_is_held_against_the_sum_of_its_parts():
    rows, _ = rows_of(*a_layer(12e-3))
    [whole] = layer.wholes(rows).itertuples()
    assert whole.parts == pytest.approx(2 * 1e-3 + 3e-3 + 5e-3), "a part counts as often as the layer launches it"
    said = text(layer, *a_layer(12e-3))
    assert "1.20 times the sum of its parts" in said
    assert "in each other's way" in said
    assert "50 % in attention" in said
    assert "below 1" not in said
    assert "1 point clearly below 1" in text(layer, *a_layer(8e-3))


def test_the_bars_of_a_layer_add_up():
    bars = figures(layer, *a_layer(12e-3))["Where a layer's time goes"]
    shares = {trace.name: trace.x[0] for trace in bars.data}
    assert shares == pytest.approx({"norm + residual": 20, "gate-up": 30, "attention": 50})


def test_a_part_that_is_missing_leaves_the_sum_out_and_not_the_layer():
    less = [m for m in a_layer(12e-3) if m.params["part"] != "decode attention"]
    rows, _ = rows_of(*less)
    assert layer.wholes(rows)["parts"].isna().all()
    assert figures(layer, *less)["Decode"] is not None
    assert figures(layer, *less)["Where a layer's time goes"] is None


# --- mixed


def test_a_chunk_stretches_the_step_of_its_own_batch():
    steps = [
        planted("mixed", seconds, batch=batch, chunk=chunk)
        for batch, chunk, seconds in ((8, 0, 1e-3), (8, 64, 1.5e-3), (8, 256, 5e-3), (64, 0, 4e-3), (64, 256, 6e-3))
    ]
    rows, _ = rows_of(*steps)
    found = {(row.batch, row.chunk): row for row in mixed.stretched(rows).itertuples()}
    assert {key: row.stretch for key, row in found.items()} == pytest.approx(
        {(8, 64): 1.5, (8, 256): 5, (64, 256): 1.5}
    )
    assert found[8, 64].token == pytest.approx(0.5e-3 / 64)
    said = text(mixed, *steps)
    assert "8 users who decode wait 5.00 times as long with 256 tokens" in said
    assert "less than twice as long with up to 64" in said
    # 4 ms and 2 ms more for 256 tokens
    assert "In a chunk of 256 each token of the prompt adds 15.6 µs beside 8 and 7.81 µs beside 64" in said


def test_chunks_without_a_step_alone_say_so():
    assert "both with a chunk and without" in text(mixed, planted("mixed", 1e-3, batch=8, chunk=64))


# --- decode


def kind(layout, seconds, cache="float32", batch=1, context=1024, **more):
    return planted(
        "decode", seconds, part="attention", layout=layout, cache=cache, dtype="float32", batch=batch, context=context,
        **more,
    )  # fmt: skip


def test_of_several_methods_the_fastest_counts_and_a_narrow_cache_is_held_against_the_wide_one():
    found = [
        kind("mha", 8e-3), kind("gqa", 2e-3), kind("gqa", 5e-3, "int8"), kind("mla", 4e-3, method="a"),
        kind("mla", 1e-3, method="b"),
    ]  # fmt: skip
    rows, _ = rows_of(*found)
    best = decode.kinds(rows)
    assert dict(zip(best["kind"], best["seconds"], strict=True)) == {"MHA": 8e-3, "GQA": 2e-3, "MLA": 1e-3}
    [narrow] = decode.narrow(rows).itertuples()
    assert narrow.times == pytest.approx(0.4)
    said = text(decode, *found)
    assert "A cache of INT8 is 0.400 times as fast as the wide one" in said
    assert "widened" not in said, "only a case's own notes say how it was computed"


def test_uneven_batches_the_prefix_and_the_tail():
    found = [
        planted("decode", seconds, part="ragged attention", spread=spread)
        for spread, seconds in (("equal", 2e-3), ("spread", 3e-3), ("one long", 5e-3))
    ]
    found += [
        planted("decode", seconds, part="prefill attention", new=512, prefix=prefix)
        for prefix, seconds in ((0, 1e-3), (8192, 7e-3))
    ]
    found += [planted("decode", 3e-4, move(8), part="LM head", rows=64, vocabulary=1, width=1)]
    found += [planted("decode", 2e-5, move(8), part="sampling", rows=64, method="top-p", vocabulary=1)]
    said = text(decode, *found)
    assert "1.50 times as long (spread) and 2.50 times as long (one long)" in said
    assert "512 new tokens after 8,192 cached ones take 7.00 times as long" in said
    assert "LM head 300 µs and top-p sampling 20.0 µs" in said
    assert [*figures(decode, *found)["Uneven lengths"].data[0].x] == pytest.approx([1, 1.5, 2.5])


# --- quantised


def product(batch, seconds, size, quantised_="weights", weights="int8", method="torch.x"):
    work = Work(1e6, "vector", "float32", bytes=float(size))
    about = {"quantised": quantised_, "weights": weights, "batch": batch, "n": 64, "k": 64}
    return planted("quantised", seconds, work, {"method": method}, **about)


def test_narrow_products_are_held_against_the_unquantised_of_their_batch():
    found = [
        product(1, 4e-3, 4e6, "unquantised", "fp32"), product(64, 5e-3, 4e6, "unquantised", "fp32"),
        product(1, 1e-3, 2e6), product(64, 10e-3, 2e6),
        product(1, 8e-3, 1e6, weights="int4-g128"), product(64, 20e-3, 1e6, weights="int4-g128"),
    ]  # fmt: skip
    rows, _ = rows_of(*found)
    gains = {(row.what, row.batch): (row.times, row.lighter) for row in quantised.gains(rows).itertuples()}
    assert gains["INT8 weights", 1] == pytest.approx((4, 2))
    assert gains["INT8 weights", 64] == pytest.approx((0.5, 2))
    assert gains["INT4 weights", 1] == pytest.approx((0.5, 4))
    said = text(quantised, *found)
    assert "With INT8 weights a product is 4.00 times as fast as unquantised at 1 row" in said
    assert "where the bytes alone would give 2.00" in said
    assert "slower than unquantised at 64 rows" in said
    assert "it pays nowhere" in said
    assert "torch.x" in said


# --- moe


def experts(tokens, routing, distinct, seconds, fullest=3):
    about = {"experts": 8, "active": 2, "width": 64, "expert_ffn": 32, "model": "thin", "dtype": "float32"}
    notes = {"fullest": str(fullest), "method": "a loop"}
    return planted("moe", seconds, WORK, notes, tokens=tokens, routing=routing, distinct=distinct, **about)


def test_experts_touched_stand_beside_what_uniform_routing_expects():
    found = [
        experts(1, "uniform", 2, 1e-3), experts(4, "uniform", 5, 3e-3), experts(4, "skewed", 4, 6e-3, fullest=4),
    ]  # fmt: skip
    rows, _ = rows_of(*found)
    expected = {row.tokens: row.expected for row in moe.experts(rows).itertuples()}
    assert expected == pytest.approx({1: 2, 4: 5.46875}), "golden values MOE-1 and MOE-2 of the reference"
    said = text(moe, *found)
    assert "8 experts, of which a token takes 2." in said
    assert "touches 2 to 5 experts and takes 1.00 ms to 3.00 ms" in said
    assert "within 8.6 % of the expected one" in said
    assert "touches 4 experts, uniform 5, and takes 2.00 times as long." in said
    assert "its fullest expert has 4 rows, uniform routing's 3" in said
    drawn_ = {trace.name: [*trace.y] for trace in figures(moe, *found)["Experts touched"].data}
    assert drawn_[moe.EXPECTED] == pytest.approx([2, 5.46875])


# --- fusion


def test_what_fusion_caching_and_packing_save():
    found = [
        planted("fusion", 1e-3, WORK, {"peak_bytes": "1048576"}, part="attention", form="fused", tokens=512),
        planted("fusion", 4e-3, WORK, {"peak_bytes": "8388608"}, part="attention", form="unfused", tokens=512),
        planted("fusion", 1e-4, part="cache", form="cached", tokens=2048),
        planted("fusion", 5e-3, part="cache", form="recomputed", tokens=2048),
        planted("fusion", 2e-3, part="padding", form="packed", sequences=8, rows=100, width=64),
        planted("fusion", 5e-3, part="padding", form="padded", sequences=8, rows=300, width=64),
    ]
    said = text(fusion, *found)
    assert "At 512 tokens attention in one call is 4.00 times as fast as in three." in said
    assert "holds 1 MiB at 512 tokens, in three calls 8 MiB" in said
    assert "comes 50.0 times as fast at 2048 tokens" in said
    assert "multiplies the rows by 3.00 and the time of a product by 2.50" in said
    slow = [planted("fusion", 9e-3, part="attention", form="fused", tokens=512), found[1]]
    assert "takes 2.25 times as long as in three" in text(fusion, *slow)


# --- capacity


def test_what_was_allocated_stands_beside_what_was_predicted():
    notes = {
        "predicted": "10", "confirmed": "9", "stopped": "more is taken than the sizes add up to", "sizes_bytes": "1000",
        "counted_bytes": "1100", "total_bytes": str(8 << 30), "free_bytes": str(6 << 30),
    }  # fmt: skip
    said = text(capacity, planted("capacity", 2e-3, WORK, notes, model="thin", context=2048))
    assert "9 sequences of 2,048 tokens of thin really lie in memory, where 10 were predicted (more is taken" in said
    assert "spends 18.0 ms on it" in said
    assert "1.10 times their size" in said
    assert "2 GiB of 8 GiB were in use before" in said


def test_a_simulated_memory_allocates_nothing():
    said = text(capacity, planted("capacity", 2e-3, WORK, {"predicted": "10"}, model="thin", context=2048))
    assert "are predicted; nothing was allocated here" in said
    assert "really lie" not in said


# --- whatever a Run may be


def test_every_probe_of_serving_has_a_section_and_a_short_name():
    assert set(ALL) <= set(KNOWN)
    shorts = [KNOWN[name].title for name in ALL]
    assert len(set(shorts)) == len(ALL)


def test_a_full_run_fills_every_figure():
    run = simulated("sim:h200-sxm,noise=0.002:0.007", ("peak", "bandwidth", *ALL))
    chosen = fit(run)[0]
    made = {section.id: section for section in sections(frame.cases(chosen, None), chosen, None)}
    for name in ALL:
        section = made[f"probe-{name}"]
        assert section.plots, name
        assert section.paragraph, name
        assert "no page for" not in section.question
        assert all(plot.figure.data for plot in section.plots)


ODD = [
    {},
    {"part": "layer", "model": None, "phase": 3, "tokens": "x", "batch": -1, "context": 0, "ranks": True},
    {"part": "attention", "layout": 7, "cache": 3, "dtype": None, "batch": 1, "context": 8, "form": "fused"},
    {"part": "cache", "form": "cached", "tokens": 0},
    {"part": "padding", "form": "packed", "sequences": 2, "rows": 1e30},
    {"part": "ragged attention", "spread": 7},
    {"part": "prefill attention", "new": 512},
    {"part": "LM head"},
    {"routing": 4, "tokens": 1, "experts": 8, "active": 2, "distinct": 2},
    {"quantised": "weights", "batch": 1, "n": 4, "k": 4},
    {"batch": 8, "chunk": 64},
    {"context": 2048, "model": 4},
]


@pytest.mark.parametrize("probe", ALL)
@pytest.mark.parametrize("params", ODD, ids=str)
def test_params_of_another_version_break_no_section(probe, params):
    notes = {"peak_bytes": "many", "fullest": "x", "predicted": "?", "total_bytes": "1"}
    rows, found = rows_of(
        planted(probe, 1e-3, WORK, notes, **params), planted(probe, 2e-3, WORK, notes, **params, other=1)
    )
    [section] = [each for each in sections(rows, found, None) if each.id == f"probe-{probe}"]
    assert section.table is not None


@pytest.mark.parametrize("probe", ALL)
def test_a_probe_that_was_skipped_says_why(probe):
    skipped = measured(probe, {"part": "layer"}, WORK, (), skip="it is too large")
    rows, found = rows_of(skipped)
    [section] = [each for each in sections(rows, found, None) if each.id == f"probe-{probe}"]
    assert section.paragraph == "Not measured: it is too large."
    assert not section.plots


def test_a_ratio_is_as_sound_as_the_worse_of_its_two():
    rows, _ = rows_of(planted("mixed", 1e-3, batch=8, chunk=0), planted("mixed", 2e-3, batch=8, chunk=64))
    rows.loc[rows["seconds"] == 1e-3, "validity"] = "suspect"
    assert list(mixed.stretched(rows)["validity"]) == ["suspect"]
    assert drawn.faster(2) == "is 2.00 times as fast as"
    assert drawn.faster(0.5) == "takes 2.00 times as long as"
