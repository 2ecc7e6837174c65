"""'Inference bottlenecks, part 2' on this machine."""

from bench.analysis.serving.claims.evidence import (
    DEPENDS,
    NEAR,
    RIGHT,
    WRONG,
    Evidence,
    MissingProbe,
    at_least,
    at_most,
    judged,
    of_product,
)
from bench.analysis.serving.claims.here import common
from bench.analysis.serving.claims.machine_under_test import MachineUnderTest
from bench.analysis.serving.claims.reference import anchors, numbers
from bench.analysis.serving.claims.reference.anchors import PLAIN
from bench.analysis.serving.claims.words import filled
from bench.analysis.serving.step import prefilling


def first_token(subject: MachineUnderTest) -> Evidence:
    seconds, tokens = common.prompt_seconds(subject)
    values = (tokens, seconds, 33 / 2 * seconds)
    text = filled("the layers of 8B take {1:s} for {0:} tokens alone, {2:s} in the mean of 32 users in phase", values)
    return Evidence(text, "", "the users: more than one at a time")


def recomputation(subject: MachineUnderTest) -> Evidence:
    kept, again = (subject.sweep("fusion", "tokens", part="cache", form=form) for form in ("cached", "recomputed"))
    ratios = {n: again[n] / kept[n] for n in kept if n in again}
    if not ratios:
        raise MissingProbe("fusion")
    first, last = min(ratios), max(ratios)
    text = filled("a token costs {1:ratio} times as much without the cache after {0:} tokens, {3:ratio} after {2:}",
                  (first, ratios[first], last, ratios[last]))  # fmt: skip
    slow = [n for n, ratio in ratios.items() if ratio <= 1]
    return Evidence(text, RIGHT if not slow else DEPENDS if len(slow) < len(ratios) else WRONG,
                 filled("the context: {0:} tokens are no dearer", (max(slow),)) if slow else "")  # fmt: skip


def prompt_growth(subject: MachineUnderTest) -> Evidence:
    longest = subject.prompts[-1]
    tokens, model = longest.params["tokens"], longest.params["model"]
    parts = [case for case in subject.cases("layer", phase="prefill", model=model) if case.params["tokens"] == tokens]
    seconds = {case.params["part"]: case.params["count"] * case.seconds.value for case in parts}
    attention = seconds.get("prefill attention")
    linear = sum(seconds.get(part, 0.0) for part in ("QKV", "O", "gate-up", "down"))
    if not attention or not linear:
        raise MissingProbe("layer")
    equal = tokens * linear / attention
    text = filled("{0:} tokens: attention takes {1:%} of the products' time; equal near {2:} tokens",
                  (tokens, attention / linear, equal))  # fmt: skip
    return Evidence(text, RIGHT)


def score_memory(subject: MachineUnderTest) -> Evidence:
    peaks = {}
    for form in ("fused", "unfused"):
        case = max(subject.cases("fusion", part="attention", form=form), key=lambda each: each.params["tokens"])
        if "peak_bytes" not in case.notes:
            raise MissingProbe("fusion")
        peaks[form] = (case.params["tokens"], float(case.notes["peak_bytes"]))
    text = filled("beyond its inputs attention holds {1:size} unfused ({0:} tokens), {3:size} fused ({2:} tokens)",
                  (*peaks["unfused"], *peaks["fused"]))  # fmt: skip
    return Evidence(text, "", "fused attention, which keeps no scores")


def utilisation(subject: MachineUnderTest) -> Evidence:
    prompt, user = subject.prompts[-1], min(
        subject.cases("layer", part="layer", phase="decode"), key=lambda case: case.params["batch"]
    )  # fmt: skip
    shares = prompt.flop_rate / subject.peak, user.flop_rate / subject.peak
    text = filled("a layer reaches {0:%} of the compute roof at {1:} prompt tokens and {2:%} in decode of {3:}",
                  (shares[0], prompt.params["tokens"], shares[1], user.params["batch"]))  # fmt: skip
    verdicts = at_least(0.6, shares[0]), at_most(0.05, shares[1])
    verdict = RIGHT if set(verdicts) == {RIGHT} else WRONG if WRONG in verdicts else DEPENDS
    return Evidence(text, verdict, filled("the prompt's length: the knee is at {0:} tokens", (subject.knee,)))


def peak(subject: MachineUnderTest) -> Evidence:
    verdict = of_product(judged(1e15, subject.peak), "h100", subject.product)
    text = filled("{0:FLOP/s} in products of " + subject.dtype, (subject.peak,))
    return Evidence(text, verdict)


def seconds_per_token(subject: MachineUnderTest) -> Evidence:
    seconds = numbers()["P2-09"][2] / subject.peak
    verdict = of_product(judged(0.744, seconds), "h100", subject.product)
    return Evidence(filled("{0:s} for the exact FLOP on the measured peak", (seconds,)), verdict)


def million(subject: MachineUnderTest) -> Evidence:
    square, causal = (flops * 1e15 / subject.peak for flops in numbers()["P2-14"])
    return Evidence(filled("{0:h} with the full square, {1:h} with the mask, on the measured peak", (square, causal)))


