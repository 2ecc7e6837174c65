"""The lab of a GPU on the page: levels, launches, copies, backends, loops; data in, words and figures out."""

import math

import pytest

from bench import report, work
from bench.analysis.compare import datasheet
from bench.analysis.fit import fit
from bench.report import frame, interpretation, levels
from bench.report.figures import attention, compute, host, memory
from bench.schema import Cache
from bench.work import Work
from tests.report.runs import by_hand, cpu, gpu, measured, rounds


def seen(run):
    chosen = fit(run)[0]
    theory = datasheet(chosen.info)
    return frame.cases(chosen, theory), chosen, theory


def chase(size, nanoseconds, **more):
    return measured("latency", {"bytes": size, "hops": 1000}, Work(), (nanoseconds * 1e-6,) * 6, cache="hot", **more)


def gpu_chases(**more):
    sizes = [2**p for p in range(12, 31)]
    return [chase(s, 20 if s <= 2**17 else 150 if s <= 2**25 else 400, **more) for s in sizes]


def test_latency_names_each_plateau():
    rows, chosen, theory = seen(by_hand(gpu_chases(), gpu()))
    text = " ".join(interpretation.latency(rows, chosen, theory))
    assert "takes 20.0 ns in L1, 150 ns in L2 and 400 ns in DRAM" in text
    assert "From L1 to DRAM it grows 20.0-fold" in text
    assert "cycles" not in text


def test_latency_counts_cycles_where_the_clock_is_known():
    rows, chosen, theory = seen(by_hand(gpu_chases(clock_hz=(1.5e9,)), gpu()))
    assert "150 ns (225 cycles) in L2" in " ".join(interpretation.latency(rows, chosen, theory))


def test_a_multiprocessor_s_l1_is_a_lower_bound_and_a_core_has_its_part():
    assert [(level.name, level.bytes, level.at_least) for level in levels.levels(gpu())] == [
        ("l1", 64 << 10, True),
        ("l2", 60 << 20, False),
        ("dram", math.inf, False),
    ]
    machine = cpu(caches=(Cache("l1", 96 << 10), Cache("l3", 32 << 20)), facts={"cores": "2"})
    assert [level.bytes for level in levels.levels(machine)][:2] == [48 << 10, 32 << 20]


def test_a_plateau_needs_a_point_well_inside():
    rows, chosen, _ = seen(by_hand([chase(1 << 16, 20), chase(1 << 17, 20)], gpu()))
    assert levels.plateaus(rows, chosen.info) == []
    assert "no plateau" in " ".join(interpretation.latency(rows, chosen, None))


def test_latency_is_drawn_with_its_caches():
    rows, chosen, _ = seen(by_hand(gpu_chases(), gpu()))
    figure = memory.latency(rows, chosen)
    words = [note.text for note in figure.layout.annotations]
    assert "L1 ≥ 64 KiB" in words
    assert "L2 60 MiB" in words
    assert "<b>L2 150 ns</b>" in words
    curve = next(trace for trace in figure.data if trace.name == "one load")
    assert curve.y[0] == pytest.approx(20e-9)


def onchip_rounds(**more):
    demand = work.stream("read", 132 * 2 * 8192, channel="shared", passes=4096)
    # 120 of the 128 bytes per clock, at 1.5 GHz
    seconds = demand.bytes / (132 * 120 * 1.5e9)
    params = {"memory": "shared", "tiles": 2, "passes": 4096}
    return rounds("onchip", params, demand, seconds, saturates="shared", cache="hot", **more)


def test_bytes_per_clock_need_the_clock():
    rows, chosen, theory = seen(by_hand(onchip_rounds(clock_hz=(1.5e9,)), gpu()))
    text = " ".join(interpretation.onchip(rows, chosen, theory))
    assert "at the observed 1.50 GHz that is 120 B per clock and each, where its data path has 128" in text
    figure = memory.onchip(chosen, theory)
    at_clock = next(trace for trace in figure.data if trace.name == "datasheet at the clock seen")
    assert at_clock.x[0] == pytest.approx(132 * 128 * 1.5e9)
    rows, chosen, theory = seen(by_hand(onchip_rounds(), gpu()))
    assert "No clock was read" in " ".join(interpretation.onchip(rows, chosen, theory))


def launches():
    times = {"synchronous": 8e-6, "back to back": 2e-6, "graph": 1e-6}
    return [m for way, seconds in times.items() for m in rounds("launch", {"way": way}, Work(), seconds)]


def test_each_way_of_launching_says_whom_it_times():
    rows, chosen, theory = seen(by_hand(launches(), gpu()))
    text = " ".join(interpretation.launch(rows, chosen, theory))
    assert "waited for, 8.00 µs pass from the call to the end of the wait" in text
    assert "A graph saves 1.00 µs a launch; kernels shorter than 2.00 µs leave the device idle" in text
    (bars,) = host.launch(rows).data
    assert list(bars.x) == pytest.approx([8, 2, 1])
    assert len(bars.error_x.array) == 3


