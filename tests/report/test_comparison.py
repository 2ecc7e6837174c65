"""The comparison page: true words, labelled Runs, one safe file, whatever the Runs are like."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest

from bench import store, work
from bench.analysis.difference import EQUIVALENT, differences
from bench.budget import BUDGETS
from bench.probes import probes
from bench.report import comparison
from bench.report.comparison import figures, tables, words
from bench.report.comparison.conditions import conditions, stated
from bench.schema import End
from tests.report.runs import by_hand, cpu, measured, simulated
from tests.report.test_page import HOSTILE, Parsed, unpacked

NOISE = "noise=0.002:0.007"
PROBES = ("bandwidth", "peak")


@pytest.fixture(scope="module")
def good():
    return simulated(f"sim:h200-sxm,{NOISE},seed=1", PROBES)


@pytest.fixture(scope="module")
def slow(good):
    """The same Run with a memory 10 % slower and nothing else, whatever the noise drew."""
    about = replace(good.environment, run_id="5" * 32, libraries={"torch": "3.0"})
    longer = (
        replace(m, seconds=tuple(s / 0.9 for s in m.seconds)) if m.probe == "bandwidth" else m
        for m in good.measurements
    )
    return replace(good, environment=about, measurements=tuple(longer))


@pytest.fixture(scope="module")
def real():
    """A CPU by hand: DRAM and the float32 loop, five rounds each, by the probes' versions of today."""
    vector = work.Work(flops=1e10, unit="vector", dtype="float32")
    claims = (("bandwidth", "dram", work.Work(bytes=1e9)), ("peak", "vector.float32.loop", vector))
    scatter = (1.0, 1.01, 0.99, 1.005, 0.995)
    return by_hand(
        measured(
            probe,
            {"way": "only"},
            asked,
            (0.02 * f,) * 3,
            saturates=roof,
            repetition=r,
            version=probes()[probe].version,
        )
        for probe, roof, asked in claims
        for r, f in enumerate(scatter, 2)
    )


@pytest.fixture(scope="module")
def parsed(good, slow):
    return Parsed(comparison.html([good, slow]))


def lead(*runs):
    return words.lead(differences(runs), words.labels(runs))


def look(*runs):
    found = differences(runs)
    fits = [found[0].ours, *(each.theirs for each in found)]
    return words.look_first(found, words.labels(runs), stated(conditions(runs, fits)))


# --- words


def test_the_lead_says_what_was_planted(good, slow):
    text = lead(good, slow)
    assert re.match(
        r"B \(simulated\) against A \(simulated\), the same simulated devices: slower in 1 of 3 headline roofs,"
        r" DRAM −10\.0 %",
        text,
    )
    assert "no difference seen in the other 2 (any could have been seen from: " in text
    assert "faster in 1 of 3 headline roofs, DRAM +11.1 %" in lead(slow, good)


def test_the_lead_of_equal_machines_says_what_would_have_shown(good):
    again = replace(good, environment=replace(good.environment, run_id="1" * 32))
    words = r"no difference seen in any of 3 headline roofs \(any could have been seen from: \d\.\d+ %\)"
    assert re.search(words, lead(good, again))


def test_the_same_run_twice_is_equal(good):
    assert lead(good, good) == "B is the same Run as A: everything is equal."


def test_several_are_summed_up(good, slow, real):
    text = lead(good, slow, good, real)
    assert text.startswith("B (simulated) and D differ from A (simulated) in headline roofs;")
    assert "no difference to A (simulated) was seen in those of C (simulated)" in text
    assert lead(good, slow, good).startswith("B (simulated) differs from")
    assert lead(good, good, good).startswith("No difference to A (simulated) was seen in the headline roofs of B")


def test_no_common_roof_is_said(good):
    latency = by_hand([measured("latency", {"bytes": 1024}, work.Work())])
    assert "the two have no roof in common, so there is nothing to compare" in lead(good, latency)


def test_machines_are_not_called_a_regression(good, real):
    other = replace(real, environment=replace(real.environment, devices=(cpu(name="Another CPU"),), run_id="1" * 32))
    assert "A and B are different machines: this compares machines, and a difference is no regression." in look(
        real, other
    )
    assert any(line.startswith("B is a simulation from a datasheet beside measured Runs") for line in look(real, good))


