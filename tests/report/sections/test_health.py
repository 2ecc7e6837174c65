"""GPU health in words, one table and one figure, from what NVML itself says through Monitor and judge."""

from dataclasses import replace

import pytest

from bench import report, work
from bench.analysis import health_reasons as why
from bench.analysis.health_reasons import Reason
from bench.analysis.telemetry import telemetry
from bench.measure.budget import BUDGETS
from bench.report.document import Section, Table
from bench.report.sections import devices, health, verdict
from tests.report.render.test_html import Parsed
from tests.report.runs import by_hand, measured, simulated, watched
from tests.report.sections.conftest import view


@pytest.fixture(scope="module")
def run():
    return simulated("sim:h200-sxm", ("bandwidth", "peak"), BUDGETS["standard"])


@pytest.fixture(scope="module")
def made(run):
    """A function: profile of the fake driver -> the Run that it would have made."""
    known = {}
    return lambda profile: known.setdefault(profile, watched(run, profile))


def section(run) -> Section:
    return health.section(view(run))


def said(run) -> str:
    """What stands in the section, after what the first screen says."""
    seen, shown = health.section(view(run)), verdict.reasons(view(run))
    first = [f"{each.text} {each.next_step}" for each in shown]
    return " ".join([*first, *(each.text for each in seen.findings), *seen.notes])


def cells(run) -> dict[str, tuple[str, str]]:
    """Quantity -> text and mark."""
    return {row[0].text: (row[-1].text, row[-1].mark) for row in counters(run).cells}


def counters(run) -> Table | None:
    return health.counter_table(telemetry(run, run.environment.devices))


def test_a_healthy_gpu(made):
    text = said(made("healthy"))
    assert "Power 640 W on average (621–659 W, 91 % of at most 700 W)." in text
    assert "SM clock 1.75 GHz on average" in text
    assert "of at most 1.98 GHz" in text
    assert "slowed" not in text
    assert verdict.verdict(view(made("healthy"))).status == "pass"
    found = cells(made("healthy"))
    assert found["power"] == ("mean 640 W, 621–659 W", "")
    assert found["PCIe lanes"] == ("16 of 16", "")
    assert found["NVLinks up"] == ("18 of 18", "")
    assert found["slowed by heat, by hardware"] == ("0 s", "")
    assert found["uncorrectable memory errors"] == ("0", "")
    assert found["other processes"] == ("none", "")


def test_heat_is_told_with_its_time_and_what_to_do(made):
    text = said(made("throttled"))
    # nothing of it could be measured, and that is said once
    assert "Not measurable: hardware thermal slowdown for 25% of the time" in text
    assert "cool it first, then look for Xid errors in `dmesg`" in text
    assert "slowed by" not in text
    table = cells(made("throttled"))["slowed by heat, by hardware"]
    assert "25 % of the time" in table[0]
    assert table[1] == "warn"


def test_a_power_cap_is_told_and_marked_as_how_a_gpu_works(made):
    text = said(made("power_capped"))
    assert "The power limit held the clock 90 % of the time, as at full load." in text
    assert "lowed by" not in text
    assert cells(made("power_capped"))["slowed by power limit"][1] == ""


def test_memory_errors_and_processes_of_others_are_told(made):
    text = said(made("ecc_errors"))
    assert "uncorrectable memory errors" in text
    assert "`nvidia-smi -q -d ECC`" in text
    assert "row remap" in text.lower()
    assert verdict.verdict(view(made("ecc_errors"))).status == "fail"
    assert cells(made("ecc_errors"))["uncorrectable memory errors"][1] == "warn"
    assert "ther processes computed on it (4194304)" in said(made("busy"))
    assert cells(made("busy"))["other processes"] == ("4194304", "warn")


def test_a_mig_slice_says_what_it_is(made):
    text = said(made("mig"))
    assert "This is a MIG slice" in text
    refused = text.partition("Not available (Not Supported): ")[2]
    for word in (
        "power",
        "mean power",
        "power limit",
        "energy",
        "corrected memory errors",
        "PCIe width",
        "throttle times",
    ):
        assert word in refused, word
    assert "slowed" not in text
    page = Parsed(report.html(made("mig")))
    assert "% of datasheet" not in page.text.split("Measured against datasheet")[0].split("Roofline")[0]
    assert "fig-health" not in str(page.tags)
    assert "the energy counter is not available (Not Supported)" in page.text


def test_no_permission_is_a_reason(made):
    assert "Not available (Insufficient Permissions)" in said(made("no_permission"))


def test_a_lost_gpu_is_lost_with_the_drivers_word(made):
    text = said(made("lost"))
    assert "ost: " in text
    assert "`dmesg`" in text
    assert verdict.verdict(view(made("lost"))).status == "fail"


