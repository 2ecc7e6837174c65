"""What a machine means for serving a model: one Document for the verb `serving`, and one for a Run's own page."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from bench import units
from bench.analysis import names
from bench.analysis.fit import Fit
from bench.analysis.serving import ServingError, records
from bench.analysis.serving.answers import Answers, answer, to_json
from bench.analysis.serving.claims import CheckedClaim, checked, contradictions
from bench.analysis.serving.export import exported
from bench.analysis.serving.machine import FORMULA, Machine
from bench.analysis.serving.machine_io import of_run
from bench.analysis.serving.planner import Planner
from bench.analysis.serving.records import Deployment, default
from bench.analysis.serving.selfcheck import SelfCheck, self_check
from bench.analysis.serving.step import StepTime
from bench.report.document import FAIL, NOT_JUDGED, PASS, WARN, Document, Finding, Plot, Section, Verdict
from bench.report.phrases import listed, many, sentence
from bench.report.plots import serving as figures
from bench.report.sections import plot, span
from bench.report.serving_tables import Shown, checks, claims, curves, error, fits, operators, share
from bench.roofline import MissingRoof

QUESTION = "How fast will a language model answer here, for how many at once, and what stops it?"
_SURE = "Filled: from measured curves. Open: from a formula or an assumption."
_SCRIPTS = ("bench.analysis.serving/evaluator.js", "serving.js")
# A step that uses less of the memory roof waits for its kernels and not for the roof.
_FAR = 0.5
# Answers, by the section that shows them.
_APART = "sla batch, users out of phase"
_PICKS = ("sla batch", "sla output", "sla output per device", "sla tpot", "sla ttft tail", _APART)
_TIMES = [*map(Shown, ("latency floor", "time to first token", "bounds"))]
_TIMES += [Shown("time between tokens", ("batch",), ("context",), ("tpot",))]
_LOAD = (
    Shown("sla", ("devices",), (), (_APART, "sla output, users out of phase"), "If users stay out of phase"),
    Shown("closed loop", ("batch",), ("phase",)),
    *map(Shown, ("open loop", "chunked prefill", "two pools")),
    Shown("cost and energy", ("batch",)),
)
_CHANGES = [Shown("quantisation", ("weights", "kv")), Shown("tensor parallel", ("devices",), ("batch",))]
_CHANGES += [Shown("pipeline parallel", ("stages",)), Shown("experts")]
_CHANGES += [Shown("speculation", ("batch",), ("acceptance",), ("speculation, best length",))]
_CHANGES += [Shown("speculation", ("drafts",), ("acceptance",), ("speculation speed-up",))]


def document(found: Answers, full: bool = False) -> Document:
    """What batch meets the limits and what stops the next one; full: every question with its figures and tables."""
    deployment = Deployment(Planner(found.model, found.machine, found.request))
    request, limits = found.request, found.request.sla
    heading = f"{found.model.name} on {request.ranks.devices} × {found.machine.name}"
    about = (
        figures.formats(deployment),
        found.machine.origin,
        f"prompts of {request.prompt:,}, outputs of {request.output:,}",
        f"TTFT p{100 * limits.quantile:.0f} up to {units.seconds(limits.ttft)}",
        f"{1 / limits.tpot:.3g} tokens/s per user",
    )
    lead, *sections = _sections(found, deployment) if full else (None,)
    return Document(
        f"{heading} · serving",
        heading,
        about,
        found.machine.simulated,
        verdicts=(_verdict(found),),
        findings=tuple(_findings(found, deployment)),
        matrix=Shown("sla", ("devices",), (), _PICKS, "Within these limits, if all may start at once").table(found),
        lead=lead,
        sections=tuple(sections),
        absent="; ".join(f"{question} ({why.rstrip('.')})" for question, why in found.missing.items()),
        data=to_json(found),
    )


def page(fit: Fit, judge: Callable[[Fit, Machine | None], Sequence[CheckedClaim]] = checked) -> Document:
    """A Run's page on serving: a model that fits, asked anew by whoever reads it, and the claims that it decides."""
    try:
        machine = of_run(fit)
        deployment = default(machine)
        data = _interactive(deployment, "GPU" if fit.info.sms else "device")
        accuracy = _accuracy(self_check(fit, machine))
    except (ServingError, MissingRoof) as why:
        return _unanswered(fit.info.name, fit.info.simulated, why, claims(judge(fit, None), contradictions()))
    try:
        made = document(answer(deployment.model, machine, deployment.planner.request), full=True)
    except ServingError as why:
        made = _unanswered(machine.name, machine.simulated, why)
    lead = made.lead or Section("serving", "Ask this machine", QUESTION)
    sections = (*made.sections, accuracy, claims(judge(fit, machine), contradictions()))
    return replace(made, lead=lead, sections=sections, scripts=_SCRIPTS, data={"serving": data})


