"""The history's page says what was planted, shows what is unsound as such, and nothing from a Run becomes markup."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest

from bench.analysis.changes import ChangePoint, ChangePoints
from bench.analysis.history import Change, history
from bench.report.trend import facts, figures, trend, words, write
from bench.report.trend import page as trend_page
from bench.report.trend.page import page
from bench.store import RunError
from tests.analysis.test_history import DRAM, gpu, put, run
from tests.perf.trend import template, written

OLD, NEW = "570.86.15", "580.159.03"
HOSTILE = "</script><img src=x onerror=alert(1)><b>n</b>"


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    monkeypatch.setattr("bench.analysis.cache._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "some-gpu"


def planted(folder: Path, days: int = 24, step: float = 0.97, **about):
    """A history whose memory steps with the driver half way."""
    for day in range(days):
        late = day >= days // 2
        put(folder, run(day, dram=DRAM * (step if late else 1), devices=(gpu(driver=NEW if late else OLD),), **about))
    return history(folder)


def traces(text: str) -> dict[str, list[dict]]:
    """Figure -> its traces, as the page carries them."""
    found = re.findall(r'<script type="application/json" id="data-([\w-]+)">(.*?)</script>', text, re.S)
    return {name: json.loads(content)["data"] for name, content in found}


def prose(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", text.split("<main>", 1)[1].split("<noscript>", 1)[0]))


# --- what is said


def test_a_planted_step_of_a_driver_is_said(folder):
    found = planted(folder)
    first = words.look_first(found)[0]
    assert re.match(
        rf"With driver {OLD} → {NEW} \(2026-01-13\), DRAM \((burst|sustained)\) moved by −[23]\.\d %", first
    )
    assert "−3." in first or "−2.9" in first
    assert "FP32" not in first, "what did not move is not named"
    assert "Ridge" not in first, "the ridge moved because its roof did"
    said = prose(page(found))
    assert first in said
    assert said.count(f"driver {OLD} → {NEW}") > 3


def test_several_changes_at_once_are_not_told_apart(folder):
    for day in range(24):
        late = day >= 12
        device = gpu(driver=NEW if late else OLD, power_limit_w="600" if late else "700")
        put(folder, run(day, dram=DRAM * (0.97 if late else 1), devices=(device,)))
    first = words.look_first(history(folder))[0]
    assert f"driver {OLD} → {NEW} and power limit 700 W → 600 W" in first
    assert first.endswith("which of the changes did it, these Runs cannot tell.")


def test_a_quiet_change_is_said_to_be_quiet(folder):
    said = " ".join(words.look_first(planted(folder, step=1.0)))
    assert "Nothing moved by half a percent or more beyond its scatter" in said
    assert f"Moved nothing beyond the scatter: driver {OLD} → {NEW}." in said


def test_few_runs_are_said_to_be_few(folder):
    said = " ".join(words.look_first(planted(folder, days=4, step=0.5)))
    assert "too few valid Runs to say whether anything moved" in said
    assert f"Too few valid Runs to judge: driver {OLD} → {NEW}." in said
    assert "too few Runs to say if it moved" in page(history(folder))


def test_a_drift_and_a_step_without_a_cause_are_said(folder):
    for day in range(30):
        put(folder, run(day, dram=DRAM * 0.97 ** (day / 29)))
    assert re.search(r"DRAM \(\w+\) drifted by −[23].* over 30 Runs", " ".join(words.look_first(history(folder))))
    for day in range(30):
        put(folder, run(day, dram=DRAM * (1 if day < 20 else 0.95)), age=30)
    said = " ".join(words.look_first(history(folder)))
    assert re.search(r"stepped by −\d.* between 2026-01-20 03:00 and 2026-01-21 03:00 UTC", said)


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
    said = " ".join(words.look_first(history(folder)))
    assert re.search(r"of GPU 2 stepped by −5\.", said)
    assert not re.search(r"of GPU [013]", said)


def test_what_is_unsound_is_said_and_drawn_as_such(folder):
    for day in range(12):
        kind = {4: {"validity": "invalid"}, 6: {"validity": "suspect"}, 8: {"complete": False}}.get(day, {})
        put(folder, run(day, dram=DRAM * (0.5 if day == 4 else 1), **kind))
    found = history(folder)
    said = " ".join(words.look_first(found))
    assert "4 invalid (crossed, joined to nothing)" in said
    assert "12 of 70 values are suspect (drawn open)" in said
    assert "1 Run is incomplete" in said
    line, cross = [t for t in traces(page(found))["fig-0-burst"] if t["mode"] != "lines"]
    assert line["marker"]["symbol"].count("circle-open") == 2
    # nothing joins the two sides of the invalid Run, and its cross stands at the edge that it lies beyond
    gap = line["y"].index(None)
    assert gap == 4
    assert cross["name"].startswith("invalid")
    assert cross["marker"]["symbol"] == ["triangle-down-open"]
    assert "2.4" in cross["customdata"][0]
    assert "invalid: hot" in cross["customdata"][0]


def test_a_newest_run_without_a_sound_number_comes_first(folder):
    put(folder, run(0))
    put(folder, run(1, validity="invalid"))
    assert words.look_first(history(folder))[1].startswith(
        "The newest Run (000001.jsonl) is invalid: hot. It says nothing"
    )


def test_other_probe_versions_are_not_joined(folder):
    for day in range(12):
        put(folder, run(day, version=2 if day < 6 else 3, dram=DRAM * (1 if day < 6 else 0.8)))
    found = history(folder)
    text = page(found)
    line = next(t for t in traces(text)["fig-0-burst"] if t["mode"] == "lines+markers")
    assert line["y"].index(None) == 6
    assert line["connectgaps"] is False
    assert "1 break where a probe measures otherwise than before" in prose(text)
    said = words.look_first(found)
    assert not [line for line in said if re.search(r"DRAM.* (moved|stepped|drifted) by", line)]
    assert any(line.startswith("DRAM and Ridge: FP32 vector / DRAM: a probe measures otherwise") for line in said)


def test_redacted_runs_are_drawn_but_not_joined(folder):
    for day in range(12):
        put(folder, run(day, devices=(gpu(0, f"redacted-{day}"),), redacted=True))
    text = page(history(folder))
    assert {t["mode"] for t in traces(text)["fig-0-burst"]} == {"markers"}
    assert "12 Runs are redacted: which device they measured cannot be known" in prose(text)


def test_left_out_files_are_listed_with_their_reason(folder):
    put(folder, run(0))
    (folder / "bad.jsonl").write_text("{")
    said = prose(page(history(folder)))
    assert "1 file is left out" in said
    assert "bad.jsonl" in said
    assert "not a ridgepoint Run" in said


def test_simulated_histories_say_so_everywhere(tmp_path):
    one = template(probes=("bandwidth", "peak"), budget="quick")
    folder = tmp_path / one.about.product
    folder.mkdir()
    written(one, tmp_path, 6, range(6))
    text = page(history(folder))
    assert '<html lang="en" class="simulated">' in text
    assert "<title>SIMULATED" in text
    for _, content in re.findall(r'id="data-(fig[\w-]+)">(.*?)</script>', text, re.S):
        assert any(note["text"] == "SIMULATED" for note in json.loads(content)["layout"]["annotations"])


# --- change points, where they were searched for


def searched(found, ratio: float = 0.968, at: int = 12, **more) -> ChangePoints:
    """A mark on DRAM, burst, of the Run `at`, as a search would hand it over."""
    series = next(each for each in found.series if (each.key, each.regime) == ("dram", "burst"))
    before, after = series.points[at - 1], series.points[at]
    fields = {"changes": (Change("driver", OLD, NEW),), "p": 0.0, "before": at, "after": len(series.points) - at}
    point = ChangePoint(series, before.at, after.at, after.file, after.run.run_id, ratio=ratio, **fields | more)
    left_out = ((found.series[-1], "too few valid Runs: 9 of the 10 that a search needs"),)
    return ChangePoints((point,), len(found.series) - 1, left_out)


def test_marks_are_said_to_be_information(folder):
    found = planted(folder)
    text = page(found, searched(found))
    said = prose(text)
    assert (
        "E-divisive (Matteson & James 2014) marks 1 step in 1 of 5 series, the largest −3.2 % in DRAM (burst) at"
        f" 2026-01-13 03:00 UTC, with driver {OLD} → {NEW}: information, not the gate." in said
    )
    assert re.search(
        r"Not searched for change points: .* \(too few valid Runs: 9 of the 10 that a search needs\)\.", said
    )
    assert "E-divisive marks −3.2 % at 2026-01-13 03:00 in burst: information, not the gate." in said
    row = next(row for row in re.findall(r"<tr>.*?</tr>", text, re.S) if "step by E-divisive" in row)
    cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)]
    assert cells[5:10] == ["step by E-divisive", "−3.2 %", "p < 0.000001", "12", "12"]
    assert cells[10] == "information, not the gate"
    assert "suspect" not in row, "it is no verdict"


def test_a_mark_is_drawn_on_its_jump_and_only_there(folder):
    found = planted(folder)
    drawn = traces(page(found, searched(found)))
    names = {figure for figure, each in drawn.items() if any("E-divisive" in trace.get("name", "") for trace in each)}
    assert names == {"fig-0-burst"}
    mark = drawn["fig-0-burst"][-1]
    assert (mark["x"], mark["text"]) == (["2026-01-13 03:00"], ["−3.2 %"])
    values = [point.value.value for point in searched(found).points[0].series.points[11:13]]
    assert values[1] < mark["y"][0] < values[0]
    assert "between 2026-01-12 03:00 and 2026-01-13 03:00 UTC" in mark["customdata"][0]
    assert mark["customdata"][0].endswith("information, not the gate")


def test_a_mark_with_few_runs_on_a_side_says_so(folder):
    found = planted(folder)
    said = page(found, searched(found, at=22, p=0.00042, changes=()))
    assert "information, not the gate; fewer than 10 Runs on a side" in said
    assert "p 0.00042" in said
    assert "22 valid Runs before, 2 after: few" in said


def test_a_search_without_a_mark_and_none_at_all(folder):
    found = planted(folder)
    said = prose(page(found, ChangePoints((), 6, ())))
    assert "marks no step in 6 series: information, not the gate." in said
    assert "no series has the 10 valid Runs" in prose(page(found, ChangePoints((), 0, ())))
    assert "E-divisive" not in page(found), "nobody asked"


def test_marks_of_several_devices_name_them(folder):
    for day in range(12):
        put(folder, run(day, devices=(gpu(0, "GPU-a"), gpu(1, "GPU-b"))))
    found = history(folder)
    said = prose(page(found, searched(found, at=5)))
    assert "in DRAM (burst) of GPU 0 at" in said
    assert "at 2026-01-06 03:00 in burst of GPU 0: information" in said


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


def test_writes_where_asked_and_by_default(folder, tmp_path, monkeypatch):
    put(folder, run(0))
    monkeypatch.chdir(tmp_path)
    assert trend(folder) == Path("reports/trend-some-gpu.html")
    path = trend(folder, tmp_path / "deep" / "page.html")
    assert path.read_text().startswith("<!doctype html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write the page .* Choose another path with --out"):
        trend(folder, tmp_path / "file" / "page.html")


def test_facts_are_json_with_nothing_lost(folder):
    found = planted(folder, days=4)
    told = json.loads(json.dumps(facts(found), allow_nan=False))
    assert (told["product"], told["runs"], told["simulated"]) == ("some-gpu", 4, False)
    assert [len(each["points"]) for each in told["series"]] == [4] * 6
    assert {move["verdict"] for move in told["moves"]} == {"unknown"}
    assert {move["ratio"] for move in told["moves"]} == {None}
    points = [point["value"] for point in told["series"][0]["points"]]
    assert points == [point.value.value for point in found.series[0].points]


def test_hostile_text_stays_text(folder):
    device = replace(gpu(driver=HOSTILE), name=HOSTILE, id=HOSTILE)
    for day in range(3):
        put(folder, run(day, devices=(device,), host=HOSTILE, validity="suspect" if day else "invalid"))
    put(folder, run(5, devices=(gpu(driver=OLD),), host=HOSTILE, started="<script>1</script>"))
    found = history(folder)
    text = page(found, searched(found, at=1, changes=(Change(HOSTILE, HOSTILE, HOSTILE),)))
    assert "<img" not in text
    assert "<script>1" not in text
    for name, each in traces(text).items():
        for trace in each:
            assert "<img" not in json.dumps(trace), name
            assert "<b>" not in json.dumps(trace.get("customdata")), name


def test_many_runs_are_drawn_as_stretches_that_hide_nothing(folder):
    found = planted(folder, days=40)
    one = next(each for each in found.series if (each.key, each.regime) == ("dram", "burst"))
    point = one.points[0]
    many = [
        replace(point, run=replace(point.run, at=3600.0 * n), value=replace(point.value, low=4e12 + n, high=5e12 + n))
        for n in range(10_000)
    ]
    line = replace(one, segments=(replace(one.segments[0], points=tuple(many)),))
    fig = figures.over_time([line])
    band, drawn = fig.data
    assert len(drawn.x) <= figures.MOST
    assert len(fig.to_json()) < 400_000
    assert min(band.y) == float(f"{4e12:.6g}")
    assert max(band.y) == pytest.approx(5e12 + 9999)
    assert sum(int(re.search(r"(\d+) Runs", text)[1]) for text in drawn.customdata) == 10_000
    assert not any(isinstance(trace, go.Scattergl) for trace in fig.data), "its renderer needs unsafe-eval"


def test_the_file_in_the_page_keeps_the_newest_rows(folder, monkeypatch):
    found = planted(folder)
    monkeypatch.setattr(trend_page, "MOST_ROWS", 10)
    data = trend_page._download(found)
    assert data.note == "The file holds the newest 10 of 24 rows; --json prints all."
    assert trend_page._download(replace(found, runs=found.runs[:5])).note == ""
    monkeypatch.setattr(trend_page, "MOST_PACKED", len(data.content) // 2)
    assert len(trend_page._download(found).content) <= len(data.content) // 2


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_in_a_browser(browser, folder, tmp_path, scheme, width):
    """No complaint, no request, nothing serious for axe-core, and tables that sort by value."""
    found = planted(folder)
    path = write(found, tmp_path / "trend.html", searched(found))
    browser.open(path, scheme, width)
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
    browser.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert browser.violations() == []