def test_the_figure_marks_who_does_not_count(made):
    figure = section(made("throttled")).plots[0].figure
    assert figure.layout.yaxis.title.text == "SM clock (GHz)"
    assert figure.layout.yaxis2.title.text == "Power (W)"
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert {trace.name for trace in marks} == {"invalid"}
    assert marks[0].marker.symbol == "x"
    assert list(marks[0].x) == sorted(marks[0].x)
    assert marks[0].y[0] == pytest.approx(1.2)
    assert "hardware thermal slowdown" in marks[0].customdata[0]
    healthy = section(made("healthy")).plots[0].figure
    assert {trace.marker.symbol for trace in healthy.data if trace.mode == "markers"} == {"circle"}
    # all that was polled lies within the axes
    for axis, name in (("y", "yaxis"), ("y2", "yaxis2")):
        marks = [trace for trace in healthy.data if trace.yaxis == axis]
        seen = [y + above for trace in marks for y, above in zip(trace.y, trace.error_y.array, strict=True)]
        seen += [y - below for trace in marks for y, below in zip(trace.y, trace.error_y.arrayminus, strict=True)]
        assert healthy.layout[name].range[0] <= min(seen) <= max(seen) <= healthy.layout[name].range[1]


@pytest.mark.parametrize("profile", ["healthy", "throttled", "power_capped", "mig", "ecc_errors", "busy", "lost"])
def test_every_profile_makes_a_page(made, profile):
    page = Parsed(report.html(made(profile)))
    assert "health" in [attrs.get("id") for attrs in page.by("section")]


def test_a_cpu_gets_its_sentence():
    counted = {
        "before": {"own_s": 1.0, "busy_s": 10.0, "steal_s": 0.0},
        "after": {"own_s": 3.0, "busy_s": 12.5, "steal_s": 0.25},
    }
    text = said(by_hand([measured("x", {"n": 1}, work.Work(bytes=1.0), telemetry=counted)]))
    assert "This Run took 2.00 s of CPU time while measuring, other processes 500 ms, a hypervisor 250 ms." in text
    bare = by_hand([measured("x", {"n": 1}, work.Work(bytes=1.0))])
    assert "No counter was read" in said(bare)
    assert counters(bare) is None


def test_a_simulated_gpu_claims_no_driver(run):
    assert "Nothing was read from a driver" in said(run)
    assert counters(run) is None
    assert section(run).plots == ()


@pytest.fixture(scope="module")
def hot():
    return simulated("sim:h200-sxm,gpus=5,noise=0.001:0.002,dram@2=0.9,throttle=thermal@3", ("bandwidth", "peak"))


def test_the_matrix_says_who_is_slow_and_who_could_not_be_measured(hot):
    table = verdict.matrix(view(hot))
    rows = [{c.name: cell for c, cell in zip(table.shown, row, strict=True)} for row in table.cells]
    assert [row["GPU"].text for row in rows] == ["GPU 0", "GPU 1", "GPU 2", "GPU 3", "GPU 4"]
    assert (rows[2]["DRAM"].text, rows[2]["DRAM"].mark) == ("90", "fail")
    assert (rows[0]["DRAM"].text, rows[0]["DRAM"].mark) == ("100", "pass")
    # never an empty row: what has no number is marked and says why
    assert (rows[3]["DRAM"].text, rows[3]["DRAM"].mark) == ("–", "fail")
    assert "thermal" in rows[3]["Why"].text or "heat" in rows[3]["Why"].text
    assert [row["Health"].text for row in rows] == ["PASS", "PASS", "FAIL", "FAIL", "PASS"]
    assert not table.folded


def test_reasons_are_few_and_each_has_its_next_step(hot):
    found = verdict.reasons(view(hot))
    assert {each.text[:5] for each in found} >= {"GPU 2", "GPU 3"}
    assert all(each.next_step for each in found)
    slow = next(each for each in found if each.text.startswith("GPU 2"))
    assert "DRAM −10 %" in slow.text or "DRAM −9." in slow.text
    assert "median of the 3 others" in slow.text
    assert "repeat alone: `python -m bench run" in slow.next_step
    judged = verdict.verdict(view(hot))
    assert (judged.status, judged.text) == ("fail", "GPU 2 and GPU 3")
    # one heated GPU is said once, not as lost and as slowed too
    assert sum(each.text.startswith("GPU 3") for each in found) == 1


