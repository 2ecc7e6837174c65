"""Everything that one machine says about serving one model: `answer(model, machine, request)`, and as plain values.

Each question is answered on its own: what cannot be answered is listed with the reason and the probe to run, and the
rest is answered. What no machine could serve is a ServingError before that.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.analysis.serving import ServingError, latency, sla_search, under_load, what_if
from bench.analysis.serving.machine import Machine
from bench.analysis.serving.planner import Answer, Planner
from bench.analysis.serving.request import ServingRequest, check, filled
from bench.analysis.serving.step import check_layout
from bench.roofline import MissingRoof
from bench.transformer import Model

# Question -> what answers it, in the order of a reader's interest.
QUESTIONS: Mapping[str, Callable[[Planner], Iterator[Answer]]] = {
    "sla": sla_search.answers,
    "latency floor": latency.floors,
    "time to first token": latency.first_token,
    "time between tokens": latency.tokens,
    "pareto": latency.pareto,
    "operators": latency.operators,
    "bounds": latency.bounds,
    "critical batch": what_if.critical,
    "capacity": what_if.room,
    "crossovers": what_if.crossovers,
    "closed loop": under_load.loops,
    "open loop": under_load.queue,
    "chunked prefill": under_load.interference,
    "two pools": under_load.pools,
    "cost and energy": under_load.cost,
    "tensor parallel": what_if.tensor,
    "experts": what_if.experts,
    "pipeline parallel": what_if.pipeline,
    "quantisation": what_if.quantised,
    "speculation": what_if.speculation,
}


@dataclass(frozen=True)
class Answers:
    """All answers by question. missing: question -> why it has none. partial: some numbers rest on assumed curves."""

    model: Model
    machine: Machine
    request: ServingRequest
    groups: Mapping[str, tuple[Answer, ...]]
    missing: Mapping[str, str]

    @property
    def partial(self) -> bool:
        return bool(self.missing or self.machine.partial)

    def __getitem__(self, question: str) -> tuple[Answer, ...]:
        return self.groups.get(question, ())

    def find(self, name: str, **about: Any) -> Answer:
        """The first answer of that name whose `about` holds these values. Raises KeyError."""
        for group in self.groups.values():
            for each in group:
                if each.name == name and all(each.about.get(key) == value for key, value in about.items()):
                    return each
        raise KeyError(f"no answer {name!r} about {about}")


def answer(model: Model, machine: Machine, request: ServingRequest | None = None) -> Answers:
    """Every question about serving `model` on `machine`. Raises ServingError for what no machine could do, or where
    the model does not fit: by how much, and how many devices would do.
    """
    request = request or ServingRequest()
    check(request, model)
    check_layout(model, request.ranks)
    start = Planner(model, machine, request)
    context = request.prompt + request.output
    found = start.fits(context)
    start.check_fit(found)
    planner = Planner(model, machine, filled(request, model, found.batch))
    groups, missing = {}, {}
    for question, answers in QUESTIONS.items():
        try:
            groups[question] = tuple(answers(planner))
        except (MissingRoof, ServingError) as error:
            missing[question] = str(error)
    for context in planner.request.contexts:
        most = planner.fits(context).batch
        if refused := [batch for batch in request.batches if batch > most]:
            which = ", ".join(map(str, refused))
            missing[f"batch {which} at context {context}"] = f"does not fit: the largest batch there is {most}"
    return Answers(model, planner.machine, planner.request, groups, missing)


def to_json(found: Answers) -> dict[str, Any]:
    """Answers as plain values for --json, SI base units; numbers that do not exist are null."""
    request, machine, precision = found.request, found.machine, found.request.precision
    values = {
        "model": found.model.name,
        "machine": machine.name,
        "origin": machine.origin,
        "simulated": machine.simulated,
        "partial": found.partial,
        "run_probes": machine.partial,
        "notes": machine.notes,
        "missing": found.missing,
        "inputs": {
            "weights": precision.weights.name,
            "math": precision.multiplied(precision.weights),
            "activations": precision.activations.name,
            "kv": precision.kv.name,
            "tensor": request.ranks.tensor,
            "pipeline": request.ranks.pipeline,
            "expert": request.ranks.expert,
            "prompt": request.prompt,
            "output": request.output,
            "usable": request.usable,
            "reserve": machine.reserve if math.isnan(request.reserve) else request.reserve,
            "launch_mode": machine.mode,
            "launch_s": machine.start,
            "host_s": machine.host,
            "quantising": machine.quantising,
            "collective": machine.collective,
            "routing": request.routing,
            "error": request.error,
            "self_check": {phase: errors._asdict() for phase, errors in machine.errors.items()},
            "tpot": "(E2E - TTFT)/(OSL - 1)",
        },
        "answers": found.groups,
    }
    # its encoder, not to_builtins, makes null of what JSON has no number for
    return msgspec.json.decode(msgspec.json.encode(values, enc_hook=str))
