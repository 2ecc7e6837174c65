"""The still picture: well-formed, without script, in the page's colours, with every name inside and apart."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import plotly.graph_objects as go
import pytest

from bench import work
from bench.analysis import tidy
from bench.analysis.datasheet import datasheet
from bench.analysis.fit import fit
from bench.analysis.user_kernels import UserKernel, place
from bench.report.plots import theme
from bench.report.plots.roofline import roofline
from bench.report.plots.static import svg
from tests.report.runs import by_hand, cpu, measured

HOSTILE = "</svg><script>alert(1)</script>\" onload='x' <b>"


def picture(run, kernels=()):
    chosen = fit(run)[0]
    theory = datasheet(chosen.info)
    rows = tidy.burst(tidy.cases(chosen, theory))
    figure = roofline(chosen, theory, rows, (), [place(chosen, kernel) for kernel in kernels])
    return figure, svg(theme.mark(figure, True))


@pytest.fixture(scope="module")
def found(h200):
    return picture(h200)


def texts(picture: str) -> list[ET.Element]:
    return list(ET.fromstring(picture).iter("text"))


def words(picture: str) -> str:
    return " ".join("".join(each.itertext()) for each in texts(picture))


def test_is_small_and_well_formed_and_names_its_colours(found):
    _, text = found
    assert 5_000 < len(text.encode()) < 40_000
    root = ET.fromstring(text)
    assert root.tag == "svg"
    assert "role" not in root.attrib
    used = {each.get(name) for each in root.iter() for name in ("fill", "stroke")} - {None, "none"}
    assert {"var(--compute)", "var(--memory)", "var(--ink)", "var(--grid)", "var(--muted)"} <= used
    assert all(re.fullmatch(r"var\(--[\w-]+\)", colour) for colour in used)
    assert "None" not in text
    assert "nan" not in text


def test_says_what_the_figure_says(found):
    figure, text = found
    said = words(text)
    for name in ("roof name", "slope label", "ridge name", "zone", "simulated"):
        notes = [note for note in figure.layout.annotations if note.name == name and note.text]
        assert notes
        for note in notes:
            assert all(re.sub("<.*?>", "", line) in said for line in note.text.split("<br>"))
    assert figure.layout.xaxis.title.text in said
    assert all(tick in said for tick in figure.layout.yaxis.ticktext)
    assert all(trace.name in said for trace in figure.data if trace.showlegend)
    hidden = next(
        trace for trace in figure.data if trace.visible is False and trace.name.startswith("attention prefill")
    )
    assert hidden.name not in said


def test_every_visible_point_and_line_is_drawn(found):
    figure, text = found
    paths = [each.get("d") for each in ET.fromstring(text).iter("path")]
    dram = next(trace for trace in figure.data if trace.meta == "roof dram")
    assert sum(f"{dram.line.width}" == each.get("stroke-width") for each in ET.fromstring(text).iter("path")) >= 2
    stream = next(trace for trace in figure.data if trace.meta == "points stream float32")
    rounds = [path.count("M") for path in paths if path.count("a") == 2 * path.count("M")]
    assert len(stream.x) in rounds
    decode = next(trace for trace in figure.data if trace.meta == "points attention decode bfloat16")
    assert len([x for x in decode.x if x]) in rounds


def test_what_a_reader_would_have_to_ask_for_is_not_drawn(found):
    figure, text = found
    seen = [trace for trace in figure.data if trace.visible]
    assert len(seen) < len(figure.data)
    assert svg(go.Figure(seen, figure.layout)) == text


def test_names_lie_inside_the_picture_and_not_on_one_another(found):
    _, text = found
    root = ET.fromstring(text)
    _, _, width, height = map(float, root.get("viewBox").split())
    boxes = []
    for each in root.iter("text"):
        if each.get("transform"):
            continue
        for line in each.iter("tspan"):
            x, y, long = float(line.get("x")), float(line.get("y")), 5.6 * len(line.text or "")
            left = x - {"middle": long / 2, "end": long}.get(each.get("text-anchor"), 0)
            boxes.append((left, y - 9, left + long, y + 2, line.text))
            assert left >= 0, line.text
            assert left + long <= width + 4, line.text
            assert 0 < y < height, line.text
    for a, b in combinations(boxes, 2):
        assert not (a[0] < b[2] and a[2] > b[0] and a[1] < b[3] and a[3] > b[1]), (a, b)


def test_whatever_a_run_or_a_file_says_stays_text():
    rows = [
        measured(HOSTILE, {HOSTILE: 1}, work.Work(1e9, "vector", "float32", bytes=1e9)),
        measured("bandwidth", {"mix": HOSTILE, "bytes": 2**30}, work.stream("copy", 2**27), saturates="dram"),
        measured("peak", {"kind": HOSTILE}, work.fma_loop(512, 10**6, "float32"), saturates="vector.float32.loop"),
    ]
    kernel = UserKernel(HOSTILE, work.Work(1e9, "vector", "float32", bytes=1e9), 1.0)
    _, text = picture(by_hand(rows, cpu()), [kernel])
    root = ET.fromstring(text)
    assert {each.tag for each in root.iter()} == {"svg", "clipPath", "path", "g", "text", "tspan"}
    assert all(not name.startswith("on") for each in root.iter() for name in each.attrib)
    assert HOSTILE.replace("<b>", "") in words(text).replace("<b>", "")


def test_one_point_and_open_marks(h200):
    kernel = UserKernel("no roof", work.Work(1e12, "tensor", "float4", bytes=1e10), 1e-2)
    figure, text = picture(h200, [kernel])
    mine = next(trace for trace in figure.data if trace.meta == "points your kernels")
    assert mine.marker.symbol == ("bowtie-open",)
    assert "no roof" in words(text)
    opened = [each for each in ET.fromstring(text).iter("path") if each.get("stroke") == theme.GOOD]
    assert [each.get("fill") for each in opened] == ["none"] * len(opened)
    assert opened
