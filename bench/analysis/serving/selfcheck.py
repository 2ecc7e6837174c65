"""The planner against a real transformer layer of the same Run: predicted and measured, point by point.

Two comparisons, because they fail for different reasons. `predicted`: the layer's operators timed as the planner times
them, from curves of other probes and of other shapes. `parts`: the layer's own parts, each measured alone, added up.
measured / parts is the composition factor: below 1 where launches overlap or activations stay in the cache, above 1
where the clock falls or parts evict each other's data. Nothing is corrected by it.

What it cannot see: a rank's collectives, the LM head and the sampling, the host of an engine, more layers than one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from bench import models
from bench.analysis.fit import Fit
from bench.analysis.serving.efficiency_curves import curves_of
from bench.analysis.serving.machine import ErrorRange, Machine
from bench.analysis.serving.points import points_of
from bench.analysis.serving.step import timed
from bench.analysis.summary import Summary
from bench.transformer import FORMATS, Model, Precision, Step

# The probes of a whole layer: of one phase, and of a decode step with a chunk of a prompt in it.
PROBE, BESIDE = "layer", "mixed"
# The probe that measures what follows the layers.
TAIL = "decode"
_FORMATS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
# Rows of a step that are not the layer's.
_OUTSIDE = ("embedding gather", "final norm", "LM head", "sampling")


@dataclass(frozen=True)
class Token:
    """A decode step of the whole model by two routes, in seconds. layers: as many measured layers as it has, with
    the measured LM head and sampling; planned: the planner's sum of operators.
    """

    layers: float
    planned: float

    @property
    def error(self) -> float:
        return self.planned / self.layers - 1


@dataclass(frozen=True)
class Check:
    """One measured layer. Seconds; parts is None where a part was not measured. largest: the operator that takes most.

    phase: "decode", "prefill" or "mixed" (beside `chunk` tokens of a prompt). validity: of what was measured.
    token: the whole model's step, where its head was measured too.
    error: signed, predicted over measured less 1.
    """

    model: str
    phase: str
    batch: int
    context: int
    measured: float
    predicted: float
    parts: float | None
    largest: str
    chunk: int = 0
    validity: str = "valid"
    token: "Token | None" = None

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1

    @property
    def composition(self) -> float | None:
        """Measured layer over the sum of its parts."""
        return self.measured / self.parts if self.parts else None


@dataclass(frozen=True)
class SelfCheck:
    """Every point, and in short. missing: why there is none."""

    checks: tuple[Check, ...]
    missing: str = ""

    @property
    def mean(self) -> float:
        """Mean absolute error."""
        return fmean(abs(each.error) for each in self.checks) if self.checks else float("nan")

    @property
    def worst(self) -> Check | None:
        return max(self.checks, key=lambda each: abs(each.error), default=None)

    @property
    def phases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.phase for each in self.checks))

    def of(self, phase: str) -> "SelfCheck":
        """The points of one phase, whose range is the error bar of answers about it."""
        return SelfCheck(tuple(each for each in self.checks if each.phase == phase), self.missing)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest signed error."""
        errors = [each.error for each in self.checks]
        return (min(errors), max(errors)) if errors else (float("nan"), float("nan"))


def self_check(fit: Fit, machine: Machine, independent: bool = True) -> SelfCheck:
    """The layers that a fitted device measured whole, against `machine`, which was made from the same fit.

    independent: without curves from the layer's own parts, nor from the head that follows it.
    """
    rows = [case for case in fit.cases if case.probe in (PROBE, BESIDE) and case.regime != "sustained"]
    wholes = [case for case in rows if case.seconds and _whole(case)]
    if not wholes:
        why = next((c for case in rows for c in (case.skip, *case.causes) if c), f"run the {PROBE} probe")
        return SelfCheck((), why)
    if independent:
        others = [point for point in points_of(fit) if not _own(point.probe, point.params)]
        machine = replace(machine, curves=curves_of(others, machine.roofline))
    rows += [case for case in fit.cases if case.probe == TAIL and case.seconds]
    return SelfCheck(tuple(_check(case, rows, machine) for case in wholes))


