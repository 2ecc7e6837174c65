"""What the Documents of serving say is what the planner says, every number with where it comes from, or why not."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import models, store, work
from bench.analysis.fit import fit
from bench.analysis.serving import records
from bench.analysis.serving.answers import QUESTIONS, answer
from bench.analysis.serving.machine import PROVENANCE
from bench.analysis.serving.machine_io import of_product, of_run
from bench.analysis.serving.planner import Answer, Planner
from bench.analysis.serving.records import Deployment, default
from bench.analysis.serving.request import ServingRequest, sla
from bench.analysis.serving.selfcheck import LayerCheck, SelfCheck
from bench.report import serving, serving_tables
from bench.report.document import FAIL, NOT_JUDGED, PASS, WARN
from bench.report.render import data, html, terminal
from bench.report.serving_tables import Shown
from bench.transformer import Ranks
from bench.units import seconds
from tests.report.conftest import RESULTS, every_table
from tests.report.runs import by_hand, cpu, measured
from tests.report.serving_machines import CLAIMS, MACHINES, measured_fit

FORBIDDEN = r"\b(stands? apart|held against|fared|whence|estranged|unfounded|astray|the ladder|sound|theory)\b"


def texts(table, column: str) -> list[str]:
    at = [each.name for each in table.shown].index(column)
    return [row[at].text for row in table.cells]


@pytest.fixture(scope="module")
def h200():
    return of_product("h200-sxm")


@pytest.fixture(scope="module")
def two(h200):
    """A 70B model on two of them, as README asks."""
    return answer(models.model("Llama-3.1-70B"), h200, ServingRequest(ranks=Ranks(tensor=2), sla=sla("tps=30,ttft=2s")))


@pytest.fixture(scope="module")
def own():
    return measured_fit()


@pytest.fixture(scope="module")
def made(own):
    return serving.page(own, lambda fit, machine: CLAIMS)


# --- the answer


def test_the_answer_is_a_verdict_a_handful_of_findings_and_one_table(two):
    found = serving.document(two)
    (verdict,) = found.verdicts
    assert (verdict.status, verdict.word) == (PASS, "met")
    assert verdict.text == "batch 24; TTFT stops the next one"
    assert len(found.findings) <= 7
    assert (found.lead, found.sections, found.every_plot) == (None, (), ())
    assert texts(found.matrix, "batch") == ["24"]
    assert texts(found.matrix, "batch, users out of phase") == ["42"]
    assert "Memory holds 310 sequences" in " ".join(each.text for each in found.findings)
    printed = terminal.render(replace(found, matrix=None)).splitlines()
    assert len(printed) <= 14


def test_limits_that_no_batch_meets_fail_and_say_what_one_user_takes(own):
    machine = of_run(own)
    deployment = default(machine)
    found = serving.document(
        answer(deployment.model, machine, ServingRequest(precision=deployment.planner.request.precision))
    )
    assert found.verdicts[0].status == FAIL
    assert found.verdicts[0].text.startswith("Infeasible on 1: one user alone takes ")


def test_no_answer_about_the_limits_is_not_judged_and_says_why(two):
    found = serving.document(replace(two, groups=dict(two.groups) | {"sla": ()}, missing={"sla": "run the peak probe"}))
    assert found.verdicts[0].status == NOT_JUDGED
    assert found.verdicts[0].text == "Run the peak probe."
    assert found.matrix is None
    assert found.absent == "sla (run the peak probe)"


def test_the_findings_state_the_planner(two):
    planner = Planner(two.model, two.machine, two.request)
    deployment = Deployment(planner)
    one, many = planner.decode(1, deployment.context), planner.decode(64, deployment.context)
    said = [each.text for each in serving.document(two).findings]
    assert said[0].startswith(f"One user waits {seconds(one.seconds)} for a token ")
    assert said[1].startswith(f"64 users: {seconds(many.seconds)} a token, ")
    assert f"1,024-token prompt: {seconds(planner.prefill(1024).seconds)}, idle engine" in said[2]


def test_what_binds_first_is_named_and_a_pace_that_all_meet_binds_nothing(h200):
    model = models.model("Llama-3.1-8B")

    def room(limits: str) -> str:
        found = serving.document(answer(model, h200, ServingRequest(sla=sla(limits))))
        return next(each.text for each in found.findings if each.text.startswith("Memory holds"))

    assert room("tps=1").endswith("all meet 1 tokens/s per user: compute binds first.")
    assert room("tps=200").endswith(": user rate binds first.")
    assert room("tps=900").endswith("; no batch meets 900 tokens/s per user.")


def test_what_the_numbers_rest_on_is_on_the_first_screen(h200):
    def said(machine):
        return serving.document(answer(models.model("Llama-3.1-8B"), machine)).findings

    (run,) = RESULTS.glob("amd-epyc-2c/20261128T141221Z*.jsonl")
    checked = of_run(fit(store.read(run))[0])
    assert "By formula from stated roofs: nothing here was measured." in [each.text for each in said(h200)]
    bars = next(each.text for each in said(checked) if each.text.startswith("Error bars by the self-check: decode "))
    assert bars.endswith("(10 points).")
    assert "(731–975 ms)" in said(checked)[0].text, "with its bar"
    bare = replace(checked, errors={}, partial=("gemm", "launch"))
    warned = {each.next_step for each in said(bare) if each.status == WARN}
    assert warned == {"`bench run --probes layer`", "`bench run --probes gemm,launch`"}


def test_json_keeps_the_documented_keys_and_says_the_same_words(two):
    found = serving.document(two)
    plain = json.loads(data.as_json(found))
    documented = {"model", "machine", "origin", "simulated", "partial", "run_probes", "notes", "missing", "inputs"}
    assert documented | {"answers"} <= set(plain)
    assert [each["text"] for each in plain["findings"]] == [each.text for each in found.findings]
    assert plain["answers"]["sla"][0]["value"] == 24


# --- everything


@pytest.fixture(scope="module", params=MACHINES)
def full(request):
    """Everything that is said of each kind of machine."""
    deployment = default(MACHINES[request.param]())
    return serving.document(answer(deployment.model, deployment.planner.machine, deployment.planner.request), full=True)


def test_sentences_are_short_plain_and_three_at_most_in_a_section(full):
    said = [*full.findings, *(each for section in full.every_section for each in section.findings)]
    for text in [*(each.text for each in said), *(verdict.text for verdict in full.verdicts)]:
        assert len(text.split()) <= 20, text
        assert not re.search(FORBIDDEN, text), text
    assert all(len(section.findings) <= 3 for section in full.sections)


def test_every_question_has_its_numbers_in_a_table(full, two):
    shown = {row["name"] for table in every_table(full) for row in table.rows if "name" in row}
    columns = " ".join(each.name for table in every_table(full) for each in table.columns)
    for made in (full, serving.document(two, full=True)):
        assert len({table.id for table in every_table(made)}) == len(every_table(made))
    assert {"latency floor, bandwidth", "ttft", "sum of maxima", "ridge", "weights", "drain time"} <= shown
    assert {"largest stable rate", "worst gap, chunked prefill", "context where KV equals compute"} <= shown
    for word in ("context 1024", "TTFT p95, in phase", "tensor-parallel efficiency", "pipeline TPOT", "acceptance 0.8"):
        assert word in columns
    assert set(QUESTIONS) - {each.question for each in (*serving._TIMES, *serving._LOAD, *serving._CHANGES)} == {
        "pareto", "operators", "critical batch", "capacity", "crossovers",
    }  # fmt: skip


def test_every_number_of_the_tables_says_where_it_comes_from(full):
    named = [table for table in every_table(full) if table.id != "serving-fits"]
    assert len(named) > 12
    for table in named:
        assert table.rows
        assert set(texts(table, "origin")) <= set(PROVENANCE), table.id


def test_every_figure_has_a_label_and_its_numbers_in_a_table(full):
    assert [plot.id for plot in full.every_plot] == [
        "fig-serving-pareto",
        "fig-serving-operators",
        "fig-serving-capacity",
        "fig-serving-crossovers",
    ]
    assert all(plot.label.startswith(plot.title) and len(plot.label) > 100 for plot in full.every_plot)
    for number, trace in enumerate(full.lead.plots[0].figure.data):
        rows = next(table for table in full.lead.tables if table.id == f"serving-pareto-{number}").rows
        assert list(trace.y) == pytest.approx([row["value"] for row in rows])
        cells = next(table for table in full.lead.tables if table.id == f"serving-pareto-{number}").cells
        assert list(trace.x) == pytest.approx([1 / row[1].value for row in cells])
        assert [seconds(1 / x) for x in trace.x] == [row[1].text for row in cells]


def test_the_largest_batch_of_the_table_is_the_planners(h200):
    found = default(h200)
    table = serving_tables.fits(found)
    for row, length in zip(table.cells, found.lengths, strict=True):
        assert row[0].value == length
        assert row[1].value == found.planner.fits(length).batch


def test_operators_without_arithmetic_are_in_the_table_too(h200):
    found = default(h200)
    table = serving_tables.operators(found)
    assert len(table.rows) == sum(len(step.rows) for step in found.steps.values())
    norm = next(row for row in table.cells if "norm" in row[1].text)
    assert (norm[3].text, norm[5].text) == ("–", "–")
    parts = [row["part"] for row in table.rows if row["step"] == "decode, batch 1"]
    assert sum(parts) == pytest.approx(1)


ORIGINS = st.sampled_from(PROVENANCE)


PLACES = st.tuples(st.integers(1, 4), st.sampled_from("ab"))


@given(st.dictionaries(PLACES, st.tuples(st.floats(0.1, 9), ORIGINS), min_size=1))
def test_a_table_by_what_answers_hold_for_has_each_number_in_its_place(values):
    answers = tuple(
        Answer("closed loop tpot", value, "1", "dram", origin, {"batch": batch, "phase": phase}, low=0.1, high=value)
        for (batch, phase), (value, origin) in values.items()
    )
    table = Shown("closed loop", ("batch",), ("phase",)).table({"closed loop": answers})
    heads = [each.name for each in table.shown]
    assert len(table.rows) == len({batch for batch, _ in values})
    for row in table.cells:
        mine = {phase: found for (batch, phase), found in values.items() if batch == row[0].value}
        for phase, (value, _) in mine.items():
            cell = row[heads.index(f"TPOT, {phase}")]
            assert cell.value == value
            assert "–" in cell.text, "with its bar"
        assert row[heads.index("origin")].text == max((origin for _, origin in mine.values()), key=PROVENANCE.index)
    held = [cell.value for row in table.cells for head, cell in zip(heads, row, strict=True) if "TPOT" in head]
    assert sorted(value for value in held if value != "") == sorted(value for value, _ in values.values())


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0123, "s", "12.3 ms"), (3.0, "sequences", "3 sequences"), (2.5e6, "J per 1e6 tokens", "2.50 J per token"),
     (1234.5, "tokens/s", "1,234 tokens/s"), (1.234, "requests/s", "1.23 requests/s"), (2**30, "B", "1 GiB")],
)  # fmt: skip
def test_values_are_spelt_for_people(value, unit, text):
    assert records.spelt(value, unit) == text


def test_what_an_answer_holds_for_has_its_unit():
    each = Answer("x", 1.0, "s", "dram", "formula", {"requests_per_s": 4.25, "tpot_limit_s": 1 / 30, "weights": "fp8"})
    table = Shown("x").table({"x": (each,)})
    assert texts(table, "holds for") == ["4.25 requests/s, TPOT limit 33.3 ms, weights FP8"]


# --- the self-check


def test_without_a_measured_layer_there_is_no_error_bar_and_it_says_so():
    made = serving._accuracy(SelfCheck((), "run the layer probe"))
    assert made.tables == ()
    assert [each.text for each in made.findings] == [
        "Not checked against a measured layer: run the layer probe. No number has an error bar."
    ]


def test_every_checked_layer_is_listed_the_bad_ones_marked():
    checks = (
        LayerCheck("Llama-3.1-8B", "decode", 1, 1024, 1e-4, 1.3e-4, 1.2e-4, "gate-up"),
        LayerCheck("Llama-3.1-8B", "prefill", 1, 8192, 4e-3, 3.84e-3, None, "gate-up", validity="suspect"),
    )
    table = serving_tables.checks(SelfCheck(checks))
    assert texts(table, "error") == ["+30 %", "−4.0 %"]
    assert [row["far"] for row in table.rows] == [WARN, ""]
    assert [row["doubt"] for row in table.rows] == ["", WARN]
    assert texts(table, "sum of its parts") == ["120 µs", "–"]
    said = [each.text for each in serving._accuracy(SelfCheck(checks)).findings]
    assert said == [
        "Whole layers, predicted from other probes' curves: off by 17 % in the mean over 2 points.",
        "Worst: +30 % for Llama-3.1-8B, decode, batch 1, 1,024 tokens (gate-up takes most).",
        "By phase: decode +30 %, prefill −4.0 %.",
    ]


# --- the page


def test_the_page_is_the_document_of_a_model_that_fits_with_the_form_and_the_claims(made, own):
    deployment = default(of_run(own))
    found = answer(deployment.model, of_run(own), deployment.planner.request)
    assert made.findings == serving.document(found).findings
    assert made.scripts == ("bench.analysis.serving/evaluator.js", "serving.js")
    assert made.lead.id == "serving"
    assert [section.id for section in made.sections][-2:] == ["serving-accuracy", "claims"]
    assert all(section.group for section in made.sections)


def test_a_run_without_roofs_says_which_probe_to_run_and_keeps_the_claims():
    run = by_hand([measured("bandwidth", {"mix": "copy"}, work.stream("copy", 2**24), saturates="dram")], cpu())
    made = serving.page(fit(run)[0])
    assert made.verdicts[0].status == NOT_JUDGED
    assert "run the peak probe" in made.verdicts[0].text
    assert (made.lead, made.scripts, made.every_plot) == (None, (), ())
    assert [section.id for section in made.sections] == ["claims"]


def test_a_memory_too_small_for_any_model_can_still_be_asked(own):
    made = serving.page(replace(own, info=replace(own.info, memory_bytes=10**9)), lambda fit, machine: CLAIMS)
    assert "short" in made.verdicts[0].text
    assert (made.lead.id, made.lead.plots) == ("serving", ())
    assert made.data["serving"]["at"]["batch"] == 1


def test_the_forms_data_are_every_model_in_words_and_small(made):
    held = made.data["serving"]
    assert [model["name"] for model in held["models"]] == [model.name for model in models.models()]
    assert held["weights"][3]["label"] == "INT4 (groups of 128)"
    assert held["limits"]["overhead"] == "launch overhead"
    assert held["device"] == "device"
    assert len(html.packed(json.dumps(held, separators=(",", ":")))) < 60_000
    assert sum(len(html._file(name)) for name in made.scripts) < 24_000


def test_hostile_names_stay_text(h200):
    nasty = "</script><img src=x onerror=alert(1)>\x1b[31m"
    machine = replace(h200, name=nasty, notes=(nasty,))
    found = serving.document(answer(replace(models.model("Llama-3.1-8B"), name=nasty), machine), full=True)
    page = html.render(found)
    assert "<img src=x" not in page
    assert "\x1b" not in terminal.render(found)
