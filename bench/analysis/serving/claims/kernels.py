"""What measured kernels say to the claims: products, attention, caches, narrow weights, experts."""

import math
from itertools import pairwise

from bench.analysis.serving.claims.evidence import (
    DEPENDS,
    NEAR,
    RIGHT,
    WRONG,
    Evidence,
    MachineUnderTest,
    MissingProbe,
    at_least,
    crossing,
    filled,
    judged,
    within,
)

# --- products of one weight matrix


def shared_weights(tested: MachineUnderTest) -> Evidence:
    """The most rows that are measured up to half of the knee."""
    return _flat(tested, max((rows for rows in tested.gemm if 1 < rows <= tested.knee / 2), default=tested.near(2)))


def small_batches(tested: MachineUnderTest) -> Evidence:
    return _flat(tested, tested.near(8))


def _flat(tested: MachineUnderTest, rows: int) -> Evidence:
    """Whether so many rows take as long as one."""
    ratio = tested.slowdown(rows)
    text = filled("{0:} rows take {1:ratio} times as long as one; the knee is at {2:} rows", rows, ratio, tested.knee)
    return Evidence(text, judged(1.0, ratio), filled("the rows: the knee, {0:} here", tested.knee))


def one_weight(tested: MachineUnderTest) -> Evidence:
    rows = tested.near(64)
    text = "{0:} rows on one weight take {1:ratio} times as long as one; {0:} weights move {0:} times as much"
    return Evidence(filled(text, rows, tested.slowdown(rows)))


def sixty_four(tested: MachineUnderTest) -> Evidence:
    near = tested.near(64)
    share = tested.gemm[near].flop_rate / tested.peak
    text = filled("{0:} rows reach {1:%} of the compute roof; the knee is at {2:} rows", near, share, tested.knee)
    verdict = RIGHT if tested.knee <= 64 * NEAR else judged(64, tested.knee)
    return Evidence(text, verdict, filled("the rows: compute-bound from {0:}", tested.knee))


def falls(tested: MachineUnderTest) -> Evidence:
    rates = {rows: case.flop_rate / tested.peak for rows, case in tested.gemm.items()}
    below = [rows for rows in rates if rows <= tested.knee] or [1]
    drops = all(rates[a] < rates[b] for a, b in pairwise(below))
    text = filled("{0:%} of the compute roof at {1:} rows, {2:%} at 1", rates[below[-1]], below[-1], rates[1])
    return Evidence(text, RIGHT if drops else WRONG)


def gemv(tested: MachineUnderTest) -> Evidence:
    one = tested.gemm[1]
    share = one.byte_rate / tested.bandwidth
    text = filled("one row reaches {0:%} of the memory roof at {1:I}", share, one.work.intensity)
    depends_on = "the kernel: it does not stream its weight at the memory's rate"
    return Evidence(text, RIGHT if share >= 0.5 else DEPENDS, depends_on)


def lost(tested: MachineUnderTest) -> Evidence:
    most = max(tested.gemm)
    gain = most / tested.slowdown(most)
    text = "a product's cost per row falls {0:ratio} times from 1 to {1:} rows; the ridge allows {2:ratio}"
    # hundreds is half of the claim, thousands the other
    verdict = RIGHT if at_least(1000, gain) == RIGHT else DEPENDS if at_least(100, gain) == RIGHT else WRONG
    depends_on = filled("the ridge, {0:I}, and the context", tested.ridge)
    return Evidence(filled(text, gain, most, tested.ridge), verdict, depends_on)


# --- narrow weights


def _gains(tested: MachineUnderTest, what: str) -> dict[str, dict[int, float]]:
    """Weights' format -> rows -> how many times faster than unquantised."""
    plain = tested.sweep("quantised", "batch", quantised="unquantised")
    gains: dict[str, dict[int, float]] = {}
    for case in tested.cases("quantised", quantised=what):
        rows = case.params["batch"]
        if rows in plain:
            gains.setdefault(case.params["weights"], {})[rows] = plain[rows] / case.seconds.value
    if not gains:
        raise MissingProbe("quantised")
    return gains


def narrow_weights(tested: MachineUnderTest) -> Evidence:
    gains = _gains(tested, "weights")
    first = {weights: rows[min(rows)] for weights, rows in gains.items()}
    text = ", ".join(f"{weights} weights " + filled("{0:ratio} times", gain) for weights, gain in first.items())
    ends = ((name, crossing(sorted(rows.items()), 1.0)) for name, rows in gains.items())
    ended = [filled(f"{{0:}} rows ({name})", at) for name, at in ends if at]
    depends_on = "the batch: no gain from " + ended[0] if ended else "the batch and the fixed time"
    return Evidence(f"one row: {text}", within(1.5, 3, first.values()), depends_on)