def copies():
    found = []
    for memory_, rate in (("pinned", 50e9), ("pageable", 10e9)):
        for path in ("h2d", "d2h"):
            for size in (4096, 1 << 20, 1 << 29):
                params = {"path": path, "memory": memory_, "bytes": size}
                demand = Work(bytes=float(size), channel=path)
                claim = path if memory_ == "pinned" and size == 1 << 29 else ""
                found += rounds("hostcopy", params, demand, 2e-6 + size / rate, saturates=claim)
    waited = {"path": "h2d", "memory": "pinned", "bytes": 8, "waited": True}
    return [*found, *rounds("hostcopy", waited, Work(), 9e-6)]


def test_copies_are_compared_with_the_link_and_with_pageable_memory():
    rows, chosen, theory = seen(by_hand(copies(), gpu()))
    text = " ".join(interpretation.hostcopy(rows, chosen, theory))
    assert "With pinned memory: host to device 50.0 GB/s, 79.3 % of the datasheet's 63.0 GB/s" in text
    assert "With pageable memory, device to host reaches 20.0 % of that" in text
    assert "A copy of 8 B that is waited for takes 9.00 µs host to device (pinned)" in text
    figure = host.hostcopy(rows, theory)
    assert [trace.name for trace in figure.data][:2] == ["host to device, pinned", "device to host, pinned"]
    # the copy that is waited for says nothing of bandwidth
    assert all(min(trace.x) == 4096 for trace in figure.data)


def test_a_link_that_all_share_stands_beside_itself_alone():
    shared = {"path": "h2d", "memory": "pinned", "bytes": 1 << 29, "company": "all"}
    crowded = rounds("hostcopy", shared, Work(bytes=float(1 << 29), channel="h2d"), (1 << 29) / 7e9)
    rows, chosen, theory = seen(by_hand([*copies(), *crowded], gpu()))
    text = " ".join(interpretation.hostcopy(rows, chosen, theory))
    assert "While every device of the node copies at once, this one keeps of that" in text
    assert "host to device 7.00 GB/s (14 %)" in text
    assert "With pinned memory: host to device 50.0 GB/s" in text, "alone it is what it was"


def attend(backend, keys, seconds, phase="decode", **more):
    decode = phase == "decode"
    params = {"phase": phase, "layout": "gqa" if decode else "mha", "dtype": "bfloat16", "batch": 8 if decode else 1}
    params |= {"queries": 1 if decode else keys, "keys": keys, "causal": more.pop("causal", not decode)}
    demand = work.attention(params["batch"], 32, 8, params["queries"], keys, 128, "bfloat16", "tensor")
    samples = (seconds,) * 6 if seconds else ()
    return measured("attention", params | {"backend": backend}, demand, samples, **more)


def backends():
    return [
        *(attend("default", keys, 2e-3, notes={"backend": "flash"}) for keys in (1024, 2048, 4096)),
        *(attend("flash", keys, 2e-3) for keys in (1024, 2048, 4096)),
        *(attend("cudnn", keys, seconds) for keys, seconds in ((1024, 1e-3), (2048, 1e-3), (4096, 4e-3))),
        attend("efficient", 1024, 0, skip="SDPA's efficient backend refuses: enable_gqa"),
    ]


def test_backends_are_ranked_by_length_and_refusals_told():
    rows, chosen, _ = seen(by_hand(backends(), gpu()))
    text = " ".join(interpretation.attention(rows, chosen))
    assert "the fastest for decode (GQA, batch 8) is cudnn at 1024 to 2048 and flash at 4096" in text
    assert "torch's own choice takes up to 2.00 times as long" in text
    assert "torch chose flash in 3 cases" in text
    assert "1 case: SDPA's efficient backend refuses: enable_gqa" in text


def test_backends_within_noise_are_one():
    rows, chosen, _ = seen(by_hand([attend(name, 1024, 1e-3) for name in ("default", "flash", "cudnn")], gpu()))
    text = " ".join(interpretation.attention(rows, chosen))
    assert "no backend is clearly faster than another for decode" in text


def test_fusion_is_told_at_the_same_shape():
    both = [attend(name, 4096, seconds, "prefill", causal=False) for name, seconds in (("default", 1), ("unfused", 5))]
    rows, chosen, _ = seen(by_hand(both, gpu()))
    text = " ".join(interpretation.attention(rows, chosen))
    assert "Without fusion, scores going through memory, the prefill of 4096 takes 5.00 times as long" in text
    # the unfused case is no curve of torch's choice
    assert "Prefill computes at most" in text
    assert len(frame.sound(rows, "attention")) == 2


