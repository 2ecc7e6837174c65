"""Whether the GPU was well, from what NVML itself says through Monitor and judge, whatever it refuses."""

import pytest

from bench import report, work
from bench.analysis.fit import fit
from bench.budget import BUDGETS
from bench.report import interpretation
from bench.report.figures.health import health as health_figure
from bench.report.health import Health, health
from bench.report.vitals import vitals
from tests.report.runs import by_hand, cpu, measured, simulated, watched
from tests.report.test_page import Parsed


@pytest.fixture(scope="module")
def run():
    return simulated("sim:h200-sxm", ("bandwidth", "peak"), BUDGETS["standard"])


@pytest.fixture(scope="module")
def made(run):
    """A function: profile of the fake driver -> the Run that it would have made."""
    known = {}
    return lambda profile: known.setdefault(profile, watched(run, profile))


def of(run) -> Health:
    return health(run, run.environment.devices)[0]


def said(run) -> str:
    found = health(run, run.environment.devices)
    return " ".join(interpretation.health(found, found[0]))


def cells(run) -> dict[str, str]:
    return {row[0].text: row[2].text for row in vitals(health(run, run.environment.devices)).rows}


def test_a_healthy_gpu(made):
    text = said(made("healthy"))
    assert "Power averaged 640 W while measuring (621–659 W, 91 % of its limit of 700 W)" in text
    assert "the SM clock averaged 1.75 GHz of at most 1.98 GHz" in text
    assert "No slowdown by heat, by a power brake or by others was counted, and no memory error." in text
    assert "Slowed" not in text
    assert text.endswith("are valid.")
    found = cells(made("healthy"))
    assert found["PCIe lanes"] == "16 of 16"
    assert found["NVLinks up"] == "18 of 18"
    assert found["slowed by: heat, by hardware"] == "0 s"
    assert found["other processes"] == "none"


def test_heat_is_told_with_its_time(made):
    text = said(made("throttled"))
    assert "Slowed (heat, by hardware) for" in text
    assert "(25 %)" in text
    assert "invalid: hardware thermal slowdown for part of the time" in text
    assert "25 % of the time" in cells(made("throttled"))["slowed by: heat, by hardware"]


def test_a_power_cap_is_no_fault(made):
    text = said(made("power_capped"))
    assert "The power limit held its clocks for" in text
    assert "Slowed" not in text
    assert "No slowdown by heat" in text


def test_memory_errors_and_strangers_are_told(made):
    text = said(made("ecc_errors"))
    assert "uncorrectable memory errors during the Run" in text
    assert "waits to be remapped: reset the GPU" in text
    assert "Other processes computed on it: 4194304" in said(made("busy"))


def test_a_mig_slice_says_what_it_is(made):
    text = said(made("mig"))
    assert text.startswith("This is a MIG slice, a part of a GPU")
    assert "Not available (Not Supported): power, mean power, power limit, energy, throttle times" in text
    assert "No slowdown" not in text
    page = Parsed(report.html(made("mig")))
    assert "% of theory" not in " ".join(page.text.split("Every roof and ridge")[:1])
    assert "fig-health-0" not in str(page.tags)
    assert "the energy counter is not available (Not Supported)" in page.text


def test_no_permission_is_a_reason(made):
    assert "Not available (Insufficient Permissions)" in said(made("no_permission"))


def test_the_figure_marks_who_does_not_count(made):
    figure = health_figure(of(made("throttled")))
    assert figure.layout.yaxis.title.text == "SM clock (GHz)"
    assert figure.layout.yaxis2.title.text == "Power (W)"
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert {trace.name for trace in marks} == {"invalid"}
    assert marks[0].marker.symbol == "x"
    assert list(marks[0].x) == sorted(marks[0].x)
    assert marks[0].y[0] == pytest.approx(1.2)
    assert "hardware thermal slowdown" in marks[0].customdata[0]
    healthy = health_figure(of(made("healthy")))
    assert {trace.marker.symbol for trace in healthy.data if trace.mode == "markers"} == {"circle"}


@pytest.mark.parametrize("profile", ["healthy", "throttled", "power_capped", "mig", "ecc_errors", "busy", "lost"])
def test_every_profile_makes_a_page(made, profile):
    page = Parsed(report.html(made(profile)))
    assert "health" in [attrs.get("id") for attrs in page.by("section")]


def test_counters_that_start_anew_count_what_was_seen():
    readings = [{"at_s": float(n), "ecc_double_bit": n_errors} for n, n_errors in enumerate((5, 7, 0, 1))]
    rows = [
        measured("x", {"n": n}, work.Work(bytes=1.0), telemetry={"before": readings[n], "after": readings[n + 1]})
        for n in (0, 2)
    ]
    found = Health(cpu(), tuple(rows))
    assert found.grown("ecc_double_bit") == 3
    assert found.grown("ecc_single_bit") is None
    assert found.seconds == 3


def test_a_cpu_gets_its_sentence():
    telemetry = {
        "before": {"own_s": 1.0, "busy_s": 10.0, "steal_s": 0.0},
        "after": {"own_s": 3.0, "busy_s": 12.5, "steal_s": 0.25},
    }
    text = said(by_hand([measured("x", {"n": 1}, work.Work(bytes=1.0), telemetry=telemetry)]))
    assert "this Run computed 2.00 s of CPU time, other processes 500 ms, and a hypervisor took 250 ms" in text
    assert "No counter was read" in said(by_hand([measured("x", {"n": 1}, work.Work(bytes=1.0))]))


def test_a_simulated_gpu_claims_no_driver(run):
    assert said(run).startswith("Nothing was read from a driver")
    assert vitals(health(run, run.environment.devices)) is None
    assert health_figure(of(run)) is None
    assert fit(run)[0].sustained
