"""Where things turn, and what a change buys: critical batch, largest batch, contexts where the KV cache overtakes; more
ranks, other precisions, drafts of another model, other routings of experts.
"""

from collections.abc import Iterator
from dataclasses import replace

from bench.analysis.serving import formulas
from bench.analysis.serving.machine import ASSUMED, COMMUNICATION, FORMULA
from bench.analysis.serving.planner import Answer, Planner, of_step
from bench.analysis.serving.queueing import largest
from bench.analysis.serving.request import DEVICES, served
from bench.analysis.serving.step import layouts
from bench.transformer import FORMATS, Ranks, distinct_experts, distinct_ranks, streamed_weights

# --- where things turn


def critical(planner: Planner) -> Iterator[Answer]:
    """Tokens per step where linear operators turn compute-bound, by formula; and the knee of measured products."""
    model, machine, weights = planner.model, planner.machine, planner.request.precision.weights
    dtype = planner.math_dtype
    roof, own = machine.compute(dtype)
    intensity = formulas.ridge(roof.rate, machine.bandwidth)
    origin = machine.origin if own else ASSUMED
    yield Answer("ridge", intensity, "FLOP/B", roof.key, origin, {"dtype": dtype})
    batch = formulas.critical(roof.rate, machine.bandwidth, weights.bytes)
    yield Answer("critical batch, dense", batch, "tokens", roof.key, origin, {"weights": weights.name, "math": dtype})
    if model.experts:
        sparsity = model.experts / model.active_experts
        note = "routed experts become compute-bound"
        yield Answer("critical batch, expert basis", batch * sparsity, "tokens", roof.key, origin, note=note)
        ratio = model.matmul_params_all / model.matmul_params_token
        note = "all linear compute equals all weight traffic"
        yield Answer("critical batch, parameter basis", batch * ratio, "tokens", roof.key, origin, note=note)
    for (kept, math_, n, k), seconds in machine.curves.singles.items():
        if math_ == dtype and kept in FORMATS and FORMATS[kept].math == dtype:
            value = formulas.knee(seconds, roof.rate, k, n)
            yield Answer("measured knee", value, "tokens", roof.key, machine.origin, {"n": n, "k": k, "dtype": dtype})


def room(planner: Planner) -> Iterator[Answer]:
    """KV bytes per token, weights, the largest batch by context, what stops it, and the drain time."""
    model, machine, request = planner.model, planner.machine, planner.request
    weights, kv = request.precision.weights, request.precision.kv
    yield Answer("KV per token", model.kv_bytes_per_token(kv), "B", "dram", FORMULA, {"kv": kv.name})
    yield Answer("weights", planner.weights, "B", "dram", FORMULA, {"weights": weights.name})
    for context in request.contexts:
        found = planner.fits(context)
        about = {"context": context, "devices": found.devices}
        yield Answer("KV of one sequence", model.resident_kv(kv, context), "B", "dram", FORMULA, about)
        yield Answer("largest batch", found.batch, "sequences", "memory", machine.origin, about)
    most, limit = planner.most, request.sla.tpot
    user = largest(lambda b: planner.decode(b, planner.mean_context).seconds <= limit, max(4096, most))
    roof, _ = machine.compute(planner.math_dtype)
    knee = formulas.critical(roof.rate, machine.bandwidth, weights.bytes)
    limits = {"memory": most, "user rate": user, "compute": knee}
    which = min(limits, key=limits.get)
    about = {"memory": most, "user_rate": user, "compute": knee, "context": request.prompt + request.output}
    note = "memory: nothing more fits; user rate: the SLA's tokens/s; compute: the critical batch"
    yield Answer("batch that binds first", limits[which], "sequences", which, machine.origin, about, note=note)
    train = formulas.drain(machine.memory_bytes, machine.bandwidth)
    yield Answer("drain time", train, "s", "dram", machine.origin, note="the memory read once at its roof")
    if most:
        step = planner.decode(most, planner.mean_context)
        yield of_step("train interval", step.seconds, "s", step, "the step of a full device", batch=most)
        yield of_step("mean wait for the train", step.seconds / 2, "s", step, "then the prefill", batch=most)


