"""Burst and sustained are two regimes, each beside its own roofs and never as duplicates; the second tells energy."""

import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from bench import report, work
from bench.analysis.compare import compare, datasheet
from bench.analysis.fit import fit
from bench.budget import BUDGETS
from bench.report import energy, frame, interpretation, tables, text, words
from bench.report.figures.energy import energy as energy_figure
from bench.report.figures.roofline import roofline
from bench.report.sections import sections
from bench.schema import SUSTAINED
from tests.report.runs import by_hand, gpu, rounds, simulated

STANDARD = replace(BUDGETS["standard"], rounds=6)


@pytest.fixture(scope="module")
def lasting():
    return simulated("sim:h200-sxm,sustained=0.88", ("bandwidth", "peak", "intensity"), STANDARD)


@pytest.fixture(scope="module")
def chosen(lasting):
    return fit(lasting)[0]


def test_a_case_is_compared_with_the_roofs_of_its_regime(chosen):
    rows = frame.cases(chosen, datasheet(chosen.info))
    both = rows[rows["saturates"] == "tensor.bfloat16.library"]
    shares = {row.regime: row.share for row in both.itertuples()}
    assert shares == {"burst": pytest.approx(1), SUSTAINED: pytest.approx(1)}
    theory = {row.regime: row.theory_share for row in both.itertuples()}
    assert theory == {"burst": pytest.approx(1), SUSTAINED: pytest.approx(0.88)}
    assert not rows["above"].any()


def test_figures_draw_a_regime_once(chosen):
    rows = frame.cases(chosen, None)
    figure = roofline(chosen, None, frame.burst(rows))
    drawn = sum(len([x for x in trace.x if x]) for trace in figure.data if str(trace.meta).startswith("points"))
    burst = frame.burst(rows)
    assert drawn == len(burst[burst["seconds"].notna() & (burst["intensity"] > 0)])
    assert len(burst) < len(rows)


def test_tables_name_the_regime_of_a_case(chosen):
    table = next(s for s in sections(frame.cases(chosen, None), chosen, None) if s.id == "probe-bandwidth").table
    column = [c.name for c in table.columns].index("regime")
    assert {row[column].text for row in table.rows} == {"burst", SUSTAINED}


def test_sustained_roofs_are_dotted_beside_the_burst_ones(chosen):
    figure = roofline(chosen, None, frame.burst(frame.cases(chosen, None)))
    traces = {trace.meta: trace for trace in figure.data if trace.meta}
    burst, after = traces["roof tensor.bfloat16.library"], traces["sustained tensor.bfloat16.library"]
    assert after.y[-1] == pytest.approx(0.88 * burst.y[-1])
    assert (burst.line.dash, after.line.dash) == ("solid", "dot")
    assert "88.0 % of burst" in after.customdata[0]
    assert traces["ridge sustained"].x[0] == pytest.approx(0.88 * traces["ridge headline"].x[0])
    labels = [note.text for note in figure.layout.annotations if note.name == "roof label"]
    assert any("989, sustained 871 TFLOP/s" in label for label in labels)


def test_without_a_sustained_regime_nothing_speaks_of_it():
    run = simulated("sim:h200-sxm", ("bandwidth", "peak"))
    page = report.html(run).split('<section id="skipped"')[0]
    assert "sustained ridge" not in page
    assert "sustained roof" not in page
    assert "this budget has no sustained regime" in page


def test_verdict_tiles_and_table_say_both(lasting, chosen):
    theory = datasheet(chosen.info)
    verdict = words.verdict(lasting, (chosen,), theory)
    assert "computes 989 TFLOP/s in a burst and 871 TFLOP/s sustained" in verdict
    page = report.html(lasting)
    assert "sustained 871 TFLOP/s, 88.0 % of burst" in page
    table = tables.roofs(chosen, theory, compare(chosen.roofline, theory))
    names = [column.name for column in table.columns]
    row = next(row for row in table.rows if row[0].value == "tensor.bfloat16.library")
    assert row[names.index("sustained")].text == "871 TFLOP/s"
    assert row[names.index("% of burst")].text == "88.0 %"


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_has_a_column_for_it(lasting, chosen, width):
    out = StringIO()
    Console(file=out, width=width, highlight=False).print(text.run_table(lasting, (chosen,)))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    line = next(line for line in lines if "tensor.bfloat16.library" in line)
    assert re.search(r"989 TFLOP/s.*871 TFLOP/s.*100 %", line)


