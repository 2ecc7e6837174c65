"""Where things turn: critical batch and knee, largest batch, drain time, contexts where the KV cache overtakes."""

from collections.abc import Iterator

from bench.analysis.serving import formulas
from bench.analysis.serving.capacity import binds
from bench.analysis.serving.machine import FORMULA
from bench.analysis.serving.planner import Answer, Planner, of_step
from bench.analysis.serving.queueing import largest
from bench.transformer import FORMATS, streamed_weights


def critical(planner: Planner) -> Iterator[Answer]:
    """Tokens per step where linear operators turn compute-bound, by formula; and the knee of measured products."""
    model, machine, weights = planner.model, planner.machine, planner.request.precision.weights
    dtype = math_dtype(planner)
    roof, own = machine.compute(dtype)
    intensity = formulas.ridge(roof.rate, machine.bandwidth)
    origin = machine.origin if own else "assumed"
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


def math_dtype(planner: Planner) -> str:
    """The dtype that the weights are multiplied in."""
    precision = planner.request.precision
    return precision.multiplied(precision.weights)


def room(planner: Planner) -> Iterator[Answer]:
    """KV bytes per token, weights, the largest batch by context, what stops it, and the drain time."""
    model, machine, request = planner.model, planner.machine, planner.request
    precision = request.precision
    yield Answer("KV per token", planner.kv, "B", "dram", FORMULA, {"kv": precision.kv.name})
    yield Answer("weights", planner.weights, "B", "dram", FORMULA, {"weights": precision.weights.name})
    for context in request.contexts:
        found = planner.fits(context)
        about = {"context": context, "devices": found.devices}
        yield Answer("KV of one sequence", model.resident_kv(precision.kv, context), "B", "dram", FORMULA, about)
        yield Answer("largest batch", found.batch, "sequences", "memory", machine.origin, about)
    context = request.prompt + request.output
    most = planner.fits(context).batch
    limit = request.sla.tpot
    user = largest(lambda b: planner.decode(b, planner.mean_context).seconds <= limit, max(4096, most))
    roof, _ = machine.compute(math_dtype(planner))
    knee = formulas.critical(roof.rate, machine.bandwidth, precision.weights.bytes)
    which = binds(most, user, knee)
    about = {"memory": most, "user_rate": user, "compute": knee, "context": context}
    note = "memory: nothing more fits; user rate: the SLA's tokens/s; compute: the critical batch"
    yield Answer("batch that binds first", min(most, user, knee), "sequences", which, machine.origin, about, note=note)
    train = formulas.drain(machine.memory_bytes, machine.bandwidth)
    yield Answer("drain time", train, "s", "dram", machine.origin, note="the memory read once at its roof")
    if most:
        step = planner.decode(most, planner.mean_context)
        yield of_step("train interval", step.seconds, "s", step, "the step of a full device", batch=most)
        yield of_step("mean wait for the train", step.seconds / 2, "s", step, "then the prefill", batch=most)


def crossovers(planner: Planner) -> Iterator[Answer]:
    """Contexts where reading the KV takes as long as the weights, or as the compute; what batching gains at most."""
    model, machine, precision = planner.model, planner.machine, planner.request.precision
    roof, own = machine.compute(math_dtype(planner))
    origin = machine.origin if own else "assumed"
    slope = _slope(planner)
    if not slope:
        return
    for batch in planner.request.batches:
        read = streamed_weights(model, precision, batch, planner.request.routing)
        value = formulas.kv_equals_weights(read, batch, slope)
        yield Answer("context where KV equals weights", value, "tokens", "dram", FORMULA, {"batch": batch})
    intensity = formulas.ridge(roof.rate, machine.bandwidth)
    value = formulas.kv_equals_compute(model.matmul_params_token, intensity, slope)
    note = "beyond it a larger batch buys little"
    yield Answer("context where KV equals compute", value, "tokens", roof.key, origin, note=note)
    single = streamed_weights(model, precision, 1, planner.request.routing)
    for context in planner.request.contexts:
        gain = formulas.batching_gain(single, context, slope, model.matmul_params_token, roof.rate, machine.bandwidth)
        yield Answer("largest gain from batching", gain, "1", "dram", origin, {"context": context})
        rate = formulas.rate_limit(model.matmul_params_token, context, slope, roof.rate, machine.bandwidth)
        yield Answer("rate in an endless batch", rate, "tokens/s", "dram", origin, {"context": context, "devices": 1})


def _slope(planner: Planner) -> float:
    """KV bytes that one more token of context adds to a long sequence: windowed layers add nothing."""
    model, kv = planner.model, planner.request.precision.kv
    far = max(model.window or 0, 1) * 4
    return model.resident_kv(kv, 2 * far) / far - model.resident_kv(kv, far) / far
