"""Roofs are drawn where they bind; their names never lie on one another and stay as near to their roof as they can."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.viewport import HEIGHT, Viewport, spans
from bench.report.plots.roofs import RoofLine, labels

FRAME = Viewport(0.05, 5e3, 5e10, 5e15)
RATES = st.lists(st.floats(1e11, 2e15), min_size=1, max_size=18)


def flat(rate: float, number: int = 0, what: str = "roof", **more) -> RoofLine:
    key = f"tensor.dtype{number}.library"
    return RoofLine(f"{what} {key}", key, rate, f"D{number} GEMM", f"{rate:.3g} FLOP/s", **more)


def slope(rate: float, key: str, what: str = "roof", **more) -> RoofLine:
    return RoofLine(f"{what} {key}", key, rate, key.upper(), f"{rate:.3g} B/s", **more)


def made(*lines: RoofLine) -> list[dict]:
    return list(labels(lines, spans(lines, FRAME), FRAME))


@given(RATES)
def test_names_in_the_margin_never_overlap(rates):
    lines = [slope(4e12, "dram"), *(flat(rate, number) for number, rate in enumerate(rates))]
    notes = [note for note in made(*lines) if note["name"] == "roof name"]
    assert len(notes) == len([line for line in lines if line.is_compute and line.trace in spans(lines, FRAME)])
    decades = math.log10(FRAME.top / FRAME.bottom)
    middles = [HEIGHT * (math.log10(FRAME.top) - note["y"]) / decades + note["ay"] for note in notes]
    assert all(b - a >= 15 - 0.2 for a, b in pairwise(middles))
    # a leader leads to the end of its roof
    assert all(note["x"] == pytest.approx(math.log10(FRAME.right)) for note in notes)
    assert all(note["showarrow"] and note["ax"] > 0 for note in notes)


@given(st.lists(st.floats(1e11, 1e14), min_size=1, max_size=6))
def test_slopes_that_lie_near_share_a_name_and_others_have_room(rates):
    lines = [flat(1e15), *(slope(rate, f"l{number}") for number, rate in enumerate(rates))]
    notes = [note for note in made(*lines) if note["name"] == "slope label"]
    assert sum(note["text"].count("B/s") for note in notes) == len(rates)
    heights = sorted(note["y"] - note["x"] for note in notes)
    assert all(b - a > math.log10(FRAME.top / FRAME.bottom) * 22 / HEIGHT - 1e-9 for a, b in pairwise(heights))


def test_a_long_name_takes_two_lines_and_the_leading_one_is_bold():
    lead = flat(1e15, 1, lead=True)
    long = RoofLine("sustained x", "x.y.z", 5e14, "BF16 vector loop", "874 TFLOP/s sustained")
    texts = [note["text"] for note in made(slope(4e12, "dram"), lead, long)]
    assert texts[0] == "<b>D1 GEMM 1e+15 FLOP/s</b>"
    assert texts[1] == "BF16 vector loop<br>874 TFLOP/s sustained"


def test_what_another_line_says_is_not_said_again():
    burst, lasting = flat(1e15, 1), flat(0.9e15, 1, "sustained", unless=("roof tensor.dtype1.library",))
    dram = slope(4e12, "dram")
    assert len(made(dram, burst, lasting)) == 2
    assert "0.9e+15" in str(made(dram, lasting)) or "9e+14" in str(made(dram, lasting))


def test_a_roof_that_binds_nowhere_in_the_frame_has_no_name():
    assert made(slope(1e10, "h2d"), flat(1e15)) == [made(slope(1e10, "h2d"))[0]]


def test_a_slope_ends_at_the_highest_roof_and_a_plateau_begins_at_dram():
    dram, fast, peak = slope(4e12, "dram"), slope(4e13, "l1"), flat(1e15)
    found = spans([fast, dram, peak], FRAME)
    assert found[dram.trace] == (FRAME.left, 250.0)
    assert found[fast.trace] == (FRAME.left, 25.0)
    assert found[peak.trace] == (250.0, FRAME.right)


def test_a_slope_begins_where_it_enters_the_frame():
    assert spans([slope(1e11, "link"), flat(1e15)], FRAME)["roof link"] == (0.5, FRAME.right)