def _own(probe: str, params: Mapping[str, object]) -> bool:
    return probe == PROBE or (probe == TAIL and params.get("part") in _OUTSIDE)


def errors(fit: Fit, machine: Machine) -> dict[str, ErrorRange]:
    """Smallest and largest signed error by phase, of the curves that answers use and of those without a layer's own."""
    alone, full = (self_check(fit, machine, independent) for independent in (True, False))
    both = SelfCheck((*alone.checks, *full.checks))
    return {phase: ErrorRange(*both.of(phase).range, len(alone.of(phase).checks)) for phase in both.phases}


def _whole(case: Summary) -> bool:
    """Whether it is a layer that is known here. The mixed probe's steps without a chunk the other probe has too."""
    params = case.params
    if not {"model", "ranks", "tokens", "batch", "context"} <= params.keys() or params.get("dtype") not in _FORMATS:
        return False
    try:
        models.model(params["model"])
    except (models.UnknownModel, models.ModelError):
        return False
    return params.get("part") == "layer" if case.probe == PROBE else bool(params.get("chunk"))


def _check(case: Summary, rows: Iterable[Summary], machine: Machine) -> Check:
    params = case.params
    model = _rank(models.model(params["model"]), int(params["ranks"]))
    batch, context, chunk = int(params["batch"]), int(params["context"]), int(params.get("chunk", 0))
    form = FORMATS[_FORMATS[params["dtype"]]]
    precision = Precision(weights=form, activations=form, kv=form, head=form)
    phase = str(params.get("phase", BESIDE))
    decode = ((batch, context),) if phase != "prefill" else ()
    new = chunk if decode else int(params["tokens"])
    step = Step(decode=decode, prefill=((new, 0, False),) if new else ())
    whole = timed(model, machine, precision, step)
    found = [row for row in whole.rows if row.operation.name not in _OUTSIDE]
    # every row of the layers runs once per layer
    predicted = sum(row.seconds for row in found) / model.layers
    largest = max(found, key=lambda row: row.seconds).operation.name
    parts = _parts(params, rows) if case.probe == PROBE else None
    tail = _tail(model, batch, rows) if phase == "decode" and params["ranks"] == 1 else None
    token = Token(model.layers * case.seconds.value + tail, whole.seconds) if tail else None
    return Check(
        params["model"],
        phase,
        batch,
        context,
        case.seconds.value,
        predicted,
        parts,
        largest,
        chunk,
        case.validity,
        token,
    )


def _tail(model: Model, batch: int, rows: Iterable[Summary]) -> float | None:
    """Seconds of the LM head and of the plainest sampling for so many rows, where both were measured."""
    wanted = {"rows": batch, "vocabulary": model.vocab}
    head = wanted | {"part": "LM head", "width": model.width}
    sampling = wanted | {"part": "sampling", "method": "argmax"}
    found = [
        next((row.seconds.value for row in rows if row.seconds and asked.items() <= row.params.items()), None)
        for asked in (head, sampling)
    ]
    return sum(found) if all(found) else None


def _rank(model: Model, ranks: int) -> Model:
    """The model whose layers are as one tensor-parallel rank holds them, so that no collective is in the step."""
    if ranks == 1:
        return model
    return replace(model, heads=model.heads // ranks, kv_heads=max(1, model.kv_heads // ranks), ffn=model.ffn // ranks)


_PARTS = ("norm + residual", "QKV", "rotary + KV append", "attention", "O", "gate-up", "gated activation", "down")


def _parts(whole: Mapping[str, object], rows: Iterable[Summary]) -> float | None:
    """The sum of the parts measured alone at the shapes of one whole; None where one is missing."""
    total = 0.0
    for name in _PARTS:
        sequences = name == "attention"
        part = f"{whole['phase']} attention" if sequences else name
        wanted = {key: whole[key] for key in ("model", "ranks", "dtype", "phase", "tokens")} | {"part": part}
        if sequences:
            wanted |= {"batch": whole["batch"], "context": whole["context"]}
        match = next(
            (row for row in rows if row.seconds and all(row.params.get(key) == value for key, value in wanted.items())),
            None,
        )
        if match is None:
            return None
        total += int(match.params["count"]) * match.seconds.value
    return total
