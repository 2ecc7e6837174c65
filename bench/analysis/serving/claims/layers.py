"""What whole layers, and steps by this machine's curves, say to the claims."""

from bench.analysis.serving import formulas, queueing
from bench.analysis.serving.claims.evidence import (
    DEPENDS,
    NEAR,
    RIGHT,
    WRONG,
    Evidence,
    MachineUnderTest,
    MissingProbe,
    at_least,
    at_most,
    crossing,
    facts,
    filled,
    judged,
    kv,
    llama,
    rises,
    streamed,
)
from bench.analysis.serving.step import decoding, prefilling

# --- prompts


def _prompt_seconds(tested: MachineUnderTest, tokens: int = 2048) -> tuple[int, float]:
    """(the measured prompt nearest to so many tokens, seconds of the layers of 8B for it)."""
    case = min(tested.prompts, key=lambda each: abs(each.params["tokens"] - tokens))
    return case.params["tokens"], case.seconds.value * llama("8B").layers


def _tail(users: int, prompt: float) -> float:
    """p95 of the time to the first token of users in phase."""
    return queueing.closed(users, 128, 0.0, prompt, in_phase=True).tail


def first_token(tested: MachineUnderTest) -> Evidence:
    tokens, seconds = _prompt_seconds(tested)
    text = "the layers of 8B take {1:s} for {0:} tokens alone, {2:s} in the mean of 32 users in phase"
    return Evidence(filled(text, tokens, seconds, 33 / 2 * seconds), "", "the users: more than one at a time")


def tail(tested: MachineUnderTest) -> Evidence:
    tokens, seconds = _prompt_seconds(tested)
    text = "8B, {0:} tokens: p95 of {1:s} for one user, {2:s} for 32 in phase"
    return Evidence(filled(text, tokens, _tail(1, seconds), _tail(32, seconds)))


def within_two_seconds(tested: MachineUnderTest) -> Evidence:
    tokens, seconds = _prompt_seconds(tested)
    most = queueing.largest(lambda users: _tail(users, seconds) <= 2, 1 << 20)
    return Evidence(filled("8B, {0:} tokens in {1:s}: {2:} users in phase", tokens, seconds, most))


def prompt_growth(tested: MachineUnderTest) -> Evidence:
    longest = tested.prompts[-1].params
    parts = tested.cases("layer", phase="prefill", model=longest["model"], tokens=longest["tokens"])
    seconds = {case.params["part"]: case.params["count"] * case.seconds.value for case in parts}
    attention = seconds.get("prefill attention")
    linear = sum(seconds.get(part, 0.0) for part in ("QKV", "O", "gate-up", "down"))
    if not attention or not linear:
        raise MissingProbe("layer")
    tokens = longest["tokens"]
    text = "{0:} tokens: attention takes {1:%} of the products' time; equal near {2:} tokens"
    return Evidence(filled(text, tokens, attention / linear, tokens * linear / attention), RIGHT)


# --- both phases


def utilisation(tested: MachineUnderTest) -> Evidence:
    prompt = tested.prompts[-1]
    user = min(tested.cases("layer", part="layer", phase="decode"), key=lambda case: case.params["batch"])
    most, least = prompt.flop_rate / tested.peak, user.flop_rate / tested.peak
    text = "a layer reaches {0:%} of the compute roof at {1:} prompt tokens and {2:%} in decode of {3:}"
    verdicts = {at_least(0.6, most), at_most(0.05, least)}
    verdict = RIGHT if verdicts == {RIGHT} else WRONG if WRONG in verdicts else DEPENDS
    depends_on = filled("the prompt's length: the knee is at {0:} tokens", tested.knee)
    return Evidence(filled(text, most, prompt.params["tokens"], least, user.params["batch"]), verdict, depends_on)


def both_phases(tested: MachineUnderTest) -> Evidence:
    compute, memory = tested.prompts[-1].flop_rate / tested.peak, tested.lone_user.byte_rate / tested.bandwidth
    text = "a layer: {0:%} of the compute roof in prefill, {1:%} of the memory roof in decode"
    return Evidence(filled(text, compute, memory))


