"""'Serving insights' on this machine."""

from bench.analysis.serving import formulas
from bench.analysis.serving.capacity import USABLE
from bench.analysis.serving.claims.evidence import (
    DEPENDS,
    NEAR,
    RIGHT,
    WRONG,
    Evidence,
    MissingProbe,
    at_least,
    judged,
)
from bench.analysis.serving.claims.here import common, links, more_compute
from bench.analysis.serving.claims.machine_under_test import MachineUnderTest
from bench.analysis.serving.claims.words import filled


def train(subject: MachineUnderTest) -> Evidence:
    seconds = formulas.drain(subject.memory, subject.bandwidth)
    text = filled("{0:s} to read {1:size} once", (seconds, subject.memory))
    # "such as": an order of magnitude, of which the documents' own GPUs differ by a factor of 2
    verdict = RIGHT if 0.5 <= seconds / 20e-3 <= 2 else DEPENDS
    return Evidence(text, verdict, filled("the memory over its bandwidth: {0:s} here", (seconds,)))


def full_step(subject: MachineUnderTest) -> Evidence:
    return Evidence(filled("{0:s} when 90 % of the memory is read", (USABLE * subject.memory / subject.bandwidth,)))


def host(subject: MachineUnderTest) -> Evidence:
    cases = subject.cases("hostcopy", path="h2d", memory="pinned")
    rate = max(case.byte_rate for case in cases if case.byte_rate)
    ratio = subject.bandwidth / rate
    text = filled("the memory is {0:ratio} times as fast as the link to the host ({1:B/s})", (ratio, rate))
    # a slow link says nothing of the memory behind it; a fast one does
    return Evidence(text, "" if ratio >= 10 else at_least(10, ratio), "the path: host memory or the link to it")


def energy(subject: MachineUnderTest) -> Evidence:
    known = subject.fit.sustained.energy if subject.fit.sustained else {}
    if "dram" not in known:
        raise MissingProbe("bandwidth")
    compute = known.get(subject.roof.key)
    if compute is None:
        raise MissingProbe("peak")
    ratio = 2 * known["dram"].joules.value / (2 * compute.joules.value)
    text = filled("a 16-bit weight from memory costs {0:ratio} times its multiply-add, idle power included", (ratio,))
    return Evidence(text, judged(1000, ratio), "which memory and which arithmetic")


def joules(subject: MachineUnderTest) -> Evidence:
    watts, times = subject.watts("memory"), subject.layers
    first, last = min(times), max(times)
    each = {batch: formulas.joules_per_token(watts, times[batch], batch) for batch in (first, last)}
    text = filled("a layer at {0:W}: {1:J} per token with a batch of {2:}, {3:J} with {4:}",
                  (watts, each[first], first, each[last], last))  # fmt: skip
    return Evidence(text, RIGHT if each[last] * NEAR < each[first] else WRONG)


def every_parameter(subject: MachineUnderTest) -> Evidence:
    """The experts' time from one token to as many as stay memory-bound: the floor is not one number."""
    cases = sorted(subject.cases("moe", routing="uniform"), key=lambda case: case.params["tokens"])
    first, last = cases[0], [case for case in cases if case is cases[0] or case.work.intensity < subject.ridge][-1]
    if first is last:
        text = "a batch of {0:} reads {1:} of {2:} experts; larger ones measured here are compute-bound"
        return Evidence(filled(text, tuple(first.params[key] for key in ("tokens", "distinct", "experts"))))
    ratio = last.seconds.value / first.seconds.value
    values = [case.params[key] for case in (first, last) for key in ("tokens", "distinct")]
    text = filled("a batch of {0:} reads {1:} experts, one of {2:} reads {3:} and takes {4:ratio} times as long",
                  (*values, ratio))  # fmt: skip
    return Evidence(text, WRONG if ratio > NEAR else DEPENDS, "the batch of a model of experts")


def ragged(subject: MachineUnderTest) -> Evidence:
    found = {case.params.get("spread"): case.seconds.value for case in subject.cases("decode", part="ragged attention")}
    if not {"equal", "one long"} <= found.keys():
        raise MissingProbe("decode")
    ratio = found["one long"] / found["equal"]
    text = filled(
        "one long sequence among short ones takes {0:ratio} times as long as equal ones of the same keys", (ratio,)
    )
    return Evidence(text, RIGHT if ratio > NEAR else WRONG, "the kernel")


def answers() -> dict:
    return {
        "PI-01": train,
        "PI-02": full_step,
        "PI-04": more_compute.sweep,
        "PI-05": common.which_limit,
        "PI-06": host,
        "PI-08": energy,
        "PI-09": joules,
        "PI-10": common.labels,
        "PI-11": every_parameter,
        "PI-13": links.jitter,
        "PI-14": common.throughput,
        "PI-15": ragged,
    }
