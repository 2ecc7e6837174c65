"""Change points: otava is asked with valid values alone, what it answers is checked, planted steps are found."""

import csv
import json
import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.analysis import change_points as module
from bench.analysis.change_points import (
    TRUSTED,
    ChangePoint,
    OtavaTable,
    change_points,
    export,
    parsed,
    searched,
    tables,
)
from bench.analysis.history import History, history
from bench.analysis.run_entry import Change
from bench.analysis.series import SEARCHED, Segment, Series
from bench.store import RunError
from tests.analysis.histories import gpu, put, run

FROZEN = Path(__file__).resolve().parent.parent / "frozen"
NOISE, DAY, FIRST = 0.007, 86400.0, 1_770_000_000.0
needs_otava = pytest.mark.skipif(
    not shutil.which("otava"), reason=f"otava is not on PATH; in an environment of its own: {module.INSTALL}"
)


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> History:
    """A History of one Run, from whose points others are made."""
    folder = tmp_path_factory.mktemp("runs") / "some-gpu"
    put(folder, run(0, rounds=2))
    return history(folder)


def simulated(one: History, rows: Sequence[Sequence[float]], first: float = FIRST) -> History:
    """A series per row, a Run a day."""
    return replace(one, series=tuple(line(one, f"dram{n}", row, first=first) for n, row in enumerate(rows)))


def line(one: History, key: str, row: Sequence[float], first: float = FIRST, skip: Sequence[int] = ()) -> Series:
    """skip: Runs whose value is invalid."""
    dram = next(each for each in one.series if (each.key, each.regime) == ("dram", "burst"))
    (like,) = dram.points
    points = tuple(
        replace(
            like,
            file=f"{day}.jsonl",
            run=replace(like.run, run_id=f"{day:032x}", at=first + DAY * day),
            value=replace(like.value, value=value, validity="invalid" if day in skip else "valid"),
        )
        for day, value in enumerate(row)
    )
    return replace(dram, key=key, segments=(Segment(points, (), False),))


def noise(seed: int, runs: int, *levels: tuple[int, float]) -> list[float]:
    """From each Run of levels on, that share of 4.8 TB/s; scattered by 0.7 %."""
    chance = random.Random(seed)
    shares = [next((share for at, share in reversed(levels) if day >= at), 1.0) for day in range(runs)]
    return [4.8e12 * share * math.exp(chance.gauss(0, NOISE)) for share in shares]


def split(series: Series, at: int, joined: bool, *what: Change) -> Series:
    """With a change of the environment at a Run."""
    points = series.points
    return replace(series, segments=(Segment(points[:at], (), False), Segment(points[at:], what, joined)))


def asked(history: History) -> tuple[OtavaTable, ...]:
    return tables(searched(history)[0])


def rows_of(folder: Path, table: OtavaTable) -> list[list[str]]:
    with (folder / f"{table.name}.csv").open(newline="") as file:
        return list(csv.reader(file))


# --- what is asked


def test_a_table_holds_each_series_of_a_device_and_budget_as_it_was(one, tmp_path):
    given = simulated(one, [noise(1, 12), noise(2, 12)])
    (table,) = asked(given)
    config = json.loads(export([table], tmp_path).read_text())
    head, *body = rows_of(tmp_path, table)
    assert head == ["time", "run", "s0", "s1"]
    assert [row[:2] for row in body] == [[f"{FIRST + DAY * day:.0f}", f"{day:032x}"] for day in range(12)]
    assert [[float(cell) for cell in row[2:]] for row in body] == list(
        map(list, zip(noise(1, 12), noise(2, 12), strict=True))
    )
    test = config["tests"]["t0"]
    assert (test["type"], test["file"], test["attributes"]) == ("csv", str(tmp_path / "t0.csv"), ["run"])
    assert test["metrics"] == {name: {"column": name, "direction": 1} for name in ("s0", "s1")}


def test_devices_budgets_and_runs_that_differ_have_tables_of_their_own(one, tmp_path):
    row = noise(1, 14)
    series = (
        line(one, "dram", row),
        line(one, "l2", row),
        line(one, "l1", row, skip=(3, 4)),
        replace(line(one, "dram", row), budget="quick"),
        replace(line(one, "dram", row), device="GPU 1"),
    )
    found = asked(replace(one, series=series))
    export(found, tmp_path)
    assert [[series.key for series, _ in table.columns.values()] for table in found] == [
        ["dram", "l2"], ["l1"], ["dram"], ["dram"],
    ]  # fmt: skip
    invalid = rows_of(tmp_path, found[1])[1:]
    assert len(invalid) == 12
    assert [row[1] for row in invalid[2:4]] == [f"{2:032x}", f"{5:032x}"], "an invalid value is neither kept nor filled"