def of_bandwidth(tested: MachineUnderTest) -> Evidence:
    """How much of the memory roof one user's decode of a layer reaches."""
    share = tested.lone_user.byte_rate / tested.bandwidth
    text = filled("one user's layer streams its weights and cache at {0:%} of the memory roof", share)
    return Evidence(text, judged(1.0, share), "fixed time per kernel")


def sweep(tested: MachineUnderTest) -> Evidence:
    """Whole layers against max(compute, memory) of the same Work."""
    shares = [share for case in tested.cases("layer", part="layer") if (share := tested.fit.share(case))]
    if not shares:
        raise MissingProbe("layer")
    text = "whole layers take {0:ratio} to {1:ratio} times what max(compute, memory) says"
    warm = max(shares) > 1.03
    depends_on = "a layer beats its roofs: a warm cache" if warm else ""
    return Evidence(filled(text, 1 / max(shares), 1 / min(shares)), DEPENDS if warm else RIGHT, depends_on)


def labels(tested: MachineUnderTest) -> Evidence:
    """What binds a prompt and a decode step of 8B, by the shares of their time."""
    prompt, step = (tested.step(llama("8B"), each) for each in (prefilling(2048), decoding(8, 1024)))
    shares = prompt.shares["compute"], step.shares["memory"]
    text = "8B: {0:%} of a 2048-token prefill is compute, {1:%} of a decode step of 8 users is memory"
    verdict = (WRONG, DEPENDS, RIGHT)[sum(share > 0.5 for share in shares)]
    return Evidence(filled(text, *shares) + tested.caveat(prompt, step), verdict, "fixed time and the ridge")


def prefill_share(tested: MachineUnderTest) -> Evidence:
    step = tested.step(llama("8B"), prefilling(2048))
    share = step.shares["compute"]
    text = filled("{0:%} of a 2048-token prefill of 8B is compute", share) + tested.caveat(step)
    return Evidence(text, at_least(0.5, share), "fixed time and attention's own roof")


def shares(tested: MachineUnderTest) -> Evidence:
    one, prompt = (tested.step(llama("8B"), each) for each in (decoding(1, 1024), prefilling(2048)))
    share = one.shares["compute"]
    text = "8B: compute is {0:%} of a decode step of one user, {1:%} of a prefill of 2048 tokens"
    verdict = RIGHT if share < 0.15 else WRONG if share > 0.5 else DEPENDS
    said = filled(text, share, prompt.shares["compute"]) + tested.caveat(one, prompt)
    return Evidence(said, verdict, filled("the batch: the ridge, {0:I}", tested.ridge))


def speculation(tested: MachineUnderTest) -> Evidence:
    one, verify = (tested.step(llama("8B"), decoding(1, 1024, rows)) for rows in (1, 5))
    ratio = verify.seconds / one.seconds
    gain = formulas.speculated(0.8, 4) / (4 * 0.1 + ratio)
    text = "8B: verifying 5 rows takes {0:ratio} times one; a gain of {1:ratio} at acceptance 0.8"
    depends_on = filled("the acceptance: {0:ratio} for a factor of 2", facts()["IL-08"]["numbers"]["two"])
    return Evidence(filled(text, ratio, gain) + tested.caveat(one, verify), "", depends_on)


# --- decode over the batch


def throughput(tested: MachineUnderTest) -> Evidence:
    """One layer's decode over the batch: tokens/s and time must both rise."""
    times = tested.layers
    rates = {batch: batch / seconds for batch, seconds in times.items()}
    first, last = min(times), max(times)
    text = "from {0:} to {1:} users a layer's decode takes {2:ratio} times as long at {3:ratio} times the rate"
    text = filled(text, first, last, times[last] / times[first], rates[last] / rates[first])
    if rises(rates.values()) and rises(times.values()):
        return Evidence(text, RIGHT)
    if rates[last] <= rates[first]:
        return Evidence(text, WRONG, "more users give no more tokens/s")
    falls = next(b for a, b in zip(rates, list(rates)[1:], strict=False) if rates[b] < rates[a] or times[b] < times[a])
    return Evidence(text, DEPENDS, filled("the batch: the order breaks at {0:} users", falls))