def test_more_reasons_than_fit_are_counted(hot):
    shown = view(hot)
    more = tuple(replace(shown.health.reasons[0], device=f"gpu{n}", key=f"l{n}") for n in range(9))
    node = replace(shown.health, devices=(replace(shown.health.devices[0], reasons=more),))
    crowded = replace(shown, health=node)
    found = verdict.reasons(crowded)
    assert len(found) == 5
    assert found[-1].text == "5 more reasons under GPU health."
    # and there they are
    assert [note.partition(":")[0] for note in health.section(crowded).notes[:5]] == [f"gpu{n}" for n in range(4, 9)]


def told(hot, *given: dict, of: int = 0) -> list:
    """What is said of a node whose GPUs have a reason each, and `of` devices in all."""
    shown = view(hot)
    slow = next(each for each in shown.health.reasons if each.cause == why.SIBLINGS)
    reasons = [replace(slow, device=f"cuda:{n}", **about) for n, about in enumerate(given)]
    devices = tuple(replace(shown.health.devices[0], reasons=(each,)) for each in reasons)
    node = replace(shown.health, devices=devices, absent=())
    ids = [f"cuda:{n}" for n in range(of or len(given) + 1)]
    fits = tuple(replace(shown.fits[0], info=replace(shown.fits[0].info, id=id)) for id in ids)
    return verdict.every_reason(replace(shown, health=node, fits=fits))


def test_a_fault_that_many_gpus_have_in_common_is_told_once_and_the_worst_named(hot):
    power = [{"cause": why.POWER_LIMIT, "ratio": 0.9 - n / 100} for n in range(8)]
    (one,) = told(hot, *power, of=8)
    assert one.text.startswith("All 8 GPUs: at worst (GPU 7) DRAM at 83.0 % of datasheet (")
    assert one.text.endswith("the power limit held the clock.")
    (one,) = told(hot, *power[:3], of=8)
    assert one.text.startswith("GPU 2, GPU 1 and GPU 0: at worst (GPU 2) DRAM at 88.0 %")
    assert [each.text[:6] for each in told(hot, *power[:2], of=8)] == ["GPU 1:", "GPU 0:"]
    # counts have no ratio to be worst by
    errors = [{"cause": why.CORRECTED_ERRORS, "key": "", "ratio": None, "value": count} for count in (150, 90000, 200)]
    (one,) = told(hot, *errors)
    assert "at worst (GPU 1) 90000 corrected memory errors" in one.text


def test_gpus_that_never_opened_are_not_all_of_them(hot):
    shown = view(hot)
    lost = tuple(Reason(f"cuda:{n}", why.FAIL, why.LOST, detail="Xid 79") for n in range(10, 10 + len(shown.fits)))
    healthy = tuple(replace(each, reasons=()) for each in shown.health.devices)
    (one,) = verdict.every_reason(replace(shown, health=replace(shown.health, devices=healthy, absent=lost)))
    assert one.text.startswith("GPU 10, GPU 11, GPU 12")


def test_what_differs_in_word_or_next_step_is_told_apart(hot):
    lost = [{"cause": why.LOST, "key": "", "ratio": None, "detail": text} for text in ("Xid 79", "Xid 31", "killed")]
    assert sorted(each.text for each in told(hot, *lost)) == [
        "GPU 0: lost: Xid 79.", "GPU 1: lost: Xid 31.", "GPU 2: lost: killed.",
    ]  # fmt: skip
    # of slow GPUs each is repeated alone: its own name is in the command
    slow = told(hot, {"ratio": 0.8}, {"ratio": 0.85}, {"ratio": 0.9})
    assert [each.text[:6] for each in slow] == ["GPU 0:", "GPU 1:", "GPU 2:"]
    assert all(f"--device cuda:{n}" in each.next_step for n, each in enumerate(slow))


