"""Measured against datasheet: the lowest and what its clock explains, every roof and ridge with all that is known."""

from dataclasses import replace

import pytest

from bench import work
from bench.analysis.fit import fit
from bench.measure.budget import BUDGETS
from bench.report.document import SKIP, WARN
from bench.report.sections import datasheet
from tests.report.conftest import kept
from tests.report.runs import by_hand, gpu, measured, rounds, simulated
from tests.report.sections.conftest import view

LASTING = replace(BUDGETS["standard"], rounds=6)


def made(run, **more):
    return datasheet.section(view(run, **more))


def said(run) -> str:
    section = made(run)
    return " ".join([*(finding.text for finding in section.findings), *section.notes])


def table(section) -> dict[str, dict]:
    """Key -> heading -> cell."""
    (found,) = section.tables
    names = [column.name for column in found.shown]
    rows = [dict(zip(names, cells, strict=True)) for cells in found.cells]
    return {row["key"].text: row for row in rows}


def clocked(clock_hz: float, rate: float = 0.8, **more):
    """A BF16 GEMM at a share of the datasheet's 989.4 TFLOP/s, at a clock."""
    demand = work.gemm(8192, 8192, 8192, "bfloat16", "tensor")
    params = {"kind": "gemm", "dtype": "bfloat16", "shape": "cube-8192", "m": 8192, "n": 8192, "k": 8192}
    claim = "tensor.bfloat16.library"
    seconds = demand.flops / (rate * 989.4e12)
    return by_hand(rounds("peak", params, demand, seconds, saturates=claim, clock_hz=(clock_hz,), **more), gpu())


def copy(**more):
    params = {"mix": "copy", "bytes": 2**30, "cache": "cold"}
    return measured("bandwidth", params, work.stream("copy", 2**27), (1e-3,) * 6, saturates="dram", **more)


def test_the_lowest_and_the_highest_are_said_with_their_rates():
    run = simulated("sim:h200-sxm,dram=0.8", ("bandwidth", "peak"))
    finding = made(run).findings[0]
    assert finding.text.startswith("Lowest: DRAM, 80.0 % of datasheet (3.84 TB/s of 4.80 TB/s); highest: ")
    assert finding.status == WARN
    calm = made(simulated("sim:h200-sxm", ("bandwidth", "peak"))).findings[0]
    assert calm.status == ""


def test_a_power_capped_run_is_low():
    assert "85.0 % of datasheet" in said(simulated("sim:h200-sxm,throttle=power_cap", ("bandwidth", "peak")))


def test_the_clock_explains_what_is_missing():
    held = "clocks held by the power limit for 90% of the time"
    assert "At 1.50 GHz the datasheet allows BF16 GEMM 811 TFLOP/s; reached: 97.6 %" in said(clocked(1.5e9))
    assert "reached: 97.6 %, the clock explains 89 %." in said(clocked(1.5e9))
    assert "the clock explains nearly all." in said(clocked(1.464e9))
    assert f"BF16 GEMM: {held}." in said(clocked(1.464e9, reasons=(held,)))
    assert "the clock explains nothing." in said(clocked(1.83e9))
    assert "more than that clock allows" in said(clocked(1.2e9))
    assert said(clocked(1.83e9, 1.0)).count("explains") == 0


def test_every_finding_is_short_and_says_one_thing():
    runs = [clocked(clock) for clock in (1.2e9, 1.464e9, 1.5e9, 1.83e9)]
    runs += [simulated(f"sim:h200-sxm,dram={share}", ("bandwidth", "peak")) for share in (0.7, 1.0)]
    runs += [by_hand([copy(repetition=r) for r in range(6)])]
    for run in runs:
        findings = made(run).findings
        assert 1 <= len(findings) <= 3
        assert all(len(finding.text.split()) <= 20 for finding in findings), findings


def test_without_a_datasheet_no_percentage_is_invented():
    run = by_hand([copy(repetition=r) for r in range(6)])
    section = made(run)
    assert "values stand alone" in section.findings[0].text
    assert "%" not in section.findings[0].text
    assert "% of datasheet" not in table(section)["dram"]
    assert section.plots == ()
    lost = simulated("sim:b200,throttle=thermal", ("bandwidth", "peak"))
    assert "A datasheet is known" in made(lost).findings[0].text
    assert datasheet.section(view(by_hand([measured("x", {"n": 1}, work.Work(bytes=1.0))]))) is None


