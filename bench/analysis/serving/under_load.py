"""What users meet under load: interference of prompts, queues, chunks, two pools; and what a million tokens cost."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from bench import units
from bench.analysis.serving import ServingError, formulas, queueing
from bench.analysis.serving.machine import ASSUMED, FORMULA, least_sure
from bench.analysis.serving.planner import Answer, Planner, mixed_of, of_step
from bench.analysis.serving.step import StepTime


def _answered(planner: Planner, batch: float, step: StepTime) -> list[tuple[float, StepTime]]:
    """What one request is made of: its own steps, and the prompts of as many users as share them."""
    return [(planner.request.output - 1, step), (batch, planner.prefill(planner.request.prompt))]


def loops(planner: Planner) -> Iterator[Answer]:
    """A closed loop of B users, both ends of their phase: TTFT mean and p95, TPOT, output tokens/s of the system."""
    output, prefill = planner.request.output, planner.prefill(planner.request.prompt)
    for batch in _loaded(planner):
        step = planner.decode(batch, planner.mean_context)
        parts, about = (
            _answered(planner, batch, step),
            {"batch": batch, "prompt": planner.request.prompt, "output": output},
        )
        for in_phase, phase in ((False, "out of phase"), (True, "in phase")):
            loop, at = queueing.closed(batch, output, step.seconds, prefill.seconds, in_phase), about | {"phase": phase}
            yield mixed_of("closed loop ttft", loop.ttft, "s", [(1, prefill)], **at)
            yield mixed_of("closed loop ttft p95", loop.tail, "s", [(1, prefill)], **at)
            yield mixed_of("closed loop tpot", loop.tpot, "s", parts, "(E2E - TTFT)/(OSL - 1)", **at)
        yield mixed_of("closed loop output", loop.rate * output, "tokens/s", parts, "output tokens only", **about)
        yield mixed_of("closed loop prefill share", loop.busy, "1", parts, **about)


def _loaded(planner: Planner) -> tuple[int, ...]:
    return tuple(batch for batch in planner.request.batches if batch <= planner.most)


def queue(planner: Planner) -> Iterator[Answer]:
    """Poisson arrivals: by the rate asked for, else at half of what prefill and decode together could take."""
    request, most = planner.request, planner.most
    if not most:
        return
    prefill, full = planner.prefill(request.prompt), planner.decode(most, planner.mean_context)
    ceiling = most / (most * prefill.seconds + (request.output - 1) * full.seconds)
    rate = request.rate if not math.isnan(request.rate) else ceiling / 2
    loop = _opened(planner, rate, prefill.seconds, lambda step: step.seconds)
    ends = [_opened_at(planner, rate, side) for side in (0, 1)]
    parts = _answered(planner, loop.batch, planner.decode(max(1, round(loop.batch)), planner.mean_context))
    about = {"requests_per_s": rate, "prompt": request.prompt, "output": request.output}
    yield mixed_of("open loop batch", loop.batch, "sequences", parts, **about)
    for name, kind, made, note in (
        ("open loop ttft", "ttft", [(1, prefill)], ""),
        ("open loop ttft p95", "tail", [(1, prefill)], "M/D/1 wait (Crommelin)"),
        ("open loop tpot", "tpot", parts, ""),
    ):
        # a queue is not proportional to its service: the bar is the loop solved again with the steps at both ends
        low, high = (getattr(each, kind) if each else math.nan for each in ends)
        yield replace(mixed_of(name, getattr(loop, kind), "s", made, note, **about), low=low, high=high)
    yield mixed_of("largest stable rate", ceiling, "requests/s", parts, "every slot taken", batch=most)


def _opened(planner: Planner, rate: float, prefill: float, seconds: Callable[[StepTime], float]) -> queueing.UserLoop:
    """The loop with its decode steps as long as `seconds` says."""
    return queueing.opened(
        rate,
        planner.request.output,
        lambda batch: seconds(planner.decode(batch, planner.mean_context)),
        prefill,
        planner.most,
    )


def _opened_at(planner: Planner, rate: float, side: int) -> queueing.UserLoop | None:
    """The loop with every step at one end of its bar, None where it has none; where that overloads it, without end."""
    prefill = planner.prefill(planner.request.prompt).bar
    if prefill is None or planner.decode(1, planner.mean_context).bar is None:
        return None
    try:
        return _opened(planner, rate, prefill[side], lambda step: (step.bar or (step.seconds,) * 2)[side])
    except ServingError:
        return queueing.UserLoop(*(math.inf,) * 5, rate, 1.0)


def interference(planner: Planner) -> Iterator[Answer]:
    """What a prompt does to those who decode: the stall of a whole one, the stretch of a step that carries a chunk."""
    request = planner.request
    chunk = min(request.chunk, request.prompt)
    steps = queueing.chunks(request.prompt, chunk)
    prefill = planner.prefill(request.prompt)
    for batch in _loaded(planner)[-1:]:
        step = planner.decode(batch, planner.mean_context)
        mixed = planner.mixed(batch, planner.mean_context, chunk, (request.prompt - chunk) // 2)
        about = {"batch": batch, "prompt": request.prompt}
        whole = step.seconds + prefill.seconds
        yield mixed_of("worst gap, whole prompts", whole, "s", [(1, step), (1, prefill)], **about)
        about |= {"chunk": chunk}
        yield of_step("worst gap, chunked prefill", mixed.seconds, "s", mixed, **about)
        yield of_step("marginal time of a chunk", mixed.seconds - step.seconds, "s", mixed, **about)
        loop = queueing.chunked(batch, request.output, step.seconds, mixed.seconds, steps)
        parts = [(request.output - 1, step), (batch * steps, mixed)]
        yield mixed_of("closed loop tpot, chunked prefill", loop.tpot, "s", parts, **about)
        yield mixed_of("closed loop ttft, chunked prefill", loop.ttft, "s", [(steps, mixed)], **about)


def pools(planner: Planner) -> Iterator[Answer]:
    """Prefill and decode on devices of their own: what that gains under the SLA's TPOT, and how many of each."""
    request = planner.request
    prefill, limit = planner.prefill(request.prompt), request.sla.tpot
    if request.output < 2 or not planner.most or planner.decode(1, planner.mean_context).seconds > limit:
        return
    kv_bytes = planner.model.resident_kv(request.precision.kv, request.prompt)
    found = queueing.pools(
        limit, request.output, lambda b: planner.decode(b, planner.mean_context).seconds,
        prefill.seconds, planner.most, kv_bytes, request.network,
    )  # fmt: skip
    step = planner.decode(found.apart, planner.mean_context)
    parts = [(1, prefill), ((request.output - 1) / found.apart, step)]
    about = {"tpot_limit_s": limit, "prompt": request.prompt, "output": request.output}
    for name, value, unit in (
        ("gain of two pools", found.gain, "1"),
        ("batch in one pool", found.together, "sequences"),
        ("batch of the decode pool", found.apart, "sequences"),
        ("prefill devices per decode device", found.devices, "1"),
    ):
        yield mixed_of(name, value, unit, parts, **about)
    note = f"{units.bandwidth(request.network)} between the pools"
    yield Answer("KV transfer", found.transfer, "s", "network", ASSUMED, about, note=note)


