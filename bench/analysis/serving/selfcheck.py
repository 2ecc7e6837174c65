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

from bench.analysis.fit import Fit
from bench.analysis.serving.efficiency_curves import cases_of, curves_of, layer_of
from bench.analysis.serving.machine import ErrorRange, Machine
from bench.analysis.serving.step import timed
from bench.analysis.summary import Summary
from bench.transformer import FORMAT_OF, FORMATS, Model, Precision, Step

# The probes of a whole layer: of one phase, and of a decode step with a chunk of a prompt in it.
PROBE, BESIDE = "layer", "mixed"
# The probe that measures what follows the layers.
TAIL = "decode"
# The dtypes that a whole model is served in here.
_SERVED = ("bfloat16", "float16", "float32")
# Rows of a step that are not the layer's.
_OUTSIDE = ("embedding gather", "final norm", "LM head", "sampling")
# A layer's parts, as the probe measures each alone.
_PARTS = ("norm + residual", "QKV", "rotary + KV append", "attention", "O", "gate-up", "gated activation", "down")


@dataclass(frozen=True)
class WholeToken:
    """A decode step of the whole model by two routes, in seconds. layers: as many measured layers as it has, with
    the measured LM head and sampling; planned: the planner's sum of operators.
    """

    layers: float
    planned: float

    @property
    def error(self) -> float:
        return self.planned / self.layers - 1


@dataclass(frozen=True)
class LayerCheck:
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
    token: WholeToken | None = None

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

    checks: tuple[LayerCheck, ...]
    missing: str = ""

    @property
    def mean(self) -> float:
        """Mean absolute error."""
        return fmean(abs(each.error) for each in self.checks) if self.checks else float("nan")

    @property
    def worst(self) -> LayerCheck | None:
        return max(self.checks, key=lambda each: abs(each.error), default=None)

    @property
    def phases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.phase for each in self.checks))

    def of(self, phase: str) -> "SelfCheck":
        """The points of one phase, whose range is the error bar of answers about it."""
        return SelfCheck(tuple(each for each in self.checks if each.phase == phase), self.missing)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest signed error, NaN without any."""
        signed = [each.error for each in self.checks]
        return (min(signed), max(signed)) if signed else (float("nan"), float("nan"))


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
        others = [case for case in cases_of(fit) if not _own(case.probe, case.params)]
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
    if not {"model", "ranks", "tokens", "batch", "context"} <= params.keys() or params.get("dtype") not in _SERVED:
        return False
    whole = params.get("part") == "layer" if case.probe == PROBE else bool(params.get("chunk"))
    return whole and layer_of(params["model"], params["ranks"]) is not None


def _check(case: Summary, rows: Iterable[Summary], machine: Machine) -> LayerCheck:
    params = case.params
    model = layer_of(params["model"], params["ranks"])
    batch, context, chunk = int(params["batch"]), int(params["context"]), int(params.get("chunk", 0))
    form = FORMATS[FORMAT_OF[params["dtype"]]]
    precision = Precision(weights=form, activations=form, kv=form, head=form)
    phase = str(params.get("phase", BESIDE))
    decode = ((batch, context),) if phase != "prefill" else ()
    new = chunk if decode else int(params["tokens"])
    whole = timed(model, machine, precision, Step(decode=decode, prefill=((new, 0, False),) if new else ()))
    inside = [row for row in whole.rows if row.operation.name not in _OUTSIDE]
    tail = _tail(model, batch, rows) if phase == "decode" and params["ranks"] == 1 else None
    return LayerCheck(
        params["model"],
        phase,
        batch,
        context,
        measured=case.seconds.value,
        # every row of the layers runs once per layer
        predicted=sum(row.seconds for row in inside) / model.layers,
        parts=_parts(params, rows) if case.probe == PROBE else None,
        largest=max(inside, key=lambda row: row.seconds).operation.name,
        chunk=chunk,
        validity=case.validity,
        token=WholeToken(model.layers * case.seconds.value + tail, whole.seconds) if tail else None,
    )


def _measured(rows: Iterable[Summary], wanted: Mapping[str, object]) -> Summary | None:
    """The first usable row with these params."""
    return next((row for row in rows if row.seconds and wanted.items() <= row.params.items()), None)


def _tail(model: Model, batch: int, rows: Iterable[Summary]) -> float | None:
    """Seconds of the LM head and of the plainest sampling for so many rows, where both were measured."""
    wanted = {"rows": batch, "vocabulary": model.vocab}
    head = _measured(rows, wanted | {"part": "LM head", "width": model.width})
    sampling = _measured(rows, wanted | {"part": "sampling", "method": "argmax"})
    return head.seconds.value + sampling.seconds.value if head and sampling else None


def _parts(whole: Mapping[str, object], rows: Iterable[Summary]) -> float | None:
    """The sum of the parts measured alone at the shapes of one whole; None where one is missing."""
    total = 0.0
    for name in _PARTS:
        wanted = {key: whole[key] for key in ("model", "ranks", "dtype", "phase", "tokens")} | {"part": name}
        if name == "attention":
            wanted |= {"part": f"{whole['phase']} attention", "batch": whole["batch"], "context": whole["context"]}
        part = _measured(rows, wanted)
        if part is None:
            return None
        total += int(part.params["count"]) * part.seconds.value
    return total