def _unanswered(name: str, simulated: bool, why: Exception, *sections: Section) -> Document:
    verdict = Verdict("Serving", NOT_JUDGED, "not answered", sentence(str(why)))
    return Document(f"{name} · serving", name, simulated=simulated, verdicts=(verdict,), sections=sections)


def _interactive(deployment: Deployment, device: str) -> dict[str, Any]:
    """What the page computes with, what is chosen at first, and the words that it says."""
    data = exported(deployment.planner.machine)
    for each in (*data["weights"], *data["kv"]):
        each["label"] = figures.label(each["name"])
    limits = {key: figures.bound(key) for key in (*(key for key, _ in data["roofs"]), "dram", "overhead")}
    return data | {"at": deployment.choice, "device": device, "limits": limits}


def _verdict(found: Answers) -> Verdict:
    """What batch meets the limits on how many devices, and what stops the next one."""
    batches, best = records.best(found["sla"])
    if not batches:
        return Verdict("Limits", NOT_JUDGED, "not judged", sentence(found.missing.get("sla", "no batch was tried")))
    if best is None:
        return Verdict("Limits", FAIL, "not met", sentence(batches[0].note))
    on = f" on {many(best.about['devices'], 'device')}" if len(batches) > 1 else ""
    stops = names.terms(best.about["stops"])
    return Verdict("Limits", PASS, "met", f"batch {best.value:.0f}{on}; {stops} stops the next one")


def _findings(found: Answers, deployment: Deployment) -> Iterator[Finding]:
    """A token for one user, tokens for many, a prompt, what fits, and what all of it rests on."""
    planner, machine, prompt = deployment.planner, found.machine, found.request.prompt
    one, first = planner.decode(1, deployment.context), planner.prefill(prompt)
    rate = units.digits(1 / one.seconds)
    yield Finding(f"One user waits {_barred(one)} for a token ({rate} tokens/s): {_split(one)}.")
    if (batch := deployment.batch) > 1:
        step = planner.decode(batch, deployment.context)
        longer, total = units.digits(step.seconds / one.seconds), units.number(batch / step.seconds)
        yield Finding(f"{batch} users: {_barred(step)} a token, {longer} times as long; {total} tokens/s in all.")
    yield Finding(f"First token of a {prompt:,}-token prompt: {_barred(first)}, idle engine: {_split(first)}.")
    yield from _room(found)
    if machine.origin == FORMULA:
        yield Finding("By formula from stated roofs: nothing here was measured.")
    elif machine.errors:
        points = sum(each.points for each in machine.errors.values())
        spans = [f"{phase} {span((each.low, each.high), error)}" for phase, each in machine.errors.items()]
        yield Finding(f"Error bars by the self-check: {', '.join(spans)} ({many(points, 'point')}).")
    else:
        yield Finding("No error bar: no whole layer was measured here.", WARN, "`bench run --probes layer`")
    if machine.partial:
        probes = f"`bench run --probes {','.join(machine.partial)}`"
        yield Finding("What is marked assumed rests on documented defaults.", WARN, probes)


def _room(found: Answers) -> Iterator[Finding]:
    """What fits, what a user's pace allows, and which binds first."""
    for each in found["capacity"]:
        if each.name == "batch that binds first":
            most, user, request = each.about["memory"], each.about["user_rate"], found.request
            held = f"Memory holds {many(most, 'sequence')} of {request.prompt:,} + {request.output:,} tokens"
            pace = f"{1 / request.sla.tpot:.3g} tokens/s per user"
            met = f"{pace} allow {user:,}" if user < most else f"all meet {pace}"
            yield Finding(f"{held}; {f'{met}: {each.bound} binds first' if user else f'no batch meets {pace}'}.")


def _split(step: StepTime) -> str:
    """What most of a step's time is spent on."""
    shares = sorted(step.shares.items(), key=lambda each: -each[1])[:2]
    said = (f"{share(part)} {'kernel starts' if name == 'fixed' else name}" for name, part in shares if part >= 0.005)
    return ", ".join(said)


def _barred(step: StepTime) -> str:
    bar = f" ({units.between(*step.bar, units.seconds)})" if step.bar else ""
    return f"{units.seconds(step.seconds)}{bar}"