def same_output(subject: MachineUnderTest) -> Evidence:
    found = subject.cases("fusion", part="cache", form="cached")
    if subject.fit.info.simulated:  # no tensor was compared
        raise MissingProbe("fusion")
    most = max(case.params["tokens"] for case in found)
    text = filled(
        "a token by the cache equals the token computed again after up to {0:} tokens, within rounding", (most,)
    )
    return Evidence(text, RIGHT)


def shared_weights(subject: MachineUnderTest) -> Evidence:
    last = max((rows for rows in subject.gemm if 1 < rows <= subject.knee / 2), default=subject.near(2))
    ratio = subject.slowdown(last)
    text = filled(
        "{0:} rows take {1:ratio} times as long as one; the knee is at {2:} rows", (last, ratio, subject.knee)
    )
    return Evidence(text, judged(1.0, ratio), filled("the rows: the knee, {0:} here", (subject.knee,)))


def cache_per_user(subject: MachineUnderTest) -> Evidence:
    found = subject.cases("attention", phase="decode", layout="gqa", backend="default")
    by: dict[int, dict[int, float]] = {}
    for case in found:
        by.setdefault(case.params["keys"], {})[case.params["batch"]] = case.seconds.value
    keys = max((keys for keys, times in by.items() if len(times) > 1), default=0)
    if not keys:
        raise MissingProbe("attention")
    few, many = min(by[keys]), max(by[keys])
    ratio = by[keys][many] / by[keys][few]
    text = filled("{0:} keys: {1:} users take {2:ratio} times as long as {3:}", (keys, many, ratio, few))
    return Evidence(text, judged(many / few, ratio), "how far few users fill the device")


def one_weight(subject: MachineUnderTest) -> Evidence:
    rows = subject.near(64)
    text = filled("{0:} rows on one weight take {1:ratio} times as long as one; {0:} weights move {0:} times as much",
                  (rows, subject.slowdown(rows)))  # fmt: skip
    return Evidence(text)


def triangle(subject: MachineUnderTest) -> Evidence:
    masked, full = (
        subject.sweep("attention", "queries", phase="prefill", causal=causal, layout="mha", backend="default")
        for causal in (True, False)
    )
    common_lengths = masked.keys() & full.keys()
    if not common_lengths:
        raise MissingProbe("attention")
    tokens = max(common_lengths)
    ratio = masked[tokens] / full[tokens]
    text = filled("{0:} tokens: causal attention takes {1:ratio} of the full square's time", (tokens, ratio))
    return Evidence(text, RIGHT if ratio < 1 / NEAR else DEPENDS, "the kernel: it computes what the mask hides")


def ridge(subject: MachineUnderTest) -> Evidence:
    verdict = of_product(judged(300, subject.ridge), "h100", subject.product)
    text = filled("the ridge is {0:I}", (subject.ridge,))
    try:
        text += filled("; the knee of the measured products is at {0:} rows", (subject.knee,))
    except MissingProbe:
        text += "; the products' knee is not measured (gemm)"
    return Evidence(text, verdict)


def prefill_share(subject: MachineUnderTest) -> Evidence:
    step = subject.step(anchors.llama("8B"), PLAIN, prefilling(2048))
    share = step.shares["compute"]
    text = filled("{0:%} of a 2048-token prefill of 8B is compute", (share,)) + subject.caveat(step)
    return Evidence(text, at_least(0.5, share), "fixed time and attention's own roof")


def gemv(subject: MachineUnderTest) -> Evidence:
    one = subject.gemm[1]
    share = one.byte_rate / subject.bandwidth
    text = filled("one row reaches {0:%} of the memory roof at {1:I}", (share, one.work.intensity))
    return Evidence(
        text, RIGHT if share >= 0.5 else DEPENDS, "the kernel: it does not stream its weight at the memory's rate"
    )


def decode_times(subject: MachineUnderTest) -> Evidence:
    flops, moved = numbers()["P2-41"][2], numbers()["P2-42"][0]
    memory, compute = moved / (8 * subject.bandwidth), flops / (8 * subject.peak)
    text = filled("8 of these: {0:s} of traffic against {1:s} of arithmetic", (memory, compute))
    return Evidence(text, RIGHT if memory > NEAR * compute else WRONG if compute > memory else DEPENDS)


def busy(subject: MachineUnderTest) -> Evidence:
    flops, moved = numbers()["P2-41"][2], numbers()["P2-42"][0]
    share = (flops / subject.peak) / (moved / subject.bandwidth)
    return Evidence(filled("{0:%} of the compute roof while the memory roof is full", (share,)), "", "FLOP or bytes")


def answers() -> dict:
    return {
        "P2-01": first_token,
        "P2-05": recomputation,
        "P2-06": prompt_growth,
        "P2-07": score_memory,
        "P2-08": utilisation,
        "P2-11": peak,
        "P2-12": seconds_per_token,
        "P2-14": million,
        "P2-16": same_output,
        "P2-17": common.grows_with_context,
        "P2-24": common.limits_apart,
        "P2-25": common.idle,
        "P2-26": shared_weights,
        "P2-27": cache_per_user,
        "P2-28": one_weight,
        "P2-29": common.padding,
        "P2-30": triangle,
        "P2-38": ridge,
        "P2-39": prefill_share,
        "P2-40": gemv,
        "P2-44": decode_times,
        "P2-45": busy,
        "P2-46": common.throughput,
        "P2-47": common.stretch,
    }
