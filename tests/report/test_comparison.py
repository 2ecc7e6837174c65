"""The comparison: true words, labelled Runs, one safe file, whatever the Runs are like."""

import json
import re
from dataclasses import replace
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import report, store, work
from bench.analysis.run_comparison import comparisons
from bench.measure.budget import BUDGETS
from bench.report import comparison
from bench.report.document import FAIL, NOT_JUDGED, PASS, WARN
from bench.schema import End
from tests.report.conftest import HOSTILE, every_table
from tests.report.pairs import NOISE, PROBES, again, findings, good, page, real, section, slow, slower, table
from tests.report.runs import by_hand, cpu, measured, simulated


def lead(*runs):
    return findings(*runs)[0]


def verdict(*runs):
    return comparison.document(runs).verdicts[0]


# --- the first screen


def test_the_first_finding_says_what_was_planted():
    text = lead(good(), slow())
    assert re.fullmatch(r"DRAM: B \(simulated\) slower, −10\.0 % \(95 % interval −1\d\.\d to −\d\.\d %\)\.", text)
    others = findings(good(), slow())[1]
    assert re.fullmatch(
        r"B \(simulated\): 1 of 3 headline roofs differs; changes above \d\.\d+ % would have shown in the other 2\.",
        others,
    )
    assert lead(slow(), good()).startswith("DRAM: B (simulated) faster, +11.1 %")
    found = verdict(good(), slow())
    assert (found.status, found.word) == (WARN, "differs")
    assert found.text == "A and B: the same simulated devices."
    statuses = [finding.status for finding in comparison.document([good(), slow()]).findings]
    assert statuses[:2] == [WARN, ""]


def test_equal_machines_show_what_would_have_been_seen():
    pattern = (
        r"B \(simulated\): no difference seen in any of 3 headline roofs; changes above \d\.\d+ % would have shown\."
    )
    assert re.fullmatch(pattern, lead(good(), again(good())))
    found = verdict(good(), again(good()))
    assert (found.status, found.word) == (PASS, "same within the intervals")


def test_the_same_run_twice_is_equal():
    assert lead(good(), good()) == "B is the same Run as A: everything is equal."
    assert verdict(good(), good()).text == "A and B: the same Run."


def test_several_have_a_line_each():
    found = findings(good(), slow(), good(), real())
    assert found[0].startswith("DRAM: B (simulated) slower, −10.0 % (")
    assert found[1] == "C is the same Run as A: everything is equal."
    # another class of machine: a factor, and how many of the headline roofs
    assert re.match(r"DRAM: D slower, × 0\.010\d \(× .*\); 2 of 2 differ\.|FP32 vector loop: D slower, × ", found[2])
    said = verdict(good(), slow(), good(), real())
    assert (said.status, said.text) == (WARN, "differs: B and D; same within the intervals: C.")
    assert verdict(good(), good(), again(good())).status == PASS


def test_the_largest_change_comes_first():
    texts = findings(good(), slower(slow(), "peak", 0.8, "6"))
    changes = [float(re.search(r"−(\d+\.\d) %", text)[1]) for text in texts if " slower, −" in text]
    assert len(changes) > 1
    assert changes == sorted(changes, reverse=True)
    assert changes[0] == pytest.approx(20, abs=0.2)
    assert texts[len(changes) - 1].startswith("DRAM: B")


def test_of_more_than_three_that_differ_the_rest_is_counted():
    node = simulated(f"sim:h200-sxm,gpus=4,{NOISE},seed=2", PROBES)
    texts = findings(node, slower(node, "bandwidth", 0.9))
    assert [text.startswith("DRAM: B (simulated) GPU ") for text in texts[:4]] == [True, True, True, False]
    assert texts[3].startswith("B (simulated): 4 of 12 headline roofs differ; changes above ")


def test_what_would_have_shown_is_what_the_least_certain_roof_shows():
    (found,) = comparisons([good(), slow()])
    seen = [d.visible for d in found.headlines if not d.differs]
    assert len(seen) == 2
    assert max(seen) > 1.01 * min(seen)
    assert f"changes above {100 * max(seen):.2g} % would" in findings(good(), slow())[1]


def test_no_common_roof_is_said():
    latency = by_hand([measured("latency", {"bytes": 1024}, work.Work())])
    assert lead(good(), latency) == "B: no roof in common with A."
    assert verdict(good(), latency).status == NOT_JUDGED


def test_machines_are_not_called_a_regression():
    other = again(real(), devices=(cpu(name="Another CPU"),))
    assert "A and B are different machines: a difference is no regression." in findings(real(), other)
    perhaps = again(real(), host="elsewhere")
    texts = findings(real(), perhaps)
    assert "A and B are the same product, perhaps another unit: a difference may be one between machines." in texts
    assert not [text for text in findings(real(), again(real())) if "regression" in text or "between machines" in text]


