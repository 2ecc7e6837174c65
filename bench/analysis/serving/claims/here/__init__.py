"""What one machine shows to each claim: claim -> function of a Subject; claims of pure arithmetic have none."""

from collections.abc import Callable
from functools import cache

from bench.analysis.serving.claims.finding import Found
from bench.analysis.serving.claims.here import bottlenecks, inference_cost, insights, mlperf, more_compute
from bench.analysis.serving.claims.subject import Subject

Answers = dict[str, Callable[[Subject], Found]]


@cache
def answers() -> Answers:
    found: Answers = {}
    for document in (bottlenecks, inference_cost, more_compute, insights, mlperf):
        found |= document.answers()
    return found
