"""The point of a machine that meets limits: batch, devices, throughput, and what stops the next batch.

Every candidate must meet the limits at both ends of the users' phase, with the self-check's error on the unsafe side.
Where none does, the picker says what one user takes, and how many devices would do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from bench.analysis.serving import queueing
from bench.analysis.serving.machine import FORMULA
from bench.analysis.serving.planner import Answer, Planner, mixed_of
from bench.analysis.serving.queueing import UserLoop
from bench.analysis.serving.request import DEVICES
from bench.analysis.serving.step import StepTime, layouts
from bench.transformer import Ranks


@dataclass(frozen=True)
class BatchPoint:
    """One batch on one layout. fails: the limits it breaks, of "ttft", "tpot", "latency", "memory"."""

    devices: int
    batch: int
    early: UserLoop
    late: UserLoop
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
    chosen: BatchPoint | None
    beyond: BatchPoint | None
    stops: str


def point(planner: Planner, ranks: Ranks, batch: int, burst: bool = True) -> BatchPoint:
    """A batch judged against the request's limits; burst: the users may all start at once."""
    output, limits, error = planner.request.output, planner.request.sla, planner.request.error
    step, prefill = (
        planner.decode(batch, planner.mean_context, ranks),
        planner.prefill(planner.request.prompt, 0, ranks),
    )

    def loop(decode: float, first: float, in_phase: bool, tail: bool) -> UserLoop:
        return queueing.closed(batch, output, decode, first, in_phase, limits.quantile if tail else None)

    # the tail out of phase is a queue's, and only asked of what is compared with the limits
    apart, together = (loop(step.seconds, prefill.seconds, phase, phase) for phase in (False, True))
    # compared with the limits: as slow as the self-check allows them to be
    late, first = _unsafe(step, error), _unsafe(prefill, error)
    # both ends at once: gaps are longest out of phase, the first token is latest in phase
    slow, crowded = (loop(late, first, phase, phase or not burst) for phase in (False, True))
    waited = (crowded if burst else slow).tail + late / 2
    broken = {
        "ttft": waited > limits.ttft,
        "tpot": slow.tpot > limits.tpot,
        "latency": slow.latency > limits.latency,
    }
    fails = tuple(name for name, breaks in broken.items() if breaks)
    return BatchPoint(step.devices, batch, apart, together, step, prefill, fails)


def _unsafe(step: StepTime, error: float) -> float:
    """Seconds that a step may really take."""
    return max(step.seconds * (1 + error), step.range[1] if step.range else 0.0)


def pick(planner: Planner, ranks: Ranks, burst: bool = True) -> Pick:
    """The batch of the largest system rate that meets the limits on this layout, found to the sequence."""
    most = planner.fits(planner.request.prompt + planner.request.output, ranks).batch
    if not most:
        return Pick(ranks.tensor * ranks.pipeline, None, None, "memory")
    tested = cache(lambda batch: point(planner, ranks, batch, burst))
    good = 0
    # doubled until a limit breaks, then halved down to the sequence
    for batch in sorted({min(1 << p, most) for p in range(most.bit_length() + 1)}):
        if tested(batch).fails:
            break
        good = batch
    else:
        return Pick(tested(good).devices, tested(good), None, "memory")
    if good:
        good += queueing.largest(lambda more: not tested(good + more).fails, batch - good - 1)
    beyond = tested(good + 1)
    return Pick(beyond.devices, tested(good) if good else None, beyond, beyond.fails[0])


def picks(planner: Planner, burst: bool = True) -> tuple[Pick, ...]:
    """One per layout: that asked for, or one to eight devices."""
    asked = planner.request.ranks
    layouts_asked = layouts(planner.model, DEVICES) if asked == Ranks() else [asked]
    return tuple(pick(planner, ranks, burst) for ranks in layouts_asked)


def best(found: tuple[Pick, ...]) -> Pick | None:
    """Interactive: the layout of the largest system rate per device among those that meet the limits."""
    good = (each for each in found if each.chosen)
    return max(good, key=lambda each: each.chosen.rate / each.devices, default=None)


def answers(planner: Planner) -> Iterator[Answer]:
    """The pick of every layout and the best of them, if all may start at once; and if users stay out of phase."""
    found = picks(planner)
    winner = best(found)
    for each in found:
        yield from _together(planner, each, found, each is winner)
    for each in picks(planner, burst=False):
        yield from _apart(planner, each)


def _together(planner: Planner, each: Pick, found: tuple[Pick, ...], is_best: bool) -> Iterator[Answer]:
    limits, request = planner.request.sla, planner.request
    about = {
        "devices": each.devices, "ttft_limit_s": limits.ttft, "tpot_limit_s": limits.tpot, "sla": limits.name,
        "quantile": limits.quantile, "prompt": request.prompt, "output": request.output, "stops": each.stops,
    }  # fmt: skip
    if each.chosen is None:
        yield Answer("sla batch", 0, "sequences", each.stops, _sure(each), about, note=_why(each, found))
        return
    chosen, beyond = each.chosen, each.beyond
    about |= {"best": is_best, "beyond": beyond.batch if beyond else None}
    about["beyond_fails"] = beyond.fails if beyond else ("memory",)
    first = [(1, chosen.prefill), (0.5 * chosen.prefill.seconds / chosen.late.tail, chosen.step)]
    parts = [(request.output - 1, chosen.step), (chosen.batch, chosen.prefill)]
    batch = mixed_of("sla batch", chosen.batch, "sequences", parts, f"stopped by {each.stops}", **about)
    yield replace(batch, bound=each.stops)
    rate = chosen.rate * request.output
    yield mixed_of("sla output", rate, "tokens/s", parts, **about)
    yield mixed_of("sla output per device", rate / each.devices, "tokens/s", parts, **about)
    yield mixed_of("sla tpot", chosen.early.tpot, "s", parts, "out of phase, the longer", **about)
    tail = chosen.late.tail + chosen.step.seconds / 2
    yield mixed_of("sla ttft tail", tail, "s", first, "in phase, the longer; half a step included", **about)


def _apart(planner: Planner, each: Pick) -> Iterator[Answer]:
    limits, output, chosen = planner.request.sla, planner.request.output, each.chosen
    about = {"devices": each.devices, "ttft_limit_s": limits.ttft, "tpot_limit_s": limits.tpot, "stops": each.stops}
    name, note = "sla batch, users out of phase", "no burst of prompts: TTFT is one prefill"
    if chosen is None:
        yield Answer(name, 0, "sequences", each.stops, _sure(each), about, note=note)
        return
    parts = [(output - 1, chosen.step), (chosen.batch, chosen.prefill)]
    yield replace(mixed_of(name, chosen.batch, "sequences", parts, note, **about), bound=each.stops)
    yield mixed_of("sla output, users out of phase", chosen.rate * output, "tokens/s", parts, **about)


def _sure(each: Pick) -> str:
    """How sure a refusal is: of memory by formula, of a limit by the step that breaks it."""
    return each.beyond.step.origin if each.beyond else FORMULA


def _why(each: Pick, found: tuple[Pick, ...]) -> str:
    enough = next((other.devices for other in found if other.chosen and other.devices > each.devices), None)
    advice = f"; {enough} devices would do" if enough else ""
    if each.beyond is None:
        return f"the model does not fit on {each.devices}{advice}"
    loop = each.beyond.early
    return (
        f"infeasible on {each.devices}: one user alone takes {loop.tpot * 1e3:.3g} ms per token and "
        f"{loop.ttft:.3g} s to the first{advice}"
    )