def test_what_may_explain_the_numbers_is_said(real):
    about = real.environment
    other = replace(real, environment=replace(about, run_id="1" * 32, budget="soak", libraries={"torch": "3.0"}))
    first = replace(real, environment=replace(about, libraries={"torch": "2.13"}))
    (line,) = (line for line in look(first, other) if "may explain" in line)
    assert "budget (quick and soak)" in line
    assert "torch (2.13 and 3.0)" in line


def test_driver_clock_and_power_limit_are_conditions(real):
    def told(clock, **facts):
        seen = tuple(replace(m, clock_hz=(clock,) * 3) for m in real.measurements)
        about = replace(real.environment, devices=(cpu(facts=facts),))
        return replace(real, environment=about, measurements=seen)

    runs = [told(1.98e9, driver="580.1", power_limit_w="700"), told(1.6e9, driver="590.2", power_limit_w="600")]
    (against,) = differences(runs)
    rows = {row.what: row.values for row in conditions(runs, [against.ours, against.theirs])}
    assert rows["driver"] == ("580.1", "590.2")
    assert rows["power limit w"] == ("700", "600")
    assert rows["clock at the headline roof"] == ("1.98 GHz", "1.60 GHz")


def test_few_repetitions_are_said(good):
    assert not any("fewer than five" in line for line in look(good, good))
    few = simulated(f"sim:h200-sxm,{NOISE},seed=3,dram=0.8", PROBES, BUDGETS["quick"])
    assert any("fewer than five repetitions" in line for line in look(good, few))
    (against,) = differences([good, few])
    memory = next(d for d in against.of("roof") if d.key == "dram")
    assert words.verdict(memory) == "slower (range of 5 and 3: take care)"


def test_changes_read_well():
    assert words.change(0.899) == "−10.1 %"
    assert words.change(1.0032) == "+0.32 %"
    assert words.change(1) == "0 %"
    assert words.change(3.4) == "× 3.40"


# --- the page


def test_sections_ids_and_links(parsed):
    wanted = ["verdict", "which", "around", "roofline", "ratios", "common", "incomparable", "methods"]
    assert [attrs["id"] for attrs in parsed.by("section")] == wanted
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(attrs["href"][1:] in ids for attrs in parsed.by("a"))


def test_every_figure_has_its_text_and_its_table(parsed):
    canvases = {attrs["data-figure"]: attrs["aria-label"] for _, attrs in parsed.tags if "data-figure" in attrs}
    assert set(canvases) == {"fig-roofline", "fig-ratios"}
    assert "B (simulated): simulated h200-sxm" in canvases["fig-roofline"]
    assert "TB/s" in canvases["fig-roofline"]
    assert re.search(r"differing: .*DRAM −", canvases["fig-ratios"])
    assert {"runs", "conditions", "differences", "cases"} <= {attrs["id"] for attrs in parsed.by("table")}


def test_the_policy_lists_exactly_the_scripts_that_run(parsed):
    policy = next(a["content"] for a in parsed.by("meta") if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    running = [body.encode() for attrs, body in parsed.scripts if "type" not in attrs]
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
        for text in (*running, unpacked(parsed, "plotly"))
    }
    assert len(running) == 1
    assert rules["default-src"] == "'none'"
    assert set(rules["script-src"].split()) == hashes


def test_nothing_is_fetched_and_nothing_handles_events(parsed):
    for name, attrs in parsed.tags:
        assert name not in ("link", "iframe", "img", "object", "embed", "base")
        assert not [key for key in attrs if key.startswith("on") or key == "src"], name


def test_the_page_carries_its_facts(parsed, good, slow):
    assert json.loads(unpacked(parsed, "json")) == json.loads(json.dumps(comparison.facts([good, slow])))


def test_simulated_beside_measured_is_labelled_on_every_line_and_figure(good, real):
    runs = [real, good]
    text = comparison.html(runs)
    page = Parsed(text)
    assert "B SIMULATED" in page.text
    assert "the other Runs were measured" in page.text
    found, named = differences(runs), words.labels(runs)
    assert {d.key for d in found[0].of("roof") if d.judged} == {"dram", "vector.float32.loop"}
    assert tables.roofs(found, named).columns[2].name == "B (simulated)"
    for figure in (figures.overlaid([found[0].ours[0], found[0].theirs[0]], named), figures.ratios(found, named)):
        notes = [note.text for note in figure.layout.annotations if note.name == "simulated"]
        assert notes == ["B simulated, not measured"]
        assert all("(simulated)" in trace.name for trace in figure.data if trace.meta == "run B")


