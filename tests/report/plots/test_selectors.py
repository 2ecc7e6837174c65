"""A reader chooses what the roofline shows: controls hide and show, a click isolates, nothing forgets the choice, and
no name lies on another.
"""

import re
from itertools import combinations

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from bench.analysis import tidy
from bench.analysis.datasheet import datasheet
from bench.analysis.fit import fit
from bench.analysis.user_kernels import UserKernel, place
from bench.measure.budget import BUDGETS
from bench.report.document import Document, Plot, Section
from bench.report.plots.roofline import roofline
from bench.report.render import html
from bench.work import Work, gemm
from tests.report.runs import simulated

CANVAS = "document.querySelector('#fig-roofline .canvas')"
SHOWN = f"{CANVAS}._fullData.filter((t) => t.visible === true).map((t) => t.meta)"
FADED = f"{CANVAS}._fullData.filter((t) => t.visible === true && t.opacity < 0.2).map((t) => t.meta)"
NAMES = f"{CANVAS}._fullLayout.annotations.filter((a) => /roof name|slope label/.test(a.name)).map((a) => a.text)"
LABELS = f"{NAMES}.join('|')"
ZONE = f"{CANVAS}._fullLayout.shapes[0].x1"
RANGE = f"{CANVAS}._fullLayout.xaxis.range.join()"
ALONE = "#fig-roofline [data-isolate]"
# Boxes of what is written beside, above and along the roofs, as they stand on the screen.
BOXES = """[...document.querySelectorAll('#fig-roofline .annotation')].map((e) => {
  const box = e.querySelector('.annotation-text')?.getBoundingClientRect();
  return [e.textContent, box?.left, box?.top, box?.right, box?.bottom];
})"""

