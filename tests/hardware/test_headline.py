"""What gates this device, in pytest-benchmark's hands: right results, possible rates, and times that it can compare."""

import pytest

from bench.measure.budget import BUDGETS
from bench.measure.device.protocol import OutOfMemory, Unsupported
from tests.hardware.headline import headline, names
from tests.hardware.rounds import GLANCE, Rounds
from tests.hardware.saved import unlike


@pytest.mark.parametrize("name", names())
def test_headline(name, request, device, saved, clock, benchmark):
    try:
        found = headline(device.info, name)
        if problem := unlike(found.identity(device.info), request.node.nodeid, saved):
            pytest.fail(problem, pytrace=False)
        rounds = Rounds(device, found, clock, BUDGETS["standard"] if benchmark.enabled else GLANCE)
        count = request.config.getoption("benchmark_min_rounds")
        benchmark.pedantic(rounds.once, setup=clock.reset, rounds=count)
    except (OutOfMemory, Unsupported) as absent:
        pytest.skip(str(absent))
    benchmark.extra_info.update(rounds.facts)