def large_batches(tested: MachineUnderTest) -> Evidence:
    alone = _gains(tested, "weights")
    try:
        both = _gains(tested, "weights and activations")
    except MissingProbe:
        both = {}
    parts = [(f"{name} (weights alone)", rows[max(rows)]) for name, rows in alone.items()]
    parts += [(f"{name} (both)", rows[max(rows)]) for name, rows in both.items()]
    said = ", ".join(f"{name} " + filled("{0:ratio} times", gain) for name, gain in parts)
    most, least = max(max(rows) for rows in alone.values()), min(rows[max(rows)] for rows in alone.values())
    verdict = DEPENDS if least <= NEAR or not both else RIGHT
    return Evidence(filled("{0:} rows: ", most) + said, verdict, "whether the activations are narrow too")


# --- attention


def grows_with_context(tested: MachineUnderTest) -> Evidence:
    """Decode attention over the context: does twice the cache take twice the time?"""
    (times,) = tested.decode("gqa")
    (before, less), (after, more) = list(times.items())[-2:]
    slope = (more - less) / (after - before)
    growth = math.log(more / less) / math.log(after / before)
    text = "{0:s} more per token of context at {1:} tokens; time grows as context to the {2:ratio}"
    hidden = max(less - slope * before, 0) / slope if slope > 0 else after
    depends_on = filled("the context: a start-up hides it below about {0:} tokens", hidden)
    return Evidence(filled(text, slope, after, growth), judged(1.0, max(growth, 1e-3)), depends_on)


def cache_per_user(tested: MachineUnderTest) -> Evidence:
    by: dict[int, dict[int, float]] = {}
    for case in tested.cases("attention", phase="decode", layout="gqa", backend="default"):
        by.setdefault(case.params["keys"], {})[case.params["batch"]] = case.seconds.value
    keys = max((keys for keys, times in by.items() if len(times) > 1), default=0)
    if not keys:
        raise MissingProbe("attention")
    few, many = min(by[keys]), max(by[keys])
    ratio = by[keys][many] / by[keys][few]
    text = filled("{0:} keys: {1:} users take {2:ratio} times as long as {3:}", keys, many, ratio, few)
    return Evidence(text, judged(many / few, ratio), "how far few users fill the device")


def fewer_heads(tested: MachineUnderTest) -> Evidence:
    full, grouped = tested.decode("mha", "gqa")
    keys = max(full.keys() & grouped.keys(), default=0)
    if not keys:
        raise MissingProbe("attention")
    ratio = full[keys] / grouped[keys]
    heads, few = (tested.cases("attention", layout=each)[0].params["kv_heads"] for each in ("mha", "gqa"))
    text = "{0:} KV heads take {1:ratio} times as long as {2:} at {3:} keys; the cache is {4:} times"
    depends_on = "the kernel: it reads a KV head once per query head"
    return Evidence(filled(text, heads, ratio, few, keys, heads / few), RIGHT if ratio > NEAR else DEPENDS, depends_on)


def triangle(tested: MachineUnderTest) -> Evidence:
    asked = {"phase": "prefill", "layout": "mha", "backend": "default"}
    ratios = tested.slower("attention", "queries", "causal", True, False, **asked)
    tokens, ratio = max(ratios), ratios[max(ratios)]
    text = filled("{0:} tokens: causal attention takes {1:ratio} of the full square's time", tokens, ratio)
    return Evidence(text, RIGHT if ratio < 1 / NEAR else DEPENDS, "the kernel: it computes what the mask hides")


def fused(tested: MachineUnderTest) -> Evidence:
    ratios = tested.slower("fusion", "tokens", "form", "unfused", "fused", part="attention")
    low, high = min(ratios.values()), max(ratios.values())
    text = "fused is {0:ratio} to {1:ratio} times as fast, {2:} to {3:} tokens"
    at = crossing(sorted(ratios.items()), 2.0)
    depends_on = filled("the prompt: twice as fast near {0:} tokens", at) if at else "the prompt, mask and dtype"
    return Evidence(filled(text, low, high, min(ratios), max(ratios)), within(2, 4, ratios.values()), depends_on)


