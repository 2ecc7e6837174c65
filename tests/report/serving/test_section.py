"""What the section says is what the planner says, every number with where it comes from, or why there is none."""

import base64
import gzip
import json
from dataclasses import replace

import pytest

from bench import models, work
from bench.analysis.fit import fit
from bench.analysis.serving.selfcheck import Check, SelfCheck
from bench.analysis.serving.sources import of_product, of_run
from bench.report.serving import deployment, figures, section, tables, words
from bench.report.serving.deployment import chosen
from bench.units import seconds
from tests.report.runs import by_hand, cpu, measured

ORIGINS = {"measured", "formula", "assumed"}


def texts(table, column: str) -> list[str]:
    at = [each.name for each in table.columns].index(column)
    return [row[at].text for row in table.rows]


def test_every_number_of_the_tables_says_where_it_comes_from(made):
    labelled = [table for table in made.grids if table.id != "serving-capacity"]
    assert len(labelled) == 3
    for table in labelled:
        assert set(texts(table, "origin")) <= ORIGINS
        assert table.rows


def test_the_paragraph_states_the_planner(made, measured_fit):
    found = chosen(of_run(measured_fit))
    one = found.planner.decode(1, found.context)
    assert seconds(one.seconds) in made.paragraphs[0]
    assert found.model.name in made.paragraphs[0]
    assert f"{found.fits.batch} sequences" in made.paragraphs[2]


def test_every_figure_has_a_label_and_its_numbers_in_a_table(made):
    assert [plot.id for plot in made.every_plot] == [
        "fig-serving-pareto",
        "fig-serving-operators",
        "fig-serving-capacity",
        "fig-serving-crossovers",
    ]
    for plot in made.every_plot:
        assert plot.title in plot.label
        assert made.paragraphs[0] in plot.label
    pareto = made.pareto.figure.data[0]
    listed = next(table for table in made.grids if table.id == "serving-pareto")
    system = [row[5].value for row in listed.rows][: len(pareto.y)]
    assert list(pareto.y) == pytest.approx(system)


def test_no_operator_stands_above_its_roof():
    found = chosen(of_product("h200-sxm"))
    fig = figures.operators(found)
    roofs = [trace for trace in fig.data if trace.mode == "lines"]
    slope = roofs[0].y[0] / roofs[0].x[0]
    top = max(roof.y[0] for roof in roofs[1:])
    marks = [(x, y) for trace in fig.data if trace.mode == "markers" for x, y in zip(trace.x, trace.y, strict=True)]
    assert len(marks) > 10
    assert all(y <= min(slope * x, top) * (1 + 1e-9) for x, y in marks)


def test_kv_overtakes_where_the_figure_says_so():
    found = chosen(of_product("h200-sxm"))
    met = figures.meeting(found, 64)
    for context, later in ((met - 8, False), (met + 8, True)):
        step = found.planner.decode(64, context)
        over = figures.of_kind(step, figures.CACHE) >= figures.of_kind(step, figures.LINEAR)
        assert over is later, context


def test_the_largest_batch_of_the_table_is_the_planners():
    found = chosen(of_product("h200-sxm"))
    table = tables.capacity(found)
    for row, length in zip(table.rows, figures.lengths(found), strict=True):
        assert row[1].value == found.planner.fits(length).batch


def test_a_small_memory_gets_a_model_that_fits_and_a_tiny_one_is_told_by_how_much_it_is_too_small():
    machine = of_product("h200-sxm")
    assert chosen(machine).weights == "bf16"
    small = chosen(replace(machine, memory_bytes=12e9))
    assert small.fits.batch > 0
    assert small.weights != "bf16"
    tiny = chosen(replace(machine, memory_bytes=1e9))
    assert tiny.fits.batch == 0
    (said,) = words.paragraphs(tiny)
    assert "does not fit" in said
    assert figures.pareto(tiny) is None
    assert figures.capacity(tiny) is None


def test_a_run_without_roofs_says_which_probe_to_run():
    run = by_hand([measured("bandwidth", {"mix": "copy"}, work.stream("copy", 2**24), saturates="dram")], cpu())
    made = section(fit(run)[0])
    assert "run the peak probe" in made.problem
    assert made.every_plot == []
    assert made.data is None
    assert made.claims


def test_claims_are_grouped_by_document_and_what_was_not_measured_says_so(made):
    assert [document for document, _ in made.claims] == ["part one", "part two"]
    first, second = (table for _, table in made.claims)
    assert [row[0].text for row in first.rows] == ["A-1", "A-2"]
    assert texts(first, "verdict") == ["right", "wrong (by the reference: right)"]
    assert [row[3].mark for row in first.rows] == ["valid", "invalid"]
    assert texts(second, "this machine") == ["not measured: run the moe probe"]
    assert made.verdicts == (
        "3 claims of 2 texts on serving LLMs: 1 right, 1 depends, 1 wrong."
        " This machine judges otherwise than data sheets do in 1: A-2."
        " 1 not measured in this Run; its verdict is that of the reference."
    )


def test_every_claim_of_the_documents_is_in_a_table(measured_fit):
    made = section(measured_fit)
    listed = [row[0].text for _, table in made.claims for row in table.rows]
    assert len(listed) == len(set(listed)) > 100
    cited = {name for row in made.clashes.rows for name in row[0].text.split(", ")}
    assert cited <= set(listed)


def test_without_a_measured_layer_there_is_no_error_bar_and_it_says_so(made):
    assert made.self_check is None
    assert "run the layer probe" in made.checked


def test_every_checked_layer_is_listed_the_bad_ones_marked():
    checks = (
        Check("Llama-3.1-8B", "decode", 1, 1024, 1e-4, 1.3e-4, 1.2e-4, "gate-up"),
        Check("Llama-3.1-8B", "prefill", 1, 8192, 4e-3, 3.84e-3, None, "gate-up"),
    )
    table = tables.self_check(SelfCheck(checks))
    assert texts(table, "error") == ["+30.0 %", "-4.0 %"]
    assert [row[7].mark for row in table.rows] == ["suspect", ""]
    assert texts(table, "sum of its parts") == ["120 µs", "–"]
    said = words.checked_against(SelfCheck(checks))
    assert "off by 17 % in the mean over 2 points" in said
    assert "Worst: +30.0 % for Llama-3.1-8B, decode, batch 1, 1,024 tokens" in said


def test_the_evaluators_data_are_one_small_download(made):
    text = gzip.decompress(base64.b64decode(made.data.content))
    data = json.loads(text)
    assert [model["name"] for model in data["models"]] == [model.name for model in models.models()]
    assert len(made.data.content) < 60_000
    assert deployment.DEVICES[0] == int(
        next(choice for choice in made.choices if choice.name == "devices").options[0][0]
    )


def test_the_sections_scripts_and_style_are_small():
    from bench.report import shell
    from bench.report.serving import SCRIPTS, STYLE

    assert sum(len(shell._file(name)) for name in (*SCRIPTS, STYLE)) < 20_000
