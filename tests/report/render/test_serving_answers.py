"""The page's evaluator and Python agree: a thousand random questions to node, and some of them to a browser, of every
kind of machine.
"""

import json
import shutil

import pytest

from bench.analysis.serving.export import exported
from bench.models import models
from tests.report.serving_machines import MACHINES
from tests.report.serving_points import ASKED, LABELS, SCRIPT, choices, differences, node, python

# A browser has node's engine: what it is asked shows that it hands the same script the same numbers.
POINTS, IN_A_BROWSER = 1000, 200
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="no node on the PATH")


@pytest.fixture(scope="module", params=MACHINES)
def machine(request):
    return MACHINES[request.param]()


@pytest.fixture(scope="module")
def known(machine):
    """A function that gives Python's answers to the first so many questions, each worked out once."""
    found = []

    def answers(count: int) -> list[dict]:
        found.extend(python(machine, choice) for choice in choices(count)[len(found) :])
        return found[:count]

    return answers


def compared(answers, known) -> int:
    """How many of the questions were answered with times; fails on the first that Python answers otherwise."""
    count, timed = len(answers), 0
    for choice, ours, theirs in zip(choices(count), answers, known(count), strict=True):
        assert "problem" not in ours
        assert differences(ours, theirs) == [], (models()[choice["model"]].name, choice)
        timed += "step" in theirs
    return timed


@needs_node
def test_node_answers_as_python_does(machine, known):
    answers = node(exported(machine), choices(POINTS))
    assert compared(answers, known) > POINTS / 4


def test_a_browser_answers_as_python_does(machine, known, browser):
    browser.driver.get("about:blank")
    data = json.dumps([exported(machine), choices(IN_A_BROWSER)])
    browser.evaluate(f"{SCRIPT}; window.asked = JSON.stringify({ASKED}(...{data})); 0")
    assert compared(json.loads(browser.evaluate("asked")), known) > IN_A_BROWSER / 4


@needs_node
@pytest.mark.parametrize("change", ["roof", "start", "page", "weights", "count"])
def test_a_difference_would_be_seen(change):
    """Broken on purpose, so that agreeing above means something."""
    machine = MACHINES["datasheet"]()
    data = json.loads(json.dumps(exported(machine)))
    if change == "roof":
        data["roofs"][0][1] *= 1 + 1e-5
    elif change == "start":
        data["machine"]["start"] *= 1 + 1e-4
    elif change == "page":
        data["machine"]["page"] = 64
    elif change == "weights":
        data["weights"][0]["bytes"] += 1e-4
    else:
        for model in data["models"]:
            model["ranks"]["1"]["decode"][2]["count"] += 1
    asked = [choice | {"weights": 0, "devices": 1} for choice in choices(200)]
    answers = node(data, asked)
    assert any(
        differences(ours, python(machine, choice))
        for choice, ours in zip(asked, answers, strict=True)
        if "problem" not in ours
    )


@needs_node
def test_parts_add_up_to_the_step(machine):
    for answer in node(exported(machine), choices(50, seed=7)):
        if answer.get("step"):
            step = answer["step"]
            assert sum(step["parts"][label] for label in LABELS) == pytest.approx(step["seconds"], rel=1e-12)


@needs_node
def test_what_cannot_be_is_said_in_one_line(machine):
    known = [model.name for model in models()]
    fine = {"model": known.index("Llama-3.1-8B"), "weights": 4, "kv": 1, "devices": 1, "batch": 1, "context": 512}
    fine |= {"output": 64}
    wrong = [
        ({"batch": 0}, "Batch must be a whole number of 1 or more."),
        ({"batch": 1.5}, "Batch must be a whole number of 1 or more."),
        ({"batch": None}, "Batch must be a whole number of 1 or more."),
        ({"context": -3}, "Context must be a whole number of 1 or more."),
        ({"output": 0}, "Output must be a whole number of 1 or more."),
        ({"context": 131072}, "Llama-3.1-8B takes 131,072 tokens; context and output are 131,136."),
    ]
    answers = node(exported(machine), [fine | change for change, _ in wrong] + [fine])
    assert [answer.get("problem") for answer in answers] == [*(text for _, text in wrong), None]


@needs_node
def test_a_layout_that_a_model_does_not_divide_into_is_named(machine):
    data = json.loads(json.dumps(exported(machine, models()[:1])))
    assert set(data["models"][0]["ranks"]) == {"1", "2", "4", "8"}
    from dataclasses import replace

    odd = replace(models()[0], name="Odd", heads=6, kv_heads=6)
    answer = node(exported(machine, [odd]), [{"model": 0, "weights": 0, "kv": 0, "devices": 4, "batch": 1,
                                              "context": 8, "output": 8}])[0]  # fmt: skip
    assert answer["problem"].startswith("Odd: 4 tensor-parallel ranks cannot share its 6 heads")


@needs_node
def test_what_does_not_fit_says_by_how_much_and_how_many_would_do():
    number = [model.name for model in models()].index("Llama-3.1-405B")
    asked = {"model": number, "weights": 0, "kv": 0, "devices": 2, "batch": 4, "context": 1000, "output": 24}
    answer = node(exported(MACHINES["datasheet"]()), [asked])[0]
    assert answer["memory"]["most"] == 0
    assert answer["enough"] == 8
    assert answer["short"] == pytest.approx(
        answer["memory"]["weights"] + 4 * answer["memory"]["sequence"] - answer["memory"]["room"]
    )
