"""The point of a machine that meets limits: batch, devices, throughput, and what stops the next batch.

Every candidate must meet the limits at both ends of the users' phase, with the self-check's error on the unsafe side.
Where none does, the picker says what one user takes, and how many devices would do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench.analysis.serving import queueing
from bench.analysis.serving.machine import FORMULA
from bench.analysis.serving.planner import Answer, Planner, mixed_of
from bench.analysis.serving.queueing import Loop
from bench.analysis.serving.step import StepTime, divides
from bench.transformer import Ranks

LAYOUTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Point:
    """One batch on one layout. fails: the limits it breaks, of "ttft", "tpot", "latency", "memory"."""

    devices: int
    batch: int
    early: Loop
    late: Loop
    step: StepTime
    prefill: StepTime
    fails: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Requests/s of the system."""
        return self.early.rate


@dataclass(frozen=True)
class Pick:
    """The chosen point of a layout, the nearest one beyond it, and what stops there. None: nothing meets the limits."""

    devices: int
    chosen: Point | None
    beyond: Point | None
    stops: str


def point(planner: Planner, ranks: Ranks, batch: int, burst: bool = True) -> Point:
    """A batch judged against the request's limits; burst: the users may all start at once."""
    request, limits = planner.request, planner.request.sla
    step = planner.decode(batch, planner.mean_context, ranks)
    prefill = planner.prefill(request.prompt, 0, ranks)
    apart, together = (
        # the tail out of phase is a queue's, and only asked of what is compared with the limits
        queueing.closed(batch, request.output, step.seconds, prefill.seconds, phase, limits.quantile if phase else None)
        for phase in (False, True)
    )
    # compared with the limits: as slow as the self-check allows them to be
    late, first = _unsafe(step, request.error), _unsafe(prefill, request.error)
    # both ends at once: gaps are longest out of phase, the first token is latest in phase
    slow, burst_of = (
        queueing.closed(batch, request.output, late, first, phase, None if burst and not phase else limits.quantile)
        for phase in (False, True)
    )
    tail = burst_of.tail if burst else slow.tail
    fails = []
    if tail + late / 2 > limits.ttft:
        fails.append("ttft")
    if slow.tpot > limits.tpot:
        fails.append("tpot")
    if slow.latency > limits.latency:
        fails.append("latency")
    return Point(step.devices, batch, apart, together, step, prefill, tuple(fails))


def _unsafe(step: StepTime, error: float) -> float:
    """Seconds that a step may really take."""
    return max(step.seconds * (1 + error), step.range[1] if step.range else 0.0)


def pick(planner: Planner, ranks: Ranks, burst: bool = True) -> Pick:
    """The batch of the largest system rate that meets the limits on this layout, found to the sequence."""
    most = planner.fits(planner.request.prompt + planner.request.output, ranks).batch
    if not most:
        return Pick(ranks.tensor * ranks.pipeline, None, None, "memory")
    tried: dict[int, Point] = {}

    def tested(batch: int) -> Point:
        if batch not in tried:
            tried[batch] = point(planner, ranks, batch, burst)
        return tried[batch]

    good = 0
    # doubled until a limit breaks, then halved down to the sequence
    for batch in sorted({min(1 << p, most) for p in range(most.bit_length() + 1)}):
        if tested(batch).fails:
            break
        good = batch
    else:
        return Pick(tried[good].devices, tried[good], None, "memory")
    if not good:
        first = tested(1)
        return Pick(first.devices, None, first, first.fails[0])
    low, high = good, batch
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tested(middle).fails else (middle, high)
    return Pick(tested(low).devices, tested(low), tested(high), tested(high).fails[0])


def picks(planner: Planner, burst: bool = True) -> tuple[Pick, ...]:
    """One per layout: that asked for, or one to eight devices."""
    request = planner.request
    if request.ranks != Ranks():
        return (pick(planner, request.ranks, burst),)
    fitting = [count for count in LAYOUTS if divides(planner.model, Ranks(tensor=count))]
    return tuple(pick(planner, Ranks(tensor=count), burst) for count in fitting)


def best(found: tuple[Pick, ...]) -> Pick | None:
    """Interactive: the layout of the largest system rate per device among those that meet the limits."""
    good = [each for each in found if each.chosen]
    return max(good, key=lambda each: each.chosen.rate / each.devices, default=None)


def answers(planner: Planner) -> Iterator[Answer]:
    """The pick of every layout, and the best of them."""
    limits, request = planner.request.sla, planner.request
    found = picks(planner)
    winner = best(found)
    for each in found:
        about = {
            "devices": each.devices, "ttft_limit_s": limits.ttft, "tpot_limit_s": limits.tpot, "sla": limits.name,
            "quantile": limits.quantile, "prompt": request.prompt, "output": request.output, "stops": each.stops,
        }  # fmt: skip
        if each.chosen is None:
            yield Answer("sla batch", 0, "sequences", each.stops, _sure(each), about, note=_why(planner, each, found))
            continue
        chosen = each.chosen
        first = [(1, chosen.prefill), (0.5 * chosen.prefill.seconds / chosen.late.tail, chosen.step)]
        parts = [(request.output - 1, chosen.step), (chosen.batch, chosen.prefill)]
        about |= {"best": each is winner, "beyond": each.beyond.batch if each.beyond else None,
                  "beyond_fails": each.beyond.fails if each.beyond else ("memory",)}  # fmt: skip
        note = f"stopped by {each.stops}"
        batch = mixed_of("sla batch", chosen.batch, "sequences", parts, note, **about)
        yield replace(batch, bound=each.stops)
        rate = chosen.rate * request.output
        yield mixed_of("sla output", rate, "tokens/s", parts, **about)
        yield mixed_of("sla output per device", rate / each.devices, "tokens/s", parts, **about)
        yield mixed_of("sla tpot", chosen.early.tpot, "s", parts, "out of phase, the longer", **about)
        tail = chosen.late.tail + chosen.step.seconds / 2
        yield mixed_of("sla ttft tail", tail, "s", first, "in phase, the longer; half a step included", **about)
    for each in picks(planner, burst=False):
        about = {"devices": each.devices, "ttft_limit_s": limits.ttft, "tpot_limit_s": limits.tpot, "stops": each.stops}
        note = "no burst of prompts: TTFT is one prefill"
        if each.chosen is None:
            yield Answer("sla batch, users out of phase", 0, "sequences", each.stops, _sure(each), about, note=note)
            continue
        parts = [(request.output - 1, each.chosen.step), (each.chosen.batch, each.chosen.prefill)]
        batch = mixed_of("sla batch, users out of phase", each.chosen.batch, "sequences", parts, note, **about)
        yield replace(batch, bound=each.stops)
        rate = each.chosen.rate * request.output
        yield mixed_of("sla output, users out of phase", rate, "tokens/s", parts, **about)


def _sure(each: Pick) -> str:
    """How sure a refusal is: of memory by formula, of a limit by the step that breaks it."""
    return each.beyond.step.origin if each.beyond else FORMULA


def _why(planner: Planner, each: Pick, found: tuple[Pick, ...]) -> str:
    enough = next((other.devices for other in found if other.chosen and other.devices > each.devices), None)
    advice = f"; {enough} devices would do" if enough else ""
    if each.beyond is None:
        return f"the model does not fit on {each.devices}{advice}"
    loop = each.beyond.early
    return (
        f"infeasible on {each.devices}: one user alone takes {loop.tpot * 1e3:.3g} ms per token and "
        f"{loop.ttft:.3g} s to the first{advice}"
    )
