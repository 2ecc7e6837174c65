"""What a machine's roofs, memory and links say to the claims, with the models that the texts name."""

import math

from bench.analysis.serving import formulas
from bench.analysis.serving.claims.evidence import (
    DEPENDS,
    FAR,
    FP8,
    NEAR,
    RIGHT,
    WRONG,
    Evidence,
    MachineUnderTest,
    MissingProbe,
    at_least,
    facts,
    filled,
    judged,
    kv,
    llama,
    streamed,
    within,
)
from bench.analysis.serving.curves import Messages
from bench.analysis.serving.request import PRESETS, USABLE
from bench.models import model, models
from bench.stats import quantile
from bench.work import all_reduce

_KERNELS = 9  # of a layer

# --- the roofs and the ridge


def peak(tested: MachineUnderTest) -> Evidence:
    text = filled("{0:FLOP/s} in products of " + tested.dtype, tested.peak)
    return Evidence(text, tested.if_product("h100", judged(1e15, tested.peak)))


def read_roof(tested: MachineUnderTest) -> Evidence:
    text = filled("{0:B/s}", tested.bandwidth)
    return Evidence(text, tested.if_product("a100", judged(2e12, tested.bandwidth)))


def ridge(tested: MachineUnderTest) -> Evidence:
    text = filled("the ridge is {0:I}", tested.ridge)
    try:
        text += filled("; the knee of the measured products is at {0:} rows", tested.knee)
    except MissingProbe:
        text += "; the products' knee is not measured (gemm)"
    return Evidence(text, tested.if_product("h100", judged(300, tested.ridge)))


def best_batch(tested: MachineUnderTest) -> Evidence:
    deep = model("DeepSeek-V3")
    by = deep.experts / deep.active_experts, deep.matmul_params_all / deep.matmul_params_token
    text = "{0:} for dense models; DeepSeek-V3 {1:} by experts, {2:} by parameters"
    text = filled(text, tested.ridge, *(tested.ridge * each for each in by))
    return Evidence(text, judged(300, tested.ridge), filled("the ridge, {0:I} here", tested.ridge))


def idle(tested: MachineUnderTest) -> Evidence:
    """How little of the compute roof one user's decode can use."""
    share = 1 / tested.ridge
    text = filled("at most {0:%} of {1:FLOP/s} at {2:B/s}", share, tested.peak, tested.bandwidth)
    return Evidence(text, RIGHT if share < 0.5 else WRONG)


def idle_units(tested: MachineUnderTest) -> Evidence:
    return Evidence(filled("{0:%} idle in FLOP at one user", 1 - 1 / tested.ridge))


def turn(tested: MachineUnderTest) -> Evidence:
    at = {each.name: _turns(tested, each) for each in models()}
    last = max(at, key=at.get)
    text = "cache reads equal compute at {0:} tokens (70B), {1:} (DeepSeek-V3), {2:} "
    text = filled(text, at["Llama-3.1-70B"], at["DeepSeek-V3"], at[last]) + f"({last})"
    depends_on = filled("the model and the ridge: {0:} tokens for the latest", at[last])
    return Evidence(text, WRONG if at[last] < 200e3 / FAR else DEPENDS, depends_on)


def _turns(tested: MachineUnderTest, shape) -> float:
    """The context where a model's cache reads take as long as its compute."""
    return formulas.kv_equals_compute(shape.matmul_params_token, tested.ridge, kv(shape))


def ends(tested: MachineUnderTest) -> Evidence:
    text = "compute ends it at {0:} users of short context, KV beyond {1:} tokens (70B)"
    return Evidence(filled(text, tested.ridge, _turns(tested, llama("70B"))))


def pays(tested: MachineUnderTest) -> Evidence:
    batch = facts()["IL-37"]["numbers"]["share"] * tested.ridge
    return Evidence(filled("up to {0:} users at acceptance 0.8 and short context", batch), "", "the batch")


# --- counted FLOP and bytes over the roofs