@pytest.mark.parametrize(
    ("reason", "text", "next_step"),
    [
        ({"cause": why.LOST, "detail": "GPU is lost"}, "Lost: GPU is lost.", "dmesg"),
        ({"cause": why.MEMORY_ERRORS, "value": 3.0}, "3 uncorrectable memory errors.", "ECC"),
        ({"cause": why.CORRECTED_ERRORS, "value": 250.0}, "250 corrected memory errors.", "ECC"),
        ({"cause": why.ROW_REMAP, "detail": "pending"}, "Row remap pending.", "ROW_REMAPPER"),
        ({"cause": why.PCIE, "value": 8.0, "expected": 16.0}, "8 of 16 PCIe lanes.", "reseat"),
        ({"cause": why.NVLINK, "value": 17.0, "expected": 18.0}, "17 of 18 NVLinks up.", "nvlink -s"),
        ({"cause": why.OTHERS, "detail": "4711"}, "Other processes computed on it (4711).", "pmon"),
        ({"cause": why.THROTTLED, "detail": "heat", "share": 0.25}, "Slowed by heat 25 % of the time.", "cooling"),
        ({"cause": why.POWER_LIMIT, "share": 0.9}, "The power limit held the clock 90 % of the time.", "POWER"),
        ({"cause": why.CLOCK_SETTING, "detail": "clocks set to 1.2 GHz"}, "Clocks set to 1.2 GHz.", "-rgc"),
        ({"cause": why.CLOCK}, "The clock was low, nothing says why.", "under load"),
        ({"cause": why.NOT_MEASURABLE, "detail": "too hot"}, "Not measurable: too hot.", "drain"),
        (
            {"cause": why.DATASHEET, "key": "dram", "ratio": 0.8, "value": 3.84e12, "expected": 4.8e12},
            "DRAM at 80.0 % of datasheet (3.84 of 4.80 TB/s).",
            "bench compare",
        ),
        (
            {"cause": why.BASELINE, "key": "dram", "ratio": 0.9, "value": 4.32e12, "expected": 4.8e12},
            "DRAM −10 % (4.32 against 4.80 TB/s, the baseline).",
            "--probes bandwidth",
        ),
        (
            {
                "cause": why.SIBLINGS,
                "key": "vector.float32.loop",
                "ratio": 1.1,
                "value": 1.1e12,
                "expected": 1e12,
                "n": 7,
            },
            "FP32 vector loop +10 % (1.10 against 1.00 TFLOP/s, median of the 7 others).",
            "--probes peak",
        ),
    ],
)
def test_every_cause_has_its_words_and_its_next_step(run, reason, text, next_step):
    shown = view(run)
    device = shown.health.devices[0]
    mine = replace(device, reasons=(why.Reason(device.info.id, "fail", **reason),))
    found = verdict.reasons(replace(shown, health=replace(shown.health, devices=(mine,))))
    assert [(each.text, each.status) for each in found] == [(text, "fail")]
    assert next_step in found[0].next_step


@pytest.mark.parametrize(
    ("device", "probe", "words", "never"),
    [
        ("3", "hostcopy", "--probes hostcopy", "ECC"),
        ("3", "onchip", "-q -d CLOCK,PERFORMANCE", "ECC"),
        ("3", "bandwidth", "ECC,ROW_REMAPPER", "PCIe"),
        (
            "3",
            "allreduce",
            "repeat with all GPUs: `python -m bench run --device sim:h200-sxm --probes allreduce",
            "alone",
        ),
    ],
)
def test_a_slow_roof_names_its_probe_and_what_to_check(device, probe, words, never):
    node = simulated("sim:h200-sxm,gpus=4,noise=0.001:0.002", (probe,))
    rows = (
        replace(m, seconds=tuple(1.2 * s for s in m.seconds)) if m.device.endswith(device) else m
        for m in node.measurements
    )
    found = verdict.reasons(view(replace(node, measurements=tuple(rows))))
    assert words in found[0].next_step
    assert never not in found[0].next_step


def test_a_sustained_outlier_is_in_every_place(run):
    node = simulated("sim:h200-sxm,gpus=4,sustained=0.9,noise=0.001:0.002", ("bandwidth",), BUDGETS["standard"])
    rows = (
        replace(m, seconds=tuple(1.2 * s for s in m.seconds))
        if m.device.endswith("3") and m.regime == "sustained"
        else m
        for m in node.measurements
    )
    shown = view(replace(node, measurements=tuple(rows)))
    cells = [[(cell.text, cell.mark) for cell in row] for row in verdict.matrix(shown).cells]
    assert ("83 sustained", "fail") in cells[3] or ("83 sustained", "warn") in cells[3]
    assert "GPU 3 is an outlier" in devices.section(shown).findings[0].text
    # nothing was planted, so no counter is "ok"
    assert "ok" not in {text for row in cells for text, _ in row}


def test_two_groups_of_devices_are_worth_a_look(run):
    shown = view(run)
    device = shown.health.devices[0]
    reason = why.Reason(device.info.id, "warn", why.SPREAD, "dram", 4.1e12, 4.8e12, 0.86, n=7)
    node = replace(shown.health, devices=(replace(device, reasons=(reason,)),))
    (found,) = verdict.reasons(replace(shown, health=node))
    assert found.text == "DRAM −14 % against the faster devices: two groups of devices differ."
    assert "topology" in found.next_step


def test_of_many_outliers_the_worst_leads():
    slow = "sim:h200-sxm,gpus=12,dram@1=0.95,dram@2=0.94,dram@3=0.93,dram@4=0.5,noise=0.001:0.002"
    made = devices.section(view(simulated(slow, ("bandwidth",))))
    assert [each.text.partition(" is")[0] for each in made.findings] == ["GPU 4", "GPU 3", "GPU 2"]
    assert all(each.status == "fail" for each in made.findings)
    assert made.notes[0].startswith("GPU 1 is an outlier")
