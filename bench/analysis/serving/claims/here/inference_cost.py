"""'How to reduce inference cost' on this machine."""

import math

from bench.analysis.serving import formulas, queueing
from bench.analysis.serving.capacity import USABLE
from bench.analysis.serving.claims.evidence import (
    DEPENDS,
    NEAR,
    RIGHT,
    Evidence,
    MissingProbe,
    crossing,
    judged,
    of_product,
    within,
)
from bench.analysis.serving.claims.here import common, links
from bench.analysis.serving.claims.machine_under_test import MachineUnderTest
from bench.analysis.serving.claims.reference import anchors, numbers
from bench.analysis.serving.claims.reference.anchors import PLAIN
from bench.analysis.serving.claims.words import filled
from bench.transformer import Step

_KERNELS = 9  # of a layer


def small_batches(subject: MachineUnderTest) -> Evidence:
    rows = subject.near(8)
    ratio = subject.slowdown(rows)
    text = filled(
        "{0:} rows take {1:ratio} times as long as one; the knee is at {2:} rows", (rows, ratio, subject.knee)
    )
    return Evidence(text, judged(1.0, ratio), filled("the rows: the knee, {0:} here", (subject.knee,)))


def sixty_four(subject: MachineUnderTest) -> Evidence:
    near = subject.near(64)
    share = subject.gemm[near].flop_rate / subject.peak
    text = filled("{0:} rows reach {1:%} of the compute roof; the knee is at {2:} rows", (near, share, subject.knee))
    verdict = RIGHT if subject.knee <= 64 * NEAR else judged(64, subject.knee)
    return Evidence(text, verdict, filled("the rows: compute-bound from {0:}", (subject.knee,)))


def read_roof(subject: MachineUnderTest) -> Evidence:
    verdict = of_product(judged(2e12, subject.bandwidth), "a100", subject.product)
    return Evidence(filled("{0:B/s}", (subject.bandwidth,)), verdict)


def floor(subject: MachineUnderTest) -> Evidence:
    seven = anchors.llama("7B")
    read = anchors.streamed(seven) / subject.bandwidth
    text = filled("{0:s} to stream the 7B's weights", (read,))
    try:
        text += filled(", {0:s} to start its kernels in a graph", (seven.layers * _KERNELS * start(subject),))
    except MissingProbe:
        text += "; starting its kernels is not measured (launch)"
    verdict = of_product(judged(7e-3, read), "a100", subject.product)
    return Evidence(text, verdict)


def start(subject: MachineUnderTest) -> float:
    """Seconds to start a kernel as a node of a graph."""
    return subject.cases("launch", way="graph")[0].seconds.value


def tail(subject: MachineUnderTest) -> Evidence:
    seconds, tokens = common.prompt_seconds(subject)
    one, many = (queueing.closed(users, 128, 0.0, seconds, in_phase=True).tail for users in (1, 32))
    values = (tokens, one, many)
    return Evidence(filled("8B, {0:} tokens: p95 of {1:s} for one user, {2:s} for 32 in phase", values))


def users(subject: MachineUnderTest) -> Evidence:
    user, _ = common.limits(subject)
    return Evidence(filled("{0:} users of 70B with FP8 weights by the memory roof", (user,)))


def fits(subject: MachineUnderTest) -> Evidence:
    _, memory = common.limits(subject)
    text = filled("{0:} sequences of 2048 tokens beside 70B in FP8, by the driver's {1:size}", (memory, subject.memory))
    try:
        case = subject.cases("capacity")[0]
    except MissingProbe:
        return Evidence(text + "; not confirmed by allocating (capacity)")
    notes = case.notes
    if "confirmed" in notes:
        text += (
            f"; allocated {notes['confirmed']} of {notes['predicted']} sequences predicted for {case.params['model']}"
        )
    return Evidence(text)


def within_two_seconds(subject: MachineUnderTest) -> Evidence:
    seconds, tokens = common.prompt_seconds(subject)
    most = queueing.largest(lambda b: queueing.closed(b, 128, 0.0, seconds, in_phase=True).tail <= 2, 1 << 20)
    return Evidence(filled("8B, {0:} tokens in {1:s}: {2:} users in phase", (tokens, seconds, most)))


