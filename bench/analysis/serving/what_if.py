"""What a change buys: more ranks, other precisions, drafts of another model, other routings of experts."""

from collections.abc import Iterator
from dataclasses import replace

from bench.analysis.serving import formulas
from bench.analysis.serving.machine import COMMUNICATION, FORMULA
from bench.analysis.serving.planner import Answer, Planner, of_step
from bench.analysis.serving.request import served
from bench.analysis.serving.step import divides
from bench.transformer import Ranks, distinct_experts, distinct_ranks

DEVICES = (1, 2, 4, 8)


def tensor(planner: Planner) -> Iterator[Answer]:
    """Tensor-parallel efficiency t(1)/(n t(n)) at batch 1 and at the largest asked, and what communication takes."""
    model = planner.model
    for batch in dict.fromkeys((1, max(planner.request.batches))):
        single = planner.decode(batch, planner.mean_context, Ranks())
        for count in DEVICES:
            if not divides(model, Ranks(tensor=count)):
                continue
            step = planner.decode(batch, planner.mean_context, Ranks(tensor=count))
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
    model = planner.model
    if not model.experts:
        return
    for batch in planner.request.batches:
        for routing in ("uniform", "balanced"):
            value = distinct_experts(model.experts, model.active_experts, batch, routing)
            about = {"batch": batch, "routing": routing, "experts": model.experts}
            yield Answer("distinct experts", value, "experts", "dram", FORMULA, about)
    batch = max(planner.request.batches)
    for count in DEVICES[1:]:
        if model.experts % count or not divides(model, Ranks(tensor=count)):
            continue
        spread = Ranks(expert=count, imbalance=planner.request.skew)
        step = planner.decode(batch, planner.mean_context, spread)
        other = planner.decode(batch, planner.mean_context, Ranks(tensor=count))
        about = {"devices": count, "batch": batch, "tpot_s": step.seconds, "skew": planner.request.skew}
        note = "attention data-parallel over the same devices"
        yield of_step("expert-parallel over tensor-parallel", other.seconds / step.seconds, "1", step, note, **about)
        hit = distinct_ranks(model.experts, model.active_experts, count)
        yield Answer("ranks that a token's experts are on", hit, "ranks", "link", FORMULA, {"devices": count})


def pipeline(planner: Planner) -> Iterator[Answer]:
    """Stages one after another: a token takes as long, one micro-batch alone uses one stage at a time."""
    batch = max(planner.request.batches)
    for stages in DEVICES[1:]:
        if stages > planner.model.layers:
            continue
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
    request = planner.request
    context = planner.mean_context
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