def test_default_curves_leave_named_backends_out():
    dram = rounds("bandwidth", {"mix": "copy", "bytes": 2**30}, work.stream("copy", 2**27), 3e-4, saturates="dram")
    rows, chosen, _ = seen(by_hand([*dram, *backends()], gpu()))
    (curve,) = attention.attention(rows, chosen, "decode").data
    assert len(curve.x) == 3
    named = attention.backends(rows, chosen, "decode").data
    assert [trace.name for trace in named] == ["torch's choice", "flash", "cudnn"]
    assert attention.backends(rows, chosen, "prefill") is None


def test_an_old_attention_case_is_the_default():
    old = attend("default", 1024, 1e-3)
    old = by_hand([measured("attention", {k: v for k, v in old.params.items() if k != "backend"}, old.work)], gpu())
    rows, chosen, _ = seen(old)
    assert "Decode moves at most" in " ".join(interpretation.attention(rows, chosen))


def rungs(dtype, **more):
    found = []
    for fmas in (1, 2, 4, 8, 16, 32, 64, 128):
        demand = work.ladder(1 << 26, fmas, dtype)
        seconds = max(demand.bytes / 4e12, demand.flops / (64e12 if dtype == "float32" else 32e12))
        params = {"dtype": dtype, "fmas": fmas, "elements": 1 << 26} | more
        found += rounds("intensity", params, demand, seconds)
    return found


def test_a_ladder_per_dtype_with_its_knee():
    rows, chosen, theory = seen(by_hand([*rungs("float32"), *rungs("float64")], gpu()))
    text = " ".join(interpretation.intensity(rows, chosen, theory))
    assert "The FP32 ladder bends at 16.0 FLOP/B" in text
    assert "The FP64 ladder bends at 8.00 FLOP/B" in text
    names = [trace.name for trace in compute.ladder(rows, chosen).data]
    assert names == ["FP32 asymptotes", "FP32 ladder", "FP64 asymptotes", "FP64 ladder"]


def peaks():
    def gemm(shape, seconds, **more):
        m, n, k = {"cube-4096": (4096,) * 3, "cube-8192": (8192,) * 3}.get(shape, (1024, 4096, 8192))
        params = {"kind": "gemm", "dtype": "bfloat16", "shape": shape, "m": m, "n": n, "k": k}
        return rounds("peak", params, work.gemm(m, n, k, "bfloat16", "tensor"), seconds, **more)

    loop = {"kind": "tensor loop", "dtype": "bfloat16", "steps": 8}
    tile = work.tile_loop(64, 256, 64, 264, 1 << 14, "bfloat16", "float32")
    full = {**loop, "instruction": "wgmma.m64n256k16.f32.bf16"}
    lesser = {**loop, "instruction": "mma.sync.m16n8k16.f32.bf16"}
    lacking = {"kind": "tensor loop", "dtype": "float4"}
    return [
        *gemm("cube-4096", 4096**3 * 2 / 7e14),
        *gemm("cube-8192", 8192**3 * 2 / 8e14),
        *gemm("mamf-x", 2 * 1024 * 4096 * 8192 / 9e14, saturates="tensor.bfloat16.library"),
        *rounds("peak", full, tile, tile.flops / 9.5e14, saturates="tensor.bfloat16.loop"),
        *rounds("peak", lesser, tile, tile.flops / 6e14),
        measured("peak", lacking, Work(unit="tensor", dtype="float4"), (), skip="no loop: none is written"),
    ]


def test_peaks_name_the_winner_the_quoted_cubes_and_what_claims_nothing():
    rows, chosen, theory = seen(by_hand(peaks(), gpu()))
    text = " ".join(interpretation.peak(rows, chosen, theory))
    assert "Its best BF16 shape is mamf-x (1024×4096×8192); beside it 4096³ 700 TFLOP/s and 8192³ 800 TFLOP/s" in text
    assert "mma.sync.m16n8k16.f32.bf16 600 TFLOP/s, 63.2 % of the full-rate loop" in text
    assert "FP4: no loop: none is written" in text
    figure = compute.peak(rows, chosen, theory)
    side = next(trace for trace in figure.data if trace.name == "loop of a lesser instruction")
    assert list(side.y) == ["BF16 tensor"]
    assert "claims no roof" in side.customdata[0]
    assert "GEMM 4096³" in [trace.name for trace in figure.data]


def test_a_probe_with_a_single_skip_is_one_sentence():
    skip = measured("launch", {"way": ""}, Work(), (), skip="nothing is launched on this device")
    text = report.html(by_hand([skip]))
    assert "Not measured: nothing is launched on this device." in text
    assert "fig-launch" not in text
    assert "cases-launch" not in text