def seconds_per_token(tested: MachineUnderTest) -> Evidence:
    seconds = facts()["P2-09"]["numbers"]["exact"] / tested.peak
    text = filled("{0:s} for the exact FLOP on the measured peak", seconds)
    return Evidence(text, tested.if_product("h100", judged(0.744, seconds)))


def million(tested: MachineUnderTest) -> Evidence:
    stated = facts()["P2-14"]["numbers"]
    square, causal = (stated[key] * 1e15 / tested.peak for key in ("full", "causal"))
    return Evidence(filled("{0:h} with the full square, {1:h} with the mask, on the measured peak", square, causal))


def _long_decode(tested: MachineUnderTest) -> tuple[float, float]:
    """Seconds of traffic and of arithmetic of the texts' decode step of 405B at 100,000 tokens."""
    moved, flops = facts()["P2-42"]["numbers"]["stated"], facts()["P2-41"]["numbers"]["total"]
    return moved / tested.bandwidth, flops / tested.peak


def decode_times(tested: MachineUnderTest) -> Evidence:
    memory, compute = _long_decode(tested)
    text = filled("8 of these: {0:s} of traffic against {1:s} of arithmetic", memory / 8, compute / 8)
    return Evidence(text, RIGHT if memory > NEAR * compute else WRONG if compute > memory else DEPENDS)


def busy(tested: MachineUnderTest) -> Evidence:
    memory, compute = _long_decode(tested)
    return Evidence(
        filled("{0:%} of the compute roof while the memory roof is full", compute / memory), "", "FLOP or bytes"
    )


def floor(tested: MachineUnderTest) -> Evidence:
    seven = llama("7B")
    read = streamed(seven) / tested.bandwidth
    text = filled("{0:s} to stream the 7B's weights", read)
    try:
        text += filled(", {0:s} to start its kernels in a graph", seven.layers * _KERNELS * _start(tested))
    except MissingProbe:
        text += "; starting its kernels is not measured (launch)"
    return Evidence(text, tested.if_product("a100", judged(7e-3, read)))


def _start(tested: MachineUnderTest) -> float:
    """Seconds to start a kernel as a node of a graph."""
    return tested.cases("launch", way="graph")[0].seconds.value


def draft(tested: MachineUnderTest) -> Evidence:
    target, layers, start = llama("70B"), 16, _KERNELS * _start(tested)  # 16 are a 1B model's
    small = 2e9 / tested.bandwidth + layers * start
    whole = streamed(target) / tested.bandwidth + target.layers * start
    gain = formulas.speculated(0.8, 4) / (1 + 4 * small / whole)
    text = "with its launches a draft costs {0:ratio} of a step: {1:ratio} times"
    return Evidence(filled(text, small / whole, gain))


# --- memory


def train(tested: MachineUnderTest) -> Evidence:
    seconds = formulas.drain(tested.memory, tested.bandwidth)
    text = filled("{0:s} to read {1:size} once", seconds, tested.memory)
    # "such as": an order of magnitude, of which the documents' own GPUs differ by a factor of 2
    verdict = RIGHT if 0.5 <= seconds / 20e-3 <= 2 else DEPENDS
    return Evidence(text, verdict, filled("the memory over its bandwidth: {0:s} here", seconds))


def full_step(tested: MachineUnderTest) -> Evidence:
    return Evidence(filled("{0:s} when 90 % of the memory is read", USABLE * tested.memory / tested.bandwidth))


def _limits(tested: MachineUnderTest, tpot: float = 1 / 30) -> tuple[int, int]:
    """Users of 70B (FP8 weights, BF16 KV, 2048 tokens) that a time per token and the memory allow on this machine."""
    shape, sequence = llama("70B"), kv(llama("70B"), 2048)
    user = math.floor((tested.bandwidth * tpot - streamed(shape, FP8.bytes)) / sequence)
    room = tested.memory * USABLE - shape.params_total * FP8.bytes
    return max(user, 0), max(math.floor(room / sequence), 0)