def crossovers(planner: Planner) -> Iterator[Answer]:
    """Contexts where reading the KV takes as long as the weights, or as the compute; what batching gains at most."""
    model, machine, precision = planner.model, planner.machine, planner.request.precision
    roof, own = machine.compute(planner.math_dtype)
    origin = machine.origin if own else ASSUMED
    slope = _slope(planner)
    if not slope:
        return
    for batch in planner.request.batches:
        read = streamed_weights(model, precision, batch, planner.request.routing)
        value = formulas.kv_equals_weights(read, batch, slope)
        yield Answer("context where KV equals weights", value, "tokens", "dram", FORMULA, {"batch": batch})
    linear = model.matmul_params_token
    value = formulas.kv_equals_compute(linear, formulas.ridge(roof.rate, machine.bandwidth), slope)
    note = "beyond it a larger batch buys little"
    yield Answer("context where KV equals compute", value, "tokens", roof.key, origin, note=note)
    single = streamed_weights(model, precision, 1, planner.request.routing)
    for context in planner.request.contexts:
        gain = formulas.batching_gain(single, context, slope, linear, roof.rate, machine.bandwidth)
        yield Answer("largest gain from batching", gain, "1", "dram", origin, {"context": context})
        rate = formulas.rate_limit(linear, context, slope, roof.rate, machine.bandwidth)
        yield Answer("rate in an endless batch", rate, "tokens/s", "dram", origin, {"context": context, "devices": 1})


def _slope(planner: Planner) -> float:
    """KV bytes that one more token of context adds to a long sequence: windowed layers add nothing."""
    model, kv = planner.model, planner.request.precision.kv
    far = max(model.window or 0, 1) * 4
    return model.resident_kv(kv, 2 * far) / far - model.resident_kv(kv, far) / far


# --- what a change buys


def tensor(planner: Planner) -> Iterator[Answer]:
    """Tensor-parallel efficiency t(1)/(n t(n)) at batch 1 and at the largest asked, and what communication takes."""
    for batch in dict.fromkeys((1, max(planner.request.batches))):
        single = planner.decode(batch, planner.mean_context, Ranks())
        for ranks in layouts(planner.model, DEVICES):
            step, count = planner.decode(batch, planner.mean_context, ranks), ranks.tensor
            about = {"devices": count, "batch": batch, "context": planner.mean_context, "tpot_s": step.seconds}
            value = single.seconds / (count * step.seconds)
            yield of_step("tensor-parallel efficiency", value, "1", step, _how(planner, count), **about)
            yield of_step("share of communication", step.shares[COMMUNICATION], "1", step, **about)


def _how(planner: Planner, count: int) -> str:
    if count == 1:
        return ""
    measured = planner.machine.messages(count)
    if not measured:
        return "all-reduce assumed: run the allreduce probe on that many devices"
    if measured.ranks != count:
        return f"all-reduce assumed from that of {measured.ranks} devices: run the allreduce probe on {count}"
    return f"all-reduce measured ({measured.mode}, {measured.algorithm or 'library'})"


def experts(planner: Planner) -> Iterator[Answer]:
    """Of a MoE: distinct experts a step reads by batch and routing; and what spreading them over ranks does."""
    model, skew = planner.model, planner.request.skew
    if not model.experts:
        return
    for batch in planner.request.batches:
        for routing in ("uniform", "balanced"):
            value = distinct_experts(model.experts, model.active_experts, batch, routing)
            about = {"batch": batch, "routing": routing, "experts": model.experts}
            yield Answer("distinct experts", value, "experts", "dram", FORMULA, about)
    batch = max(planner.request.batches)
    for ranks in layouts(model, DEVICES[1:]):
        count = ranks.tensor
        if model.experts % count:
            continue
        step = planner.decode(batch, planner.mean_context, Ranks(expert=count, imbalance=skew))
        other = planner.decode(batch, planner.mean_context, ranks)
        about = {"devices": count, "batch": batch, "tpot_s": step.seconds, "skew": skew}
        note = "attention data-parallel over the same devices"
        yield of_step("expert-parallel over tensor-parallel", other.seconds / step.seconds, "1", step, note, **about)
        hit = distinct_ranks(model.experts, model.active_experts, count)
        yield Answer("ranks that a token's experts are on", hit, "ranks", "link", FORMULA, {"devices": count})