def test_short_and_redacted_series_are_left_out_with_their_reason(one):
    short = line(one, "short", noise(1, SEARCHED + 1), skip=(2, 5))
    hidden = replace(line(one, "hidden", noise(1, 20)), known=False)
    kept, left_out = searched(replace(one, series=(short, hidden, line(one, "long", noise(1, SEARCHED)))))
    assert [series.key for series, _ in kept] == ["long"]
    assert [(series.key, reason) for series, reason in left_out] == [
        ("short", "9 of the 10 valid Runs that a search needs"),
        ("hidden", "its Runs are redacted and may be of many devices"),
    ]


def test_no_stretch_crosses_a_probe_that_measures_otherwise(one):
    given = split(line(one, "dram", noise(1, 25, (15, 0.8))), 15, False)
    kept, left_out = searched(replace(one, series=(given,)))
    assert [len(points) for _, points in kept] == [15, 10]
    assert left_out == ()
    kept, ((_, reason),) = searched(replace(one, series=(split(given, 20, False),)))
    assert [len(points) for _, points in kept] == [20]
    assert reason.startswith("5 of the 10 valid Runs")
    assert "from 2026-02-22 to 2026-02-26" in reason
    ((_, points),) = searched(replace(one, series=(split(given, 15, True),)))[0]
    assert len(points) == 25, "a driver's change is what a step may come from"


def test_no_text_of_a_run_but_its_id_is_written(one, tmp_path):
    hostile = '": {}}\n%{BRANCH} ../../etc,"\ud800'
    series = replace(line(one, hostile, noise(1, 12), first=-4e9), device=hostile, budget=hostile)
    points = tuple(
        replace(p, file=hostile, run=replace(p.run, run_id=f"{hostile}{n}")) for n, p in enumerate(series.points)
    )
    given = replace(one, series=(replace(series, segments=(Segment(points, (), False),)),))
    (table,) = asked(given)
    assert "BRANCH" not in export([table], tmp_path).read_text()
    body = rows_of(tmp_path, table)[1:]
    assert len(body) == 12
    assert {row[0] for row in body} == {"1000000000"}, "a clock that is wrong costs no Run"
    assert [row[1] for row in body] == [f"{hostile[:-1]}?{n}" for n in range(12)]


# --- what it answers


def answered(one: History) -> tuple[tuple[OtavaTable, ...], str]:
    """What apache-otava 0.8.0 said of two series of 40 Runs, the first with a step of -3 % after 20."""
    given = simulated(one, [noise(1, 40, (20, 0.97)), noise(2, 40)])
    return asked(given), (FROZEN / "otava-0.8.0.json").read_text()


def test_the_frozen_answer_is_the_planted_step(one):
    asked, answer = answered(one)
    (point,) = parsed(answer, asked, "otava")
    assert (point.series.key, point.file, point.run) == ("dram0", "20.jsonl", f"{20:032x}")
    assert (point.since, point.at) == (FIRST + 19 * DAY, FIRST + 20 * DAY)
    row = noise(1, 40, (20, 0.97))
    assert point.ratio == pytest.approx(sum(row[20:]) / sum(row[:20]))
    told = json.loads(answer)["t0"][0]["changes"][0]
    assert point.ratio == pytest.approx(float(told["mean_after"]) / float(told["mean_before"]))
    assert (point.p, point.before, point.after, point.trusted) == (0.0, 20, 20, True)


def test_what_changed_between_the_two_runs_goes_with_it(one):
    asked, answer = answered(one)
    driver, torch = Change("driver", "570", "580"), Change("torch", "2.9", "2.10")
    (table,) = asked
    (series, points), other = table.columns.values()
    with_changes = split(split(series, 20, True, driver), 20, True, driver)
    (point,) = parsed(answer, [replace(table, columns={"s0": (with_changes, points), "s1": other})], "otava")
    assert point.changes == (driver,)
    elsewhere = split(series, 21, True, torch)
    (point,) = parsed(answer, [replace(table, columns={"s0": (elsewhere, points), "s1": other})], "otava")
    assert point.changes == ()


