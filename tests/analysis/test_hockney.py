"""Latency and bandwidth from times over size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.hockney import line

SIZES = [2**p for p in range(10, 34, 2)]


@given(st.floats(1e-7, 1e-3), st.floats(1e8, 1e12))
def test_a_line_is_found_again(alpha, beta):
    found = line([(size, alpha + size / beta) for size in SIZES])
    assert found.alpha == pytest.approx(alpha, rel=1e-6)
    assert found.beta == pytest.approx(beta, rel=1e-6)
    assert found.misfit < 1e-6
    assert found.seconds(found.half) == pytest.approx(2 * alpha, rel=1e-6)


def test_every_size_counts_alike():
    """Ten percent on the largest must not cost the smallest its latency."""
    points = [(size, 1e-5 + size / 1e11) for size in SIZES]
    points[-1] = (points[-1][0], points[-1][1] * 1.1)
    assert line(points).alpha == pytest.approx(1e-5, rel=0.02)


def test_what_is_no_line_is_none():
    assert line([(1024, 1e-5), (2048, 1e-5), (4096, 1e-5)]) is None
    assert line([]) is None
    falling = [(size, 1.0 / size) for size in SIZES]
    assert line(falling) is None or line(falling).misfit > 0.5
    assert line([(1024, 1e-5)] * 9) is None


def test_a_change_of_protocol_shows_as_misfit():
    points = [(size, (1e-5 if size < 1 << 20 else 8e-5) + size / 1e11) for size in SIZES]
    assert line(points).misfit > 0.05
