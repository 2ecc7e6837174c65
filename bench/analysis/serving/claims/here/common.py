"""Answers that several documents ask for."""

import math

from bench.analysis.serving.capacity import USABLE
from bench.analysis.serving.claims.evidence import (
    DEPENDS,
    NEAR,
    RIGHT,
    WRONG,
    Evidence,
    crossing,
    judged,
    rises,
)
from bench.analysis.serving.claims.machine_under_test import MachineUnderTest
from bench.analysis.serving.claims.reference import anchors
from bench.analysis.serving.claims.reference.anchors import FP8, PLAIN
from bench.analysis.serving.claims.words import filled
from bench.analysis.serving.step import decoding, prefilling


def idle(subject: MachineUnderTest) -> Evidence:
    """How little of the compute roof one user's decode can use."""
    share = 1 / subject.ridge
    text = filled("at most {0:%} of {1:FLOP/s} at {2:B/s}", (share, subject.peak, subject.bandwidth))
    return Evidence(text, RIGHT if share < 0.5 else WRONG)


def grows_with_context(subject: MachineUnderTest) -> Evidence:
    """Decode attention over the context: does twice the cache take twice the time?"""
    (times,) = subject.decode("gqa")
    (before, less), (after, more) = list(times.items())[-2:]
    slope = (more - less) / (after - before)
    growth = math.log(more / less) / math.log(after / before)
    text = filled("{0:s} more per token of context at {1:} tokens; time grows as context to the {2:ratio}",
                  (slope, after, growth))  # fmt: skip
    verdict = judged(1.0, max(growth, 1e-3))
    return Evidence(text, verdict, filled("the context: a start-up hides it below about {0:} tokens",
                                       (max(less - slope * before, 0) / slope if slope > 0 else after,)))  # fmt: skip


def throughput(subject: MachineUnderTest) -> Evidence:
    """One layer's decode over the batch: tokens/s and time must both rise."""
    times = subject.layers
    rates = {batch: batch / seconds for batch, seconds in times.items()}
    first, last = min(times), max(times)
    text = filled("from {0:} to {1:} users a layer's decode takes {2:ratio} times as long at {3:ratio} times the rate",
                  (first, last, times[last] / times[first], rates[last] / rates[first]))  # fmt: skip
    if rises(rates.values()) and rises(times.values()):
        return Evidence(text, RIGHT)
    if rates[last] <= rates[first]:
        return Evidence(text, WRONG, "more users give no more tokens/s")
    falls = next(b for a, b in zip(rates, list(rates)[1:], strict=False) if rates[b] < rates[a] or times[b] < times[a])
    return Evidence(text, DEPENDS, filled("the batch: the order breaks at {0:} users", (falls,)))


def limits(subject: MachineUnderTest) -> tuple[int, int]:
    """Users of 70B (FP8 weights, BF16 KV, 2048 tokens) that 30 tokens/s and the memory allow on this machine."""
    shape = anchors.llama("70B")
    user = math.floor((subject.bandwidth / 30 - anchors.streamed(shape, FP8)) / anchors.kv(shape, 2048))
    room = subject.memory * USABLE - shape.params_total * FP8.bytes
    return max(user, 0), max(math.floor(room / anchors.kv(shape, 2048)), 0)


def limits_apart(subject: MachineUnderTest) -> Evidence:
    """The two limits beside each other; that they are two is no matter of the machine."""
    return Evidence(which_limit(subject).text)


def which_limit(subject: MachineUnderTest) -> Evidence:
    """Bandwidth or capacity: which stops the next user."""
    user, memory = limits(subject)
    text = filled(
        "70B with FP8 weights, 2048 tokens: 30 tokens/s each allow {0:} users, the memory {1:}", (user, memory)
    )
    if not user and not memory:
        return Evidence(text + "; both refuse the first")
    return Evidence(text, RIGHT if user < memory else WRONG, "which of the two comes first")


