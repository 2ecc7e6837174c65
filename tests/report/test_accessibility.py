"""The page can be used without a mouse, and by those who see little: keyboard, names, contrast, motion, axe-core."""

from itertools import product

import pytest
from selenium.webdriver.common.keys import Keys

from tests.report.browser import THINNED

CONTROLS = "a[href], button, summary, input, select, textarea, [tabindex='0']"


LOOKS = list(product((1440, 1024, 390, 360), ("light", "dark")))


# Axe takes seconds of a large page. What closed folds show, open ones show too: all looks are for these.
@pytest.mark.parametrize(
    ("name", "closed", "unfolded"),
    [
        ("kept", [(1440, "dark"), (360, "light")], LOOKS),
        ("node", [(1024, "light"), (390, "dark")], [(1440, "light"), (360, "dark")]),
    ],
)
def test_axe_finds_nothing_at_any_width_in_any_light(browser, written, name, closed, unfolded):
    """Best-practice rules included."""
    browser.open(written(name)[1])
    browser.evaluate(THINNED)
    found = {}
    for folds, looks in (("closed", closed), ("open", unfolded)):
        if folds == "open":
            browser.unfold()
            browser.figures()
        for width, scheme in looks:
            browser.resize(width)
            browser.prefer(scheme)
            found[folds, width, scheme] = browser.violations()
    assert {look: lines for look, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("name", "scheme", "width"), [("cut", "light", 1280), ("skipped", "dark", 390), ("hostile", "dark", 390)]
)
def test_axe_finds_nothing_in_odd_runs(browser, written, name, scheme, width):
    browser.open(written(name)[1], scheme, width)
    browser.evaluate(THINNED)
    browser.unfold()
    browser.figures()
    assert browser.violations(figures=True) == []


def test_axe_would_find_what_breaks(browser, written):
    """Broken on purpose, so that finding nothing above means something."""
    browser.open(written("kept")[1])
    browser.evaluate(THINNED)
    browser.evaluate("""
        for (const box of document.querySelectorAll("[role='region']")) box.ariaLabel = "a table";
        for (const details of document.querySelectorAll("details")) details.open = true;
        document.querySelector("#theme").textContent = "";
        document.querySelector("nav a").textContent = "";
        document.querySelector("[data-figure]").removeAttribute("aria-label");
        document.documentElement.style.setProperty("--muted", "light-dark(#aaaaaa, #555555)")""")
    found = {line.split()[0] for line in browser.violations()}
    assert {"button-name", "link-name", "role-img-alt", "color-contrast", "landmark-unique"} <= found


@pytest.mark.parametrize(("name", "folds"), [("kept", "open"), ("node", "closed")])
def test_tab_reaches_every_control_and_shows_where_it_is(browser, written, name, folds):
    browser.open(written(name)[1])
    if folds == "open":
        browser.unfold()
    browser.evaluate("""
        window.reached = new Set(); window.unseen = [];
        addEventListener("focusin", ({ target }) => {
          reached.add(target);
          const { outlineStyle, outlineWidth } = getComputedStyle(target);
          if (outlineStyle === "none" || parseFloat(outlineWidth) < 1) unseen.push(target.outerHTML.slice(0, 120));
        })""")
    # of radio buttons the chosen one is reached; arrows go to the others
    controls = f"""[...document.querySelectorAll("{CONTROLS}")].filter(
        (c) => c.checkVisibility() && !c.disabled && (c.type !== "radio" || c.checked))"""
    count = browser.evaluate(f"{controls}.length")
    assert count > 20
    # one more, for what lies between the page's end and its beginning
    browser.find("body").send_keys(Keys.TAB * (count + 1))
    assert browser.evaluate(f"{controls}.filter((c) => !reached.has(c)).map((c) => c.outerHTML.slice(0, 120))") == []
    assert browser.evaluate("unseen") == []
    if folds == "closed":
        assert browser.evaluate("reached.size") < 80


def test_the_first_tab_offers_to_skip_the_navigation(browser, written):
    browser.open(written("node")[1], width=390)
    at = "document.activeElement"
    browser.find("body").send_keys(Keys.TAB)
    assert browser.evaluate(f"{at}.className") == "skip"
    assert browser.evaluate(f"{at}.getBoundingClientRect().top") >= 0
    assert browser.evaluate(f"((box) => document.elementFromPoint(box.left + 5, box.top + 5) === {at})"
                            f"({at}.getBoundingClientRect())")  # fmt: skip
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.evaluate(f"{at}.id") == "main"
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.evaluate(f"document.querySelector('main').contains({at})")


