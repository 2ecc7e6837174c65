"""What one machine shows to each claim: claim -> function of a MachineUnderTest; pure arithmetic has none."""

from collections.abc import Callable
from functools import cache

from bench.analysis.serving.claims.evidence import Evidence
from bench.analysis.serving.claims.here import bottlenecks, inference_cost, insights, mlperf, more_compute
from bench.analysis.serving.claims.machine_under_test import MachineUnderTest

Answers = dict[str, Callable[[MachineUnderTest], Evidence]]


@cache
def answers() -> Answers:
    found: Answers = {}
    for document in (bottlenecks, inference_cost, more_compute, insights, mlperf):
        found |= document.answers()
    return found