def by_roof(subject: MachineUnderTest) -> Evidence:
    """Whole layers against max(compute, memory) of the same Work."""
    shares = []
    for case in subject.cases("layer", part="layer"):
        if share := subject.fit.share(case):
            shares.append(share)
    if not shares:
        return Evidence("no whole layer with roofs of its own")
    text = filled("whole layers take {0:ratio} to {1:ratio} times what max(compute, memory) says",
                  (1 / max(shares), 1 / min(shares)))  # fmt: skip
    if max(shares) > 1.03:
        return Evidence(text, DEPENDS, "a layer beats its roofs: a warm cache")
    return Evidence(text, RIGHT)


def of_bandwidth(subject: MachineUnderTest) -> Evidence:
    """How much of the memory roof one user's decode of a layer reaches."""
    case = min(subject.cases("layer", part="layer", phase="decode"), key=lambda c: (c.params["batch"], c.work.bytes))
    share = case.byte_rate / subject.bandwidth
    text = filled("one user's layer streams its weights and cache at {0:%} of the memory roof", (share,))
    return Evidence(text, judged(1.0, share), "fixed time per kernel")


def labels(subject: MachineUnderTest) -> Evidence:
    """What binds a prompt and a decode step of 8B, by the shares of their time."""
    shape = anchors.llama("8B")
    prompt, step = (subject.step(shape, PLAIN, each) for each in (prefilling(2048), decoding(8, 1024)))
    text = filled("8B: {0:%} of a 2048-token prefill is compute, {1:%} of a decode step of 8 users is memory",
                  (prompt.shares["compute"], step.shares["memory"]))  # fmt: skip
    holds = (prompt.shares["compute"] > 0.5) + (step.shares["memory"] > 0.5)
    return Evidence(text + subject.caveat(prompt, step), (WRONG, DEPENDS, RIGHT)[holds], "fixed time and the ridge")


def stretch(subject: MachineUnderTest) -> Evidence:
    """A decode step's layer with ever more of a prompt in it."""
    times = chunks(subject)
    alone, largest = times[0], max(times)
    text = filled("a layer's step takes {0:s}, {1:s} with {2:} tokens of a prompt: {3:ratio} times",
                  (alone, times[largest], largest, times[largest] / alone))  # fmt: skip
    free = crossing([(chunk, seconds / alone) for chunk, seconds in times.items()], NEAR)
    depends_on = filled("the chunk: 15 % longer from {0:} tokens", (free,)) if free else ""
    return Evidence(text, RIGHT if times[largest] > NEAR * alone else WRONG, depends_on)


def chunks(subject: MachineUnderTest) -> dict[int, float]:
    """Tokens of a prompt -> seconds, at the smallest batch."""
    batch = min(case.params["batch"] for case in subject.cases("mixed", chunk=0))
    return subject.sweep("mixed", "chunk", batch=batch)


def padding(subject: MachineUnderTest) -> Evidence:
    """Padded prompts against packed ones."""
    counts = sorted({case.params["sequences"] for case in subject.cases("fusion", part="padding", form="padded")})
    most = counts[-1]
    padded, packed = (
        subject.cases("fusion", part="padding", form=form, sequences=most)[0] for form in ("padded", "packed")
    )
    waste = 1 - packed.params["rows"] / padded.params["rows"]
    ratio = padded.seconds.value / packed.seconds.value
    text = filled("{0:} drawn prompts: {1:%} of the padded rows are padding, which takes {2:ratio} times as long",
                  (most, waste, ratio))  # fmt: skip
    return Evidence(text, RIGHT if ratio > 1 else WRONG)


def prompt_seconds(subject: MachineUnderTest, tokens: int = 2048) -> tuple[float, int]:
    """(seconds of the layers of 8B for the measured prompt nearest to so many tokens, its tokens)."""
    case = min(subject.prompts, key=lambda each: abs(each.params["tokens"] - tokens))
    return case.seconds.value * anchors.llama("8B").layers, case.params["tokens"]
