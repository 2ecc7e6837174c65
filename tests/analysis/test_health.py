"""GPU health: every planted fault has its status and its cause, and what is healthy or cannot be judged says so."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis import health_reasons as why
from bench.analysis.datasheet import datasheet
from bench.analysis.fit import fit
from bench.analysis.health import FAIL, NOT_JUDGED, PASS, WARN, NodeHealth, Reason, health, shown
from bench.analysis.run_comparison import comparisons
from bench.measure.budget import BUDGETS
from bench.schema import End
from bench.work import Work
from tests.measure.device.fake_nvml import PROFILES, FakeNvml
from tests.report.runs import by_hand, cpu, gpu, measured, rounds, simulated, watched

# Roofs, their rounds and a few samples each.
BRIEF = replace(BUDGETS["standard"], levels=(1,), seconds=1e6, min_samples=3, max_samples=5)
NOISE = "noise=0.002:0.007"
PEAK = 989.4e12


def made(options: str = "", probes=("bandwidth", "peak"), budget=BRIEF):
    return simulated(f"sim:h200-sxm{options and f',{options}'}", probes, budget)


def judged(run, baseline=None) -> NodeHealth:
    return health(run, fit(run), baseline)


def causes(node: NodeHealth) -> list[tuple[str, str]]:
    return [(reason.cause, reason.status) for reason in node.reasons]


@pytest.fixture(scope="module")
def one():
    return made()


@pytest.fixture(scope="module")
def slow():
    return made("gpus=8,dram@3=0.9")


@pytest.fixture(scope="module")
def hot():
    return made("gpus=8,throttle=thermal@5")


# --- siblings


def test_a_slow_sibling_fails_and_is_the_one_to_look_at(slow):
    node = judged(slow)
    assert node.status == FAIL
    assert [(device.info.id, device.status) for device in node.devices if device.status != PASS] == [
        ("sim:h200-sxm:3", FAIL)
    ]
    reason = node.reasons[0]
    assert (reason.device, reason.cause, reason.key, reason.n) == ("sim:h200-sxm:3", why.SIBLINGS, "dram", 7)
    assert (reason.value, reason.expected, reason.ratio) == pytest.approx((4.32e12, 4.8e12, 0.9))
    assert shown(fit(slow), node).info.id == "sim:h200-sxm:3"
    assert node.devices[0].references == (why.SIBLINGS, why.DATASHEET)


def test_a_faster_sibling_is_worth_a_look():
    node = judged(made("gpus=4,dram@1=1.2", ("bandwidth",)))
    assert causes(node) == [(why.SIBLINGS, WARN)]
    assert node.reasons[0].ratio == pytest.approx(1.2)


def test_two_devices_can_only_disagree():
    node = judged(made("gpus=2,dram@0=0.9", ("bandwidth",)))
    assert [(r.device, r.cause, r.status) for r in node.reasons] == [("sim:h200-sxm:0", why.SIBLINGS, WARN)]


def test_a_single_repetition_never_fails_a_device():
    node = judged(made("gpus=4,dram@0=0.8", ("bandwidth",), replace(BRIEF, rounds=2, sustained_rounds=0)))
    assert fit(made("gpus=4", ("bandwidth",), replace(BRIEF, rounds=2)))[0].roofs["dram"].roof.n == 1
    assert causes(node) == [(why.SIBLINGS, WARN), (why.DATASHEET, WARN)]


@pytest.mark.parametrize(
    "noise", ["noise=0.01,seed=1", "noise=0.01,seed=2", "noise=0.01,seed=3", NOISE, "noise=0.01:0.02"]
)
def test_a_healthy_node_passes(noise):
    node = judged(made(f"gpus=8,{noise}"))
    assert (node.status, node.reasons) == (PASS, ())


@pytest.mark.parametrize("share", [0.86, 0.5])
def test_a_node_of_two_halves_is_worth_a_look(share):
    slower = ",".join(f"dram@{device}={share}" for device in range(4))
    node = judged(made(f"gpus=8,{NOISE},{slower}", ("bandwidth",)))
    found = [reason for reason in node.reasons if reason.cause == why.SPREAD]
    assert node.status == WARN
    assert {reason.device for reason in found} == {f"sim:h200-sxm:{device}" for device in range(4)}
    assert {(reason.key, reason.status, reason.n) for reason in found} == {("dram", WARN, 7)}
    assert all(reason.ratio == pytest.approx(share, rel=0.02) for reason in found)
    assert all(reason.ratio == reason.value / reason.expected for reason in found)


@given(seed=st.integers(0, 10**6), slow=st.integers(0, 3), share=st.floats(0.6, 0.92))
@settings(max_examples=8)
def test_a_planted_fault_is_found_in_noise(seed, slow, share):
    node = judged(made(f"gpus=4,{NOISE},seed={seed},dram@{slow}={share:.3f}", ("bandwidth",)))
    assert {r.device for r in node.reasons if r.status == FAIL} == {f"sim:h200-sxm:{slow}"}


# --- what the driver counted


def test_a_gpu_too_hot_to_be_measured_fails(hot):
    node = judged(hot)
    assert causes(node) == [(why.NOT_MEASURABLE, FAIL), (why.THROTTLED, FAIL)]
    assert {reason.device for reason in node.reasons} == {"sim:h200-sxm:5"}
    assert node.reasons[0].share == node.reasons[1].share == 1.0
    assert node.reasons[0].detail.startswith("hardware thermal slowdown")
    # it has nothing to draw
    assert shown(fit(hot), node).info.id == "sim:h200-sxm:0"


@pytest.mark.parametrize(
    ("profile", "status", "found"),
    [
        ("healthy", PASS, []),
        ("power_capped", PASS, []),
        ("throttled", FAIL, [(why.NOT_MEASURABLE, FAIL), (why.THROTTLED, FAIL)]),
        ("ecc_errors", FAIL, [(why.MEMORY_ERRORS, FAIL), (why.CORRECTED_ERRORS, WARN), (why.ROW_REMAP, WARN)]),
        ("lost", FAIL, [(why.LOST, FAIL)]),
        # others who compute there spoil the measurement, not the GPU
        ("busy", WARN, [(why.NOT_MEASURABLE, WARN)]),
        ("no_permission", PASS, []),
    ],
)
def test_a_driver_has_its_say(one, profile, status, found):
    node = judged(watched(one, profile))
    assert node.status == status
    assert set(found) <= set(causes(node))
    assert bool(found) == bool(node.reasons)


def planted(one, name: str, **more):
    PROFILES[name] = lambda: FakeNvml(**more)
    try:
        return judged(watched(one, name))
    finally:
        del PROFILES[name]


def test_a_row_that_waits_is_a_warning_and_one_that_cannot_be_remapped_a_failure(one):
    assert causes(planted(one, "pending", remapped=(0, 1, 1, 0))) == [(why.ROW_REMAP, WARN)]
    assert (why.ROW_REMAP, FAIL) in causes(planted(one, "failed", remapped=(0, 1, 0, 1)))


def test_fewer_lanes_and_links_are_told_with_their_number(one):
    node = planted(one, "narrow", pcie_width=8)
    assert [(r.cause, r.status, r.value, r.expected, r.ratio) for r in node.reasons] == [(why.PCIE, WARN, 8, 16, 0.5)]
    run = watched(one, "healthy")
    down = [
        replace(m, telemetry=m.telemetry | {"after": m.telemetry["after"] | {"nvlinks": 17}}) if m.telemetry else m
        for m in run.measurements
    ]
    node = judged(replace(run, measurements=tuple(down)))
    assert [(r.cause, r.value, r.expected) for r in node.reasons] == [(why.NVLINK, 17, 18)]


def test_heat_with_roofs_left_is_a_warning(one):
    run = watched(one, "healthy")
    readings = [m for m in run.measurements if m.telemetry]
    slowed = {id(m): 0.03 * n for n, m in enumerate(readings)}
    kept = [
        replace(
            m,
            telemetry=m.telemetry
            | {when: m.telemetry[when] | {"throttled_hw_thermal_s": slowed[id(m)]} for when in ("before", "after")},
        )
        if id(m) in slowed
        else m
        for m in run.measurements
    ]
    node = judged(replace(run, measurements=tuple(kept)))
    assert causes(node) == [(why.THROTTLED, WARN)]
    assert node.reasons[0].detail == "heat, by hardware"
    assert 0.01 < node.reasons[0].share < 0.1
    lost = {"validity": "invalid", "reasons": ("hardware thermal slowdown for 3% of the time",)}
    kept = [replace(m, **lost) if m.saturates == "dram" else m for m in kept]
    node = judged(replace(run, measurements=tuple(kept)))
    assert set(causes(node)) == {(why.THROTTLED, WARN), (why.NOT_MEASURABLE, WARN)}
    assert [r.key for r in node.reasons if r.cause == why.NOT_MEASURABLE] == ["dram"]


def test_a_device_that_failed_is_told_even_if_it_never_opened(one):
    ends = End("failed", 4, "2026-01-02T03:05:05.000Z", 1.0, ("cuda:5: no answer", "sim:h200-sxm:0: given up"))
    node = judged(replace(one, end=ends))
    assert [(r.device, r.status, r.cause, r.detail) for r in node.reasons] == [
        ("cuda:5", FAIL, why.LOST, "no answer"),
        ("sim:h200-sxm:0", FAIL, why.LOST, "given up"),
    ]
    assert [r.device for r in node.absent] == ["cuda:5"]
    assert node.status == FAIL


# --- the datasheet


def test_everything_at_85_percent_under_a_power_cap_is_a_warning_with_its_cause():
    node = judged(made("throttle=power_cap"))
    assert node.status == WARN
    first = node.reasons[0]
    assert (first.cause, first.share, first.ratio) == (why.POWER_LIMIT, 1.0, pytest.approx(0.85))
    assert all(r.key.endswith(".library") and r.cause == why.POWER_LIMIT for r in node.reasons)
    assert len(node.reasons) > 3


def test_the_value_counts_and_not_the_end_of_its_interval():
    """The upper end of a wide interval reaches 90 %, the value does not."""
    found = gemm(0.86, spread=0.1)
    (each,) = why.claims(fit(found)[0])
    assert each.ratio < why.LOW_COMPUTE < each.high
    assert causes(judged(found)) == [(why.DATASHEET, WARN)]


def test_dram_has_a_limit_of_its_own():
    assert judged(made("dram=0.86", ("bandwidth",))).status == PASS
    node = judged(made("dram=0.84", ("bandwidth",)))
    assert [(r.cause, r.key, r.status) for r in node.reasons] == [(why.DATASHEET, "dram", WARN)]


def gemm(share: float, spread: float = 0.0, clock: float | None = None, reasons=(), telemetry=None):
    work = Work(2 * 8192**3, "tensor", "bfloat16", bytes=6.0 * 8192**2)
    seconds = work.flops / (share * PEAK)
    found = rounds(
        "gemm", {"n": 8192}, work, seconds, saturates="tensor.bfloat16.library",
        clock_hz=(clock,) * 6 if clock else (), reasons=reasons, telemetry=telemetry or {},
    )  # fmt: skip
    scattered = [replace(m, seconds=tuple(s * (1 + spread * (-1) ** m.repetition) for s in m.seconds)) for m in found]
    return by_hand(scattered, gpu())


def capped(share: float) -> dict:
    return {
        "before": {"at_s": 0.0, "throttled_power_cap_s": 0.0},
        "after": {"at_s": 1.0, "throttled_power_cap_s": share},
    }


@pytest.mark.parametrize(
    ("run", "cause", "share"),
    [
        (gemm(0.8), why.DATASHEET, None),
        # a clock that was not low explains nothing, whatever held it
        (gemm(0.8, clock=1.83e9, telemetry=capped(1.0)), why.DATASHEET, None),
        (gemm(0.8, clock=1.4e9, telemetry=capped(0.7)), why.POWER_LIMIT, 0.7),
        (gemm(0.8, clock=1.4e9), why.CLOCK, None),
        (
            gemm(0.8, clock=1.4e9, reasons=("clocks held by application clocks that someone set",)),
            why.CLOCK_SETTING,
            None,
        ),
        (gemm(0.8, reasons=("clocks held by the power limit",)), why.POWER_LIMIT, None),
        # without a clock a moment under the limit explains no lasting lack
        (gemm(0.8, telemetry=capped(0.1)), why.DATASHEET, None),
        (gemm(0.8, telemetry=capped(0.9)), why.POWER_LIMIT, 0.9),
    ],
)
def test_what_held_the_clock_is_the_cause(run, cause, share):
    (reason,) = judged(run).reasons
    assert (reason.cause, reason.status) == (cause, WARN)
    assert reason.share == (None if share is None else pytest.approx(share))
    assert reason.ratio == pytest.approx(0.8)


# --- a baseline


def test_slower_than_its_own_baseline_fails(one):
    before, after = made(f"{NOISE},seed=1"), made(f"{NOISE},seed=2,dram=0.95")
    node = judged(after, before)
    assert [(r.cause, r.key, r.status, r.detail) for r in node.reasons] == [(why.BASELINE, "dram", FAIL, "")]
    assert node.devices[0].references == (why.BASELINE, why.DATASHEET)
    assert judged(after, comparisons((before, after))[0]) == node
    assert judged(before, after).status == PASS, "faster is no fault"


def test_lasting_load_is_told_where_a_burst_is_as_it_was():
    node = judged(made("sustained=0.8"), made("sustained=0.9"))
    assert {(r.cause, r.status, r.detail) for r in node.reasons} == {(why.BASELINE, FAIL, "sustained")}


@pytest.mark.parametrize("seed", range(4))
def test_the_same_machine_on_another_day_passes(seed):
    assert judged(made(f"{NOISE},seed={seed}"), made(f"{NOISE},seed={seed + 90}")).status == PASS


def test_chance_among_many_comparisons_fails_nobody():
    """Each headline is judged at 95 %, and of 8 GPUs some differ by chance."""
    sides = []
    for shift in (0.0, 0.03):
        rows = [
            replace(m, device=f"cuda:{d}")
            for d in range(8)
            for r in (0, *range(2, 7))
            for m in [
                measured(
                    "bandwidth", {"mix": "read"}, Work(bytes=1e9),
                    (1e-3 * (1 + 0.012 * (-1) ** r + shift * (d == 3)),) * 3, repetition=r, saturates="dram",
                )
            ]
        ]  # fmt: skip
        devices = tuple(gpu(id=f"cuda:{d}", uuid=f"GPU-{d}") for d in range(8))
        sides.append(by_hand(rows, devices=devices, started=f"202{6 + bool(shift)}-01-02T03:04:05.000Z"))
    comparison = comparisons(sides)[0]
    (found,) = (each for each in comparison.of("roof") if each.differs)
    assert found.verdict == "slower"
    assert not found.few
    (reason,) = (each for each in judged(sides[1], sides[0]).reasons if each.cause == why.BASELINE)
    assert (reason.device, reason.status) == ("cuda:3", WARN)


def test_a_range_of_few_that_could_be_chance_only_warns():
    sides = [
        by_hand(
            [
                measured("bandwidth", {"mix": "read"}, Work(bytes=1e9), (s,) * 3, repetition=r, saturates="dram")
                for r, s in enumerate(seconds, 2)
            ]
        )
        for seconds in ((1.0e-3, 1.01e-3), (1.05e-3, 1.06e-3))
    ]
    (reason,) = judged(sides[1], sides[0]).reasons
    assert (reason.cause, reason.status) == (why.BASELINE, WARN)


def test_a_baseline_of_another_product_judges_nothing(one):
    other = simulated("sim:a100-sxm4-80gb", ("bandwidth",), BRIEF)
    assert judged(one, other).devices[0].references == (why.DATASHEET,)


# --- nothing to judge by


def test_a_cpu_is_not_judged_and_not_well():
    found = rounds("bandwidth", {"mix": "read"}, Work(bytes=1e9), 1e-3, saturates="dram")
    node = judged(by_hand(found))
    assert (node.status, node.devices[0].references) == (NOT_JUDGED, ())
    flops = rounds("peak", {}, Work(1e9, "vector", "float32"), 1.0, saturates="vector.float32.library")
    machine = cpu(facts={"family": "zen4", "cores": "2", "clock_hz": "3e9"})
    assert datasheet(machine).roof("vector.float32").rate > 1e11
    node = judged(by_hand(flops, machine))
    assert node.status == NOT_JUDGED, "what is only assumed judges nothing"


def test_a_probe_without_a_judged_roof_judges_nothing():
    assert judged(made("", ("launch",))).status == NOT_JUDGED
    assert judged(made("", ("hostcopy",))).status == NOT_JUDGED, "no limit is known for what its link should reach"


def test_a_run_that_is_not_usable_fails_nobody_by_comparison(slow):
    disturbed = [
        replace(m, validity="suspect", reasons=("other processes took 85 % of the cores' time",))
        for m in slow.measurements
    ]
    node = judged(replace(slow, measurements=tuple(disturbed)))
    assert causes(node) == [(why.SIBLINGS, WARN)]


def test_nobody_passes_on_a_run_that_is_not_usable(one):
    disturbed = [replace(m, validity="suspect", reasons=("someone else computed",)) for m in one.measurements]
    node = judged(replace(one, measurements=tuple(disturbed)))
    assert (node.status, node.reasons, node.devices[0].references) == (NOT_JUDGED, (), (why.DATASHEET,))


# --- what is not there to be judged


def lacking(run, device: str, skip: str = ""):
    """Without DRAM on that device: skipped for a reason, or not there at all."""

    def kept(m):
        if not m.device.endswith(device) or m.saturates != "dram":
            return m
        return replace(m, seconds=(), skip=skip) if skip else None

    return replace(run, measurements=tuple(filter(None, map(kept, run.measurements))))


def test_a_roof_that_siblings_have_is_missed():
    four = made("gpus=4", ("bandwidth",))
    for skip in ("needs 2.0 GiB; 1.1 GiB are free", ""):
        (reason,) = judged(lacking(four, ":3", skip)).reasons
        assert (reason.device, reason.cause, reason.status) == ("sim:h200-sxm:3", why.NOT_MEASURABLE, WARN)
        assert (reason.key, reason.n, reason.detail) == ("dram", 3, skip or "not measured")
    # what one alone could do is not missed by the others
    alone = four
    for device in (":1", ":2", ":3"):
        alone = lacking(alone, device, "not here")
    assert judged(alone).reasons == ()


def test_a_roof_that_the_baseline_has_is_missed_where_it_was_planned(one):
    now = lacking(one, ":0")
    assert [(r.cause, r.key, r.status) for r in judged(now, one).reasons] == [(why.NOT_MEASURABLE, "dram", WARN)]
    assert judged(made("", ("peak",)), one).reasons == ()
    assert judged(replace(now, end=None), one).reasons == (), "a Run that did not come to it"


def test_a_device_of_which_there_is_nothing_fails():
    four = made("gpus=4", ("bandwidth",))
    rest = tuple(m for m in four.measurements if not m.device.endswith(":3"))
    skipped = tuple(replace(m, seconds=(), skip="no memory") for m in four.measurements if m.device.endswith(":3"))
    for measurements, detail in ((rest, why.NOTHING), (rest + skipped, f"{why.NOTHING}: no memory")):
        node = judged(replace(four, measurements=measurements))
        (reason,) = node.reasons
        assert (node.status, reason.device, reason.cause, reason.detail) == (
            FAIL, "sim:h200-sxm:3", why.NOT_MEASURABLE, detail,
        )  # fmt: skip


def test_what_could_not_be_measured_tells_of_the_usual_cause_and_its_own_share():
    work = Work(bytes=1e9)
    texts = [f"hardware thermal slowdown for {part}% of the time" for part in (99, 3, 60, 5, 70)]
    texts += ["other processes computed on this GPU: 4711"] * 2
    bad = [
        measured(
            "bandwidth", {"mix": "read"}, work, repetition=r, saturates="dram", validity="invalid", reasons=(text,),
            elapsed=1.0,
        )
        for r, text in enumerate(texts)
    ]  # fmt: skip
    fine = [measured("launch", {"n": n}, work, elapsed=1.0) for n in range(3)]
    (reason,) = judged(by_hand([*bad, *fine], gpu())).reasons
    assert reason.detail == "hardware thermal slowdown for 60% of the time"
    assert reason.share == pytest.approx(0.5)


def test_libraries_that_refuse_are_no_fault_of_the_machine():
    refused = measured(
        "gemm", {"n": 1}, Work(1e9, "tensor", "bfloat16"), (), validity="invalid", stop_reason="error",
        reasons=("RuntimeError: not implemented",), saturates="tensor.bfloat16.library",
    )  # fmt: skip
    dram = rounds("bandwidth", {"mix": "read"}, Work(bytes=4.7e9), 1e-3, saturates="dram")
    assert judged(by_hand([refused, *dram], gpu())).reasons == ()
    wrong = replace(refused, stop_reason="check", reasons=("wrong result: 3",))
    assert causes(judged(by_hand([wrong, *dram], gpu()))) == [(why.NOT_MEASURABLE, WARN)]


# --- order


def test_reasons_come_gravest_first():
    given = [
        Reason("a", WARN, why.OTHERS, n=1),
        Reason("a", WARN, why.DATASHEET, "dram", ratio=0.5),
        Reason("a", FAIL, why.SIBLINGS, "dram", ratio=0.9),
        Reason("a", FAIL, why.SIBLINGS, "d2h", ratio=0.7),
        Reason("a", FAIL, why.LOST),
        Reason("a", WARN, why.THROTTLED, share=0.3),
    ]
    given += [Reason("a", FAIL, cause) for cause in (why.NOT_MEASURABLE, why.MEMORY_ERRORS)]
    ordered = sorted(given, key=lambda reason: reason.weight)
    assert [(r.cause, r.key) for r in ordered] == [
        (why.LOST, ""), (why.MEMORY_ERRORS, ""), (why.NOT_MEASURABLE, ""), (why.SIBLINGS, "d2h"),
        (why.SIBLINGS, "dram"), (why.DATASHEET, "dram"), (why.THROTTLED, ""), (why.OTHERS, ""),
    ]  # fmt: skip


def test_without_doubts_the_most_measured_device_is_shown():
    run = made("gpus=3", ("bandwidth",))
    few = [m for m in run.measurements if m.device != "sim:h200-sxm:0" or m.saturates]
    fewer = replace(run, measurements=tuple(few))
    node = judged(fewer)
    assert shown(fit(fewer), node).info.id == "sim:h200-sxm:1"
    empty = by_hand(devices=())
    assert health(empty, ()).status == NOT_JUDGED
    assert shown((), health(empty, ())) is None