# How far the middle of each slope's name is from the point of its line that it names, in pixels.
ASTRAY = f"""(() => {{
  const {{ annotations, xaxis: x, yaxis: y }} = {CANVAS}._fullLayout;
  const paper = {CANVAS}.querySelector('.main-svg').getBoundingClientRect();
  const notes = annotations.map((note, index) => [note, index]).filter(([note]) => note.name === 'slope label');
  return notes.map(([note, index]) => {{
    const box = {CANVAS}.querySelector(`.annotation[data-index='${{index}}'] .annotation-text`).getBoundingClientRect();
    const right = (box.left + box.right) / 2 - paper.left - x._offset - x.l2p(note.x);
    const down = (box.top + box.bottom) / 2 - paper.top - y._offset - y.l2p(note.y);
    return Math.hypot(right, down);
  }});
}})()"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    run = simulated("sim:h200-sxm,gpus=2,sustained=0.88,noise=0.002:0.007,seed=3", budget=BUDGETS["standard"])
    kernels = [
        UserKernel("mine", gemm(4096, 4096, 4096, "bfloat16", "tensor"), 210e-6),
        UserKernel("too fast", Work(1e9, "vector", "float32", bytes=8e9), 1e-3),
    ]
    figures = []
    for each in fit(run):
        theory = datasheet(each.info)
        rows, placed = tidy.burst(tidy.cases(each, theory)), [place(each, kernel) for kernel in kernels]
        figures.append(roofline(each, theory, rows, (), placed))
    plot = Plot("fig-roofline", "Roofline", figures[0], variants=(("GPU 1", figures[1]),))
    lead = Section("roofline", "Roofline", plots=(plot,))
    document = Document("roofline", "roofline", simulated=True, lead=lead)
    found = tmp_path_factory.mktemp("selectors") / "page.html"
    found.write_text(html.render(document), encoding="utf-8")
    return found


@pytest.fixture
def page(browser, path):
    browser.open(path)
    browser.until(f"{CANVAS}.querySelector('.main-svg .trace') !== null")
    browser.until(f"{CANVAS}.dataset.clickable")
    # the controls are folded at first
    browser.press("#fig-roofline .selectors summary")
    return browser


def box(side: str, value: str) -> str:
    return f"#fig-roofline fieldset[data-side={side}] input[value='{value}']"


def toggled(page, side: str, value: str) -> list[str]:
    """What is shown after a control was used with the keyboard, as a reader without a mouse does."""
    before = page.evaluate(f"{SHOWN}.join()")
    page.press(box(side, value), Keys.SPACE)
    page.until(f"{SHOWN}.join() !== {before!r}")
    return page.evaluate(SHOWN)


def clicked(page, css: str, index: int = 0) -> None:
    page.evaluate(f"{CANVAS}.scrollIntoView({{ block: 'center', behavior: 'instant' }})")
    element = page.driver.find_elements("css selector", css)[index]
    ActionChains(page.driver).move_to_element(element).click().perform()


def test_opens_calm_with_the_headline_and_float32(page):
    shown = page.evaluate(SHOWN)
    assert {"roof dram", "roof tensor.bfloat16.library", "roof vector.float32.loop", "ridge roof"} <= set(shown)
    assert not [name for name in shown if "float8" in name or "int8" in name or "h2d" in name]
    assert "points GEMM shapes bfloat16" not in shown
    assert re.search(r"BF16 GEMM<br>8\d\d TFLOP/s sustained", page.evaluate(LABELS))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_slopes_name_lies_along_it_however_long_it_is(page, width):
    page.resize(width)
    page.until(f"{CANVAS}.clientWidth < {width}")
    page.until(f"{CANVAS}._fullLayout.width === {CANVAS}.clientWidth")
    found = page.until(f"(() => {{ const all = {ASTRAY}; return all.every((off) => off > 0) && all; }})()")
    assert found
    assert all(5 < off < 15 for off in found), found


def test_precision_shows_and_hides_roofs_points_labels_and_ridges(page):
    shown = toggled(page, "dtype", "float8_e4m3")
    assert "roof tensor.float8_e4m3.library" in shown
    assert "points GEMM over batch float8_e4m3" not in shown
    assert "points GEMM over batch float8_e4m3" in toggled(page, "probe", "GEMM over batch, other precisions")
    assert "FP8" in page.evaluate(LABELS)
    zone = page.evaluate(ZONE)
    toggled(page, "dtype", "bfloat16")
    shown = toggled(page, "dtype", "float8_e4m3")
    assert not [name for name in shown if "bfloat16" in name and not name.startswith("points your")]
    # only float32 is left: its ridge divides the zones, far left of the headline's
    assert page.evaluate(ZONE) < zone / 5
    assert "BF16" not in page.evaluate(LABELS)


def test_all_and_back(page):
    few = page.evaluate(f"{SHOWN}.length")
    page.press("#fig-roofline fieldset[data-side=dtype] [data-all=all]")
    page.until(f"{SHOWN}.length > {few} + 20")
    page.press("#fig-roofline fieldset[data-side=dtype] [data-all=first]")
    page.until(f"{SHOWN}.length === {few}")


def test_method_level_and_probe(page):
    assert not [name for name in toggled(page, "method", "datasheet") if name.startswith("datasheet")]
    assert "roof tensor.bfloat16.library" not in toggled(page, "method", "library")
    assert "roof h2d" in toggled(page, "level", "host")
    shown = toggled(page, "level", "dram")
    assert "roof dram" not in shown
    assert "roof shared" in shown
    assert "points attention decode bfloat16" not in toggled(page, "probe", "attention decode")
    assert "points your kernels" not in toggled(page, "probe", "your kernels")


def test_regime_is_one_of_three(page):
    shown = toggled(page, "regime", "burst")
    assert not [name for name in shown if "sustained" in name]
    assert "sustained" not in page.evaluate(LABELS)
    page.evaluate(f'document.querySelector("{box("regime", "sustained")}").click()')
    page.until(f"{SHOWN}.includes('sustained dram')")
    shown = page.evaluate(SHOWN)
    assert not [name for name in shown if name.startswith("roof ")]
    assert "sustained" in page.evaluate(LABELS)


def test_slopes_end_at_the_highest_roof_that_is_drawn(page):
    top = f"Math.max(...{CANVAS}._fullData.find((t) => t.meta === 'roof dram').y)"
    before = page.evaluate(top)
    toggled(page, "dtype", "float8_e4m3")
    assert page.evaluate(top) == pytest.approx(2 * before, rel=0.05)


def test_status_says_what_is_drawn(page):
    said = "document.querySelector('#fig-roofline [data-said]').textContent"
    before = page.evaluate(said)
    toggled(page, "probe", "attention decode")
    assert page.evaluate(said) != before
    assert "lines" in before


def test_a_click_on_the_legend_isolates_and_escape_restores(page):
    names = page.evaluate(f"[...{CANVAS}.querySelectorAll('.legendtext')].map((t) => t.textContent)")
    asked = "GEMM over batch, BF16"
    clicked(page, "#fig-roofline .legendtoggle", names.index(asked))
    page.until(f"document.querySelector('{ALONE}').value === {asked!r}")
    page.until(f"{FADED}.length > 10")
    assert not [name for name in page.evaluate(FADED) if name.startswith("points GEMM over batch")]
    ActionChains(page.driver).send_keys(Keys.ESCAPE).perform()
    page.until(f"{FADED}.length === 0")


def test_a_click_on_a_point_isolates_and_again_restores(page):
    symbol = "#fig-roofline .trace.scatter .point"
    find = (
        f"[...document.querySelectorAll('{symbol}')].findIndex((p) => {CANVAS}._fullData["
        f"{CANVAS}._fullData.findIndex((t) => t.uid === p.closest('.trace').classList[2]?.slice(5))"
        "]?.meta === 'points your kernels')"
    )
    for faded in (True, False):
        clicked(page, symbol, page.evaluate(find))
        page.until(f"{FADED}.length {'> 10' if faded else '=== 0'}")
        page.until(f"document.querySelector('{ALONE}').value === {'your kernels' if faded else ''!r}")


def test_isolates_by_keyboard(page):
    page.find(ALONE).send_keys("BF16 tensor")
    page.until(f"{FADED}.length > 10")
    faded = page.evaluate(FADED)
    assert "roof dram" in faded
    assert "roof tensor.bfloat16.library" not in faded
    assert "datasheet tensor.bfloat16.datasheet" not in faded


def test_theme_and_print_keep_the_choice_and_the_view(page):
    toggled(page, "dtype", "int8")
    page.press("#fig-roofline [data-act=fit]")
    page.until(f"{CANVAS}.dataset.moved")
    shown, view = page.evaluate(SHOWN), page.evaluate(RANGE)
    ink = f"{CANVAS}._fullLayout.font.color"
    light = page.evaluate(ink)
    page.press("#theme")
    page.press("#theme")
    page.until(f"{ink} !== {light!r}")
    assert page.evaluate(SHOWN) == shown
    assert page.evaluate(RANGE) == view
    page.pdf()
    page.until("window.printed")
    assert page.evaluate(SHOWN) == shown
    page.press("#fig-roofline [data-act=reset]")
    page.until(f"{RANGE} !== {view!r}")
    assert page.evaluate(SHOWN) == shown


def test_another_device_keeps_the_choice(page):
    toggled(page, "dtype", "int8")
    shown = page.evaluate(SHOWN)
    page.evaluate(f"{CANVAS}.dataset.before = {CANVAS}.layout.meta.device")
    page.find("#fig-roofline [data-variant]").send_keys("GPU 1")
    page.until(f"{CANVAS}.layout.meta.device === 'GPU 1'")
    assert page.evaluate(f"{CANVAS}.dataset.before") == "GPU 0"
    assert sorted(page.evaluate(SHOWN)) == sorted(shown)


@pytest.mark.parametrize(("width", "precisions"), [(1280, "all"), (1024, "first"), (390, "first")])
def test_no_name_lies_on_another_or_outside(browser, path, width, precisions):
    browser.open(path, width=width)
    browser.until(f"{CANVAS}.dataset.clickable")
    if precisions == "all":
        few = browser.evaluate(f"{NAMES}.length")
        browser.press("#fig-roofline .selectors summary")
        browser.press("#fig-roofline fieldset[data-side=dtype] [data-all=all]")
        browser.until(f"{NAMES}.length > {few}")
    start, edge = browser.evaluate(f"[{CANVAS}.getBoundingClientRect()].map((r) => [r.left, r.right])[0]")
    plot = start + browser.evaluate(f"[{CANVAS}._fullLayout.xaxis].map((x) => x._offset + x._length)[0]")
    names = browser.evaluate(NAMES)
    named = [re.sub("<.*?>", "", text) for text in names]
    # names along slopes are turned, and their boxes on the screen are larger than they are
    beside = {text for text in named if not text.endswith("B/s")}
    boxes = [box for box in browser.evaluate(BOXES) if box[0] in beside or "ridge" in box[0]]
    assert len(boxes) > 4
    for text, left, _, right, _ in boxes:
        assert right <= edge + 1, text
        assert left >= plot - 2 or "ridge" in text, text
    for a, b in combinations(boxes, 2):
        assert not (a[1] < b[3] - 1 and a[3] - 1 > b[1] and a[2] < b[4] - 3 and a[4] - 3 > b[2]), (a, b)


def test_a_hover_finds_a_line_everywhere(page):
    assert page.evaluate(f"{CANVAS}._fullData.find((t) => t.meta === 'roof dram').x.length") > 20


def test_controls_are_closed_at_first(browser, path):
    browser.open(path, width=390)
    assert browser.evaluate("document.querySelector('.selectors').open") is False
    browser.press(".selectors summary")
    browser.until("document.querySelector('.selectors').open")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate(
        "[...document.querySelectorAll('.selectors input')].every((i) => i.getBoundingClientRect().right <= innerWidth)"
    )


def test_every_control_has_a_name_and_a_group(browser, path):
    browser.open(path)
    unnamed = "[...document.querySelectorAll('.selectors input, .selectors select')].filter((i) => !i.labels.length)"
    assert browser.evaluate(f"{unnamed}.length") == 0
    assert browser.evaluate(
        "[...document.querySelectorAll('.selectors fieldset')].every((f) => f.querySelector('legend'))"
    )
    assert browser.complaints() == []
