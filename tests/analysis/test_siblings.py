"""Who is an outlier among siblings: what was planted, nobody else, and nobody where only chance is at work."""

import math
import random
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.fit import Fit, RoofFit, Sustained, fit
from bench.analysis.siblings import OUTLIER, SiblingRoof, peers, siblings, typical_ridge, typical_roof
from bench.roofline import Roof, Roofline
from bench.schema import SUSTAINED
from bench.stats import estimate
from bench.work import Work
from tests.report.runs import by_hand, gpu, rounds


def roof(key: str, rates) -> RoofFit:
    value = estimate(list(rates))
    return RoofFit(Roof(key, value.value, value.low, value.high, value.n), None, (), dict(enumerate(rates, 2)))


def device(index: int, name: str = "NVIDIA H200", **rates) -> Fit:
    """rates: of each repetition, by roof."""
    roofs = {key: roof(key, values) for key, values in rates.items()}
    info = gpu(id=f"cuda:{index}", name=name)
    return Fit(info, Roofline(info.id, tuple(each.roof for each in roofs.values())), roofs, {}, (), {}, ())


def repeated(centre: float, noise: float, source: random.Random, n: int = 5) -> list[float]:
    return [centre * math.exp(source.gauss(0, noise)) for _ in range(n)]


def node(centres, noise=0.003, seed=0, n=5, key="dram") -> list[Fit]:
    source = random.Random(seed)
    return [device(at, **{key: repeated(centre, noise, source, n)}) for at, centre in enumerate(centres)]


def frame(fits, regime="") -> pd.DataFrame:
    return pd.DataFrame(siblings(fits, regime), columns=SiblingRoof._fields)


def outliers(fits, regime="") -> list[str]:
    table = frame(list(fits), regime)
    return list(table.loc[table["outlier"], "device"])


def test_a_row_says_what_it_is_compared_with():
    table = frame(node([4.8e12] * 7 + [4.32e12], noise=0))
    assert tuple(table.columns) == SiblingRoof._fields
    row = table.iloc[7]
    assert (row["device"], row["key"], row["n"], row["siblings"]) == ("cuda:7", "dram", 5, 7)
    # of the others: its own value says nothing of what is usual
    assert (row["rate"], row["median"], row["ratio"]) == pytest.approx((4.32e12, 4.8e12, 0.9))
    assert row["outlier"]
    assert not table["outlier"][:7].any()
    assert siblings([]) == ()
    assert siblings(node([4.8e12])) == ()


@given(
    count=st.integers(3, 8), slow=st.integers(0, 7), fault=st.floats(0.5, 0.94), seed=st.integers(0, 999),
    n=st.integers(3, 6),
)  # fmt: skip
@settings(max_examples=60)
def test_a_slow_device_is_found_and_nobody_else(count, slow, fault, seed, n):
    slow %= count
    fits = node([1e12 * (fault if at == slow else 1) for at in range(count)], 0.002, seed, n)
    assert outliers(fits) == [f"cuda:{slow}"]
    assert outliers(reversed(fits)) == [f"cuda:{slow}"], "the order of devices says nothing"


def test_a_fast_device_is_an_outlier_too():
    assert outliers(node([1e12] * 5 + [1.1e12])) == ["cuda:5"]


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.03])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_healthy_nodes_rarely_have_an_outlier(noise, n):
    """One node in a hundred by chance: 5 of 60 would be 0.01 % luck; these seeds always draw the same."""
    alarms = 0
    for seed in range(60):
        source = random.Random(seed)
        keys = [f"roof {at}" for at in range(12)]
        fits = [device(at, **{key: repeated(1e12, noise, source, n) for key in keys}) for at in range(8)]
        alarms += bool(outliers(fits))
    assert alarms <= 4


def test_chips_differ_by_some_percent():
    """Each is known to the last digit, and still they are of one product."""
    source = random.Random(1)
    alarms = sum(bool(outliers(node([source.gauss(1e12, 1e10) for _ in range(8)], 0.0005, seed))) for seed in range(60))
    assert alarms <= 4


def test_a_node_of_two_halves_has_no_outlier():
    assert outliers(node([1e12] * 4 + [0.8e12] * 4)) == []


def test_of_two_the_slower_one_is_named():
    assert outliers(node([1e12, 0.9e12])) == ["cuda:1"]
    assert outliers(node([1e12, 0.98e12])) == []


def test_one_repetition_needs_twice_the_distance():
    """Nothing tells how much such a value scatters."""
    near, far = 1 - 1.5 * OUTLIER, 1 - 3 * OUTLIER
    assert outliers(node([1e12] * 7 + [near * 1e12], n=1, noise=0)) == []
    assert outliers(node([1e12] * 7 + [far * 1e12], n=1, noise=0)) == ["cuda:7"]


def test_one_bad_repetition_is_no_slow_device():
    fits = node([1e12] * 7)
    assert outliers([*fits, device(7, dram=[1e12, 1e12, 1e12, 1e12, 0.6e12])]) == []


def test_another_product_is_no_sibling():
    fits = node([1e12] * 3)
    other = device(3, name="NVIDIA H100", dram=[0.7e12] * 5)
    assert {row.device for row in siblings([*fits, other])} == {"cuda:0", "cuda:1", "cuda:2"}


def test_every_shared_roof_counts():
    fits = [device(at, dram=[1e12] * 5, d2h=[1e9 * (0.8 if at == 2 else 1)] * 5) for at in range(4)]
    table = frame(fits)
    assert set(table["key"]) == {"dram", "d2h"}
    assert [tuple(row) for row in table.loc[table["outlier"], ["device", "key"]].to_numpy()] == [("cuda:2", "d2h")]


def test_lasting_load_has_siblings_of_its_own():
    fits = []
    for at in range(4):
        found = roof("dram", [1e12 * (0.8 if at == 1 else 1)] * 5)
        lasting = Sustained(Roofline("", (found.roof,)), {"dram": found}, (), {})
        fits.append(replace(device(at, dram=[1e12] * 5), sustained=lasting))
    assert outliers(fits) == []
    assert outliers(fits, SUSTAINED) == ["cuda:1"]


# What several devices of one product have of one quantity.


@pytest.fixture(scope="module")
def measured():
    return fit(by_hand(rounds("bandwidth", {"bytes": 1e9}, Work(bytes=1e9), 1e-3, saturates="dram")))[0]


def test_another_product_is_no_peer(measured):
    other = replace(measured, info=replace(measured.info, id="b", name="another"))
    assert peers(measured, [other, measured]) == [measured]


def test_the_median_and_the_ends_are_of_those_that_have_it(measured):
    found = typical_roof([measured, measured, replace(measured, roofs={})], "dram")
    assert (len(found.found), found.of) == (2, 3)
    assert found.median == pytest.approx(1e12)
    assert found.ends == (found.median, found.median)


def test_what_no_device_has_is_nothing(measured):
    assert typical_roof([measured], "link") is None
    assert typical_ridge([measured]) is None