def test_assumed_peaks_and_missing_claims_are_said():
    # not measured is not unclaimed
    assert "No memory bandwidth" not in said(simulated("sim:h200-sxm", ("peak",)))
    assumed = made(kept())
    assert "No memory bandwidth" in " ".join(assumed.notes)
    assert "The peaks are assumed from cores × width × clock" in " ".join(assumed.notes)
    assert "% of assumed peak" in assumed.findings[0].text
    assert "assumed peak" in assumed.plots[0].figure.layout.xaxis.title.text


def test_a_row_per_roof_says_value_interval_claim_and_evidence(h200):
    chosen, rows = fit(h200)[0], table(made(h200))
    assert set(rows) == {*chosen.roofs, *(f"ridge {ridge.compute}" for ridge in chosen.ridges), *chosen.missing}
    dram = rows["dram"]
    roof = chosen.roofs["dram"].roof
    assert (dram["roof"].text, dram["measured"].value, dram["n"].value) == ("DRAM", roof.rate, roof.n)
    assert (dram["kind"].text, dram["datasheet"].text) == ("95 % interval", "4.80 TB/s")
    assert dram["% of datasheet"].value == pytest.approx(roof.rate / 4.8e12)
    assert "TB/s" in dram["interval"].text
    assert dram["its interval"].text.endswith(" %")
    assert "bandwidth v" in dram["rests on"].text
    ridge = rows[f"ridge {chosen.info.headline}"]
    assert ridge["roof"].text == "ridge: BF16 GEMM / DRAM"
    assert (ridge["datasheet"].text, ridge["doubts"].text) == ("206 FLOP/B", "headline ridge")
    assert ridge["measured"].value == chosen.headline.estimate.value
    assert rows["l2"]["doubts"].text.startswith("missing: ")
    assert rows["l2"]["doubts"].mark == SKIP


def test_what_is_below_its_limit_comes_first_then_by_share():
    run = simulated("sim:h200-sxm,dram=0.8,noise=0.002:0.004,seed=3", ("bandwidth", "peak", "hostcopy"))
    section = made(run)
    keys = list(table(section))
    assert keys[0] == "dram"
    assert table(section)["dram"]["% of datasheet"].mark == WARN
    roofs = [key for key in keys if key in fit(run)[0].roofs][1:]
    shares = [table(section)[key]["% of datasheet"].value for key in roofs]
    assert [share for share in shares if share != ""] == sorted(share for share in shares if share != "")
    assert shares == sorted(shares, key=lambda share: (share == "", share))
    # the figure has the same order, from its top
    assert section.plots[0].figure.layout.yaxis.categoryarray[-1] == "DRAM"


def test_sustained_stands_beside_burst():
    rows = table(made(simulated("sim:h200-sxm,sustained=0.88", ("bandwidth", "peak"), LASTING)))
    gemm, ridge = rows["tensor.bfloat16.library"], rows["ridge tensor.bfloat16.library"]
    assert (gemm["sustained"].text, gemm["% of burst"].text) == ("871 TFLOP/s", "88.0 %")
    assert (ridge["sustained"].text, ridge["% of burst"].text) == ("181 FLOP/B", "88.0 %")
    burst = table(made(simulated("sim:h200-sxm", ("bandwidth", "peak"))))
    assert "sustained" not in burst["dram"]


def test_the_claim_is_scaled_with_the_clock():
    row = table(made(clocked(1.5e9)))["tensor.bfloat16.library"]
    assert row["clock seen"].text == "1.50 GHz"
    assert row["datasheet at it"].value == pytest.approx(989.4e12 * 1.5 / 1.83, rel=0.002)
    assert row["% of that"].value == pytest.approx(0.8 * 1.83 / 1.5, rel=0.002)
    ticks = [trace for trace in made(clocked(1.5e9)).plots[0].figure.data if "clock seen" in trace.name]
    assert ticks[0].x[0] == pytest.approx(100 * 1.5 / 1.83, rel=0.002)


def test_doubts_are_marked_and_hostile_text_is_one_plain_line():
    nasty = "clocks held `rm -rf /`\nby x"
    rows = [copy(repetition=r, validity="suspect", reasons=(nasty,)) for r in range(6)]
    cell = table(made(by_hand(rows)))["dram"]["doubts"]
    assert cell.mark == WARN
    assert "suspect" in cell.text
    text = said(clocked(1.464e9, reasons=(nasty,)))
    assert "\n" not in text
    assert "`" not in text


def test_six_roofs_lead(h200):
    top = datasheet.top(view(h200))
    assert [cells[0].text for cells in top.cells[:2]] == ["DRAM", "BF16 GEMM"]
    assert len(top.rows) == 6
    assert [column.name for column in top.shown] == ["roof", "measured", "% of datasheet", "interval"]
    assert not top.folded