def test_all_simulated_is_marked_everywhere(good, slow):
    page = Parsed(comparison.html([good, slow]))
    assert next(attrs for attrs in page.by("html"))["class"] == "simulated"
    found = differences([good, slow])
    fig = figures.ratios(found, words.labels([good, slow]))
    assert "SIMULATED" in [note.text for note in fig.layout.annotations]


def test_the_ratio_figure_holds_the_ratios(good, slow):
    found, named = differences([good, slow]), words.labels([good, slow])
    fig = figures.ratios(found, named)
    (trace,) = fig.data
    rows = list(fig.layout.yaxis.ticktext)
    places = [rows[round(y)] for y in trace.y]
    at = places.index("DRAM")
    memory = next(d for d in found[0].of("roof") if d.key == "dram")
    value, minus, plus = trace.x[at], trace.error_x.arrayminus[at], trace.error_x.array[at]
    assert (value, value - minus, value + plus) == pytest.approx((memory.ratio, *memory.interval))
    symbols = dict(zip(places, trace.marker.symbol, strict=True))
    assert symbols["DRAM"] == "square"
    assert symbols["BF16 GEMM"] == "square-open"
    band = next(shape for shape in fig.layout.shapes if shape.type == "rect")
    assert (band.x0, band.x1) == pytest.approx((1 / (1 + EQUIVALENT), 1 + EQUIVALENT))
    assert rows[0] == "DRAM"


def test_six_runs_have_six_looks(good, slow):
    runs = [good, slow] * 3
    found, named = differences(runs), words.labels(runs)
    fig = figures.overlaid([found[0].ours[0], *(each.theirs[0] for each in found)], named)
    looks = [(trace.line.color, trace.line.dash, trace.marker.symbol) for trace in fig.data]
    assert len({look[0] for look in looks}) == len({look[1] for look in looks}) == len({look[2] for look in looks}) == 6
    assert fig.data[0].line.dash == "solid"
    assert Parsed(comparison.html(runs)).by("table")


def test_cases_come_with_the_largest_differences_first(good, slow):
    found, named = differences([good, slow]), words.labels([good, slow])
    table = tables.cases(found, named)
    place = [column.name for column in table.columns].index("difference")
    verdict = [column.name for column in table.columns].index("verdict")
    apart = [abs(1 - row[place].value) for row in table.rows if row[verdict].value != "no difference seen"]
    assert apart
    assert apart[0] == max(apart)
    assert [row[verdict].value != "no difference seen" for row in table.rows] == [True] * len(apart) + [False] * (
        len(table.rows) - len(apart)
    )


# --- bad input


def test_hostile_names_stay_text(real):
    def hostile(run_id):
        info = cpu(name=HOSTILE, facts={"driver": HOSTILE + run_id, HOSTILE: run_id})
        about = replace(real.environment, host=HOSTILE + run_id, devices=(info,), budget=HOSTILE, run_id=run_id * 32)
        skip = measured(HOSTILE, {"x": HOSTILE}, work.Work(), seconds=(), skip=HOSTILE)
        odd = measured(
            "bandwidth",
            {"mix": HOSTILE},
            work.Work(bytes=1e9),
            saturates=HOSTILE,
            validity="suspect",
            reasons=(HOSTILE,),
        )
        return replace(real, environment=about, measurements=(*real.measurements, skip, odd), warnings=(HOSTILE,))

    text = comparison.html([hostile("1"), hostile("2")])
    assert "<img" not in text
    assert "onerror" in Parsed(text).text
    assert not Parsed(text).by("img")