def cost(planner: Planner) -> Iterator[Answer]:
    """USD and joules per million tokens, output and input apart, given a price and watts."""
    request, machine = planner.request, planner.machine
    prefill = planner.prefill(request.prompt)
    for batch in _loaded(planner):
        step = planner.decode(batch, planner.mean_context)
        rate = batch / step.seconds
        about = {"batch": batch, "prompt": request.prompt}
        if not math.isnan(request.price):
            usd = formulas.usd_per_million(request.price, step.devices, rate)
            yield of_step("cost of output", usd, "USD per 1e6 tokens", step, **about)
            seconds = queueing.closed(batch, request.output, step.seconds, prefill.seconds, False).rate * request.output
            usd = formulas.usd_per_million(request.price, step.devices, seconds)
            yield of_step("cost of output, prompts included", usd, "USD per 1e6 tokens", step, **about)
        watts = _watts(planner, step)
        if not math.isnan(watts):
            joules = formulas.joules_per_token(watts * step.devices, step.seconds, batch) * 1e6
            origin = machine.origin if math.isnan(request.watts) and not machine.simulated else FORMULA
            note = "power of full load throughout: an upper bound where starts and communication take a share"
            energy = of_step("energy of output", joules, "J per 1e6 tokens", step, note, **about, watts=watts)
            yield replace(energy, origin=least_sure((origin, step.origin)))
    if not math.isnan(request.price):
        usd = formulas.usd_per_million(request.price, prefill.devices, request.prompt / prefill.seconds)
        yield of_step("cost of input", usd, "USD per 1e6 tokens", prefill, prompt=request.prompt)


def _watts(planner: Planner, step: StepTime) -> float:
    """Mean power of one device in a step: given, or between the measured powers of memory and compute load."""
    if not math.isnan(planner.request.watts):
        return planner.request.watts
    watts = planner.machine.watts
    if "memory" not in watts or "compute" not in watts:
        return math.nan
    share = step.parts["compute"] / (step.parts["compute"] + step.parts["memory"] or 1.0)
    return watts["compute"] * share + watts["memory"] * (1 - share)
