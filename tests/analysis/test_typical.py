"""What several devices of one product have of one quantity."""

from dataclasses import replace

import pytest

from bench.analysis import typical
from bench.analysis.fit import fit
from bench.work import Work
from tests.report.runs import by_hand, rounds


@pytest.fixture(scope="module")
def device():
    return fit(by_hand(rounds("bandwidth", {"bytes": 1e9}, Work(bytes=1e9), 1e-3, saturates="dram")))[0]


def test_another_product_is_no_peer(device):
    other = replace(device, info=replace(device.info, id="b", name="another"))
    assert typical.peers(device, [other, device]) == [device]


def test_the_median_and_the_ends_are_of_those_that_have_it(device):
    found = typical.roof([device, device, replace(device, roofs={})], "dram")
    assert (len(found.found), found.of) == (2, 3)
    assert found.median == pytest.approx(1e12)
    assert found.ends == (found.median, found.median)


def test_what_no_device_has_is_nothing(device):
    assert typical.roof([device], "link") is None
    assert typical.ridge([device]) is None