def which_limit(tested: MachineUnderTest) -> Evidence:
    """Bandwidth or capacity: which stops the next user."""
    user, memory = _limits(tested)
    text = "70B with FP8 weights, 2048 tokens: 30 tokens/s each allow {0:} users, the memory {1:}"
    if not user and not memory:
        return Evidence(filled(text, user, memory) + "; both refuse the first")
    return Evidence(filled(text, user, memory), RIGHT if user < memory else WRONG, "which of the two comes first")


def limits_apart(tested: MachineUnderTest) -> Evidence:
    """The two limits beside each other; that they are two is no matter of the machine."""
    return Evidence(which_limit(tested).text)


def users(tested: MachineUnderTest) -> Evidence:
    return Evidence(filled("{0:} users of 70B with FP8 weights by the memory roof", _limits(tested)[0]))


def fits(tested: MachineUnderTest) -> Evidence:
    text = "{0:} sequences of 2048 tokens beside 70B in FP8, by the driver's {1:size}"
    text = filled(text, _limits(tested)[1], tested.memory)
    try:
        case = tested.cases("capacity")[0]
    except MissingProbe:
        return Evidence(text + "; not confirmed by allocating (capacity)")
    notes, name = case.notes, case.params["model"] if "confirmed" in case.notes else ""
    if name:
        text += f"; allocated {notes['confirmed']} of {notes['predicted']} sequences predicted for {name}"
    return Evidence(text)


def second_model(tested: MachineUnderTest) -> Evidence:
    _, memory = _limits(tested)
    left = max(0, math.floor(memory - 2e9 / kv(llama("70B"), 2048)))
    text = "70B in FP8, 2048 tokens: {0:} sequences without a 1B draft, {1:} with its weights"
    return Evidence(filled(text, memory, left))


def devices(tested: MachineUnderTest) -> Evidence:
    large, small = (math.ceil(llama(size).params_total * 2 / tested.memory) for size in ("2-70B", "7B"))
    text = filled("{0:} of these hold 70B in 16 bits, {1:} holds 7B, before any KV", large, small)
    return Evidence(text, "", "the memory of the device")


def four_bits(tested: MachineUnderTest) -> Evidence:
    room = tested.memory * USABLE - facts()["IL-31"]["numbers"]["packed"]
    sequences = max(0, math.floor(room / kv(llama("2-70B"), 2048)))
    return Evidence(filled("{0:} sequences of 2048 tokens beside 70B in INT4", sequences))


def mlperf(tested: MachineUnderTest) -> Evidence:
    """Users of 70B by bandwidth and memory under the benchmark's own limits on the time per token."""
    names = "mlperf llama-2-70b server", "mlperf llama-2-70b interactive"
    counts = (min(_limits(tested, PRESETS[name].tpot)) for name in names)
    text = "70B with FP8 weights, 2048 tokens, by the roofs: {0:} users within the server limit, {1:} within the"
    return Evidence(filled(text + " interactive one", *counts))


def host(tested: MachineUnderTest) -> Evidence:
    cases = tested.cases("hostcopy", path="h2d", memory="pinned")
    rate = max(case.byte_rate for case in cases if case.byte_rate)
    ratio = tested.bandwidth / rate
    text = filled("the memory is {0:ratio} times as fast as the link to the host ({1:B/s})", ratio, rate)
    # a slow link says nothing of the memory behind it; a fast one does
    return Evidence(text, "" if ratio >= 10 else at_least(10, ratio), "the path: host memory or the link to it")


def energy(tested: MachineUnderTest) -> Evidence:
    known = tested.fit.sustained.energy if tested.fit.sustained else {}
    if "dram" not in known:
        raise MissingProbe("bandwidth")
    compute = known.get(tested.roof.key)
    if compute is None:
        raise MissingProbe("peak")
    ratio = 2 * known["dram"].joules.value / (2 * compute.joules.value)
    text = filled("a 16-bit weight from memory costs {0:ratio} times its multiply-add, idle power included", ratio)
    return Evidence(text, judged(1000, ratio), "which memory and which arithmetic")


# --- links and collectives, by the measured all-reduces


def _reduce(tested: MachineUnderTest) -> Messages:
    """The all-reduce of the most ranks."""
    tested.cases("allreduce")
    most = max(tested.machine.curves.reduce, key=lambda each: each.ranks, default=None)
    if most is None:
        raise MissingProbe("allreduce")
    return most