def test_a_simulation_beside_a_measured_run_is_said_first():
    (banner,) = [each.text for each in comparison.document([real(), good()]).banners]
    assert banner == "B SIMULATED from a datasheet; the other Runs were measured."
    assert comparison.document([good(), slow()]).banners == ()


def test_what_may_explain_the_numbers_is_said():
    other = again(real(), budget="soak", libraries={"torch": "3.0"})
    first = again(real(), "0", libraries={"torch": "2.13"})
    (line,) = (text for text in findings(first, other) if "may explain" in text)
    assert line == "Differs around the Runs and may explain it: budget (quick and soak) and torch (2.13 and 3.0)."


def test_more_conditions_than_a_sentence_holds_are_counted():
    first = again(real(), "0", libraries={f"lib{k}": "1" for k in range(30)})
    other = again(real(), libraries={f"lib{k}": "2" for k in range(30)})
    (line,) = (text for text in findings(first, other) if "may explain" in text)
    assert "lib0 (1 and 2)" in line
    assert line.endswith(" more.")
    shown = line.count("(")
    assert f"and {30 - shown} more." in line


def test_few_repetitions_are_said():
    few = simulated(f"sim:h200-sxm,{NOISE},seed=3,dram=0.8", PROBES, BUDGETS["quick"])
    assert "slower, −2" in lead(good(), few)
    assert "(range of 5 and 3: −" in lead(good(), few)
    note = "Below five repetitions ranges must not overlap either"
    assert any(each.startswith(note) for each in section("ratios", good(), few).notes)
    assert not any(each.startswith(note) for each in section("ratios", good(), slow()).notes)


def test_many_comparisons_are_said_to_err_now_and_then():
    node = simulated(f"sim:h200-sxm,gpus=4,{NOISE},seed=2", PROBES)
    said = section("ratios", node, again(node, "2", host="b")).notes
    assert "12 headline comparisons at 95 % each: expect about 1 false alarm where nothing differs." in said
    assert not any("false alarm" in each for each in section("ratios", good(), slow()).notes)


def test_a_run_that_is_not_valid_says_so():
    bad = tuple(
        replace(m, validity="suspect", reasons=("hot",)) if m.probe == "peak" else m for m in good().measurements
    )
    found = comparison.document([good(), again(replace(good(), measurements=bad))]).verdicts[1]
    assert (found.question, found.status) == ("Measurement", FAIL if found.word == "not usable" else WARN)
    assert re.search(r"B: \d+ of \d+ valid \(hot\)\.", found.text)
    assert comparison.document([good(), slow()]).verdicts[1].status == PASS


@given(
    names=st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=4),
    factor=st.floats(0.3, 3),
    reason=st.text(max_size=200),
    version=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_no_finding_is_longer_than_a_reader_takes(names, factor, reason, version):
    """Whatever a Run says of itself, and however it differs."""
    runs = []
    for k, name in enumerate(names):
        skip = measured("gemm", {"x": 1}, work.Work(bytes=1.0), (), saturates="dram", skip=reason or "no")
        rows = [*slower(real(), "bandwidth", factor**k).measurements, skip]
        rows = [replace(m, version=version) if k and m.probe == "peak" else m for m in rows]
        runs.append(
            again(replace(real(), measurements=tuple(rows)), str(k), host=name, budget=name, libraries={name: name})
        )
    document = comparison.document(runs)
    for finding in [*document.findings, *(f for part in document.every_section for f in part.findings)]:
        assert len(finding.text.split()) <= 20, finding.text
    for part in document.every_section:
        assert len(part.findings) <= 3


# --- sections


def test_sections_tables_and_plots():
    document = comparison.document([good(), slow()])
    assert [each.id for each in document.every_section] == [
        "roofline", "ratios", "around", "cases", "uncompared", "methods",
    ]  # fmt: skip
    assert {each.id for each in every_table(document)} >= {"conditions", "differences", "cases"}
    labels = {plot.id: plot.label for plot in document.every_plot}
    assert set(labels) == {"fig-roofline", "fig-ratios"}
    assert re.search(r"A: DRAM 4\.\d+ TB/s", labels["fig-roofline"])
    assert re.search(r"Differing: B \(simulated\) DRAM −10\.0 %", labels["fig-ratios"])


def test_the_letters_and_what_differs_around_them_are_a_table():
    other = again(real(), budget="soak", libraries={"torch": "3.0"})
    rows = {row["what"]: row for row in table("conditions", real(), other)}
    assert rows["devices"] == {"what": "devices", "A": "Some CPU", "B": "Some CPU"}
    assert (rows["budget"]["A"], rows["budget"]["B"]) == ("quick", "soak")
    # what only one of them states is a dash, not an empty cell
    assert (rows["torch"]["A"], rows["torch"]["B"]) == ("–", "3.0")
    said = section("around", real(), again(real())).findings[0].text
    assert said.startswith("Nothing that a Run records differs")


