"""'The hidden bottleneck and MLPerf' on this machine."""

from itertools import pairwise

from bench.analysis.serving.claims.evidence import RIGHT, WRONG, Evidence, MissingProbe
from bench.analysis.serving.claims.here import common
from bench.analysis.serving.claims.machine_under_test import MachineUnderTest
from bench.analysis.serving.claims.reference import anchors
from bench.analysis.serving.claims.reference.anchors import FP8
from bench.analysis.serving.claims.words import filled
from bench.analysis.serving.request import PRESETS


def falls(subject: MachineUnderTest) -> Evidence:
    rates = {rows: case.flop_rate / subject.peak for rows, case in subject.gemm.items()}
    below = [rows for rows in rates if rows <= subject.knee] or [1]
    drops = all(rates[a] < rates[b] for a, b in pairwise(below))
    text = filled("{0:%} of the compute roof at {1:} rows, {2:%} at 1", (rates[below[-1]], below[-1], rates[1]))
    return Evidence(text, RIGHT if drops else WRONG)


def idle_units(subject: MachineUnderTest) -> Evidence:
    text = filled("{0:%} idle in FLOP at one user", (1 - 1 / subject.ridge,))
    return Evidence(text)


def prompts_between(subject: MachineUnderTest) -> Evidence:
    return common.stretch(subject)


def mlperf(subject: MachineUnderTest) -> Evidence:
    """Users of 70B by bandwidth and memory under the benchmark's own limits on the time per token."""
    shape = anchors.llama("70B")
    _, memory = common.limits(subject)
    counts = []
    for name in ("mlperf llama-2-70b server", "mlperf llama-2-70b interactive"):
        room = subject.bandwidth * PRESETS[name].tpot - anchors.streamed(shape, FP8)
        counts.append(max(0, int(min(memory, room / anchors.kv(shape, 2048)))))
    text = filled("70B with FP8 weights, 2048 tokens, by the roofs: {0:} users within the server limit, {1:} within the"
                  " interactive one", tuple(counts))  # fmt: skip
    return Evidence(text)


def floor_of_one(subject: MachineUnderTest) -> Evidence:
    times = subject.layers
    if 1 not in times:
        raise MissingProbe("layer")
    return Evidence(filled("a layer's decode of one user takes {0:s} in either arrangement", (times[1],)))


def answers() -> dict:
    return {
        "MB-01": common.labels,
        "MB-02": falls,
        "MB-04": idle_units,
        "MB-05": prompts_between,
        "MB-06": floor_of_one,
        "MB-07": mlperf,
    }