def ceiling(tested: MachineUnderTest) -> Evidence:
    middle, over_batches = llama("70B"), throughput(tested)
    counts = streamed(middle), 8192, kv(middle), middle.matmul_params_token
    limit = formulas.batching_gain(*counts, tested.peak, tested.bandwidth)
    text = over_batches.text + filled("; at most {0:ratio} times for 70B at 8192 tokens", limit)
    return Evidence(text, over_batches.verdict, over_batches.depends_on)


def fewer_users(tested: MachineUnderTest) -> Evidence:
    times = tested.layers
    first, last = min(times), max(times)
    text = filled("a layer's decode: {0:s} for {1:}, {2:s} for {3:} users", times[first], first, times[last], last)
    verdict = RIGHT if rises(times.values()) else WRONG if times[last] < times[first] else ""
    return Evidence(text, verdict, "the batch")


def fast_mode(tested: MachineUnderTest) -> Evidence:
    """The price of 2.5 times the speed: users per second of a device, at the fullest measured batch and where it is
    that much faster.
    """
    times = tested.layers
    slow, wanted = max(times), times[max(times)] / 2.5
    at = crossing(times.items(), wanted)
    if at is None:
        text = "a layer's decode with {0:} users is never 2.5 times as fast with fewer: {1:ratio} at most"
        return Evidence(filled(text, slow, times[slow] / min(times.values())))
    price = (slow / times[slow]) / (at / wanted)
    text = "a layer: {0:} users in place of {1:} are 2.5 times as fast, at {2:ratio} times the price"
    return Evidence(filled(text, at, slow, price), at_most(6, price), "the batch of the slow mode")


def floor_of_one(tested: MachineUnderTest) -> Evidence:
    times = tested.layers
    if 1 not in times:
        raise MissingProbe("layer")
    return Evidence(filled("a layer's decode of one user takes {0:s} in either arrangement", times[1]))


def stretch(tested: MachineUnderTest) -> Evidence:
    """A decode step's layer, at the smallest batch, with ever more of a prompt in it."""
    batch = min(case.params["batch"] for case in tested.cases("mixed", chunk=0))
    times = tested.sweep("mixed", "chunk", batch=batch)
    alone, largest = times[0], max(times)
    text = "a layer's step takes {0:s}, {1:s} with {2:} tokens of a prompt: {3:ratio} times"
    free = crossing([(chunk, seconds / alone) for chunk, seconds in times.items()], NEAR)
    verdict = RIGHT if times[largest] > NEAR * alone else WRONG
    depends_on = filled("the chunk: 15 % longer from {0:} tokens", free) if free else ""
    return Evidence(filled(text, alone, times[largest], largest, times[largest] / alone), verdict, depends_on)


def profile(tested: MachineUnderTest) -> Evidence:
    batches = ", ".join(map(str, tested.layers))
    return Evidence(f"a layer was measured at batches {batches}; products at " + ", ".join(map(str, tested.gemm)))


def joules(tested: MachineUnderTest) -> Evidence:
    watts, times = tested.machine.watts.get("memory"), tested.layers
    if watts is None:
        raise MissingProbe("bandwidth")
    first, last = min(times), max(times)
    dear, cheap = (formulas.joules_per_token(watts, times[batch], batch) for batch in (first, last))
    text = filled("a layer at {0:W}: {1:J} per token with a batch of {2:}, {3:J} with {4:}",
                  watts, dear, first, cheap, last)  # fmt: skip
    return Evidence(text, RIGHT if cheap * NEAR < dear else WRONG)