def test_the_device_and_what_is_drawn_are_chosen_by_keyboard(browser, written):
    browser.open(written("node")[1])
    browser.figure("fig-roofline")
    canvas = "document.querySelector('#fig-roofline .canvas')"
    shown = browser.evaluate(f"{canvas}.data.map((trace) => String(trace.y)).join()")
    browser.press("#fig-roofline [data-variant]", Keys.DOWN)
    browser.until(f"{canvas}.data.map((trace) => String(trace.y)).join() !== {shown!r}")
    browser.press("#fig-roofline .selectors summary")
    assert browser.evaluate("document.querySelector('#fig-roofline .selectors').open")
    box = "#fig-roofline .selectors input:not(:checked)"
    seen = "document.querySelector('#fig-roofline [data-said]').textContent"
    words = browser.evaluate(seen)
    browser.press(box, Keys.SPACE)
    browser.until(f"{seen} !== {words!r}")


def test_what_is_pressed_is_no_smaller_than_24_pixels(browser, written):
    browser.open(written("node")[1], width=390)
    browser.unfold()
    small = browser.evaluate("""[...document.querySelectorAll("th button, button, select, summary, fieldset label")]
        .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 24)
        .map((each) => each.outerHTML.slice(0, 120))""")
    assert small == []


def test_every_control_has_a_name(browser, written):
    browser.open(written("node")[1])
    browser.evaluate(THINNED)
    browser.unfold()
    labels = browser.evaluate("[...document.querySelectorAll('[data-figure]')].map((each) => each.ariaLabel)")
    assert len(labels) == len(set(labels)) >= 12
    nodes = browser.devtools("Accessibility.getFullAXTree")["nodes"]
    focusable = [
        node
        for node in nodes
        if any(p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", []))
        and node["role"]["value"] not in ("RootWebArea", "main")  # no controls: where the keyboard may begin
    ]
    assert len(focusable) > 20
    assert [node["role"]["value"] for node in focusable if not node.get("name", {}).get("value", "").strip()] == []


def test_summaries_and_links_obey_the_keyboard(browser, written):
    browser.open(written("kept")[1])
    state = "document.querySelector('#roofline details').open"
    before = browser.evaluate(state)
    browser.press("#roofline summary", Keys.SPACE)
    assert browser.evaluate(state) is not before
    browser.press("nav a[href='#group-GEMM']")
    assert browser.evaluate("location.hash") == "#group-GEMM"
    # a link into a fold opens it, as soon as the page hears of the new address
    assert browser.until("document.querySelector('#group-GEMM').open")


@pytest.mark.parametrize(("name", "width"), [("kept", 1280), ("node", 390)])
def test_every_link_of_the_navigation_arrives(browser, written, name, width):
    browser.open(written(name)[1], width=width)
    # a figure takes its height when it is drawn, and what lies below it moves
    browser.figures()
    targets = browser.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.hash).filter(Boolean)")
    assert len(targets) > 8
    for hash in targets[:: max(1, len(targets) // 4)] + targets[-1:]:
        # nothing lies over the link
        uncovered = browser.evaluate(f"""(() => {{
            const link = document.querySelector('nav a[href="{hash}"]');
            const {{ left, right, top, bottom }} = link.getBoundingClientRect();
            const met = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
            link.click();
            return met === link;
        }})()""")
        assert uncovered, hash
        box = f"(({{ top, bottom }}) => [top, bottom])(document.querySelector('{hash} h2').getBoundingClientRect())"
        top, bottom = browser.evaluate(box)
        covered = browser.evaluate("document.querySelector('nav').getBoundingClientRect().bottom")
        assert covered <= top + 1, "under the navigation"
        assert bottom <= 900
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_motion_is_reduced_where_it_is_asked_for(browser, written):
    smooth = "getComputedStyle(document.documentElement).scrollBehavior"
    browser.open(written("kept")[1], motion="no-preference")
    assert browser.evaluate(smooth) == "smooth"
    browser.prefer("light", "reduce")
    assert browser.evaluate(smooth) == "auto"
    browser.press("#theme")
    assert browser.evaluate("document.getAnimations().length") == 0
    browser.evaluate("location.hash = '#environment'")
    first = browser.evaluate("scrollY")
    assert first > 0
    assert browser.evaluate("new Promise((done) => setTimeout(() => done(scrollY), 300))") == first
