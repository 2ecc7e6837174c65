"""What the section of chunked prefill says of planted steps with and without a chunk."""

import pytest

from bench.analysis.transformer_cases import chunked
from bench.work import Work
from tests.report.runs import by_hand, measured
from tests.report.sections.conftest import drawn, points, said, section, view

TIMES = {(8, 0): 10e-3, (8, 64): 15e-3, (8, 256): 60e-3, (64, 0): 20e-3, (64, 256): 70e-3}


def steps(times, **more):
    return by_hand(
        [
            measured("mixed", {"batch": batch, "chunk": chunk}, Work(bytes=1e6), (seconds,) * 6, **more)
            for (batch, chunk), seconds in times.items()
        ]
    )


def test_a_chunk_slows_the_step_of_its_own_batch():
    run = steps(TIMES)
    text = said(run, "mixed")
    assert "Batch 8: decode takes 6.00 times as long with 256 prompt tokens, less than twice up to 64." in text
    assert "Batch 64: decode takes 3.50 times as long with 256 prompt tokens." in text
    # 50 ms more for 256 tokens, beside either batch
    assert "In a chunk of 256 each prompt token adds 195 µs at batch 8 and 195 µs at batch 64." in text
    assert "a later one reads its prefix too" in section(run, "mixed").plots[0].caption
    figures = drawn(run, "mixed")
    assert points(figures["Slowdown"], "batch 8") == ([64, 256], pytest.approx([1.5, 6]))
    assert points(figures["Time of a step"], "batch 8, without the chunk") == ([64, 256], [10e-3, 10e-3])
    assert points(figures["Cost of a prompt token"], "batch 64") == ([256], pytest.approx([50e-3 / 256]))
    dashes = {trace.name: trace.line.dash for trace in figures["Time of a step"].data}
    assert dashes["batch 8"] == "solid"
    assert dashes["batch 8, without the chunk"] == "dot"


def test_a_chunk_that_is_felt_at_once_says_so():
    text = said(steps({(8, 0): 1e-3, (8, 64): 3e-3, (8, 256): 9e-3}), "mixed")
    assert "9.00 times as long with 256 prompt tokens, 3.00 times already with 64." in text


def test_a_chunk_that_costs_nothing_measurable_is_not_drawn_below_zero():
    run = steps({(8, 0): 10e-3, (8, 64): 9.9e-3})
    assert "adds" not in said(run, "mixed")
    assert "Cost of a prompt token" not in drawn(run, "mixed")


def test_chunks_without_a_step_alone_say_so():
    assert said(steps({(8, 64): 1e-3}), "mixed") == "No step was measured both with a chunk and without one."


def test_a_ratio_is_as_valid_as_the_worse_of_its_two():
    about = {"validity": "suspect", "reasons": ("hot",)}
    doubtful, fine = steps({(8, 0): 1e-3}, **about).measurements, steps({(8, 64): 2e-3}).measurements
    run = by_hand([*doubtful, *fine])
    assert list(chunked(view(run).rows)["validity"]) == ["suspect"]
    assert drawn(run, "mixed")["Slowdown"].data[0].marker.symbol[0].endswith("-open")
    assert not drawn(steps(TIMES), "mixed")["Slowdown"].data[0].marker.symbol[0].endswith("-open")
