"""Planted conditions give sentences that say so; sound Runs give none of them."""

import re
from dataclasses import replace

from bench import units, work
from bench.analysis.compare import compare, datasheet
from bench.analysis.fit import fit
from bench.report import frame, interpretation, words
from bench.report.knee import gemm_knees
from bench.schema import End
from tests.report.runs import by_hand, cpu, measured, simulated


def looked(run) -> str:
    fits = fit(run)
    theory = datasheet(fits[0].info)
    gaps = compare(fits[0].roofline, theory) if theory else ()
    return " ".join(words.look_first(run, fits, frame.cases(fits[0], theory), gaps))


def said(run, probe) -> str:
    chosen = fit(run)[0]
    theory = datasheet(chosen.info)
    rows = frame.cases(chosen, theory)
    if probe == "gemm":
        return " ".join(interpretation.gemm(rows, chosen, gemm_knees(rows, chosen)))
    if probe == "attention":
        return " ".join(interpretation.attention(rows, chosen))
    return " ".join(getattr(interpretation, probe)(rows, chosen, theory))


def copy(size, seconds=(1e-3,) * 6, **more):
    params = {"mix": "copy", "bytes": size, "cache": "cold", "store": "default"}
    return measured("bandwidth", params, work.stream("copy", size // 8), seconds, **more)


def test_a_sound_run_reassures(h200):
    assert looked(h200).startswith("Nothing stands out")


def test_the_verdict_states_both_roofs_and_the_ridge(h200):
    fits = fit(h200)
    text = words.verdict(h200, fits, datasheet(fits[0].info))
    assert text.startswith("Simulated")
    assert "TB/s (DRAM" in text
    assert "TFLOP/s (BF16 tensor, best GEMM" in text
    assert "FLOP/B to be compute-bound" in text


def test_slow_memory_is_named():
    run = simulated("sim:h200-sxm,dram=0.8", ("bandwidth", "peak"))
    assert "DRAM reaches only 80.0 % of its datasheet (3.84 TB/s of 4.80 TB/s)" in looked(run)


def test_a_slow_sibling_is_named(slow_sibling):
    text = looked(slow_sibling)
    assert re.search(r"GPU 2 stands apart from its siblings: DRAM is (10|9\.\d) % slower", text)
    assert "GPU 0 stands" not in text
    assert "GPU 2 stands apart" in words.several(fit(slow_sibling))


def test_equal_siblings_are_not_accused():
    run = simulated("sim:h200-sxm,gpus=4,noise=0.002:0.007", ("bandwidth", "peak"))
    assert "stands apart" not in looked(run)
    assert "No device stands apart" in words.several(fit(run))


def test_a_power_capped_run_is_low_but_valid():
    run = simulated("sim:h200-sxm,throttle=power_cap", ("bandwidth", "peak"))
    assert words.validity(run, fit(run)).word in ("valid", "suspect")
    assert "85.0 %" in words.against_theory(
        compare(fit(run)[0].roofline, datasheet(run.environment.devices[0])), None, fit(run)[0], False
    )


def test_a_throttled_run_is_invalid():
    run = simulated("sim:b200,throttle=thermal", ("bandwidth", "peak"))
    judged = words.validity(run, fit(run))
    assert judged.word == "invalid"
    assert "thermal" in judged.causes[0][0]
    assert "No valid measurement supports" in looked(run)


def test_an_incomplete_run_comes_first(h200):
    assert looked(replace(h200, end=None)).startswith("The Run is incomplete (cut short")
    failed = replace(h200, end=End("failed", 4, "", 1.0, ("cuda:1: fell off the bus",)))
    assert "Failed: cuda:1: fell off the bus" in looked(failed)


def test_a_point_above_its_roof_is_told():
    rows = [copy(2**30, saturates="dram", repetition=r) for r in range(6)] + [copy(2**20, (1e-7,) * 6)]
    text = looked(by_hand(rows))
    assert "1 case lies above the measured roof" in text
    assert "cache" in text


def test_few_samples_are_told():
    assert "fewer than three repetitions" in looked(by_hand([copy(2**30, saturates="dram")]))


def test_suspects_are_counted_with_their_cause():
    rows = [
        copy(2**30, saturates="dram", validity="suspect", reasons=(f"other processes took {n} % of the time",))
        for n in (40, 55)
    ]
    text = looked(by_hand(rows))
    assert "2 of 2 measurements are not fully valid" in text
    assert "other processes took part of the time" in text


def test_without_theory_no_percentage_is_invented():
    run = by_hand([copy(2**30, saturates="dram", repetition=r) for r in range(6)])
    chosen = fit(run)[0]
    assert "no percentage of theory" in words.against_theory((), None, chosen, False)
    assert "datasheet's" not in said(run, "bandwidth")
    assert "DRAM delivers" in said(run, "bandwidth")


def test_the_knee_batch_of_gemm(h200):
    text = said(h200, "gemm")
    assert "BF16, weights 14336×4096: at batch 1 the weights stream at" in text
    assert "turns from memory-bound to compute-bound at batch 2" in text
    assert "Other dtypes on the same weights" in text


def test_the_predicted_knee_is_where_the_two_times_meet(h200):
    chosen = fit(h200)[0]
    knee = gemm_knees(frame.cases(chosen, None), chosen)[0]
    demand = work.gemm(round(knee.predicted), knee.n, knee.k, knee.dtype, "tensor")
    ratio = chosen.roofline.compute_seconds(demand) / chosen.roofline.memory_seconds(demand)
    assert abs(ratio - 1) < 0.05
    assert abs(knee.measured / knee.predicted - 1) < 0.1


def test_the_ladder_and_the_ridge_are_compared(h200):
    text = said(h200, "intensity")
    assert "The FP32 ladder bends at 1" in text
    assert "measured separately" in text


def test_decode_against_the_roof(h200):
    text = said(h200, "attention")
    assert "Decode moves at most" in text
    assert "% of the DRAM roof" in text
    assert "from KV" in text or "at every length" in text
    assert "Prefill computes at most" in text


def test_all_reduce_says_ranks_bandwidth_and_tail(slow_sibling):
    text = said(slow_sibling, "allreduce")
    assert text.startswith("4 ranks reach a bus bandwidth of 4")
    assert "at p99" in text


def test_all_reduce_gives_latency_and_bandwidth_of_the_line_through_all_sizes():
    """A simulated ring costs its overhead and its bytes over the link: both come back."""
    run = simulated("sim:h200-sxm,gpus=4,overhead=20us", ["bandwidth", "allreduce"])
    text = said(run, "allreduce")
    assert "One line through all sizes of ring gives α = 20.0 µs and β = 450 GB/s of bus bandwidth" in text


def test_a_missing_nvlink_is_said():
    chosen = fit(simulated("sim:t4,gpus=2", ["bandwidth", "allreduce"]))[0]
    assert "the datasheet states no link" in interpretation.nothing(frame.cases(chosen, None), "allreduce")


def test_probes_without_data_say_why(h200):
    rows = frame.cases(fit(h200)[0], None)
    assert interpretation.nothing(rows, "nobody") == "No case of this probe is in the Run."
    assert "one device: nothing to reduce with" in interpretation.nothing(rows, "allreduce")
    for probe in ("bandwidth", "peak", "intensity", "gemm", "attention", "allreduce"):
        said(by_hand(), probe)


def test_plain_stores_are_explained_only_where_they_are_slower():
    def stores(plain: float) -> str:
        rows = []
        for store, seconds in (("streaming", 1e-3), ("plain", plain)):
            params = {"mix": "copy", "bytes": 2**30, "cache": "cold", "store": store}
            claim = "dram" if store == "streaming" else ""
            rows.append(measured("bandwidth", params, work.stream("copy", 2**27), (seconds,) * 6, saturates=claim))
        return said(by_hand(rows, cpu(stores=("streaming", "plain"))), "bandwidth")

    assert "moves 66.7 % of what one with streaming stores moves: a plain store first fetches" in stores(1.5e-3)
    assert "fetches" not in stores(0.9e-3)


def test_reasons_group_without_their_numbers():
    assert words.kind("needs 16.0 GiB; this budget allows 2.1 GiB") == "needs …; this budget allows …"
    assert words.kind("no numbers at all") == "no numbers at all"


def test_an_interval_says_its_unit_once():
    assert units.between(4.7e12, 4.9e12, units.bandwidth) == "4.70–4.90 TB/s"
    assert units.between(9e11, 1.1e12, units.bandwidth) == "900 GB/s–1.10 TB/s"
    assert units.between(203, 208, units.digits) == "203–208"
    assert units.number(1e13, 1) == "10 T"