def test_several_steps_have_levels_up_to_their_neighbours(one):
    given = asked(simulated(one, [[4.0] * 4 + [2.0] * 4 + [3.0] * 12]))
    (a, b) = parsed(answer_of({4: "0.000100", 8: "0.000900"}), given, "otava")
    assert (a.ratio, a.before, a.after, a.p) == (0.5, 4, 4, 0.0001)
    assert (b.ratio, b.before, b.after, b.trusted) == (1.5, 4, 12, False)


def test_what_does_not_keep_the_settings_is_dropped(one):
    given = asked(simulated(one, [[4.0] * 10 + [2.0] * 10]))
    points = parsed(answer_of({1: "0.0001", 10: "0.0001", 14: "0.002", 18: "0.0001", 19: "0.0001"}), given, "otava")
    assert [point.file for point in points] == ["10.jsonl", "18.jsonl"]


def answer_of(places: dict[int, str], table: str = "t0", metric: str = "s0") -> str:
    groups = [
        {"time": 0, "attributes": {"run": f"{at:032x}"}, "changes": [{"metric": metric, "index": at, "pvalue": p}]}
        for at, p in places.items()
    ]
    return json.dumps({table: groups})


@pytest.mark.parametrize(
    ("spoiled", "what"),
    [
        (lambda text: "not JSON", "is not understood"),
        (lambda text: "[]", "is not understood"),
        (lambda text: text.replace('"pvalue"', '"p"'), "is not understood"),
        (lambda text: text.replace('"0.000000"', '"tiny"'), "is not understood"),
        (lambda text: text.replace('"index": 20', '"index": 19'), "point 19 is another Run"),
        (lambda text: text.replace('"index": 20', '"index": 40'), "is not understood"),
        (lambda text: text.replace('"index": 20', '"index": -20'), "is not understood"),
        (lambda text: text.replace('"s0"', '"s7"'), "is not understood"),
        (lambda text: text.replace('"t0"', '"t9"'), "is not understood"),
        (lambda text: text + text, "is not understood"),
        (lambda text: "{}", "did not judge 1 of 1 tables"),
    ],
)
def test_another_answer_is_refused_in_a_line(one, spoiled, what):
    asked, answer = answered(one)
    assert spoiled(answer) != answer
    with pytest.raises(RunError, match=what) as refused:
        parsed(spoiled(answer), asked, ".otava/bin/otava")
    assert "\n" not in str(refused.value)


# --- the program


def script(folder: Path, body: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_what_cannot_be_run_is_said(one, tmp_path):
    given = simulated(one, [noise(1, 20)])
    with pytest.raises(RunError, match=r"no otava at .*gone\. Install it .*pip install apache-otava==0\.8\.0"):
        change_points(given, tmp_path / "gone")
    with pytest.raises(RunError, match=r"is a folder: give otava's own path, such as .*bin/otava"):
        change_points(given, tmp_path)
    plain = tmp_path / "plain"
    plain.write_text("")
    with pytest.raises(RunError, match="is not executable"):
        change_points(given, plain)
    plain.chmod(0o755)
    plain.write_bytes(b"\x7fELF nonsense")
    with pytest.raises(RunError, match="cannot be run: Exec format error"):
        change_points(given, plain)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("true", r"printed nothing\. Is it otava\?"),
        ("echo 'ERROR: Invalid datetime' >&2", r"printed nothing: ERROR: Invalid datetime\. Is it otava\?"),
        ("echo first >&2; echo last >&2; exit 3", "failed with exit status 3: last$"),
        ("kill -9 $$", "failed with exit status -9$"),
        ("echo hello", "is not understood"),
        ("sleep 60", r"had not ended after 0\.5 s"),
    ],
)
def test_a_program_that_fails_is_said(one, tmp_path, body, what):
    with pytest.raises(RunError, match=what) as failed:
        change_points(simulated(one, [noise(1, 20)]), script(tmp_path, body), patience=0.5 if "sleep" in body else 60)
    assert "\n" not in str(failed.value)


def test_it_sees_no_variables_of_ours_and_leaves_no_file(one, tmp_path, monkeypatch):
    for name in ("BRANCH", "OTAVA_CONFIG", "PYTHONPATH", "SLACK_BOT_TOKEN"):
        monkeypatch.setenv(name, "surprise")
    seen = tmp_path / "seen"
    with pytest.raises(RunError, match="exit status 1"):
        change_points(simulated(one, [noise(1, 20)]), script(tmp_path, f'(env; pwd; echo "$@"; ls) > {seen}; exit 1'))
    text = seen.read_text()
    assert "surprise" not in text
    assert "analyze --config-file" in text
    assert "t0.csv" in text
    (home,) = {each.removeprefix("HOME=") for each in text.splitlines() if each.startswith("HOME=")}
    assert home in text.splitlines(), "its home is where it runs"
    assert not Path(home).exists()


