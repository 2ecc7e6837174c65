"""What the numbers of serving say, in sentences: computed from the Run, and left out where they would not be true."""

from collections.abc import Iterable, Iterator, Sequence

from bench import units
from bench.analysis.serving.capacity import binds
from bench.analysis.serving.claims import Checked, tally
from bench.analysis.serving.load import largest
from bench.analysis.serving.machine import ASSUMED, FORMULA, Machine
from bench.analysis.serving.selfcheck import SelfCheck
from bench.analysis.serving.step import StepTime
from bench.report.serving import figures
from bench.report.serving.deployment import Chosen
from bench.report.serving.tables import binds as binding
from bench.report.serving.tables import signed
from bench.report.words import many


def paragraphs(chosen: Chosen) -> tuple[str, ...]:
    """One token for one user, tokens and prompts for many, and what stops a larger batch."""
    if not chosen.fits.batch:
        fits = chosen.fits
        return (
            f"{chosen.name} does not fit: weights and one sequence of {fits.context:,} tokens take "
            f"{units.size(fits.weights + fits.sequence)}, and {units.size(fits.room)} of "
            f"{chosen.planner.machine.name} are usable.",
        )
    return tuple(" ".join(said) for said in (_alone(chosen), _together(chosen), _limits(chosen)))


# A step that uses less of the memory roof waits for its kernels and not for the roof.
_FAR = 0.5


def _alone(chosen: Chosen) -> Iterator[str]:
    one = chosen.planner.decode(1, chosen.context)
    yield (
        f"One user of {chosen.name}, alone on one {chosen.planner.machine.name}, waits {units.seconds(one.seconds)} for"
        f" a token at {chosen.context:,} tokens of context ({units.digits(1 / one.seconds)} tokens/s): {_split(one)}."
    )
    compute, memory = one.shares["compute"], one.shares["memory"]
    if one.mbu < _FAR:
        yield (
            f"At the memory roof its weights and cache would take {units.percent(one.mbu, 2)} of that: what binds is"
            " how far these kernels stay below it."
        )
    elif compute < 0.1 < memory:
        saved = f"{units.percent(compute / 2, 2)}" if compute >= 0.005 else "nothing"
        yield (
            f"Twice the arithmetic would save {saved} of that, twice the bandwidth {units.percent(memory / 2, 2)}:"
            " more compute does not cure latency."
        )


def _together(chosen: Chosen) -> Iterator[str]:
    planner, prompt = chosen.planner, chosen.planner.request.prompt
    one, step, first = (
        planner.decode(1, chosen.context),
        planner.decode(chosen.batch, chosen.context),
        planner.prefill(prompt),
    )
    if chosen.batch > 1:
        yield (
            f"For {chosen.batch} users at once a token takes {units.seconds(step.seconds)}, "
            f"{units.digits(step.seconds / one.seconds)} times as long for {chosen.batch} times the tokens: "
            f"{units.number(chosen.batch / step.seconds)} tokens/s in all."
        )
    yield (
        f"A prompt of {prompt:,} tokens has its first token after {units.seconds(first.seconds)} on an idle engine: "
        f"{_split(first)}; at the compute roof its arithmetic would take {units.percent(first.mfu, 2)} of that."
    )


def _limits(chosen: Chosen) -> Iterator[str]:
    planner, request, most = chosen.planner, chosen.planner.request, chosen.fits.batch
    user = largest(lambda batch: planner.decode(batch, chosen.context).seconds <= request.sla.tpot, most)
    knee, rate = figures.critical(chosen), f"{1 / request.sla.tpot:.3g} tokens/s per user"
    met = (
        f"no batch meets {rate}"
        if not user
        else f"{rate} allow {user:,}"
        if user < most
        else f"all of them meet {rate}"
    )
    yield (
        f"{many(most, 'sequence')} of {request.prompt:,} + {request.output:,} tokens fit; {met};"
        f" from {max(1, knee):,.0f} rows on the linear operators are compute-bound."
    )
    first = {
        "memory": "So memory is full first.",
        "user rate": "So the user's patience binds first.",
        "compute": "So arithmetic binds first: a larger batch buys the linear operators nothing.",
    }
    # a rate that every batch meets binds nothing
    yield first[binds(most, user if user < most else most + 1, knee)]
    said = [
        f"{at:,} tokens at batch {batch}"
        for batch in sorted({1, chosen.batch})
        if (at := figures.meeting(chosen, batch))
    ]
    if said:
        yield f"Reading the KV cache takes longer than the weights beyond {' and '.join(said)}."


