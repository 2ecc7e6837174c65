"""What this machine means for serving: figures, tables and sentences of one model, and the evaluator's data."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench import units
from bench.analysis.fit import Fit
from bench.analysis.serving.claims import Checked, checked, contradictions
from bench.analysis.serving.errors import ServingError
from bench.analysis.serving.machine import Machine
from bench.analysis.serving.selfcheck import self_check
from bench.analysis.serving.sources import of_run
from bench.report.sections import Plot
from bench.report.serving import deployment, figures, tables, words
from bench.report.serving.export import exported
from bench.report.shell import Data, inert, packed
from bench.report.tables import Table
from bench.roofline import MissingRoof

TITLE = "What this machine means for serving"
# What the page needs beside report.js and report.css, by the names that shell.rendered reads.
SCRIPTS = ("serving/evaluate.js", "serving/controls.js")
STYLE = "serving/serving.css"


@dataclass(frozen=True)
class Choice:
    """One control: what can be chosen, or a number with its least and most. at: what is chosen at first."""

    name: str
    label: str
    options: tuple[tuple[str, str], ...]
    at: int
    most: int = 0


@dataclass(frozen=True)
class Section:
    """What serving/section.html.j2 renders. problem: why there are no answers. choices: the controls of the interactive
    part; data: what they compute with, as a download. claims: (document, table).
    """

    problem: str
    paragraphs: tuple[str, ...]
    sure: str
    choices: tuple[Choice, ...]
    data: Data | None
    pareto: Plot | None
    plots: tuple[Plot, ...]
    grids: tuple[Table, ...]
    checked: str
    self_check: Table | None
    verdicts: str
    claims: tuple[tuple[str, Table], ...]
    clashes: Table
    id: str = "serving"
    title: str = TITLE
    short: str = "Serving"

    @property
    def every_plot(self) -> list[Plot]:
        return [plot for plot in (self.pareto, *self.plots) if plot]


def section(fit: Fit, judge: Callable[[Fit, Machine | None], Sequence[Checked]] = checked) -> Section:
    """Of one fitted device; `judge` gives the claims as it decides them. A machine that cannot be planned for gives a
    section that says why, and the claims that need none.
    """
    try:
        machine = of_run(fit)
        chosen = deployment.chosen(machine)
        text, data = words.paragraphs(chosen), exported(chosen.planner.machine)
        found = self_check(fit, machine)
    except (ServingError, MissingRoof) as error:
        claims = judge(fit, None)
        return Section(
            f"{str(error).rstrip('.')}.", (), "", (), None, None, (), (), "", None,
            words.verdicts(claims), tuple(tables.claims(claims)), tables.contradictions(contradictions()),
        )  # fmt: skip
    data["device"] = "GPU" if fit.info.sms else "device"
    data["limits"] = words.limit_names(key for key, _ in data["roofs"])
    claims = judge(fit, machine)
    pareto, plots = _plots(chosen, " ".join(text))
    return Section(
        "",
        text,
        words.sure(chosen.planner.machine),
        _choices(data, chosen),
        Data("serving", "serving.json", "application/json", packed(inert(json.dumps(data, separators=(",", ":"))))),
        pareto,
        plots,
        _grids(chosen),
        words.checked_against(found),
        tables.self_check(found),
        words.verdicts(claims),
        tuple(tables.claims(claims)),
        tables.contradictions(contradictions()),
    )


def _plots(chosen: deployment.Chosen, text: str) -> tuple[Plot | None, tuple[Plot, ...]]:
    """Each says to who cannot see it what the paragraph says, and where its numbers are."""

    def plot(name: str, figure: Any, title: str, caption: str) -> Plot | None:
        label = f"{title}. {text} The numbers are in the tables below."
        return Plot(f"fig-serving-{name}", figure, label, title, caption) if figure is not None else None

    sure = "Filled: from measured curves. Open: from a formula or an assumption."
    several = f"{chosen.model.name} on one device, {chosen.context:,} tokens of context. {sure}"
    pareto = plot("pareto", figures.pareto(chosen), "Throughput against latency over batch", several)
    made = (
        plot(
            "operators", figures.operators(chosen), "Operators under their roofs",
            f"{chosen.name}. Each operator's rate with its start inside; those without arithmetic (norms, gates)"
            f" are in the table. Named: what takes most of each step. {sure}",
        ),
        plot(
            "capacity", figures.capacity(chosen), "What fits",
            f"Sequences beside the weights in {units.percent(0.9)} of the device's memory, in pages of 16 tokens.",
        ),
        plot(
            "crossovers", figures.crossovers(chosen), "Where the KV cache overtakes the weights",
            f"{chosen.name}: seconds per step in the linear operators, which read the weights, and in attention, which"
            " reads the cache. Diamonds: where they meet.",
        ),
    )  # fmt: skip
    return pareto, tuple(each for each in made if each)


def _grids(chosen: deployment.Chosen) -> tuple[Table, ...]:
    made = [tables.pareto(chosen)] if chosen.fits.batch else []
    return (*made, tables.operators(chosen), tables.capacity(chosen), tables.answers(chosen))


def _choices(data: dict[str, Any], chosen: deployment.Chosen) -> tuple[Choice, ...]:
    request = chosen.planner.request

    def listed(name: str, label: str, texts: Iterable[str], at: int) -> Choice:
        return Choice(name, label, tuple((str(i), text) for i, text in enumerate(texts)), at)

    known = [each["name"] for each in data["models"]]
    devices = tuple((str(count), str(count)) for count in deployment.DEVICES)
    return (
        listed("model", "Model", known, known.index(chosen.model.name)),
        listed(
            "weights", "Weights", [each["label"] for each in data["weights"]], deployment.WEIGHTS.index(chosen.weights)
        ),
        listed("kv", "KV cache", [each["label"] for each in data["kv"]], deployment.KV.index(chosen.kv)),
        Choice("devices", f"{data['device'][0].upper()}{data['device'][1:]}s", devices, deployment.DEVICES[0]),
        Choice("batch", "Batch", (), min(chosen.batch, 16), 65536),
        Choice("context", "Context (prompt)", (), request.prompt, 10485760),
        Choice("output", "Output", (), request.output, 1048576),
    )
