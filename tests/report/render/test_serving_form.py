"""A reader asks the page: every control by keyboard, Python's own answers, and a clear line where there is none."""

import pytest
from selenium.webdriver.common.keys import Keys

from bench import models
from bench.analysis.serving.machine_io import of_run
from bench.analysis.serving.planner import Planner
from bench.analysis.serving.request import ServingRequest, served
from bench.report import serving
from bench.report.render import html
from bench.units import seconds
from tests.report.browser import THINNED
from tests.report.serving_machines import CLAIMS, measured_fit

SAID = "document.querySelector('#serving-said').textContent"
TILES = "Object.fromEntries([...document.querySelectorAll('#serving-tiles .tile')].map((tile) => [tile.querySelector('dt').textContent, tile.querySelector('.value').textContent]))"  # noqa: E501


@pytest.fixture(scope="module")
def measured():
    return measured_fit()


@pytest.fixture(scope="module")
def page(measured, tmp_path_factory):
    made = tmp_path_factory.mktemp("serving") / "page.html"
    made.write_text(html.render(serving.page(measured, lambda fit, machine: CLAIMS)), encoding="utf-8")
    return made


@pytest.fixture
def asked(browser, page):
    browser.open(page)
    browser.until("document.querySelector('#serving-form')?.dataset.ready")
    return browser


def filled(page, name: str, text: str) -> None:
    box = page.find(f"#serving-form [name={name}]")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(text)


def picked(page, name: str, text: str) -> None:
    """Chosen by its first letters, as a reader without a mouse does."""
    page.find(f"#serving-form [name={name}]").send_keys(text)


def test_the_page_answers_at_once_and_asks_nothing_of_the_network(asked):
    assert set(asked.evaluate(TILES)) == {
        "Time per token",
        "Per user",
        "System",
        "First token",
        "Largest batch",
        "Binds",
    }
    assert asked.complaints() == []
    assert len(asked.requests()) == 1


def test_the_answer_follows_the_controls_and_is_pythons(asked, measured):
    picked(asked, "model", "Mistral")
    picked(asked, "weights", "INT8")
    filled(asked, "batch", "4")
    filled(asked, "context", "2048")
    machine, model = of_run(measured), models.model("Mistral-7B")
    planner = Planner(model, machine, ServingRequest(precision=served("int8", "bf16"), prompt=2048))
    found = asked.evaluate(TILES)
    assert found["Time per token"] == seconds(planner.decode(4, 2048).seconds)
    assert found["First token"] == seconds(planner.prefill(2048).seconds)
    assert found["Largest batch"] == f"{planner.fits(2048 + 256).batch:,}"
    assert asked.evaluate(SAID).startswith("Mistral-7B, INT8 weights, BF16 KV, 1 device, batch 4: ")


def test_what_cannot_be_is_one_clear_line_and_no_numbers(asked):
    filled(asked, "context", "10000000")
    assert asked.evaluate(SAID).startswith("Impossible: Llama-3.1-8B takes 131,072 tokens")
    assert asked.evaluate(TILES) == {}
    filled(asked, "context", Keys.DELETE)
    assert asked.evaluate(SAID) == "Impossible: Context must be a whole number of 1 or more."


def test_what_does_not_fit_is_one_clear_line_with_the_largest_batch(asked):
    picked(asked, "model", "Kimi")
    assert asked.evaluate(SAID).startswith("Does not fit: Kimi-K2")
    assert asked.evaluate(TILES) == {"Largest batch": "0"}
    assert asked.evaluate("document.querySelector('#serving-rows').hidden")


def test_the_status_is_announced_and_the_first_answer_comes_back(asked):
    assert asked.find("#serving-said").get_attribute("aria-live") == "polite"
    before = asked.evaluate(SAID)
    filled(asked, "batch", "2")
    assert asked.evaluate(SAID) != before
    asked.press("#serving-form button[type=reset]")
    asked.until(f"{SAID} === {before!r}")


def test_the_operators_of_the_step_add_up_and_can_be_sorted(asked):
    asked.press("#serving-rows summary", Keys.SPACE)
    shares = "[...document.querySelectorAll('#serving-live tbody tr')].map((row) => Number(row.cells[4].dataset.v))"
    found = asked.evaluate(shares)
    assert sum(found) == pytest.approx(1, abs=0.01)
    assert found == sorted(found, reverse=True)
    asked.press("#serving-live th:nth-child(5) button")
    assert asked.evaluate(shares) == sorted(found)


def test_the_choice_is_drawn_over_the_figure(asked, measured):
    asked.evaluate("document.querySelector('#fig-serving-pareto').scrollIntoView()")
    asked.until("document.querySelector('#fig-serving-pareto .main-svg .trace') !== null")
    own = "document.querySelector('#fig-serving-pareto .canvas')._fullData.find((t) => t.meta === 'own')"
    assert not asked.evaluate(f"{own}?.x?.length")
    picked(asked, "weights", "INT8")
    assert asked.until(f"{own}.x.length") > 3
    planner = Planner(models.model("Llama-3.1-8B"), of_run(measured), ServingRequest(precision=served("int8", "bf16")))
    drawn = dict(zip(asked.evaluate(f"{own}.x"), asked.evaluate(f"{own}.y"), strict=True))
    rates = [planner.decode(batch, 1024).seconds for batch in (1, 2, 4)]
    assert list(drawn)[:3] == pytest.approx([1 / rate for rate in rates])
    assert list(drawn.values())[:3] == pytest.approx([1 / rates[0], 2 / rates[1], 4 / rates[2]])
    assert asked.evaluate(f"{own}.visible") is True


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious_and_nothing_sticks_out(asked, scheme, width):
    asked.prefer(scheme)
    asked.resize(width)
    asked.evaluate(THINNED)
    asked.figures()
    assert asked.violations() == []
    assert asked.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picked(asked, "model", "Kimi")
    assert asked.violations() == []


def test_tab_reaches_every_control_of_the_form(asked):
    count = asked.evaluate("""(() => {
        window.reached = new Set();
        addEventListener("focusin", ({ target }) => reached.add(target));
        window.wanted = [...document.querySelectorAll("#serving-form :is(select, input, button, summary)")].filter((c) => c.checkVisibility());
        return wanted.length;
    })()""")  # noqa: E501
    assert count == 9
    asked.find("#serving-form select").send_keys(Keys.TAB * count)
    assert asked.evaluate("wanted.filter((control) => !reached.has(control)).length") == 0
    assert asked.evaluate("wanted.every((c) => c.labels?.length || c.textContent.trim())")


def test_a_hostile_claim_stays_text(asked):
    assert asked.evaluate("[...document.querySelectorAll('#claims b')].every((each) => each.textContent !== 'x')")
    assert "<b>x</b></script>" in asked.evaluate("document.querySelector('#claims').textContent")


def test_paper_has_the_answers(asked):
    assert asked.pdf()[:4] == b"%PDF"