def _split(step: StepTime) -> str:
    """What a step's time is spent on, largest first, without what is nothing."""
    words = {
        "memory": "waiting for memory",
        "compute": "computing",
        "fixed": "starting kernels",
        "communication": "talking",
    }
    shares = sorted(step.shares.items(), key=lambda each: -each[1])
    return ", ".join(f"{units.percent(share, 2)} {words[name]}" for name, share in shares if share >= 0.005)


def sure(machine: Machine) -> str:
    """What the numbers rest on."""
    parts = [f"What this rests on: {'; '.join(machine.notes)}."] if machine.notes else []
    if machine.partial:
        parts.append(
            f"To replace what is assumed, run the {_listed(machine.partial)} probe{'s' * (len(machine.partial) > 1)}."
        )
    if machine.origin == FORMULA:
        parts.append("Nothing here was measured: it is what the formulas say of this machine's stated roofs.")
    elif ASSUMED in " ".join(machine.notes):
        parts.append(
            "An answer is called assumed where an operator of a hundredth of it or more rests on an assumption."
        )
    return " ".join(parts)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def checked_against(found: SelfCheck) -> str:
    """How far off the planner was from a layer that was measured."""
    if not found.checks:
        why = found.missing.rstrip(".")
        return f"Not checked against a measured layer: {why}. The numbers above carry no error bar."
    parts = [
        f"Predicted from other probes' curves and never corrected, the time of a whole transformer layer was off by "
        f"{units.percent(found.mean, 2)} in the mean over {many(len(found.checks), 'point')}."
    ]
    worst = found.worst
    parts.append(
        f"Worst: {signed(worst.error)} for {worst.model}, {worst.phase}, batch {worst.batch}, {worst.context:,} tokens"
        f"{f' beside {worst.chunk:,} of a prompt' if worst.chunk else ''} ({worst.largest} takes most of it)."
    )
    for phase in found.phases:
        low, high = found.of(phase).range
        parts.append(f"Of {phase}: {signed(low)} to {signed(high)}.")
    parts.append(
        "The furthest on either side, of these and of the same points with the layer's own parts among the curves, is"
        " the error bar of the answers about such steps; others have none."
    )
    composed = [each.composition for each in found.checks if each.composition]
    if composed:
        span = " to ".join(dict.fromkeys(map(units.digits, (min(composed), max(composed)))))
        parts.append(f"A layer took {span} times the sum of its parts measured alone.")
    if tokens := [each.token.error for each in found.checks if each.token]:
        parts.append(
            f"For a token of the whole model the planner is off by {signed(min(tokens))} to {signed(max(tokens))} from"
            " as many measured layers as it has, with its measured LM head and sampling."
        )
    return " ".join(parts)


def verdicts(checked: Sequence[Checked]) -> str:
    """How many claims stand, which of them this machine judges otherwise, and how many it could not be asked about."""
    found = tally(checked)
    said = ", ".join(f"{count} {verdict}" for verdict, count in found.here.items() if count)
    texts = many(len({each.document for each in checked}), "text")
    text = f"{many(len(checked), 'claim')} of {texts} on serving LLMs: {said}."
    if found.changed:
        changed = _listed([each.id for each in found.changed])
        text += f" This machine judges otherwise than data sheets do in {len(found.changed)}: {changed}."
    if found.unmeasured:
        whose = "their verdicts are those" if found.unmeasured > 1 else "its verdict is that"
        text += f" {found.unmeasured} not measured in this Run; {whose} of the reference."
    return text


def limit_names(keys: Iterable[str]) -> dict[str, str]:
    """What each thing that may bind is called."""
    return {key: binding(key) for key in (*keys, "dram", "overhead")}