def test_an_incomplete_run_says_so(good):
    cut = replace(good, end=None, measurements=good.measurements[: len(good.measurements) // 2])
    page = Parsed(comparison.html([good, cut]))
    assert "INCOMPLETE: B (simulated)" in " ".join(page.text.split())
    assert any("B (simulated) is incomplete" in line for line in look(good, cut))
    interrupted = replace(good, end=End("interrupted", 130, good.end.finished))
    assert any("A (simulated) is incomplete" in line for line in look(interrupted, good))


def test_an_invalid_run_compares_nothing_and_says_why(good):
    lost = replace(
        good, measurements=tuple(replace(m, validity="invalid", reasons=("lost",)) for m in good.measurements)
    )
    lost = replace(lost, environment=replace(good.environment, run_id="1" * 32))
    assert "(only in the reference: lost)" in lead(good, lost) or "no roof in common" in lead(good, lost)
    assert any("B (simulated) is invalid" in line for line in look(good, lost))
    page = Parsed(comparison.html([good, lost]))
    assert "No roof, ridge or knee of these Runs can be compared" in page.text
    assert "only in the reference: lost" in page.text


def test_a_probe_that_was_skipped_whole_is_listed(good):
    skipped = tuple(
        replace(m, seconds=(), skip="no compiler", stop_reason="skipped") if m.probe == "peak" else m
        for m in good.measurements
    )
    other = replace(good, measurements=skipped, environment=replace(good.environment, run_id="1" * 32))
    found, named = differences([good, other]), words.labels([good, other])
    rows = [[cell.text for cell in row] for row in tables.skips(found, named).rows]
    assert any(row[:3] == ["A (simulated)", "B (simulated)", "peak"] and row[4] == "no compiler" for row in rows)
    reasons = [row[3].text for row in tables.apart(found, named).rows]
    assert "only in the reference: no compiler" in reasons
    assert comparison.html([good, other])


def test_one_sample_is_not_judged():
    runs = [
        by_hand([measured("bandwidth", {"mix": "copy"}, work.Work(bytes=1e9), (t,), saturates="dram")])
        for t in (1e-3, 2e-3)
    ]
    assert "no headline roof can be compared (one repetition" in lead(*runs)
    assert "one repetition" in Parsed(comparison.html(runs)).text


def test_empty_runs_make_a_page():
    text = Parsed(comparison.html([by_hand(), by_hand(run_id="1" * 32)])).text
    assert "nothing to compare" in text
    assert "There is no roofline to draw" in text


def test_a_newer_minor_says_so(real):
    lines = list(store.raw_lines(real))
    lines[0] = lines[0].replace('"version":[1,', '"version":[1,9', 1).replace('"suite"', '"colour":"blue","suite"', 1)
    newer = store.parse("".join(f"{line}\n" for line in lines).encode(), "newer.jsonl")
    assert newer.warnings
    assert "B: " + newer.warnings[0] in Parsed(comparison.html([real, newer])).text


@pytest.mark.parametrize("count", [0, 1, 7])
def test_too_few_or_too_many_are_refused(real, count):
    with pytest.raises(store.RunError, match=f"takes 2 to 6 Runs, the reference first, not {count}"):
        comparison.facts([real] * count)


def test_facts_are_plain(good, slow, real):
    told = json.loads(json.dumps(comparison.facts([good, slow, real]), allow_nan=False))
    assert [run["label"] for run in told["runs"]] == ["A", "B", "C"]
    assert [run["simulated"] for run in told["runs"]] == [True, True, False]
    memory = next(d for d in told["comparisons"][0]["pairs"][0]["differences"] if d["key"] == "dram")
    assert memory["verdict"] == "slower"
    assert memory["unit"] == "B/s"
    assert memory["low"] < 0.9 < memory["high"]
    assert memory["reference"] == pytest.approx(4.8e12, rel=0.02)


def test_writes_the_file_or_says_why_not(good, slow, tmp_path):
    path = comparison.write([good, slow], tmp_path / "new" / "comparison.html")
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [p.name for p in path.parent.iterdir()] == ["comparison.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(store.RunError, match="cannot write the report"):
        comparison.write([good, slow], tmp_path / "file" / "comparison.html")


# --- in a browser


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_opens_without_a_complaint_or_a_request(browser, good, slow, real, tmp_path, scheme, width):
    path = comparison.write([good, slow, real], tmp_path / "comparison.html")
    browser.open(path, scheme, width)
    assert browser.figures() == 2
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    heads = browser.evaluate("[...document.querySelectorAll('#differences th')].map(th => th.textContent.trim())")
    place = heads.index("difference") + 1
    browser.press(f"#differences th:nth-child({place}) button")
    assert browser.evaluate(f"document.querySelector('#differences th:nth-child({place})').ariaSort") == "ascending"
    rows = browser.evaluate("document.querySelectorAll('#differences tbody tr').length")
    assert len(browser.evaluate("csv(document.getElementById('differences'))").strip().split("\n")) == 1 + rows
    assert (browser.complaints(), browser.requests()) == ([], [path.as_uri()])
    assert browser.violations() == []


def test_the_same_runs_make_the_same_page(good, slow):
    assert comparison.html([good, slow]) == comparison.html([good, slow])
