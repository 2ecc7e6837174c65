"""The gate as a Document: one fault is one finding, every form says the same, nothing foreign is more than text."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest
from hypothesis import given
from markdown_it import MarkdownIt
from rich.console import Console

from bench import store
from bench.analysis import siblings
from bench.analysis.fit import fit
from bench.analysis.gate import expectations
from bench.analysis.gate.rule import judged
from bench.analysis.gate.verdict import STATUSES, groups
from bench.analysis.run_index import RunIndex
from bench.report import gate as view
from bench.report.document import FAIL, NOT_JUDGED, PASS, WARN
from bench.report.render import html, markdown, terminal
from bench.store import RunError
from tests.analysis.gate.runs import DECODE, GEMV, READ, TRIAD, gated, run
from tests.report.conftest import every_table
from tests.report.gates import (
    ANY_TEXT,
    GATES,
    HOSTILE,
    NODES,
    SOME,
    USUAL,
    every_word,
    fine,
    gate,
    gpus,
    hostile,
    metric,
    no_reference,
    node,
    reference,
    simulated,
    slow_launch,
    verdict,
)
from tests.report.runs import simulated as simulated_run

ENDINGS = {"junit": ".xml", "md": ".md", "prometheus": ".prom"}
BEFORE = [run(number) for number in range(3)]
MEMORY = (READ, TRIAD, GEMV, DECODE)


def printed(made, width: int = 100) -> str:
    out = StringIO()
    console = Console(file=out, width=width, highlight=False, color_system=None)
    console.print(terminal.text(view.document(made), full=True))
    return out.getvalue()


def texts(made) -> list[str]:
    return [finding.text for finding in view.findings(made)]


def flat(text: str) -> str:
    return " ".join(text.split())


# --- one fault, one finding


def test_a_slow_memory_is_one_finding_with_its_next_step():
    slow = dict(zip(MEMORY, (1.1, 1.12, 1.11, 1.1), strict=True))
    made = gated(run(30, slow=slow, again=slow), BEFORE, BEFORE[0])
    (found,) = [each for each in view.findings(made) if each.status == FAIL]
    assert found.text.startswith("GPU 0 memory: 4 of 4 metrics −9.1 to −11 %, confirmed (")
    assert found.next_step == (
        "check ECC and row remaps; repeat alone: `python -m bench run --device cuda:0 --probes"
        " bandwidth,gemm,attention`; drain if confirmed"
    )


def test_a_metric_that_is_slow_alone_says_how_many_are_not():
    made = gated(run(30, slow={GEMV: 1.1}, again={GEMV: 1.1}), BEFORE, BEFORE[0])
    (found,) = [each for each in view.findings(made) if each.status == FAIL]
    assert found.text.startswith("GPU 0 memory: 1 of 4 metrics −9.1 %, confirmed (gemv.bfloat16 ")
    assert found.next_step.startswith("Likely cause: kernel or library. Compare the libraries' versions;")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"looked": 3, "again": 0.9 * USUAL["bytes"]}, "confirmed"),
        ({}, "not repeated"),
        ({"status": "suspicious", "looked": 3, "again": 0.99 * USUAL["bytes"]}, "not confirmed"),
        ({"status": "inconclusive", "looked": 3, "again": 0.9 * USUAL["bytes"]}, "inconclusive"),
    ],
)
def test_it_says_whether_the_second_look_confirmed_the_first(more, said):
    made = gate(verdict(metric(), more.pop("status", "regressed"), 0.9, **more))
    assert texts(made) == [f"GPU 0 memory: 1 of 1 metric −10 %, {said} (memory.dram.read {_values(said)} TB/s)."]


def _values(said: str) -> str:
    return "3.96 against 4.00" if said == "not confirmed" else "3.60 against 4.00"


def test_of_several_gated_metrics_it_counts_the_confirmed():
    slow = {"looked": 3, "again": 0.9 * USUAL["bytes"]}
    ones = [verdict(metric(f"m{i}"), "regressed", 0.9, **(slow if i else {})) for i in range(3)]
    assert "3 of 3 metrics −10 %, 2 confirmed (" in texts(gate(*ones))[0]


def test_a_time_that_became_longer_is_above_0():
    assert texts(slow_launch())[0].startswith("GPU 0 latency: 1 of 1 metric +25 %, not repeated (launch.async 6.25")


def test_what_all_devices_do_together_is_none_of_theirs():
    ring = replace(metric("allreduce.ring"), together=True, domain="link")
    made = gate(verdict(ring, "regressed", 0.9), devices=8)
    assert texts(made)[0].startswith("All 8 devices links: 1 of 1 metric −10 %")
    assert "look at" not in view.verdict(made).text


def test_what_improved_says_by_how_much_and_how_to_keep_it():
    ones = [verdict(metric("memory.a"), "improved", 1.1), verdict(metric("gemm.b", "flops"), "improved", 1.05)]
    found = view.findings(gate(*ones))
    assert [each.text for each in found] == [
        "GPU 0 compute: 1 of 1 metric +5.0 %, improved (gemm.b 840 against 800 TFLOP/s).",
        "GPU 0 memory: 1 of 1 metric +10 %, improved (memory.a 4.40 against 4.00 TB/s).",
    ]
    assert [(each.status, each.next_step) for each in found] == [
        (PASS, "to keep it: `python -m bench baseline promote test.jsonl`")
    ] * 2


def test_a_device_that_could_not_be_measured_is_one_finding():
    ones = [metric("memory.a"), metric("gemm.b", "flops"), metric("launch.c", "seconds"), metric("w", gates=False)]
    more = {"why": "no valid repetition: hardware thermal slowdown", "found": "invalid"}
    found = [verdict(one, "invalid" if one.gates else "suspicious", None, "cuda:1", **more) for one in ones]
    made = gate(*found, devices=2)
    assert texts(made) == ["GPU 1: 4 of 4 metrics invalid: no valid repetition: hardware thermal slowdown."]
    assert view.verdict(made).text.endswith("; look at GPU 1.")


@given(NODES)
@SOME
def test_no_finding_is_longer_than_twenty_words(made):
    for finding in view.findings(made):
        assert len(finding.text.split()) <= 20, finding.text
        assert len(re.sub("`[^`]*`", "it", finding.next_step).split()) <= 20, finding.next_step


def test_a_node_names_the_device_that_siblings_name():
    """An outlier is decided in analysis/siblings.py; who is slow for a gate is no other device."""
    assert expectations.OUTLIER == siblings.OUTLIER
    for fault, named in (("", set()), (",dram@2=0.9", {"sim:h200-sxm:2"})):
        made = simulated_run(f"sim:h200-sxm,gpus=4,noise=0.002:0.007,seed=3{fault}", ("bandwidth", "peak"))
        table = pd.DataFrame(siblings.siblings(fit(made)))
        assert set(table[table["outlier"]]["device"]) == named
        assert {group.device for group in groups(judged(made, {}, RunIndex({}, {}))) if group.doubtful} == named


# --- the whole


@pytest.mark.parametrize(
    ("made", "status", "word"),
    [
        (fine(), PASS, "ok"),
        (no_reference(), NOT_JUDGED, NOT_JUDGED),
        (gate(verdict(metric(), reference=reference(metric(), "siblings")), no_reference=True), PASS, "ok"),
        (gate(verdict(metric(), "suspicious", 0.97)), WARN, "suspicious"),
        (gate(verdict(metric(), "inconclusive", 0.97)), WARN, "inconclusive"),
        (gate(verdict(metric(), "invalid", None)), FAIL, "invalid"),
        (every_word(), FAIL, "regressed"),
        (node(), FAIL, "regressed"),
        (gate(verdict(metric(), "improved", 1.1)), PASS, "ok"),
        (gate(), WARN, "inconclusive"),
    ],
)
def test_the_verdict_is_the_gates(made, status, word):
    found = view.verdict(made)
    assert (found.question, found.status, found.word) == ("Gate", status, word)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (fine(), "3 gated metrics, all as expected."),
        (no_reference(), "1 gated metric measured, but neither a baseline nor a history to compare with."),
        (node(), "2 regressed, 94 ok of 96 gated metrics; look at GPU 5 and GPU 3."),
        (gate(), "no gated metric was judged."),
        (replace(no_reference(), required=True), "no baseline, and one is required; 1 gated metric measured"),
    ],
)
def test_the_verdict_says_what_it_rests_on(made, text):
    assert view.verdict(made).text.startswith(text)


def test_defects_and_lost_neighbours_come_first():
    made = replace(node(), baseline_elsewhere=("cuda:0 is blessed among other devices",))
    assert texts(made)[:2] == [
        "GPU 5: uncorrectable memory errors while measuring.",
        "Cuda:0 is blessed among other devices.",
    ]


def test_many_findings_end_in_a_count_and_warnings_in_a_line():
    made = gate(*(verdict(metric(), "regressed", 0.9, f"cuda:{i}") for i in range(20)), devices=20)
    assert texts(made)[-1] == "12 more findings, in the table of metrics."
    assert len(texts(made)) == 9
    warned = [verdict(metric(f"w{i}", gates=False), "suspicious", 0.9) for i in range(5)]
    assert texts(gate(verdict(metric()), *warned)) == ["Warn only: w0 −10 %, w1 −10 % and 3 more."]


def test_a_row_holds_value_expected_change_limit_and_n():
    row = next(line for line in printed(every_word()).splitlines() if line.strip().startswith("memory.regressed"))
    cells = ["memory.regressed", "3.80", "TB/s", "4.00", "TB/s", "−5.0", "%", "3.92", "TB/s", "3", "regressed", "✕"]
    assert row.split() == cells
    row = next(line for line in printed(slow_launch()).splitlines() if line.strip().startswith("launch.async"))
    assert row.split() == ["launch.async", "6.25", "µs", "5.00", "µs", "+25", "%", "6.00", "µs", "3", "regressed", "✕"]


def test_each_group_gives_the_evidence_of_its_worst_and_its_cause():
    text = printed(every_word(), 140)
    for word in ("regressed", "missing", "invalid"):
        assert f"{word.capitalize()} memory.{word}" in text
        assert f"the evidence of {word}. Likely cause: memory." in text
    assert "the evidence of ok" not in text
    assert "Warn only: vector.int8.loop −10 %." in text
    assert "GPU 0: a new segment: driver 580 → 590" in text
    assert "Compared with baseline of 2026-01-01." in text


def test_of_eight_gpus_all_have_a_line_and_only_what_is_not_ok_has_rows():
    made = view.document(node())
    rows = [[cell.text for cell in row] for row in made.matrix.cells]
    assert rows[3] == ["GPU 3", "−5.0 %", "−5.0 %", "2 regressed, 10 ok"]
    assert rows[5] == ["GPU 5", "ok", "ok", "1 hardware defect, 12 ok"]
    assert [row[3].mark for row in made.matrix.cells].index(FAIL) == 5, "its metrics are fine, the GPU is not"
    assert [row[1:] for row in rows[:3]] == [["ok", "ok", "12 ok"]] * 3
    (table,) = made.sections[0].tables
    assert [(row["metric"], row["device"]) for row in table.rows] == [
        ("gemm.bfloat16.sustained", "cuda:3"),
        ("memory.dram.1", "cuda:3"),
    ]
    assert view.document(fine()).matrix is None


def test_a_row_that_cannot_fail_the_gate_says_so():
    (table,) = view.document(every_word()).sections[0].tables
    assert [row["metric"] for row in table.rows if row["verdict"].endswith(", only warns")] == ["vector.int8.loop"]


def test_sixteen_rows_are_shown_whole_and_more_only_where_something_is_wrong():
    many = [verdict(metric(f"m.{i}")) for i in range(17)]
    assert printed(gate(*many[:16])).count("m.") == 16
    assert "m." not in printed(gate(*many))
    slow = [verdict(metric(f"s.{i}"), "regressed", 0.9, f"cuda:{i}") for i in range(60)]
    (table,) = view.document(gate(*slow, devices=60)).sections[0].tables
    assert (len(table.rows), table.caption) == (40, "Metrics, the worst 40 of 60")


def test_a_note_that_every_gpu_shares_is_read_once():
    notes = ("a", *(f"cuda:{i}: b" for i in range(3)), "cuda:1: c", "cuda:2: c")
    made = gate(verdict(metric()), devices=3, notes=notes, references={})
    assert view.section(made).notes == ("A.", "Every device: b.", "GPU 1 and GPU 2: c.")
    many = gate(verdict(metric()), notes=tuple(f"n{i}" for i in range(20)), references={})
    assert view.section(many).notes[-2:] == ("N11.", "And 8 more.")


def test_devices_that_were_compared_with_other_things_each_say_so():
    made = gate(verdict(metric()), devices=2, references={"cuda:0": "its baseline", "cuda:1": "20 Runs"})
    assert view.section(made).notes == ("GPU 0 compared with its baseline.", "GPU 1 compared with 20 Runs.")


# --- the page


def test_the_section_has_a_sortable_row_for_every_followed_metric():
    (table,) = view.section(every_word()).tables
    assert (len(table.rows), table.folded) == (8, True)
    first = dict(zip([column.name for column in table.shown], table.cells[0], strict=True))
    assert (first["value"].text, first["value"].value) == ("3.80 TB/s", 3.8e12)
    assert first["change"].value == pytest.approx(-0.05)
    assert (first["verdict"].text, first["verdict"].mark) == ("regressed", FAIL)
    assert (first["compared with"].text, first["likely cause"].text) == ("baseline of 2026-01-01", "memory")
    assert first["why"].text == "the evidence of regressed"
    last = dict(zip([column.name for column in table.shown], table.cells[-1], strict=True))
    assert (last["metric"].text, last["verdict"].text, last["verdict"].mark) == ("memory.ok", "ok", "")
    assert [row["gates"] for row in table.rows].count(False) == 1


def test_the_section_has_three_findings_at_most_and_loses_none():
    made = view.section(every_word())
    assert len(made.findings) == 3
    assert set(texts(every_word())) <= {each.text for each in made.findings} | set(made.notes)


def test_what_nothing_can_be_compared_with_is_never_ok():
    (table,) = view.section(no_reference()).tables
    assert [row["verdict"] for row in table.rows] == [NOT_JUDGED]


def test_the_page_escapes_foreign_text():
    page = html.render(view.document(hostile()))
    assert "<d>" not in page
    assert "&lt;d&gt;" in page


# --- JSON


@pytest.mark.parametrize("name", GATES)
def test_every_gate_is_json(name):
    made = GATES[name]()
    back = json.loads(json.dumps(view.to_json(made), allow_nan=False))
    assert back["schema"] == "ridgepoint.gate/2"
    assert back["verdict"] == made.status
    assert back["counts"] == dict(made.counts)
    assert len(back["verdicts"]) == len(made.verdicts)


def test_a_time_is_in_seconds_and_its_ratio_is_of_speeds():
    one = view.to_json(slow_launch())["verdicts"][0]
    assert (one["unit"], one["better"]) == ("s", "lower")
    assert one["value"] == pytest.approx(6.25e-6)
    assert one["expected"] == pytest.approx(5e-6)
    assert one["limit"] == pytest.approx(6e-6)
    assert one["ratio"] == pytest.approx(0.8)
    assert one["change"] == pytest.approx(0.25)
    assert one["tolerance"]["least_s"] == 5e-7


def test_a_verdict_carries_its_evidence():
    found = {each["metric"]: each for each in view.to_json(every_word())["verdicts"]}
    one = found["memory.regressed"]
    assert (one["verdict"], one["why"], one["cause"]) == ("regressed", "the evidence of regressed", "memory")
    assert one["value"] == pytest.approx(3.8e12)
    assert one["unit"] == "B/s"
    assert one["limit"] == pytest.approx(3.92e12)
    assert one["params"] == {"case": "memory.regressed", "size": 4096}
    assert (one["basis"]["kind"], one["basis"]["source"], one["basis"]["n"]) == (
        "baseline",
        "baseline of 2026-01-01",
        1,
    )
    assert [each["kind"] for each in one["findings"]] == ["baseline", "theory"]
    assert one["findings"][1]["ratio"] == pytest.approx(0.95 / 1.2)
    assert found["vector.int8.loop"]["gates"] is False
    assert found["memory.missing"]["value"] is None
    assert {each["verdict"] for each in found.values()} == set(STATUSES)


def test_a_remeasured_value_stands_beside_the_first():
    one = view.to_json(gate(verdict(metric(), "regressed", 0.9, again=3.7e12)))["verdicts"][0]
    assert one["first"] == pytest.approx(3.6e12)
    assert one["again"] == one["value"] == 3.7e12


def test_an_infinite_bound_is_null():
    one = metric("launch.async", "seconds")
    wide = replace(reference(one), high=float("inf"))
    assert view.to_json(gate(verdict(one, reference=wide)))["verdicts"][0]["basis"]["improved_beyond"] is None


def test_nothing_to_compare_with_is_no_number():
    found = view.to_json(no_reference())
    assert found["no_reference"] is True
    assert [found["verdicts"][0][key] for key in ("expected", "limit", "ratio", "basis")] == [None] * 4


def test_slow_and_broken_devices_are_named():
    found = view.to_json(node())
    assert found["slow"] == ["cuda:5", "cuda:3"]
    assert found["defects"] == [{"device": "cuda:5", "what": "uncorrectable memory errors while measuring"}]
    assert [device["uuid"] for device in found["devices"]] == [f"GPU-{i}" for i in range(8)]
    assert {device["source"] for device in found["devices"]} == {"baseline of 2026-01-01"}
    one = found["groups"][0]
    assert (one["device"], one["family"], one["metrics"], one["of"]) == (
        "cuda:3",
        "compute",
        ["gemm.bfloat16.sustained"],
        1,
    )


@given(ANY_TEXT)
@SOME
def test_strings_come_back_as_they_were(text):
    back = json.loads(json.dumps(view.to_json(gate(verdict(metric(text), why=text)))))
    assert back["verdicts"][0]["metric"] == back["verdicts"][0]["why"] == text


# --- every form


@given(NODES)
@SOME
def test_terminal_markdown_and_json_say_the_same(made):
    document = view.document(made)
    said = flat(printed(made, 400))
    written = markdown.render(document).decode().replace("\\", "")
    every = [group["text"] for group in document.data["groups"] if group["gates"]][:8]
    for finding in document.findings:
        assert finding.text in said
        assert finding.text in written
    assert [text for text in every if text not in [finding.text for finding in document.findings]] == []
    assert document.data["summary"].partition(": ")[2] in said


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("width", [80, 140])
def test_no_line_is_wider_than_the_terminal(name, width):
    lines = printed(GATES[name](), width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines if "hostile" not in name)


def test_a_simulated_gate_says_so_first():
    assert printed(simulated()).startswith("SIMULATED")
    assert "SIMULATED" not in printed(fine())
    assert "> **SIMULATED**" in markdown.render(view.document(simulated())).decode()


def test_brackets_in_a_name_are_no_markup():
    assert "[red]x[/red]" in printed(gate(verdict(metric("[red]x[/red]"))))


@given(ANY_TEXT)
@SOME
def test_no_control_reaches_the_terminal(text):
    said = printed(hostile(text))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said)
    said.encode()


@given(ANY_TEXT)
@SOME
def test_every_text_of_the_document_is_one_printable_line(text):
    made = view.document(hostile(text))
    said = [made.title, made.heading, *made.about, *(verdict.text for verdict in made.verdicts)]
    said += [
        *texts(hostile(text)),
        *made.sections[0].notes,
        *(cell.text for row in every_table(made)[-1].cells for cell in row),
    ]
    assert all(each.isprintable() for each in said)


@given(ANY_TEXT)
@SOME
def test_what_is_copied_into_a_shell_is_never_a_foreign_text(text):
    for finding in view.findings(hostile(text)):
        for command in finding.next_step.split("`")[1::2]:
            assert re.fullmatch(r"[\w ./:,+=-]+", command)


@pytest.mark.parametrize("name", GATES)
def test_a_bot_finds_its_comment_again(name):
    made = GATES[name]()
    first = view.exported(made, "md").decode().splitlines()[0]
    assert first == view.marker(made)
    assert re.fullmatch(r"<!-- ridgepoint:gate [a-z0-9-]* -->", first)


# --- files


@pytest.mark.parametrize("form", view.FORMS)
@pytest.mark.parametrize("name", list(GATES))
def test_every_gate_in_every_form(form, name, tmp_path):
    made = GATES[name]()
    path = tmp_path / "new" / f"gate{ENDINGS.get(form, '.json')}"
    found = view.write(made, form, path)
    assert found[0] == path
    assert path.read_bytes() == view.exported(made, form)
    assert sorted(path.parent.iterdir()) == sorted(found)


def test_times_go_into_a_second_file(tmp_path):
    found = view.write(fine(), "github-benchmark", tmp_path / "bench.json")
    assert [path.name for path in found] == ["bench.json", "bench-smaller.json"]
    assert [each["name"] for each in json.loads(found[1].read_text())] == ["launch.async (cuda:0)"]
    assert len(view.write(gate(verdict(metric())), "github-benchmark", tmp_path / "other.json")) == 1


def test_a_run_is_never_overwritten(tmp_path):
    path = tmp_path / "run.jsonl"
    text = "".join(f"{line}\n" for line in store.raw_lines(fine().run))
    path.write_text(text)
    with pytest.raises(RunError, match="is a Run"):
        view.write(fine(), "json", path)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("pdf", "x.pdf", "unknown form 'pdf'"),
        ("prometheus", "x.txt", "does not end in .prom"),
        ("md", "", "needs a file"),
    ],
)
def test_what_cannot_be_written_is_one_clear_line(form, name, said, tmp_path):
    with pytest.raises(RunError, match=said) as caught:
        view.write(fine(), form, tmp_path / name if name else "")
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_way_is_one_clear_line(tmp_path):
    (tmp_path / "gate.md").mkdir()
    with pytest.raises(RunError, match="cannot write the md export"):
        view.write(fine(), "md", tmp_path / "gate.md")


def test_nothing_heavy_is_loaded_before_it_is_asked_for():
    code = (
        "import sys, bench.report.gate, bench.report.render.ci;"
        "heavy = {'junitparser', 'prometheus_client', 'pytest_benchmark', 'torch', 'jinja2'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


# --- Markdown: foreign text stays text


def parsed(text: str):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


@given(ANY_TEXT)
@SOME
def test_foreign_text_stays_text_in_markdown(text):
    made = view.exported(hostile(text), "md").decode()
    tokens = parsed(made)
    inner = [child for token in tokens for child in token.children or ()]
    raw = [token.content for token in (*tokens, *inner) if token.type in ("html_block", "html_inline")]
    assert [re.sub(r"\A<!-- ridgepoint:gate [a-z0-9-]* -->", "", each).strip() for each in raw] == [""]
    assert {child.type for child in inner} <= {
        "text", "strong_open", "strong_close", "softbreak", "text_special", "code_inline",
    }  # fmt: skip
    assert not {token.type for token in tokens} & {"fence", "code_block", "hr"}
    # a bar that was not escaped would push the last cells out
    rows = [line for line in made.splitlines() if "3.60 TB/s | 4.00 TB/s | −10 % | 3.92 TB/s | 3 | " in line]
    assert len(rows) == 2


@given(ANY_TEXT)
@SOME
def test_nobody_is_mentioned(text):
    """As GitHub finds mentions and issues in the text that was rendered."""
    said = [token.content for token in parsed(view.exported(hostile(f"x {text} @all #1"), "md").decode())]
    assert not re.search(r"(?<![\w`/])[@#]\w", " ".join(said).replace("\\", ""))


@pytest.mark.parametrize("text", ["m", "&<>|`" * 80, "😀" * 200, "@#a" * 100, HOSTILE])
def test_markdown_never_exceeds_what_github_takes(text):
    devices = [f"cuda:{i}" for i in range(64)]
    more = {"why": text, "cause": text}
    found = [verdict(metric(f"{text}{i}"), "regressed", 0.9, d, **more) for d in devices for i in range(12)]
    found += [verdict(metric(f"w{i}", gates=False), "suspicious", 0.9, why=text) for i in range(500)]
    made = gate(*found, defects=tuple((d, text) for d in devices) * 9, notes=(text,) * 500)
    about = replace(made.run.environment, devices=tuple(gpus(64)), product=text, command=(text,) * 99, suite=text)
    made = replace(made, run=replace(made.run, environment=about), references={d: f"{d}{text}" for d in devices})
    data = view.exported(made, "md")
    assert 5_000 < len(data) <= 64 << 10
    assert len(re.findall(r"\| regressed ✕ \|", data.decode())) == 40 or b"Cut here" in data
