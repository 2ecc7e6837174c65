"""What figures and tables of a deployment are made of, as records: operators, batches that fit, checked layers."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import takewhile
from typing import Any

import pandas as pd

from bench import units
from bench.analysis.serving import latency
from bench.analysis.serving.claims import Checked
from bench.analysis.serving.deployment import CACHE, LINEAR, Deployment
from bench.analysis.serving.machine import PROVENANCE
from bench.analysis.serving.planner import Answer
from bench.analysis.serving.selfcheck import SelfCheck

# Batches this near to one another over all contexts are one line of a figure.
_NEAR = 0.1


def throughput(deployment: Deployment) -> pd.DataFrame:
    """Tokens/s of each user and in all over the batches that fit, a row per batch."""
    return pd.DataFrame([asdict(each) | each.about for each in latency.pareto(deployment.planner)])


def operators(deployment: Deployment) -> list[dict[str, Any]]:
    """Every operator of the steps that are drawn, those without arithmetic too. bound: the roof, or "overhead"."""
    return [
        asdict(row.operation.work)
        | asdict(row.timed)
        | {"step": phase, "operator": row.operation.name, "count": row.operation.count}
        | {"part": row.seconds / step.seconds, "fixed": row.timed.share}
        | {"bound": "overhead" if row.timed.label == "fixed" else row.timed.limit}
        | ({"intensity": row.operation.work.intensity} if row.operation.work.flops else {"flops": None})
        for phase, step in deployment.steps.items()
        for row in step.rows
    ]


def fits(deployment: Deployment) -> list[tuple[Deployment, pd.DataFrame]]:
    """The largest batch at each context, for each pair of formats."""
    lengths = deployment.lengths
    return [
        (each, pd.DataFrame({"context": lengths, "batch": [each.planner.fits(length).batch for length in lengths]}))
        for each in deployment.beside()
    ]


def capacities(deployment: Deployment) -> list[tuple[Deployment, pd.DataFrame]]:
    """What `fits` at all, without lines that would lie on another."""
    found: list[tuple[Deployment, pd.DataFrame]] = []
    for each, rows in fits(deployment):
        pairs = (zip(rows["batch"], other["batch"], strict=True) for _, other in found)
        if any(rows["batch"]) and all(any(abs(a - b) > _NEAR * max(a, b) for a, b in both) for both in pairs):
            found.append((each, rows))
    return found


def growing(deployment: Deployment) -> list[tuple[str, int, pd.DataFrame]]:
    """("KV" or "weights", batch, seconds of a step at each context), for one sequence and for many."""
    contexts = pd.DataFrame({"context": deployment.lengths})
    return [
        (what, batch, contexts.assign(seconds=[deployment.seconds(kinds, batch, each) for each in deployment.lengths]))
        for batch in sorted({1, deployment.batch})
        for what, kinds in (("KV", CACHE), ("weights", LINEAR))
    ]


def checks(found: SelfCheck) -> list[dict[str, Any]]:
    """Every measured layer beside its prediction; the bad ones too."""
    return [
        asdict(each)
        | (asdict(each.token) if each.token else {})
        | {"beside": each.chunk or None, "error": each.error, "composition": each.composition}
        for each in found.checks
    ]


def claim(each: Checked) -> dict[str, Any]:
    """A claim, with its chapter before it unless the text has none, and the probe that it lacks."""
    grouped = each.group and each.document not in each.group
    return asdict(each) | {"said": f"{each.group}: {each.claim}" if grouped else each.claim, "changed": each.changed}


def best(answers: Sequence[Answer]) -> tuple[list[Answer], Answer | None]:
    """The batches tried within the limits, one per number of devices, and the best that meets them."""
    batches = [each for each in answers if each.name == "sla batch"]
    return batches, next((each for each in batches if each.about.get("best")), None)


def grouped(answers: Iterable[Answer], over: Sequence[str]) -> dict[tuple, list[Answer]]:
    """Answers by what they hold for."""
    found: dict[tuple, list[Answer]] = {}
    for each in answers:
        found.setdefault(tuple(each.about.get(key) for key in over), []).append(each)
    return found


def together(answers: Sequence[Answer]) -> dict[str, Any]:
    """Of numbers beside one another: what binds each, where the least sure comes from, and what stops a larger batch,
    which is said instead of what binds its steps.
    """
    bound = [each.bound for each in takewhile(lambda each: not each.about.get("stops"), answers)]
    origin = max((each.origin for each in answers), key=PROVENANCE.index)
    stops = next((each.about["stops"] for each in answers if each.about.get("stops")), None)
    return {"bound": bound, "origin": origin, "stops": stops}


def spelt(value: float, unit: str) -> str:
    """A value for people: what is counted stays whole."""
    made = {"s": units.seconds, "B": units.size, "FLOP/B": units.intensity, "1": units.digits}.get(unit)
    if made:
        return made(value)
    if unit == "J per 1e6 tokens":
        return f"{units.digits(value / 1e6)} J per token"
    return f"{value:,.0f} {unit}" if value >= 100 or float(value).is_integer() else f"{units.digits(value)} {unit}"


def bar(each: Answer) -> str:
    """The error bar of an answer, "" where it has none."""
    return units.between(each.low, each.high, partial(spelt, unit=each.unit)) if each.low == each.low else ""