def ends(subject: MachineUnderTest) -> Evidence:
    middle = anchors.llama("70B")
    turn = formulas.kv_equals_compute(middle.matmul_params_token, subject.ridge, anchors.kv(middle))
    text = filled("compute ends it at {0:} users of short context, KV beyond {1:} tokens (70B)", (subject.ridge, turn))
    return Evidence(text)


def profile(subject: MachineUnderTest) -> Evidence:
    batches = ", ".join(str(batch) for batch in subject.layers)
    return Evidence(f"a layer was measured at batches {batches}; products at " + ", ".join(map(str, subject.gemm)))


def fused(subject: MachineUnderTest) -> Evidence:
    apart, together = (subject.sweep("fusion", "tokens", part="attention", form=form) for form in ("unfused", "fused"))
    ratios = {n: apart[n] / together[n] for n in apart if n in together}
    if not ratios:
        raise MissingProbe("fusion")
    low, high = min(ratios.values()), max(ratios.values())
    text = filled(
        "fused is {0:ratio} to {1:ratio} times as fast, {2:} to {3:} tokens", (low, high, min(ratios), max(ratios))
    )
    at = crossing(sorted(ratios.items()), 2.0)
    depends_on = filled("the prompt: twice as fast near {0:} tokens", (at,)) if at else "the prompt, mask and dtype"
    return Evidence(text, within(2, 4, ratios.values()), depends_on)


def speculation(subject: MachineUnderTest) -> Evidence:
    shape = anchors.llama("8B")
    one, verify = (
        subject.step(shape, PLAIN, Step(decode=((1, 1024),), queries=rows)) for rows in (1, 5)
    )  # fmt: skip
    ratio = verify.seconds / one.seconds
    gain = formulas.speculated(0.8, 4) / (4 * 0.1 + ratio)
    text = filled(
        "8B: verifying 5 rows takes {0:ratio} times one; a gain of {1:ratio} at acceptance 0.8", (ratio, gain)
    )
    return Evidence(
        text + subject.caveat(one, verify),
        "",
        filled("the acceptance: {0:ratio} for a factor of 2", (numbers()["IL-08"][3],)),
    )


def narrow_weights(subject: MachineUnderTest) -> Evidence:
    gains = quantised(subject, "weights")
    first = {weights: rows[min(rows)] for weights, rows in gains.items()}
    text = ", ".join(f"{weights} weights " + filled("{0:ratio} times", (gain,)) for weights, gain in first.items())
    ended = [
        filled(f"{{0:}} rows ({name})", (at,))
        for name, rows in gains.items()
        if (at := crossing(sorted(rows.items()), 1.0))
    ]
    depends_on = "the batch: no gain from " + ended[0] if ended else "the batch and the fixed time"
    return Evidence(f"one row: {text}", within(1.5, 3, first.values()), depends_on)


def quantised(subject: MachineUnderTest, what: str) -> dict[str, dict[int, float]]:
    """Weights' format -> rows -> how many times faster than unquantised."""
    plain = subject.sweep("quantised", "batch", quantised="unquantised")
    found: dict[str, dict[int, float]] = {}
    for case in subject.cases("quantised", quantised=what):
        rows = case.params["batch"]
        if rows in plain:
            found.setdefault(case.params["weights"], {})[rows] = plain[rows] / case.seconds.value
    if not found:
        raise MissingProbe("quantised")
    return found


def large_batches(subject: MachineUnderTest) -> Evidence:
    alone = quantised(subject, "weights")
    parts = [(name, rows[max(rows)], "weights alone") for name, rows in alone.items()]
    try:
        both = quantised(subject, "weights and activations")
        parts += [(name, rows[max(rows)], "both") for name, rows in both.items()]
    except MissingProbe:
        pass
    most = max(max(rows) for rows in alone.values())
    said = ", ".join(f"{name} ({what}) " + filled("{0:ratio} times", (gain,)) for name, gain, what in parts)
    gains = [gain for _, gain, what in parts if what == "weights alone"]
    verdict = DEPENDS if min(gains) <= NEAR or len(parts) == len(gains) else RIGHT
    return Evidence(filled("{0:} rows: ", (most,)) + said, verdict, "whether the activations are narrow too")