def clocked(clock_hz: float, rate: float = 0.8, **more):
    """A BF16 GEMM at a share of the datasheet's 989.4 TFLOP/s, at a clock."""
    demand = work.gemm(8192, 8192, 8192, "bfloat16", "tensor")
    params = {"kind": "gemm", "dtype": "bfloat16", "shape": "cube-8192", "m": 8192, "n": 8192, "k": 8192}
    claim = "tensor.bfloat16.library"
    seconds = demand.flops / (rate * 989.4e12)
    return by_hand(rounds("peak", params, demand, seconds, saturates=claim, clock_hz=(clock_hz,), **more), gpu())


def said(run) -> str:
    found = fit(run)[0]
    return words.against_theory(compare(found.roofline, datasheet(found.info)), None, found, False)


def test_the_clock_explains_what_is_missing():
    held = "clocks held by the power limit for 90% of the time"
    assert "at the observed clock that is 97.6 %" in said(clocked(1.5e9))
    assert "the clock explains 89 % of what is missing" in said(clocked(1.5e9))
    assert f"nearly all that is missing ({held})" in said(clocked(1.464e9, reasons=(held,)))
    assert "the clock does not explain what is missing" in said(clocked(1.83e9))
    assert "more than such a clock allows" in said(clocked(1.2e9))


def test_the_table_of_roofs_scales_the_claim_with_the_clock():
    found = fit(clocked(1.5e9))[0]
    theory = datasheet(found.info)
    table = tables.roofs(found, theory, compare(found.roofline, theory))
    names = [column.name for column in table.columns]
    row = table.rows[0]
    assert row[names.index("clock seen")].text == "1.50 GHz"
    assert row[names.index("datasheet at it")].value == pytest.approx(989.4e12 * 1.5 / 1.83, rel=0.002)
    assert row[names.index("% of that")].value == pytest.approx(0.8 * 1.83 / 1.5, rel=0.002)


def test_energy_is_power_over_rate(chosen):
    # the simulated GPU draws its 700 W all the time
    cost = next(cost for cost in energy.costs(chosen) if cost.dtype == "bfloat16")
    assert cost.flop.joules.value == pytest.approx(700 / (0.88 * 989.4e12), rel=1e-3)
    assert cost.byte.joules.value == pytest.approx(700 / 4.8e12, rel=1e-3)
    assert cost.balance == pytest.approx(0.88 * 989.4 / 4.8, rel=1e-3)
    assert cost.joules(cost.balance) == pytest.approx(2 * cost.flop.joules.value)


def test_the_energy_roofline_marks_its_balance(chosen):
    figure = energy_figure(energy.costs(chosen))
    marks = [trace for trace in figure.data if trace.meta == "balance"]
    assert len(marks) == len(energy.costs(chosen))
    assert marks[0].x[0] == pytest.approx(181.4, rel=1e-2)
    curve = figure.data[0]
    assert all(a > b for a, b in zip(curve.y, curve.y[1:], strict=False))


def test_energy_in_words_and_table(chosen):
    said = " ".join(energy.words(chosen))
    assert "BF16 tensor, best GEMM costs 0.804 pJ/FLOP" in said
    assert "at 700 W, 1.24 TFLOP/s per watt" in said
    assert "146 pJ/B from DRAM" in said
    table = tables.energy(chosen)
    row = next(row for row in table.rows if row[0].value == "dram")
    assert row[1].text == "146 pJ/B"
    assert row[-1].text == "6.86 GB/s/W"


def test_absent_energy_has_its_reason(lasting):
    def without(**reading) -> str:
        kept = [
            replace(m, telemetry={"before": reading, "after": reading, "launched": 1} if reading else {})
            for m in lasting.measurements
        ]
        return " ".join(energy.words(fit(replace(lasting, measurements=tuple(kept)))[0]))

    assert without(absent={"energy_j": "Not Supported"}) == (
        "Not measured: the energy counter is not available (Not Supported)."
    )
    assert "was not read, or it did not move" in without(energy_j=5.0)
    burst = replace(lasting, measurements=tuple(m for m in lasting.measurements if m.regime != SUSTAINED))
    assert "no sustained regime" in " ".join(energy.words(fit(burst)[0]))
    assert "reads no energy counter" in " ".join(energy.words(fit(by_hand())[0]))


def test_paragraphs_say_what_lasting_load_leaves(chosen):
    rows = frame.burst(frame.cases(chosen, None))
    peak = " ".join(interpretation.peak(rows, chosen, None))
    assert "Under lasting load BF16 tensor, best GEMM keeps 871 TFLOP/s, 88.0 % of its burst." in peak
    assert "DRAM keeps 4.80 TB/s, 100 % of its burst." in " ".join(interpretation.bandwidth(rows, chosen, None))
