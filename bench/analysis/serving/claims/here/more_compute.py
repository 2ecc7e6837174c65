"""'Why more compute cannot fix inference lag' on this machine."""

from itertools import pairwise

from bench.analysis.serving import formulas
from bench.analysis.serving.claims.evidence import (
    DEPENDS,
    FAR,
    RIGHT,
    WRONG,
    Evidence,
    MissingProbe,
    at_least,
    at_most,
    judged,
    rises,
)
from bench.analysis.serving.claims.here import common, links
from bench.analysis.serving.claims.machine_under_test import MachineUnderTest
from bench.analysis.serving.claims.reference import anchors
from bench.analysis.serving.claims.reference.anchors import PLAIN
from bench.analysis.serving.claims.words import filled
from bench.analysis.serving.step import decoding, prefilling
from bench.models import model, models


def fast_mode(subject: MachineUnderTest) -> Evidence:
    """The price of 2.5 times the speed: users per second of a device, at the fullest measured batch and where it is
    that much faster.
    """
    times = subject.layers
    slow = max(times)
    wanted = times[slow] / 2.5
    at = None
    for (b0, t0), (b1, t1) in pairwise(times.items()):
        if min(t0, t1) <= wanted <= max(t0, t1) and t0 != t1:
            at = b0 + (b1 - b0) * (wanted - t0) / (t1 - t0)
            break
    if at is None:
        text = "a layer's decode with {0:} users is never 2.5 times as fast with fewer: {1:ratio} at most"
        return Evidence(filled(text, (slow, times[slow] / min(times.values()))))
    price = (slow / times[slow]) / (at / wanted)
    text = filled("a layer: {0:} users in place of {1:} are 2.5 times as fast, at {2:ratio} times the price",
                  (at, slow, price))  # fmt: skip
    return Evidence(text, at_most(6, price), "the batch of the slow mode")


def fewer_users(subject: MachineUnderTest) -> Evidence:
    times = subject.layers
    first, last = min(times), max(times)
    text = filled("a layer's decode: {0:s} for {1:}, {2:s} for {3:} users", (times[first], first, times[last], last))
    return Evidence(text, RIGHT if rises(times.values()) else WRONG if times[last] < times[first] else "",
                 "the batch")  # fmt: skip


def experts_read(subject: MachineUnderTest) -> Evidence:
    cases = subject.cases("moe", routing="uniform")
    few = min(cases, key=lambda case: case.params["tokens"])
    p = few.params
    text = filled("a batch of {0:} touches {1:} of {2:} experts, {3:s}", (p["tokens"], p["distinct"], p["experts"],
                                                                      few.seconds.value))  # fmt: skip
    return Evidence(text)


def shares(subject: MachineUnderTest) -> Evidence:
    shape = anchors.llama("8B")
    one, prompt = (subject.step(shape, PLAIN, each) for each in (decoding(1, 1024), prefilling(2048)))
    text = filled("8B: compute is {0:%} of a decode step of one user, {1:%} of a prefill of 2048 tokens",
                  (one.shares["compute"], prompt.shares["compute"]))  # fmt: skip
    share = one.shares["compute"]
    verdict = RIGHT if share < 0.15 else WRONG if share > 0.5 else DEPENDS
    batch = filled("the batch: the ridge, {0:I}", (subject.ridge,))
    return Evidence(text + subject.caveat(one, prompt), verdict, batch)


def lost(subject: MachineUnderTest) -> Evidence:
    most = max(subject.gemm)
    gain = most / subject.slowdown(most)
    text = filled("a product's cost per row falls {0:ratio} times from 1 to {1:} rows; the ridge allows {2:ratio}",
                  (gain, most, subject.ridge))  # fmt: skip
    # hundreds is half of the claim, thousands the other
    verdict = RIGHT if at_least(1000, gain) == RIGHT else DEPENDS if at_least(100, gain) == RIGHT else WRONG
    return Evidence(text, verdict, filled("the ridge, {0:I}, and the context", (subject.ridge,)))


def best_batch(subject: MachineUnderTest) -> Evidence:
    deep = model("DeepSeek-V3")
    by = deep.experts / deep.active_experts, deep.matmul_params_all / deep.matmul_params_token
    text = filled("{0:} for dense models; DeepSeek-V3 {1:} by experts, {2:} by parameters",
                  (subject.ridge, *(subject.ridge * each for each in by)))  # fmt: skip
    verdict = judged(300, subject.ridge)
    return Evidence(text, verdict, filled("the ridge, {0:I} here", (subject.ridge,)))


def both_phases(subject: MachineUnderTest) -> Evidence:
    prompt = subject.prompts[-1]
    user = min(subject.cases("layer", part="layer", phase="decode"), key=lambda c: (c.params["batch"], c.work.bytes))
    text = filled("a layer: {0:%} of the compute roof in prefill, {1:%} of the memory roof in decode",
                  (prompt.flop_rate / subject.peak, user.byte_rate / subject.bandwidth))  # fmt: skip
    return Evidence(text)


def turn(subject: MachineUnderTest) -> Evidence:
    found = {
        each.name: formulas.kv_equals_compute(each.matmul_params_token, subject.ridge, anchors.kv(each))
        for each in models()
    }
    last = max(found, key=found.get)
    values = (found["Llama-3.1-70B"], found["DeepSeek-V3"], found[last])
    text = filled("cache reads equal compute at {0:} tokens (70B), {1:} (DeepSeek-V3), {2:} ", values) + f"({last})"
    late = found[last]
    return Evidence(
        text,
        WRONG if late < 200e3 / FAR else DEPENDS,
        filled("the model and the ridge: {0:} tokens for the latest", (late,)),
    )


def sweep(subject: MachineUnderTest) -> Evidence:
    found = common.by_roof(subject)
    if not found.verdict:
        raise MissingProbe("layer")
    return found


def answers() -> dict:
    return {
        "RP-01": fast_mode,
        "RP-02": fewer_users,
        "RP-03": experts_read,
        "RP-04": sweep,
        "RP-05": common.of_bandwidth,
        "RP-06": shares,
        "RP-07": lost,
        "RP-08": best_batch,
        "RP-09": both_phases,
        "RP-10": turn,
        "RP-12": links.between_devices,
    }
