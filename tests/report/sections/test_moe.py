"""What the section of a mixture of experts says of planted routings."""

import pytest

from bench.analysis.transformer_cases import experts as experts_of
from bench.report.sections.gemm import EXPECTED
from bench.work import Work
from tests.report.runs import by_hand, measured
from tests.report.sections.conftest import drawn, points, said, view


def experts(routing, tokens, distinct, seconds, fullest=3, size=1e6):
    params = {"routing": routing, "tokens": tokens, "experts": 8, "active": 2, "distinct": distinct}
    notes = {"fullest": str(fullest), "method": "grouped"}
    return measured("moe", params, Work(bytes=size), (seconds,) * 6, notes=notes)


ROWS = [
    experts("uniform", 1, 2, 1e-3, 1),
    experts("uniform", 4, 6, 3e-3, 2),
    experts("uniform", 64, 8, 4e-3, 20),
    experts("skewed", 4, 3, 1.5e-3, 4),
    experts("skewed", 64, 8, 6e-3, 50),
]


def test_skew_is_said_where_it_matters_and_the_expectation_is_drawn():
    text = said(by_hand(ROWS), "moe")
    assert "1 to 64 tokens touch 2 to 8 of 8 experts (2 a token) in 1.00 ms to 4.00 ms." in text
    assert "Skewed routing of 4 tokens touches 3 experts, uniform 6, and takes 0.500 times as long." in text
    assert "Of 64 tokens the fullest expert has 50, under uniform routing 20; that takes 1.50 times as long." in text
    # of 4 tokens 8 (1 - 0.75^4) = 5.47 are expected
    assert "within 9.7 % of the expected one" in text
    assert "Method: grouped." in text
    figures = drawn(by_hand(ROWS), "moe")
    xs, ys = points(figures["Experts touched"], EXPECTED)
    assert xs == [1, 4, 64]
    assert ys[:2] == pytest.approx([2, 5.46875]), "golden values MOE-1 and MOE-2 of the reference"
    assert points(figures["Time"], "skewed routing") == ([4, 64], [1.5e-3, 6e-3])


def test_the_expected_number_is_that_of_independent_choices():
    found = {row.tokens: row.expected for row in experts_of(view(by_hand(ROWS)).rows).itertuples()}
    assert found == pytest.approx({1: 2, 4: 5.46875, 64: 8}, rel=1e-6)


def test_the_expectation_has_the_colour_of_uniform_routing_or_its_own():
    rows = [experts("skewed", 4, 3, 1e-3), experts("uniform", 4, 6, 2e-3)]
    for kept, alike in ((rows, "uniform routing"), (rows[:1], None)):
        colours = {trace.name: trace.line.color for trace in drawn(by_hand(kept), "moe")["Experts touched"].data}
        same = [name for name in colours if name != EXPECTED and colours[name] == colours[EXPECTED]]
        assert same == ([alike] if alike else [])


def test_one_step_names_its_experts_and_skew_alone_is_compared_with_nothing():
    text = said(by_hand(ROWS[-1:]), "moe")
    assert "Measured with 8 experts (2 a token)." in text
    assert "Skewed" not in text
    assert "fullest" not in text


def test_the_share_of_the_roof_spans_worst_to_best():
    dram = measured("bandwidth", {"mix": "read", "bytes": 2**30}, Work(bytes=1e10), (1.0,) * 6, saturates="dram")
    rows = [dram, experts("uniform", 1, 2, 1e-3, size=5e6), experts("uniform", 64, 8, 1e-3, size=9e6)]
    text = said(by_hand(rows), "moe")
    assert "It reaches 50.0 % (1 token, DRAM) to 90.0 % (64 tokens, DRAM) of the roof that limits it." in text
    assert points(drawn(by_hand(rows), "moe")["Share of the roof"], "uniform routing") == (
        [1, 64],
        pytest.approx([50, 90]),
    )
    assert "It reaches 50.0 % (1 token, DRAM) of the roof" in said(by_hand(rows[:2]), "moe")
