"""A reader chooses what the roofline shows: controls hide and show, a click isolates, nothing forgets the choice."""

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from bench import report
from bench.analysis.placed import Kernel
from bench.budget import BUDGETS
from bench.work import Work, gemm
from tests.report.runs import simulated

CANVAS = "document.querySelector('#fig-roofline .canvas')"
SHOWN = f"{CANVAS}._fullData.filter((t) => t.visible === true).map((t) => t.meta)"
# bands are as faint by themselves
FADED = (
    f"{CANVAS}._fullData.filter((t) => t.visible === true && t.opacity < 0.2 && !t.meta.startsWith('band'))"
    ".map((t) => t.meta)"
)
LABELS = (
    f"{CANVAS}._fullLayout.annotations.filter((a) => /roof label|slope label/.test(a.name))"
    ".map((a) => a.text).join('|')"
)
ZONE = f"{CANVAS}._fullLayout.shapes[0].x1"
RANGE = f"{CANVAS}._fullLayout.xaxis.range.join()"
ALONE = "#fig-roofline [data-isolate]"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    run = simulated("sim:h200-sxm,sustained=0.88,noise=0.002:0.007,seed=3", budget=BUDGETS["standard"])
    kernels = [
        Kernel("mine", gemm(4096, 4096, 4096, "bfloat16", "tensor"), 210e-6),
        Kernel("too fast", Work(1e9, "vector", "float32", bytes=8e9), 1e-3),
    ]
    return report.write(run, tmp_path_factory.mktemp("selectors") / "page.html", points=kernels)


@pytest.fixture
def page(browser, path):
    browser.open(path)
    browser.until(f"{CANVAS}.querySelector('.main-svg .trace') !== null")
    browser.until("document.querySelector('#fig-roofline .canvas').dataset.clickable")
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
    assert {"roof dram", "roof tensor.bfloat16.library", "roof vector.float32.loop", "ridge headline"} <= set(shown)
    assert not [name for name in shown if "float8" in name or "int8" in name or "h2d" in name]
    assert ", sustained" in page.evaluate(LABELS)


def test_precision_shows_and_hides_roofs_points_labels_and_ridges(page):
    shown = toggled(page, "dtype", "float8_e4m3")
    assert "roof tensor.float8_e4m3.library" in shown
    assert "points GEMM over batch float8_e4m3" in shown
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
    assert not [name for name in toggled(page, "method", "datasheet") if name.startswith("theory")]
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
    clicked(page, "#fig-roofline .legendtoggle", names.index("GEMM shapes"))
    page.until(f"document.querySelector('{ALONE}').value === 'GEMM shapes'")
    page.until(f"{FADED}.length > 10")
    assert not [name for name in page.evaluate(FADED) if name.startswith("points GEMM shapes")]
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
    assert "theory tensor.bfloat16.datasheet" not in faded


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


def test_controls_are_closed_at_first_on_a_narrow_screen(browser, path):
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
