"""Cases of a transformer beside what they are compared with."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis import transformer_cases as attention
from bench.analysis.transformer_cases import prefixed


def test_a_cached_prefix_is_compared_with_as_many_new_tokens_without_one():
    part, told = "prefill attention", [(512, 0, 1.0), (512, 4096, 3.0), (64, 0, 0.5), (64, 4096, 1.0), (8, 4096, 7.0)]
    rows = pd.DataFrame(
        {
            "probe": "decode",
            "params": [{"part": part, "new": new, "prefix": prefix} for new, prefix, _ in told],
            "seconds": [seconds for *_, seconds in told],
            "skip": "",
        }
    )
    found = prefixed(rows).set_index(["new", "prefix"])["times"]
    assert found[512, 4096] == pytest.approx(3)
    assert found[64, 4096] == pytest.approx(2)
    assert found[64, 0] == 1
    assert found[8, 4096] != found[8, 4096], "nothing to compare with"


# Which backend of attention is fastest where, and from which length on its roof is near.


def timed(*cases):
    """(backend, keys, seconds) each."""
    rows = pd.DataFrame(cases, columns=["backend", "keys", "seconds"])
    return rows.assign(params=[{"layout": "gqa"}] * len(rows))


def attained(*cases):
    return pd.DataFrame(cases, columns=["keys", "attained"])


def test_the_fastest_is_the_fastest_named_one_beside_torchs_own_choice():
    rows = timed(
        ("default", 64, 3.0), ("flash", 64, 2.0), ("cudnn", 64, 1.5), ("flash", 128, 1.0), ("cudnn", 128, 1.02)
    )
    first, second = attention.fastest(rows)
    assert (first.keys, first.name, first.times, first.alike) == (64, "cudnn", 2.0, {"cudnn"})
    assert (second.name, second.times, second.alike) == ("flash", 0.0, {"flash", "cudnn"})
    assert max(first, second) is first


def test_neighbours_that_share_what_is_fastest_are_one_span():
    rows = timed(("a", 1, 1.0), ("b", 1, 1.01), ("a", 2, 1.0), ("b", 2, 9.0), ("a", 4, 9.0), ("b", 4, 1.0))
    assert attention.spans(rows) == [({"a"}, 1, 2), ({"b"}, 4, 4)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 8), st.floats(0.1, 9)), max_size=20))
def test_spans_cover_every_length_once_and_in_order(cases):
    spans = attention.spans(timed(*cases))
    ends = [length for _, first, last in spans for length in (first, last)]
    assert ends == sorted(ends)
    for keys in {keys for _, keys, _ in cases}:
        assert sum(first <= keys <= last for _, first, last in spans) == 1
    assert all(names for names, _, _ in spans)


def test_rivals_are_compared_at_one_shape_from_the_shortest_that_names_a_backend():
    rows = timed(("default", 32, 1.0), ("default", 64, 1.0), ("flash", 64, 1.0))
    assert list(attention.rivals(rows, layout="gqa")["keys"]) == [64, 64]
    assert attention.rivals(rows, layout="mha").empty
    assert attention.rivals(rows[:2], layout="gqa").empty


@pytest.mark.parametrize(
    ("shares", "slow", "near"), [((0.5, 0.9), 1, 2), ((0.9, 0.8), math.nan, math.nan), ((0.9, 0.79), 2, math.nan)]
)
def test_the_longest_that_is_slow_and_the_next(shares, slow, near):
    found = attention.slow_until(attained(*zip((1, 2), shares, strict=True)))
    assert found == pytest.approx((slow, near), nan_ok=True)
