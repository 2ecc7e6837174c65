"""A Run's roofline as an image: in real colours, with its labels, marked as what it is; or what to install."""

import shutil
import struct

import pytest

from bench import report, store, work
from bench.report.run import document
from tests.report.render.test_data import KERNELS
from tests.report.runs import by_hand, measured


@pytest.fixture(scope="module")
def made(h200):
    return document(h200, KERNELS)


def test_images_without_a_browser_say_what_to_install(made, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(store.RunError, match="Chrome or Chromium on the PATH") as caught:
        report.made(made, "png")
    assert "\n" not in str(caught.value)


def test_a_run_without_roofs_has_no_image():
    with pytest.raises(store.RunError, match="no roofline to draw"):
        report.made(document(by_hand()), "svg")


def test_no_other_figure_stands_for_the_roofline():
    rows = [measured("bandwidth", {"mix": "read", "bytes": 2**n}, work.stream("copy", 2**n)) for n in (20, 28)]
    memory = document(by_hand(rows))
    assert memory.every_plot, "a Run of bandwidth alone has figures"
    with pytest.raises(store.RunError, match="no roofline to draw"):
        report.made(memory, "svg")


@pytest.fixture
def drawing():
    pytest.importorskip("kaleido", reason="kaleido is not installed")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("no Chromium on the PATH")


@pytest.mark.usefixtures("drawing")
def test_images_show_the_figure_in_real_colours(made):
    svg = report.made(made, "svg").decode()
    assert svg.startswith("<svg")
    assert "var(--" not in svg
    for word in ("DRAM", "memory-bound", "my gemm", "too | fast", "SIMULATED", "simulated h200-sxm"):
        assert word in svg, word
    # the memory and the compute colour of the light theme
    assert "rgb(179, 71, 0)" in svg
    assert "rgb(0, 95, 158)" in svg
    png = report.made(made, "png")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (2240, 1520)
