"""The page can be used without a mouse, and by those who see little: keyboard, names, contrast, motion, axe-core."""

import pytest
from selenium.webdriver.common.keys import Keys

from tests.report.browser import THINNED
from tests.report.conftest import RUNS

CONTROLS = "a[href], button, summary, input, select, textarea, [tabindex='0']"


# Colours go by the scheme, layout by the width, and what there is to see by the Run: each page is looked at, and each
# scheme at each width.
LOOKS = [
    ("kept", "light", 1280),
    ("node", "light", 390),
    ("cut", "dark", 1280),
    ("skipped", "dark", 390),
    ("hostile", "dark", 390),
]


def test_every_page_is_looked_at():
    assert {name for name, _, _ in LOOKS} == set(RUNS)


@pytest.mark.parametrize(("name", "scheme", "width"), LOOKS)
def test_axe_finds_nothing_serious(browser, written, name, scheme, width):
    browser.open(written(name)[1], scheme, width)
    browser.evaluate(THINNED)
    browser.figures()
    assert browser.violations() == []


def test_axe_would_find_what_breaks(browser, written):
    """Broken on purpose, so that finding nothing above means something."""
    browser.open(written("kept")[1])
    browser.evaluate(THINNED)
    browser.evaluate("""
        document.querySelector("#theme").textContent = "";
        document.querySelector("nav a").textContent = "";
        document.querySelector("[data-figure]").removeAttribute("aria-label");
        document.documentElement.style.setProperty("--muted", "light-dark(#aaaaaa, #555555)")""")
    found = {line.split()[0] for line in browser.violations()}
    assert {"button-name", "link-name", "role-img-alt", "color-contrast"} <= found


def test_tab_reaches_every_control_and_shows_where_it_is(browser, written):
    browser.open(written("kept")[1])
    browser.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    browser.evaluate("""
        window.reached = new Set(); window.unseen = [];
        addEventListener("focusin", ({ target }) => {
          reached.add(target);
          const { outlineStyle, outlineWidth } = getComputedStyle(target);
          if (outlineStyle === "none" || parseFloat(outlineWidth) < 1) unseen.push(target.outerHTML.slice(0, 120));
        })""")
    controls = f'[...document.querySelectorAll("{CONTROLS}")].filter((c) => c.checkVisibility() && !c.disabled)'
    count = browser.evaluate(f"{controls}.length")
    assert count > 20
    # one more, for what lies between the page's end and its beginning
    browser.find("body").send_keys(Keys.TAB * (count + 1))
    assert browser.evaluate(f"{controls}.filter((c) => !reached.has(c)).map((c) => c.outerHTML.slice(0, 120))") == []
    assert browser.evaluate("unseen") == []


def test_every_control_has_a_name(browser, written):
    browser.open(written("kept")[1])
    browser.evaluate(THINNED)
    nodes = browser.devtools("Accessibility.getFullAXTree")["nodes"]
    focusable = [
        node
        for node in nodes
        if any(p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", []))
        and node["role"]["value"] != "RootWebArea"
    ]
    assert len(focusable) > 20
    assert [node["role"]["value"] for node in focusable if not node.get("name", {}).get("value", "").strip()] == []


def test_summaries_and_links_obey_the_keyboard(browser, written):
    browser.open(written("kept")[1])
    state = "document.querySelector('#roofline details').open"
    before = browser.evaluate(state)
    browser.press("#roofline summary", Keys.SPACE)
    assert browser.evaluate(state) is not before
    browser.press("nav a[href='#methods']")
    assert browser.evaluate("location.hash") == "#methods"


@pytest.mark.parametrize(("name", "width"), [("kept", 1280), ("node", 390)])
def test_every_link_of_the_navigation_arrives(browser, written, name, width):
    browser.open(written(name)[1], width=width)
    # a figure takes its height when it is drawn, and what lies below it moves
    browser.figures()
    targets = browser.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.hash)")
    assert len(targets) > 8
    for hash in targets[:: max(1, len(targets) // 4)] + targets[-1:]:
        # the reader slides the navigation sideways until the link shows, and nothing lies over it
        uncovered = browser.evaluate(f"""(() => {{
            const link = document.querySelector('nav a[href="{hash}"]');
            link.scrollIntoView({{ block: "nearest", inline: "center" }});
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