def score_memory(tested: MachineUnderTest) -> Evidence:
    peaks = []
    for form in ("unfused", "fused"):
        case = max(tested.cases("fusion", part="attention", form=form), key=lambda each: each.params["tokens"])
        if "peak_bytes" not in case.notes:
            raise MissingProbe("fusion")
        peaks += [case.params["tokens"], float(case.notes["peak_bytes"])]
    text = "beyond its inputs attention holds {1:size} unfused ({0:} tokens), {3:size} fused ({2:} tokens)"
    return Evidence(filled(text, *peaks), "", "fused attention, which keeps no scores")


def prefix(tested: MachineUnderTest) -> Evidence:
    times = tested.sweep("decode", "prefix", part="prefill attention")
    first, last = min(times), max(times)
    new = tested.cases("decode", part="prefill attention")[0].params["new"]
    text = "attention of {0:} new tokens takes {1:ratio} times as long after {2:} cached as after {3:}"
    depends_on = "the length of the prefix that new tokens attend to"
    return Evidence(filled(text, new, times[last] / times[first], last, first), "", depends_on)


def ragged(tested: MachineUnderTest) -> Evidence:
    times = {case.params.get("spread"): case.seconds.value for case in tested.cases("decode", part="ragged attention")}
    if not {"equal", "one long"} <= times.keys():
        raise MissingProbe("decode")
    ratio = times["one long"] / times["equal"]
    text = "one long sequence among short ones takes {0:ratio} times as long as equal ones of the same keys"
    return Evidence(filled(text, ratio), RIGHT if ratio > NEAR else WRONG, "the kernel")


# --- the cache, padding, experts


def recomputation(tested: MachineUnderTest) -> Evidence:
    ratios = tested.slower("fusion", "tokens", "form", "recomputed", "cached", part="cache")
    first, last = min(ratios), max(ratios)
    text = "a token costs {1:ratio} times as much without the cache after {0:} tokens, {3:ratio} after {2:}"
    slow = [tokens for tokens, ratio in ratios.items() if ratio <= 1]
    verdict = RIGHT if not slow else DEPENDS if len(slow) < len(ratios) else WRONG
    depends_on = filled("the context: {0:} tokens are no dearer", max(slow)) if slow else ""
    return Evidence(filled(text, first, ratios[first], last, ratios[last]), verdict, depends_on)


def same_output(tested: MachineUnderTest) -> Evidence:
    cases = tested.cases("fusion", part="cache", form="cached")
    if tested.fit.info.simulated:  # no tensor was compared
        raise MissingProbe("fusion")
    text = "a token by the cache equals the token computed again after up to {0:} tokens, within rounding"
    return Evidence(filled(text, max(case.params["tokens"] for case in cases)), RIGHT)


def padding(tested: MachineUnderTest) -> Evidence:
    """Padded prompts against packed ones."""
    asked = {"part": "padding", "form": "padded"}
    asked["sequences"] = max(case.params["sequences"] for case in tested.cases("fusion", **asked))
    padded, packed = (tested.cases("fusion", **asked | {"form": form})[0] for form in ("padded", "packed"))
    waste = 1 - packed.params["rows"] / padded.params["rows"]
    ratio = padded.seconds.value / packed.seconds.value
    text = "{0:} drawn prompts: {1:%} of the padded rows are padding, which takes {2:ratio} times as long"
    return Evidence(filled(text, asked["sequences"], waste, ratio), RIGHT if ratio > 1 else WRONG)


def experts_read(tested: MachineUnderTest) -> Evidence:
    few = min(tested.cases("moe", routing="uniform"), key=lambda case: case.params["tokens"])
    counts = (few.params[key] for key in ("tokens", "distinct", "experts"))
    return Evidence(filled("a batch of {0:} touches {1:} of {2:} experts, {3:s}", *counts, few.seconds.value))


def every_parameter(tested: MachineUnderTest) -> Evidence:
    """The experts' time from one token to as many as stay memory-bound: the floor is not one number."""
    cases = sorted(tested.cases("moe", routing="uniform"), key=lambda case: case.params["tokens"])
    first, last = cases[0], [case for case in cases if case is cases[0] or case.work.intensity < tested.ridge][-1]
    if first is last:
        text = "a batch of {0:} reads {1:} of {2:} experts; larger ones measured here are compute-bound"
        return Evidence(filled(text, *(first.params[key] for key in ("tokens", "distinct", "experts"))))
    ratio = last.seconds.value / first.seconds.value
    values = [case.params[key] for case in (first, last) for key in ("tokens", "distinct")]
    text = "a batch of {0:} reads {1:} experts, one of {2:} reads {3:} and takes {4:ratio} times as long"
    depends_on = "the batch of a model of experts"
    return Evidence(filled(text, *values, ratio), WRONG if ratio > NEAR else DEPENDS, depends_on)
