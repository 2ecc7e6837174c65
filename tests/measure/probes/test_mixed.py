"""A step of decoding sequences and a prompt's chunk: each as if it were alone, and what the chunk adds."""

import pytest
import torch

from bench.measure.budget import BUDGETS
from bench.measure.device import cpu
from bench.measure.device.sim import open_simulated
from bench.measure.probes import describe, probes
from bench.measure.session import session
from bench.measure.workloads import layers
from bench.measure.workloads.layers import SHAPES, Shape, Span

TOY = Shape("toy", 1, 48, 6, 2, 8, 80)


def test_neither_sees_the_other():
    """The rows of a mixed step are those of the decode step and of the prefill, each run alone."""
    device = cpu.open_cpu(seed=7)
    spans = [Span(3, 1, 11), Span(1, 6, 6)]
    hidden, delta, weights, table, caches, new = layers.setup(TOY, spans, "float32", device).launches[0].args
    together = layers.layer(hidden, delta, weights, table, caches, new)
    begin = 0
    for span, cache, tokens in zip(spans, caches, new, strict=True):
        rows = slice(begin, begin + span.tokens)
        alone = layers.layer(hidden[rows], delta[rows], weights, table[rows], [cache], [tokens])
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found[rows], expected)
        begin += span.tokens


def test_the_chunk_adds_its_own_work_and_reads_no_weights_again():
    """A worked mixed step beside a decode step: 8 sequences of 1024 tokens and a chunk of 512."""
    shape = SHAPES[0]
    alone = layers.whole(shape, [Span(8, 1, 1024)], "bfloat16", "tensor")
    both = layers.whole(shape, [Span(8, 1, 1024), Span(1, 512, 512)], "bfloat16", "tensor")
    assert both.flops == 26172456960 + 134217728 + 2151677952 + 17448304640 + 122138132480 + 61069066240
    cache = 512 * 2 * 8 * 128 * 2
    assert both.bytes - alone.bytes == cache + 512 * (4 * 4096 * 2 + 4 * 128)


def test_cases_are_a_grid_with_the_step_alone():
    device = open_simulated("sim:h200-sxm")[0]
    cases = describe(device.info, probes()["mixed"], BUDGETS["standard"])
    assert {(c.params["batch"], c.params["chunk"]) for c in cases} == {
        (batch, chunk) for batch in (8, 64) for chunk in (0, 64, 256, 1024, 4096)
    }
    thin = describe(device.info, probes()["mixed"], BUDGETS["quick"])
    assert {c.params["chunk"] for c in thin} >= {0, 4096}


def test_a_step_stretches_with_its_chunk():
    """On a datasheet: not at all while the products still wait for weights, then in proportion."""
    device = open_simulated("sim:h200-sxm")[0]
    found = {
        (m.params["batch"], m.params["chunk"]): m.median
        for m in session(device, [probes()["mixed"]], BUDGETS["standard"])
        if m.seconds
    }
    for batch in (8, 64):
        times = [found[batch, chunk] for chunk in (0, 64, 256, 1024, 4096)]
        assert times == sorted(times)
        assert times[1] / times[0] == pytest.approx(1, abs=0.02)
        assert times[4] / times[3] == pytest.approx(4, rel=0.2)