def pipeline(planner: Planner) -> Iterator[Answer]:
    """Stages one after another: a token takes as long, one micro-batch alone uses one stage at a time."""
    batch = max(planner.request.batches)
    for stages in DEVICES[1:]:
        if stages <= planner.model.layers:
            step = planner.decode(batch, planner.mean_context, Ranks(pipeline=stages))
            about = {"stages": stages, "batch": batch, "micro_batches": stages}
            yield of_step("pipeline tpot", step.seconds, "s", step, "a token passes all stages", **about)
            yield of_step("pipeline rate, full", stages * batch / step.seconds, "tokens/s", step, **about)


# Weights and KV that serving engines run today, by the names of bench.transformer's formats.
QUANTISED = (
    ("bf16", "bf16"),
    ("fp8", "bf16"),
    ("fp8", "fp8"),
    ("int8", "bf16"),
    ("int4-g128", "bf16"),
    ("int4-g128", "fp8"),
)


def quantised(planner: Planner) -> Iterator[Answer]:
    """TPOT and largest batch by format of weights and KV, and the speed over the precision asked for."""
    request = planner.request
    context = request.prompt + request.output
    batch = max(1, min(max(request.batches), planner.most))
    base = planner.decode(batch, planner.mean_context)
    for weights, kv in QUANTISED:
        made = served(weights, kv)
        precision = replace(request.precision, weights=made.weights, kv=made.kv, math=made.math, experts=None)
        step = planner.decode(batch, planner.mean_context, precision=precision)
        about = {"weights": weights, "kv": kv, "batch": batch, "context": planner.mean_context}
        yield of_step("quantised tpot", step.seconds, "s", step, **about)
        yield of_step("quantised speed", base.seconds / step.seconds, "1", step, **about)
        most = planner.fits(context, precision=precision).batch
        yield Answer("quantised largest batch", most, "sequences", "memory", FORMULA, about | {"context": context})


def speculation(planner: Planner) -> Iterator[Answer]:
    """Speed-up of drafts over acceptance and draft length at batch 1, the best length by batch, and where it ends."""
    request, context = planner.request, planner.mean_context
    for acceptance in request.acceptances:
        for drafts in request.drafts:
            step = planner.verify(1, context, drafts + 1)
            value = speedup(planner, 1, acceptance, drafts)
            yield of_step("speculation speed-up", value, "1", step, acceptance=acceptance, drafts=drafts, batch=1)
    for batch in request.batches:
        if batch > max(1, planner.most):
            continue
        for acceptance in request.acceptances:
            gains = {drafts: speedup(planner, batch, acceptance, drafts) for drafts in request.drafts}
            best = max(gains, key=gains.get)
            step = planner.verify(batch, context, best + 1)
            about = {"acceptance": acceptance, "batch": batch, "drafts": best, "pays": gains[best] > 1}
            yield of_step("speculation, best length", gains[best], "1", step, **about)


def speedup(planner: Planner, batch: int, acceptance: float, drafts: int) -> float:
    """Tokens per second over those without drafts; the bonus token counts. No drafts: exactly 1."""
    context = planner.mean_context
    single = planner.decode(batch, context).seconds
    drafting = drafts * planner.request.draft_cost * single
    verifying = planner.verify(batch, context, drafts + 1).seconds
    return formulas.speculated(acceptance, drafts) * single / (drafting + verifying)
