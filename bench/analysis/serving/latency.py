"""How fast one token can come, and how fast tokens come at a batch: floors, TTFT, TPOT, the Pareto curve, operators."""

from collections.abc import Iterator

from bench import theory
from bench.analysis.serving.machine import ASSUMED, COMMUNICATION, FORMULA
from bench.analysis.serving.planner import Answer, Planner, of_step
from bench.analysis.serving.step import StepTime


def floors(planner: Planner) -> Iterator[Answer]:
    """Three floors, one under the other: bandwidth, with launches, with communication. Batch 1, no context."""
    machine = planner.machine
    step = planner.decode(1, 1)
    bytes_read = step.streamed
    product = _product(machine.name)
    if product:
        seconds = bytes_read / product.bandwidth
        yield Answer("latency floor, bandwidth (datasheet)", seconds, "s", "dram", FORMULA, {"batch": 1})
    bandwidth = bytes_read / machine.bandwidth
    yield Answer("latency floor, bandwidth", bandwidth, "s", "dram", machine.origin, {"batch": 1})
    kernels = sum(row.operation.count for row in step.rows if row.operation.kind != "collective")
    shared = step.parts[COMMUNICATION]
    for mode, start in machine.launch.items():
        starts = kernels * start
        seconds = bandwidth + starts
        bound = "dram" if bandwidth > starts else "overhead"
        about, origin = {"batch": 1, "kernels": kernels}, machine.launch_origin
        name = f"latency floor, with launches ({mode})"
        yield Answer(name, seconds, "s", bound, origin, about, starts / seconds)
        if step.devices > 1:
            total = seconds + shared
            bound = "link" if shared > max(bandwidth, starts) else bound
            name = f"latency floor, with communication ({mode})"
            yield Answer(name, total, "s", bound, _origin_of(step, "collective"), about, starts / total)


def _product(name: str) -> theory.Product | None:
    try:
        return theory.match(name) or theory.product(name)
    except theory.UnknownProduct:
        return None


def _origin_of(step: StepTime, kind: str) -> str:
    return next((row.timed.origin for row in step.rows if row.operation.kind == kind), ASSUMED)


def first_token(planner: Planner) -> Iterator[Answer]:
    """TTFT of an idle engine by prompt and by the share of it that a prefix cache holds; host and sampling included."""
    for prompt in planner.request.prompts:
        for share in planner.request.cached:
            cached = int(prompt * share)
            step = planner.prefill(prompt - cached, cached)
            yield of_step("ttft", step.seconds, "s", step, prompt=prompt, cached=cached)


def tokens(planner: Planner) -> Iterator[Answer]:
    """Time between tokens and the rates of user and system, by batch and context, where the batch fits."""
    for context in planner.request.contexts:
        most = planner.fits(context).batch
        for batch in planner.request.batches:
            if batch > most:
                continue
            step = planner.decode(batch, context)
            about = {"batch": batch, "context": context}
            yield of_step("tpot", step.seconds, "s", step, "TBT of a pure decode step; no prefill between", **about)
            yield of_step("tokens per user", 1 / step.seconds, "tokens/s", step, **about)
            yield of_step("tokens of the system", batch / step.seconds, "tokens/s", step, **about)
            yield of_step("mfu", step.mfu, "1", step, **about)
            yield of_step("mbu", step.mbu, "1", step, **about)


def pareto(planner: Planner) -> Iterator[Answer]:
    """Throughput against latency over the batch, at the mean context of the request. value: tokens/s of the system."""
    context, slowest = planner.mean_context, 0.0
    for batch in candidates(planner.most):
        step = planner.decode(batch, context)
        # roofs never do that; a curve does where a library takes another kernel
        dips = "a smaller batch takes longer: so were its products measured" if step.seconds < slowest else ""
        slowest = max(slowest, step.seconds)
        yield of_step(
            "pareto", batch / step.seconds, "tokens/s", step, dips, batch=batch, context=context, tpot_s=step.seconds,
            tokens_per_user=1 / step.seconds, tokens_per_device=batch / step.seconds / step.devices,
        )  # fmt: skip


def candidates(most: int) -> tuple[int, ...]:
    """Batches worth a look: powers of two, the edges of tiles, and the largest that fits."""
    found = {1 << p for p in range(13)} | {65, 129, 257} | {most}
    return tuple(sorted(batch for batch in found if 1 <= batch <= most))


def operators(planner: Planner) -> Iterator[Answer]:
    """Every operator of a decode step at the largest asked batch and of a prefill: time of one, and what binds it."""
    request = planner.request
    batch = min(max(request.batches), max(1, planner.most))
    steps = {
        "decode": (planner.decode(batch, planner.mean_context), {"batch": batch, "context": planner.mean_context}),
        "prefill": (planner.prefill(request.prompt), {"prompt": request.prompt}),
    }
    for phase, (step, about) in steps.items():
        for row in step.rows:
            timed, work = row.timed, row.operation.work
            shares = {timed.bound: 1 - timed.share, "fixed": timed.share}
            yield Answer(
                row.operation.name, timed.seconds, "s", timed.limit, timed.origin,
                {"phase": phase, "count": row.operation.count, "label": timed.label, "flops": work.flops,
                 "bytes": work.bytes, "step_share": row.seconds / step.seconds} | about,
                timed.share, shares,
            )  # fmt: skip


def bounds(planner: Planner) -> Iterator[Answer]:
    """The whole-step roofline and the sum of both, around the sum of maxima, of a decode step."""
    batch = min(max(planner.request.batches), max(1, planner.most))
    step = planner.decode(batch, planner.mean_context)
    for name, value in step.bounds.items():
        yield Answer(name, value, "s", step.limit, planner.machine.origin, {"batch": batch}, note="starts left out")