def _link_rate(tested: MachineUnderTest, reduce: Messages) -> float:
    """B/s of the link: its roof, else what the largest all-reduce reached."""
    link = tested.fit.roofline.find("link")
    return link.rate if link else all_reduce(reduce.largest, reduce.ranks).bytes / reduce(reduce.largest)


def efficiency(tested: MachineUnderTest) -> Evidence:
    """What the latency of two all-reduces per layer leaves of several devices, for a small and a large model."""
    reduce = _reduce(tested)
    kept = []
    for shape in (llama("8B"), llama("70B")):
        single = streamed(shape) / tested.bandwidth
        kept.append(formulas.tensor_efficiency(reduce.ranks, shape.layers, reduce(shape.width * 2), single))
    text = "{0:} devices: {1:%} of linear for 8B, {2:%} for 70B, at {3:s} per all-reduce of a token"
    # the claim is about 4 to 8 devices
    verdict = within(0.75, 0.9, kept) if reduce.ranks >= 4 else ""
    depends_on = "the model's size and the all-reduce's latency"
    return Evidence(filled(text, reduce.ranks, *kept, reduce(8192)), verdict, depends_on)


def speedup(tested: MachineUnderTest) -> Evidence:
    """The same for a claim that names no number: how far from linear is communication's doing."""
    shown = efficiency(tested)
    return Evidence(shown.text, "", shown.depends_on)


def per_step(tested: MachineUnderTest) -> Evidence:
    """64 small all-reduces beside the weights that each of the devices reads, and the large message."""
    reduce, seven, sizes = _reduce(tested), llama("7B"), facts()["IL-28"]["numbers"]
    small, large = 2 * seven.layers * reduce(sizes["one"]), reduce(sizes["claimed"])
    read = streamed(seven) / tested.bandwidth / reduce.ranks
    text = "{0:} devices: 64 all-reduces of 8 KiB take {1:s} beside {2:s} of weights; one of 134 MB {3:s}"
    share = small / read
    verdict = RIGHT if share < NEAR - 1 else WRONG if share > FAR else DEPENDS
    depends_on = filled("latency: {0:ratio} times the weights' time", share)
    return Evidence(filled(text, reduce.ranks, small, read, large), verdict, depends_on)


def jitter(tested: MachineUnderTest) -> Evidence:
    """The spread of one small all-reduce, and what the link's rate has to do with its time."""
    reduce = _reduce(tested)
    small = [c for c in tested.cases("allreduce") if c.params["bytes"] <= 16384 and len(c.samples) >= 100]
    if not small:
        raise MissingProbe("allreduce")
    case = max(small, key=lambda each: (each.params["bytes"], each.params.get("algorithm") == "default"))
    middle, tail = (quantile(sorted(case.samples), q) for q in (0.5, 0.99))
    size = case.params["bytes"]
    share = all_reduce(size, reduce.ranks).bytes / _link_rate(tested, reduce) / middle
    text = "{0:} B: p50 {1:s}, p99 {2:s}, max {3:s}; the link's rate explains {4:%} of it"
    verdict, depends_on = RIGHT if share < 0.5 else WRONG, "the message: the rate decides for large ones"
    return Evidence(filled(text, size, middle, tail, max(case.samples), share), verdict, depends_on)


def between_devices(tested: MachineUnderTest) -> Evidence:
    """Bytes of routing against the arithmetic of the same token, over the measured link."""
    rate, sent = _link_rate(tested, _reduce(tested)), facts()["RP-12"]["numbers"]["sent"]
    seconds, compute = sent / rate, 2 * model("DeepSeek-V3").matmul_params_token / tested.peak
    text = filled("{0:s} per token at {1:B/s} against {2:s} of arithmetic", seconds, rate, compute)
    verdict = RIGHT if seconds > NEAR * compute else WRONG if compute > FAR * seconds else DEPENDS
    return Evidence(text, verdict, filled("the link: {0:B/s} would balance them", sent / compute))