def test_devices_are_said_with_their_partners():
    node = simulated(f"sim:h200-sxm,gpus=2,{NOISE},seed=2", ("bandwidth",))
    (note,) = section("around", node, good()).notes
    assert note == "B (simulated): GPU 0 with GPU 0 (same UUID). Without counterpart: GPU 1."


def test_the_picture_is_of_the_device_that_differs_most():
    node = simulated("sim:h200-sxm,gpus=4,noise=0.001:0.002,seed=9", PROBES)
    bad = simulated("sim:h200-sxm,gpus=4,noise=0.001:0.002,seed=8,dram@2=0.8", PROBES)
    (plot,) = section("roofline", node, bad).plots
    assert plot.figure.layout.meta["device"] == "GPU 2"
    assert sorted(name for name, _ in plot.variants) == ["GPU 0", "GPU 1", "GPU 3"]
    assert re.match(r"DRAM: B \(simulated\) GPU 2 slower, −(19|20)\.", lead(node, bad))


def test_cases_come_with_the_largest_differences_first():
    rows = table("cases", good(), slow())
    differ = [row["verdict"] != "no difference seen" for row in rows]
    assert differ[0]
    assert differ == sorted(differ, reverse=True)
    (finding,) = section("cases", good(), slow()).findings
    assert re.fullmatch(
        r"B \(simulated\): (\d+ slower, )?\d+ perhaps slower of \d+ common cases; most in bandwidth\.", finding.text
    )


def test_more_than_three_runs_leave_the_rest_to_small_print():
    part = section("cases", good(), slow(), slow(), slow(), slow())
    assert [len(part.findings), len(part.notes)] == [3, 1]


# --- the page


def test_the_page_carries_its_facts():
    document = comparison.document([good(), slow()])
    (download,) = document.downloads
    assert json.loads(download.content) == json.loads(json.dumps(document.data))


def test_simulated_beside_measured_is_labelled_on_every_line_and_figure():
    document = comparison.document([real(), good()])
    assert document.title.startswith("PARTLY SIMULATED · ")
    assert not document.simulated
    differences = next(each for each in every_table(document) if each.id == "differences")
    assert "B (simulated)" in [column.name for column in differences.shown]
    for plot in document.every_plot:
        notes = [note.text for note in plot.figure.layout.annotations if note.name == "simulated"]
        assert notes == ["B simulated, not measured"]
        assert all("(simulated)" in trace.name for trace in plot.figure.data if trace.meta == "run B")


def test_all_simulated_is_marked_everywhere():
    document = comparison.document([good(), slow()])
    assert document.simulated
    assert document.title.startswith("SIMULATED · ")
    assert '<html lang="en" class="simulated"' in page(good(), slow())


def test_the_same_runs_make_the_same_page():
    assert page(good(), slow()) == page(good(), slow())


# --- bad input


def test_hostile_names_stay_text():
    def hostile(run_id):
        info = cpu(name=HOSTILE, facts={"driver": HOSTILE + run_id, HOSTILE: run_id})
        about = replace(real().environment, host=HOSTILE + run_id, devices=(info,), budget=HOSTILE, run_id=run_id * 32)
        skip = measured(HOSTILE, {"x": HOSTILE}, work.Work(), seconds=(), skip=HOSTILE)
        odd = measured(
            "bandwidth",
            {"mix": HOSTILE},
            work.Work(bytes=1e9),
            saturates=HOSTILE.replace(".", ""),
            validity="suspect",
            reasons=(HOSTILE,),
        )
        return replace(real(), environment=about, measurements=(*real().measurements, skip, odd), warnings=(HOSTILE,))

    runs = [hostile("1"), hostile("2")]
    text = page(*runs)
    assert "<img" not in text
    assert "onerror" in unescape(text)
    for plot in comparison.document(runs).every_plot:
        for trace in plot.figure.data:
            assert "<img" not in f"{trace.name}{trace.customdata}"
        assert "<img" not in str(plot.figure.layout.annotations)


