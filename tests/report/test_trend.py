"""The history's page says what was planted, shows what is not usable as such, and nothing of a Run becomes markup."""

import base64
import gzip
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench import cli, report
from bench.analysis.change_points import ChangePoint, ChangePoints
from bench.analysis.history import history
from bench.analysis.history_facts import to_json as facts
from bench.analysis.run_entry import Change
from bench.report.document import NOT_JUDGED, PASS, WARN
from bench.report.render.data import as_json, csv_text
from bench.report.render.html import render
from bench.report.trend import document
from bench.store import RunError
from tests.analysis.histories import DRAM, gpu, put, run
from tests.perf.trend import template, written
from tests.report.conftest import every_table

OLD, NEW = "570.86.15", "580.159.03"
HOSTILE = "</script><img src=x onerror=alert(1)><b>n</b>"


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    monkeypatch.setattr("bench.analysis.run_index._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "some-gpu"


def planted(folder: Path, days: int = 24, step: float = 0.97, **about):
    """A history whose memory steps with the driver half way."""
    for day in range(days):
        late = day >= days // 2
        put(folder, run(day, dram=DRAM * (step if late else 1), devices=(gpu(driver=NEW if late else OLD),), **about))
    return history(folder)


def said(found, changes=None) -> list[str]:
    """The findings of the first screen."""
    return [each.text for each in document(found, changes).findings]


def drawn(found, changes=None) -> dict[str, list[dict]]:
    """Figure -> its traces."""
    plots = document(found, changes).every_plot
    return {plot.id: json.loads(plot.figure.to_json())["data"] for plot in plots}


def prose(text: str) -> str:
    body = text.split("<main", 1)[1].split("<noscript>", 1)[0]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


# --- what is said


def test_a_planted_step_of_a_driver_is_said(folder):
    found = planted(folder)
    made = document(found)
    first = made.findings[0]
    assert re.match(
        rf"DRAM \((burst|sustained)\) moved by −(2\.9|3\.\d) % \(.*\) with driver {OLD} → {NEW}, 2026-01-13", first.text
    )
    assert first.status == WARN
    assert "FP32" not in " ".join(said(found)), "what did not move is not named, nor a ridge because of its roof"
    assert [(v.question, v.status, v.word) for v in made.verdicts] == [("Trend", WARN, "moved")]
    assert made.verdicts[0].text == "4 of 6 numbers moved beyond their scatter."
    assert [section.title for section in made.sections if not section.group] == ["DRAM", "Where each number stands"]
    assert made.tiles[0].name == "DRAM"
    assert re.fullmatch(r"−(2\.9|3\.\d) %, 2026-01-13 \(driver\)", made.tiles[0].notes[0])
    assert "did not move" in made.tiles[1].notes
    page = prose(render(made))
    assert first.text in page
    assert page.count(f"driver {OLD} → {NEW}") > 3


def test_several_changes_at_once_are_not_told_apart(folder):
    for day in range(24):
        late = day >= 12
        device = gpu(driver=NEW if late else OLD, power_limit_w="600" if late else "700")
        put(folder, run(day, dram=DRAM * (0.97 if late else 1), devices=(device,)))
    first = document(history(folder)).findings[0]
    assert " with driver and power limit, " in first.text
    assert first.next_step == (
        f"driver {OLD} → {NEW} and power limit 700 W → 600 W: which of them did it, these Runs cannot tell"
    )


def test_a_quiet_change_is_said_to_be_quiet(folder):
    made = document(planted(folder, step=1.0))
    assert (made.verdicts[0].status, made.verdicts[0].word) == (PASS, "no move")
    assert made.verdicts[0].text.startswith("nothing moved by 0.5 % or more beyond its scatter: 6 numbers across")
    assert [each.text for each in made.findings] == [f"Moved nothing beyond the scatter: driver {OLD} → {NEW}."]


@pytest.mark.parametrize(
    ("levels", "changed", "expected"),
    [
        (
            (1, 1, 1, 0.95),
            9,
            r"newest −[45]\.\d % against the median of 3 earlier Runs, outside their range \(4\.\d+–4\.\d+ TB/s\)\.",
        ),
        ((1, 1, 0.95, 0.95), 9, r"newest 2 Runs −[45]\.\d % against the median of 2 earlier Runs, outside"),
        ((1, 0.95, 0.95, 0.95), 1, r"newest 3 Runs −[45]\.\d % against the median of 1 earlier Run, outside"),
        ((1, 1.06), 9, r"newest \+[56]\.\d % against the median of 1 earlier Run, outside"),
        ((1,) * 8 + (0.95,), 9, r"newest 4\.\d+ TB/s, [45]\.\d % below its median, outside the band\."),
    ],
)
def test_few_runs_say_what_is_visible_and_are_said_to_be_few_once(folder, levels, changed, expected):
    for day, level in enumerate(levels):
        put(folder, run(day, dram=DRAM * level, devices=(gpu(driver=NEW if day >= changed else OLD),)))
    made = document(history(folder))
    assert (made.verdicts[0].status, made.verdicts[0].word) == (NOT_JUDGED, "too few Runs")
    first = made.findings[0]
    assert re.match(rf"DRAM \((burst|sustained)\): {expected}", first.text)
    assert "again" in first.next_step
    assert "FP32" not in " ".join(each.text for each in made.findings)
    page = prose(render(made))
    assert page.lower().count("too few") == 1
    assert not re.search(r"\bmoved by −|did not move", page), "nothing is called a move"


def test_few_alike_runs_say_no_more_than_that_they_are_few(folder):
    for day in range(4):
        put(folder, run(day, noise=0.01))
    made = document(history(folder))
    assert made.verdicts[0].word == "too few Runs"
    assert made.findings == ()
    assert "4 valid Runs (" in made.sections[0].findings[0].text


def test_a_drift_and_a_step_without_a_cause_are_said(folder):
    for day in range(30):
        put(folder, run(day, dram=DRAM * 0.97 ** (day / 29)))
    drift = r"DRAM \(\w+\) drifted by −[23].*, nothing recorded changed, over 30 Runs\."
    assert re.fullmatch(drift, said(history(folder))[0])
    for day in range(30):
        put(folder, run(day, dram=DRAM * (1 if day < 20 else 0.95)), age=30)
    step = r"DRAM \(\w+\) stepped by −\d.*, nothing recorded changed, 2026-01-21 03:00 UTC\."
    assert re.fullmatch(step, said(history(folder))[0])


def test_the_one_gpu_that_fell_is_named(folder):
    for day in range(24):
        devices = tuple(gpu(index, f"GPU-{index}") for index in range(4))
        one = run(day, devices=devices)
        slow = tuple(
            replace(m, seconds=tuple(1.06 * s for s in m.seconds))
            if (m.device, m.saturates) == ("cuda:2", "dram") and day >= 12
            else m
            for m in one.measurements
        )
        put(folder, replace(one, measurements=slow))
    words = " ".join(said(history(folder)))
    assert re.search(r"of GPU 2 stepped by −5\.", words)
    assert not re.search(r"of GPU [013]", words)


def test_what_is_not_usable_is_said_and_drawn_as_such(folder):
    for day in range(12):
        kind = {4: {"validity": "invalid"}, 6: {"validity": "suspect"}, 8: {"complete": False}}.get(day, {})
        put(folder, run(day, dram=DRAM * (0.5 if day == 4 else 1), **kind))
    found = history(folder)
    words = " ".join(said(found))
    assert "12 suspect (open) and 4 invalid (crossed) of 70 values" in words
    assert "1 Run is incomplete." in words
    line, cross = [t for t in drawn(found)["fig-0-burst"] if t["mode"] != "lines"]
    assert line["marker"]["symbol"].count("circle-open") == 2
    # nothing joins the two sides of the invalid Run, and its arrow stands at the edge that it lies beyond
    assert line["y"].index(None) == 4
    assert cross["name"].startswith("invalid")
    assert cross["marker"]["symbol"] == ["triangle-down-open"]
    assert cross["text"] == ["2.40 TB/s"]
    assert "2.4" in cross["customdata"][0]
    assert "invalid: hot" in cross["customdata"][0]


def test_a_newest_run_without_a_usable_number_comes_first(folder):
    put(folder, run(0))
    put(folder, run(1, validity="invalid"))
    (banner,) = document(history(folder)).banners
    assert banner.text == "The newest Run (000001.jsonl) is invalid: hot. It says nothing of the machine."


def test_other_probe_versions_are_not_joined(folder):
    for day in range(12):
        put(folder, run(day, version=2 if day < 6 else 3, dram=DRAM * (1 if day < 6 else 0.8)))
    found = history(folder)
    line = next(t for t in drawn(found)["fig-0-burst"] if t["mode"] == "lines+markers")
    assert line["y"].index(None) == 6
    assert line["connectgaps"] is False
    words = said(found)
    assert not [line for line in words if re.search(r"DRAM.* (moved|stepped|drifted|newest) ", line)]
    assert "A probe measures otherwise than before, the sides are not compared: DRAM and FP32 vector ridge." in words
    assert "probe version bandwidth 2 → bandwidth 3; not compared" in prose(render(document(found)))


def test_redacted_runs_are_drawn_but_not_joined(folder):
    for day in range(12):
        put(folder, run(day, dram=DRAM * 0.9**day, devices=(gpu(0, f"redacted-{day}"),), redacted=True))
    found = history(folder)
    assert {t["mode"] for t in drawn(found)["fig-0-burst"]} == {"markers"}
    assert said(found) == ["12 redacted Runs: of unknown devices, neither joined nor judged."]


def test_left_out_files_are_listed_with_their_reason(folder):
    put(folder, run(0))
    (folder / "bad.jsonl").write_text("{")
    page = prose(render(document(history(folder))))
    assert "1 file is left out" in page
    assert "bad.jsonl" in page
    assert "not a ridgepoint Run" in page


def test_simulated_histories_say_so_everywhere(tmp_path):
    one = template(probes=("bandwidth", "peak"), budget="quick")
    folder = tmp_path / one.about.product
    folder.mkdir()
    written(one, tmp_path, 6, range(6))
    text = render(document(history(folder)))
    assert '<html lang="en" class="simulated">' in text
    assert "<title>SIMULATED" in text
    figures = re.findall(r'id="data-(fig[\w-]+)">(.*?)</script>', text, re.S)
    assert figures
    for _, content in figures:
        layout = json.loads(gzip.decompress(base64.b64decode(content)))["layout"]
        assert any(note["text"] == "SIMULATED" for note in layout["annotations"])


def test_every_form_says_the_same_and_shortly(folder):
    for day in range(24):
        device = gpu(driver=NEW if day >= 12 else OLD, compiler="gcc (Debian 12.2.0-14) 12.2.0" if day > 5 else "x y")
        put(folder, run(day, dram=DRAM * (0.97 if day >= 12 else 1), devices=(device,), host="a node`s long name"))
    found = history(folder)
    made = document(found, searched(found))
    texts = [each.text for each in (*made.findings, *(f for s in made.sections for f in s.findings))]
    assert texts
    assert not [text for text in texts if len(text.split()) > 20]
    told = json.loads(as_json(made))
    assert [each["text"] for each in told["findings"]] == [each.text for each in made.findings]
    for form in ("txt", "md", "html"):
        page = re.sub(r"[\\\s]+", " ", html.unescape(re.sub(r"<[^>]+>", "", report.made(made, form).decode())))
        for each in made.findings:
            assert each.text.split(" (")[0] in page, form


# --- change points, where they were searched for


def searched(found, ratio: float = 0.968, at: int = 12, **more) -> ChangePoints:
    """A mark on DRAM, burst, of the Run `at`, as a search would hand it over."""
    series = next(each for each in found.series if (each.key, each.regime) == ("dram", "burst"))
    before, after = series.points[at - 1], series.points[at]
    fields = {"changes": (Change("driver", OLD, NEW),), "p": 0.0, "before": at, "after": len(series.points) - at}
    point = ChangePoint(series, before.at, after.at, after.file, after.run.run_id, ratio=ratio, **fields | more)
    left_out = ((found.series[-1], "9 of the 10 valid Runs that a search needs"),)
    return ChangePoints((point,), len(found.series) - 1, left_out)


def test_marks_are_said_to_be_information(folder):
    found = planted(folder)
    made = document(found, searched(found))
    assert said(found, searched(found))[1] == (
        "E-divisive (information, not the gate) marks 1 step in 5 series, largest: DRAM (burst) −3.2 %,"
        " 2026-01-13 03:00."
    )
    page = prose(render(made))
    assert re.search(r"Not searched for change points: .*: 9 of the 10 valid Runs that a search needs\.", page)
    table = next(table for table in every_table(made) if table.id == "moves")
    (row,) = [row for row in table.rows if row["kind"] == "step by E-divisive"]
    cells = dict(zip((c.name for c in table.shown), table.cells[table.rows.index(row)], strict=True))
    names = ("moved by", "interval or p", "Runs before", "after", "verdict", "changed")
    assert [cells[name].text for name in names] == [
        "−3.2 %", "p < 0.000001", "12", "12", "information, not the gate", f"driver {OLD} → {NEW}",
    ]  # fmt: skip
    assert not any(cell.mark for cell in cells.values()), "it is no verdict"


def test_a_mark_is_drawn_on_its_jump_and_only_there(folder):
    found = planted(folder)
    figures = drawn(found, searched(found))
    names = {figure for figure, each in figures.items() if any("E-divisive" in trace.get("name", "") for trace in each)}
    assert names == {"fig-0-burst"}
    mark = figures["fig-0-burst"][-1]
    assert (mark["x"], mark["text"]) == (["2026-01-13 03:00:00"], ["−3.2 %"])
    values = [point.value.value for point in searched(found).points[0].series.points[11:13]]
    assert values[1] < mark["y"][0] < values[0]
    assert "between 2026-01-12 03:00 and 2026-01-13 03:00 UTC" in mark["customdata"][0]
    assert mark["customdata"][0].endswith("information, not the gate")


def test_a_mark_with_few_runs_on_a_side_says_so(folder):
    found = planted(folder)
    marks = searched(found, at=22, p=0.00042, changes=())
    page = render(document(found, marks))
    assert "information, not the gate; fewer than 10 Runs on a side" in page
    assert "p 0.00042" in page
    assert "22 valid Runs before, 2 after: few" in drawn(found, marks)["fig-0-burst"][-1]["customdata"][0]


def test_a_search_without_a_mark_and_none_at_all(folder):
    found = planted(folder)
    none = ChangePoints((), 6, ())
    assert "E-divisive (information, not the gate) marks no step in 6 series." in said(found, none)
    assert "had no series with the 10 valid Runs" in " ".join(said(found, ChangePoints((), 0, ())))
    assert "E-divisive" not in prose(render(document(found))), "nobody asked"


def test_marks_of_several_devices_name_them(folder):
    for day in range(12):
        put(folder, run(day, devices=(gpu(0, "GPU-a"), gpu(1, "GPU-b"))))
    found = history(folder)
    assert "DRAM (burst) of GPU 0" in " ".join(said(found, searched(found, at=5)))


def test_facts_have_the_marks(folder):
    found = planted(folder)
    assert facts(found)["change_points"] is None
    told = json.loads(json.dumps(facts(found, searched(found)), allow_nan=False))["change_points"]
    assert told["method"].endswith("information, not the gate")
    assert (told["judged"], len(told["left_out"]), told["most_p"], told["least"]) == (5, 1, 0.001, 0.01)
    (point,) = told["points"]
    assert (point["key"], point["regime"], point["file"], point["ratio"]) == ("dram", "burst", "00000c.jsonl", 0.968)
    assert (point["runs"], point["trusted"]) == ([12, 12], True)
    assert point["changes"] == [{"factor": "driver", "before": OLD, "after": NEW}]


# --- the page as a file


def test_writes_where_asked_and_by_default(folder, tmp_path, monkeypatch, capsys):
    put(folder, run(0))
    monkeypatch.chdir(tmp_path)
    found = history(folder)
    assert cli.main(["trend", str(folder)]) == 0
    assert capsys.readouterr().out == "reports/trend-some-gpu.html\n"
    path = report.save(document(found), tmp_path / "deep" / "page.html")
    assert path.read_text().startswith("<!doctype html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write the report .* Choose another path with --out"):
        report.save(document(found), tmp_path / "file" / "page.html")


def test_facts_are_json_with_nothing_lost(folder):
    found = planted(folder, days=4)
    told = json.loads(json.dumps(facts(found), allow_nan=False))
    assert (told["product"], told["runs"], told["simulated"]) == ("some-gpu", 4, False)
    assert [len(each["points"]) for each in told["series"]] == [4] * 6
    assert {move["verdict"] for move in told["moves"]} == {"unknown"}
    assert {move["ratio"] for move in told["moves"]} == {None}
    points = [point["value"] for point in told["series"][0]["points"]]
    assert points == [point.value.value for point in found.series[0].points]
    (shift,) = [each for each in told["shifts"] if (each["key"], each["regime"]) == ("dram", "burst")]
    assert (shift["runs"], shift["changes"][0]["factor"]) == ([2, 2], "driver")
    assert shift["ratio"] == pytest.approx(0.97, abs=0.01)


def test_hostile_text_stays_text(folder):
    device = replace(gpu(driver=HOSTILE), name=HOSTILE, id=HOSTILE)
    for day in range(3):
        put(folder, run(day, devices=(device,), host=HOSTILE, validity="suspect" if day else "invalid"))
    put(folder, run(5, devices=(gpu(driver=OLD),), host=HOSTILE, started="<script>1</script>"))
    found = history(folder)
    marks = searched(found, at=1, changes=(Change(HOSTILE, HOSTILE, HOSTILE),))
    text = render(document(found, marks))
    assert "<img" not in text
    assert "<script>1" not in text
    for name, each in drawn(found, marks).items():
        for trace in each:
            assert "<img" not in json.dumps(trace), name
            assert "<b>" not in json.dumps(trace.get("customdata")), name


def test_the_file_in_the_page_keeps_the_newest_rows(folder, monkeypatch):
    found = planted(folder)
    whole = document(found)
    assert [row["run_id"] for _, row in whole.rows.iterrows()] == [entry.run_id for _, entry in found.runs]
    series = next(each for each in found.series if (each.key, each.regime) == ("dram", "burst"))
    assert whole.rows["dram burst low"].tolist() == pytest.approx([p.value.low for p in series.points], rel=1e-6)
    assert not [note for section in whole.sections for note in section.notes if "CSV" in note]
    monkeypatch.setattr("bench.report.trend.MOST_ROWS", 10)
    made = document(found)
    lines = csv_text(made.rows).splitlines()
    assert len(lines) == 11
    assert "000017.jsonl" in lines[-1]
    notes = [note for section in made.sections for note in section.notes]
    assert "The CSV file holds the newest 10 of 24 rows; --json prints all." in notes


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_in_a_browser(browser, folder, tmp_path, scheme, width):
    """No complaint, no request, nothing serious for axe-core, and tables that sort by value."""
    found = planted(folder)
    path = report.save(document(found, searched(found)), tmp_path / "trend.html")
    browser.open(path, scheme, width)
    browser.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert browser.figures() == 6
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    sort = "document.querySelectorAll('#standing th button')[2].click()"
    read = "[...document.querySelectorAll('#standing tbody td:nth-child(3)')].map((cell) => Number(cell.dataset.v))"
    before = browser.evaluate(read)
    browser.evaluate(sort)
    after = browser.evaluate(read)
    assert after == sorted(before) != before
    assert browser.requests() == [path.as_uri()]
    assert browser.complaints() == []
    assert browser.violations() == []