def fewer_heads(subject: MachineUnderTest) -> Evidence:
    full, grouped = subject.decode("mha", "gqa")
    keys = max(full.keys() & grouped.keys(), default=0)
    if not keys:
        raise MissingProbe("attention")
    ratio = full[keys] / grouped[keys]
    text = filled("32 KV heads take {0:ratio} times as long as 8 at {1:} keys; the cache is 4 times", (ratio, keys))
    return Evidence(text, RIGHT if ratio > NEAR else DEPENDS, "the kernel: it reads a KV head once per query head")


def prefix(subject: MachineUnderTest) -> Evidence:
    times = subject.sweep("decode", "prefix", part="prefill attention")
    first, last = min(times), max(times)
    new = subject.cases("decode", part="prefill attention")[0].params["new"]
    text = filled("attention of {0:} new tokens takes {1:ratio} times as long after {2:} cached as after {3:}",
                  (new, times[last] / times[first], last, first))  # fmt: skip
    return Evidence(text, "", "the length of the prefix that new tokens attend to")


def draft(subject: MachineUnderTest) -> Evidence:
    target, layers = anchors.llama("70B"), 16  # a 1B model's
    each = _KERNELS * start(subject)
    small = 2e9 / subject.bandwidth + layers * each
    whole = anchors.streamed(target) / subject.bandwidth + target.layers * each
    gain = formulas.speculated(0.8, 4) / (1 + 4 * small / whole)
    text = "with its launches a draft costs {0:ratio} of a step: {1:ratio} times"
    return Evidence(filled(text, (small / whole, gain)))


def pays(subject: MachineUnderTest) -> Evidence:
    batch = numbers()["IL-37"][0] * subject.ridge
    return Evidence(filled("up to {0:} users at acceptance 0.8 and short context", (batch,)), "", "the batch")


def second_model(subject: MachineUnderTest) -> Evidence:
    _, memory = common.limits(subject)
    room = 2e9 / anchors.kv(anchors.llama("70B"), 2048)
    values = (memory, max(0, math.floor(memory - room)))
    return Evidence(filled("70B in FP8, 2048 tokens: {0:} sequences without a 1B draft, {1:} with its weights", values))


def devices(subject: MachineUnderTest) -> Evidence:
    large, small = (math.ceil(anchors.llama(size).params_total * 2 / subject.memory) for size in ("2-70B", "7B"))
    text = filled("{0:} of these hold 70B in 16 bits, {1:} holds 7B, before any KV", (large, small))
    return Evidence(text, "", "the memory of the device")


def four_bits(subject: MachineUnderTest) -> Evidence:
    packed = numbers()["IL-31"][2]
    sequences = math.floor((subject.memory * USABLE - packed) / anchors.kv(anchors.llama("2-70B"), 2048))
    return Evidence(filled("{0:} sequences of 2048 tokens beside 70B in INT4", (max(sequences, 0),)))


def ceiling(subject: MachineUnderTest) -> Evidence:
    middle = anchors.llama("70B")
    sweep = common.throughput(subject)
    limit = formulas.batching_gain(
        anchors.streamed(middle), 8192, anchors.kv(middle), middle.matmul_params_token, subject.peak, subject.bandwidth
    )
    text = sweep.text + filled("; at most {0:ratio} times for 70B at 8192 tokens", (limit,))
    return Evidence(text, sweep.verdict, sweep.depends_on)


def answers() -> dict:
    return {
        "IL-01": small_batches,
        "IL-02": sixty_four,
        "IL-03": read_roof,
        "IL-04": floor,
        "IL-05": common.idle,
        "IL-06": common.grows_with_context,
        "IL-07": fused,
        "IL-08": speculation,
        "IL-09": narrow_weights,
        "IL-10": fewer_heads,
        "IL-11": links.speedup,
        "IL-12": common.padding,
        "IL-13": tail,
        "IL-14": users,
        "IL-15": fits,
        "IL-16": ceiling,
        "IL-17": within_two_seconds,
        "IL-18": ends,
        "IL-19": profile,
        "IL-23": devices,
        "IL-29": links.per_step,
        "IL-30": links.efficiency,
        "IL-31": four_bits,
        "IL-33": devices,
        "IL-34": prefix,
        "IL-35": draft,
        "IL-37": pays,
        "IL-38": second_model,
        "IL-39": large_batches,
    }