def test_an_incomplete_run_says_so():
    cut = replace(good(), end=None, measurements=good().measurements[: len(good().measurements) // 2])
    (banner,) = comparison.document([good(), cut]).banners
    assert banner.text == "INCOMPLETE: B (simulated). What is missing was not measured."
    interrupted = replace(good(), end=End("interrupted", 130, good().end.finished))
    assert "INCOMPLETE: A (simulated)." in comparison.document([interrupted, good()]).banners[0].text
    assert "INCOMPLETE: B" in page(good(), cut)


def test_an_invalid_run_compares_nothing_and_says_why():
    lost = tuple(replace(m, validity="invalid", reasons=("lost",)) for m in good().measurements)
    document = comparison.document([good(), again(replace(good(), measurements=lost))])
    assert any(
        re.match(r"B \(simulated\) is (invalid|not usable): differences", each.text) for each in document.banners
    )
    assert (document.verdicts[0].status, document.verdicts[1].status) == (NOT_JUDGED, FAIL)
    ratios = next(each for each in document.sections if each.id == "ratios")
    assert "No roof, ridge or knee of these Runs can be compared; the reasons are below." in ratios.notes
    reasons = {row["why"] for row in table("refused", good(), again(replace(good(), measurements=lost)))}
    assert "only in the reference: lost" in reasons


def test_one_sample_is_not_judged():
    runs = [
        by_hand([measured("bandwidth", {"mix": "copy"}, work.Work(bytes=1e9), (t,), saturates="dram")])
        for t in (1e-3, 2e-3)
    ]
    assert lead(*runs).startswith("B: no headline roof is comparable: one repetition")
    assert "one repetition" in page(*runs)


def test_empty_runs_make_a_page():
    runs = [by_hand(), by_hand(run_id="1" * 32)]
    text = page(*runs)
    assert "no roof in common" in text
    assert "No roofline to draw" in text
    assert comparison.document(runs).verdicts[1].word == "empty"


def test_a_newer_minor_says_so():
    lines = list(store.raw_lines(real()))
    lines[0] = lines[0].replace('"version":[1,', '"version":[1,9', 1).replace('"suite"', '"colour":"blue","suite"', 1)
    newer = store.parse("".join(f"{line}\n" for line in lines).encode(), "newer.jsonl")
    assert newer.warnings
    assert f"B: {newer.warnings[0]}" in [each.text for each in comparison.document([real(), newer]).banners]


@pytest.mark.parametrize("count", [0, 1, 7])
def test_too_few_or_too_many_are_refused(count):
    with pytest.raises(store.RunError, match=f"takes 2 to 6 Runs, the reference first, not {count}"):
        comparison.document([real()] * count)


def test_facts_are_plain():
    told = json.loads(json.dumps(comparison.document([good(), slow(), real()]).data, allow_nan=False))
    assert [run["label"] for run in told["runs"]] == ["A", "B", "C"]
    assert [run["simulated"] for run in told["runs"]] == [True, True, False]
    assert {"run_id", "started", "product", "devices", "complete", "validity", "budget", "source"} <= told["runs"][
        0
    ].keys()
    first = told["comparisons"][0]
    assert (first["reference"], first["other"], first["regression"]) == ("A", "B", True)
    assert first["relation"] == "the same simulated devices"
    pair = first["pairs"][0]
    assert (pair["reference"], pair["other"], pair["matched"]) == ("sim:h200-sxm:0", "sim:h200-sxm:0", "same UUID")
    memory = next(d for d in pair["differences"] if d["key"] == "dram")
    assert memory["verdict"] == "slower"
    assert memory["unit"] == "B/s"
    assert memory["low"] < memory["ratio"] < memory["high"] < 1
    assert memory["low"] < 0.9 < memory["high"]
    assert memory["reference"] == pytest.approx(4.8e12, rel=0.02)
    assert (memory["n_reference"], memory["n_other"], memory["headline"], memory["level"]) == (5, 5, True, 0.05)
    ridge = next(d for d in pair["differences"] if d["kind"] == "ridge")
    case = next(d for d in pair["differences"] if d["kind"] == "case")
    assert (ridge["unit"], case["unit"]) == ("FLOP/B", "s")
    assert case["params"]


def test_writes_the_file_or_says_why_not(tmp_path):
    path = report.save(comparison.document([good(), slow()]), tmp_path / "new" / "comparison.html")
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [p.name for p in path.parent.iterdir()] == ["comparison.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(store.RunError, match="cannot write the report"):
        report.save(comparison.document([good(), slow()]), tmp_path / "file" / "comparison.html")


# --- in a browser


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_opens_without_a_complaint_or_a_request(browser, tmp_path, scheme, width):
    path = report.save(comparison.document([good(), slow(), real()]), tmp_path / "comparison.html")
    browser.open(path, scheme, width)
    assert browser.figures() == 2
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    browser.evaluate("document.getElementById('differences').closest('details').open = true")
    heads = browser.evaluate("[...document.querySelectorAll('#differences th')].map(th => th.textContent.trim())")
    place = heads.index("difference") + 1
    browser.press(f"#differences th:nth-child({place}) button")
    assert browser.evaluate(f"document.querySelector('#differences th:nth-child({place})').ariaSort") == "ascending"
    rows = browser.evaluate("document.querySelectorAll('#differences tbody tr').length")
    assert len(browser.evaluate("csv(document.getElementById('differences'))").strip().split("\n")) == 1 + rows
    assert (browser.complaints(), browser.requests()) == ([], [path.as_uri()])
    assert browser.violations() == []