def _sections(found: Answers, deployment: Deployment) -> Iterator[Section]:
    """The curve of throughput over latency first; then what it is made of, what fits, and what changes it."""
    one, first = deployment.planner.decode(1, deployment.context), deployment.planner.prefill(found.request.prompt)

    def section(group: str, id: str, title: str, said: Iterable[str], drawn: Iterable[Plot] = (), made: Iterable = ()):
        shown = (each.table(found) if isinstance(each, Shown) else each for each in made)
        return Section(f"serving-{id}", title, "", "", said, drawn, shown, group=group)

    caption = f"{found.model.name}, {deployment.context:,} tokens of context. {_SURE}"
    pareto = plot("serving-pareto", "Throughput against latency over batch", figures.pareto(deployment), caption)
    dips = [str(each.about["batch"]) for each in found["pareto"] if each.note]
    slow = [f"Batch {listed(dips)} takes less time than a smaller one: so were its products measured."] if dips else []
    notes = [f"What this rests on: {'; '.join(found.machine.notes)}."]
    yield Section("serving", "Ask this machine", QUESTION, "", slow, pareto, curves(deployment), notes)

    said = [f"The memory roof alone asks for {share(one.mbu)} of one user's time per token."]
    said += ["What binds is how far these kernels stay below the memory roof."] * (one.mbu < _FAR)
    said += [f"The compute roof alone asks for {share(first.mfu)} of the time to the first token."]
    yield section("Latency", "latency", "Floors, first token, time per token", said, (), _TIMES)
    caption = f"Each operator's rate with its start inside. Named: what takes most of each step. {_SURE}"
    drawn = plot("serving-operators", "Operators under their roofs", figures.operators(deployment), caption)
    heavy = {phase.removeprefix("decode, "): (step.largest, step.seconds) for phase, step in deployment.steps.items()}
    large = [f"{share(row.seconds / whole)} {row.operation.name} ({at})" for at, (row, whole) in heavy.items()]
    said, made = [f"Largest: {listed(large)}."], [operators(deployment)]
    yield section("Operators", "operators", "Where a step's time goes", said, drawn, made)

    caption = "Sequences beside the weights in the usable share of the memory, in pages of 16 tokens."
    drawn = plot("serving-capacity", "Largest batch over context", figures.capacity(deployment), caption)
    said = f"The linear operators are compute-bound from {max(1, deployment.critical):,.0f} rows on."
    made = [fits(deployment), Shown("capacity"), Shown("critical batch")]
    yield section("Memory", "capacity", "What fits", [said], drawn, made)
    caption = "Seconds per step in what reads the weights and in what reads the cache. Diamonds: where they meet."
    title, figure = "Time in the weights and in the KV cache", figures.crossovers(deployment)
    drawn = plot("serving-crossovers", title, figure, caption)
    batches = sorted({1, deployment.batch})
    met = [f"{at:,} tokens at batch {batch}" for batch in batches if (at := deployment.meeting(batch))]
    said = [f"The KV cache takes longer than the weights beyond {listed(met)}."] if met else []
    yield section("Memory", "crossovers", "KV cache against weights", said, drawn, [Shown("crossovers")])

    loops = [each for each in found["closed loop"] if each.name == "closed loop output"][-1:]
    said = [f"{each.about['batch']} users in a closed loop: {each.value:,.0f} tokens/s of output." for each in loops]
    yield section("Load and cost", "load", "Under load, and what it costs", said, (), _LOAD)
    yield section("What a change buys", "changes", "Faster parts, other formats", _changes(one), (), _CHANGES)


def _changes(one: StepTime) -> Iterator[str]:
    """What a faster part would save of a lone user's token: half of its share."""
    compute, memory = one.shares["compute"], one.shares["memory"]
    saved = share(compute / 2) if compute >= 0.005 else "nothing"
    yield f"Of one user's token, twice the arithmetic saves {saved}, twice the bandwidth {share(memory / 2)}."
    if one.mbu >= _FAR and compute < 0.1 < memory:
        yield "More compute does not cure latency."


def _accuracy(found: SelfCheck) -> Section:
    """How far off the planner is from layers that were measured."""
    about = "serving-accuracy", "How far off is this?", "", ""
    return Section(*about, _errors(found), (), [checks(found)], _composed(found), "Accuracy")


def _errors(found: SelfCheck) -> Iterator[str]:
    if not found.checks:
        yield f"Not checked against a measured layer: {found.missing.rstrip('.')}. No number has an error bar."
        return
    mean, points = units.percent(found.mean, 2), many(len(found.checks), "point")
    yield f"Whole layers, predicted from other probes' curves: off by {mean} in the mean over {points}."
    worst = found.worst
    beside = f" beside {worst.chunk:,} of a prompt" if worst.chunk else ""
    where = f"{worst.phase}, batch {worst.batch}, {worst.context:,} tokens{beside}"
    yield f"Worst: {error(worst.error)} for {worst.model}, {where} ({worst.largest} takes most)."
    phases = [f"{phase} {span(found.of(phase).range, error)}" for phase in found.phases]
    yield f"By phase: {', '.join(phases)}."


def _composed(found: SelfCheck) -> Iterator[str]:
    """What else the self-check tells, in small print."""
    if found.checks:
        yield "Nothing is corrected: the furthest error on either side, with or without its own parts, is the bar."
    if composed := [each.composition for each in found.checks if each.composition]:
        yield f"A layer took {span(composed, units.digits)} times the sum of its parts measured alone."
    if tokens := [each.token.error for each in found.checks if each.token]:
        off = f"off by {span(tokens, error)}"
        yield f"A token of the whole model: the planner is {off} from as many measured layers as it has."