def test_too_few_runs_are_said_and_nothing_is_run(one, tmp_path):
    result = change_points(simulated(one, [noise(1, 6), noise(2, 9, (4, 0.5))]), script(tmp_path, "exit 9"))
    assert (result.points, result.judged, len(result.left_out)) == ((), 0, 2)


# --- otava itself, where it is installed


def places(points: Sequence[ChangePoint]) -> dict[str, list[int]]:
    result: dict[str, list[int]] = {}
    for point in points:
        result.setdefault(point.series.key, []).append(round((point.at - FIRST) / DAY))
    return result


@needs_otava
def test_the_frozen_answer_is_what_it_says(one):
    given = simulated(one, [noise(1, 40, (20, 0.97)), noise(2, 40)])
    assert list(change_points(given, "otava").points) == parsed(answered(one)[1], asked(given), "otava")


@needs_otava
def test_a_step_is_found_in_its_place(one):
    """Over 1000 seeds: 97.2 % in place, 99.7 % within a Run."""
    result = change_points(simulated(one, [noise(seed, 40, (20, 0.97)) for seed in range(50)]), "otava")
    where = places(result.points)
    assert sum(any(abs(at - 20) <= 1 for at in row) for row in where.values()) >= 48
    assert sum(20 in row for row in where.values()) >= 44
    right = [point.ratio for point in result.points if point.file == "20.jsonl"]
    assert sum(right) / len(right) == pytest.approx(0.97, abs=0.002)


@needs_otava
def test_an_unchanged_series_is_rarely_marked(one):
    """Of 1000 about 1.3 %, as said where the marks are explained; none at all would mean that nothing was searched."""
    result = change_points(simulated(one, [noise(seed, 40) for seed in range(1000)]), "otava")
    assert result.judged == 1000
    assert 3 <= len(places(result.points)) <= 30


@needs_otava
def test_a_step_down_and_up_again_is_two(one):
    rows = [noise(seed, 60, (20, 0.97), (40, 1.0)) for seed in range(20)]
    result = change_points(simulated(one, rows), "otava")
    both = [row for row in places(result.points).values() if len(row) == 2]
    assert sum(abs(a - 20) <= 1 and abs(b - 40) <= 1 for a, b in both) >= 18
    ratios = [point.ratio < 1 for point in result.points if abs(point.at - FIRST - 20 * DAY) <= DAY]
    assert all(ratios)
    assert ratios


@needs_otava
def test_a_drift_becomes_stairs_and_that_is_why_it_is_no_gate(one):
    drifts = [[value * 0.97 ** (day / 59) for day, value in enumerate(noise(seed, 60))] for seed in range(20)]
    result = change_points(simulated(one, drifts), "otava")
    assert len(places(result.points)) >= 18
    assert all(point.ratio < 1 for point in result.points)


@needs_otava
@pytest.mark.parametrize("first", [1_200_000_000.0, 4_000_000_000.0], ids=["of 2008", "of 2096"])
def test_old_and_future_runs_are_searched_too(one, first):
    """Left to itself it reads the last year alone."""
    (point,) = change_points(simulated(one, [noise(1, 40, (20, 0.97))], first), "otava").points
    assert point.file == "20.jsonl"


@needs_otava
def test_runs_in_files_with_a_driver_that_stepped(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.analysis.run_index._FEW", 1000)
    folder = tmp_path / "some-gpu"
    for day in range(2 * TRUSTED + 1):
        late = day >= TRUSTED
        device = gpu(driver="580" if late else "570")
        put(folder, run(day, dram=4.8e12 * (0.95 if late else 1), devices=(device,), rounds=3))
    result = change_points(history(folder), "otava")
    assert result.judged == 6
    dram = [point for point in result.points if (point.series.key, point.series.regime) == ("dram", "burst")]
    assert [(point.file, point.changes) for point in dram] == [("00000a.jsonl", (Change("driver", "570", "580"),))]
    assert {point.series.key for point in result.points} == {"dram", "ridge vector.float32.loop"}
