"""What the page's evaluator computes with: every model's operators as coefficients, this machine's roofs and curves.

Each operator names what it is timed by in each format ("look"): a roof, and a measured curve or the typical shares that
stand in for one. Python and the page's evaluator.js read the same numbers; the script knows no model and no machine of
its own.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from bench.analysis.serving import formulas
from bench.analysis.serving.capacity import USABLE, capacity
from bench.analysis.serving.coefficients import BYTE, NOTHING, Phase, coefficients
from bench.analysis.serving.deployment import DEVICES, KV, WEIGHTS
from bench.analysis.serving.machine import ASSUMED, BUS, PROVENANCE, Machine, scaled
from bench.analysis.serving.request import served
from bench.models import models
from bench.transformer import FORMATS, Format, Model, Operation, Precision, Ranks, operations

# Tokens that a sequence's cache is rounded up to, as capacity() has it.
PAGE = 16
_LINK = "link"


def exported(machine: Machine, known: Sequence[Model] | None = None) -> dict[str, Any]:
    """What evaluator.js computes with, as plain values. Raises MissingRoof where the machine cannot multiply."""
    tables = _Tables(machine)
    listed = [_model(each, tables) for each in (models() if known is None else known)]
    return {
        "machine": {
            "name": machine.name,
            "simulated": machine.simulated,
            "room": machine.memory_bytes * USABLE - machine.reserve,
            "page": PAGE,
            "bandwidth": machine.bandwidth,
            "start": min(machine.start, machine.launch["graph"]),
            "least": machine.start,
            "host": machine.host,
            "bars": {phase: found.bar(1.0) for phase, found in machine.errors.items()},
        },
        "origins": list(PROVENANCE),
        "weights": [{"name": name, "bytes": FORMATS[name].bytes} for name in WEIGHTS],
        "kv": [{"name": name, "bytes": FORMATS[name].bytes} for name in KV],
        "devices": list(DEVICES),
        "roofs": list(map(list, tables.roofs.entries)),
        "curves": [_curve(each, tables) for each in tables.curves.entries],
        "looks": [dict(look) for look in tables.looks.entries],
        "models": listed,
    }


@dataclass
class _Numbered:
    """Entries by the order in which they first came, each once."""

    entries: list = field(default_factory=list)
    _of: dict = field(default_factory=dict)

    def number(self, entry: Any, key: Hashable = None) -> int:
        key = entry if key is None else key
        if key not in self._of:
            self._of[key] = len(self.entries)
            self.entries.append(entry)
        return self._of[key]


@dataclass
class _Tables:
    machine: Machine
    roofs: _Numbered = field(default_factory=_Numbered)
    curves: _Numbered = field(default_factory=_Numbered)
    looks: _Numbered = field(default_factory=_Numbered)

    def curve(self, curve: Any) -> int:
        return self.curves.number(curve, id(curve))

    def roof(self, key: str, rate: float) -> int:
        return self.roofs.number((key, rate))


def _curve(curve: Any, tables: _Tables) -> dict[str, Any]:
    """x is the logarithm of what was measured at; y the utilisation, or the curve over the second quantity ("of"), or
    the logarithm of a message's seconds.
    """
    if hasattr(curve, "times"):
        return {"x": curve.times.xs, "y": curve.times.ys, "largest": curve.largest}
    if hasattr(curve, "curves"):
        return {"x": curve.xs, "of": [_line(each) for each in curve.curves]}
    return _line(curve)


def _line(curve: Any) -> dict[str, Any]:
    return {"x": curve.xs, "y": curve.ys} | ({"held": True} if curve.held else {})


# --- a model


def _model(model: Model, tables: _Tables) -> dict[str, Any]:
    ranks, why = {}, {}
    for count in DEVICES:
        layout = Ranks(tensor=count)
        try:
            layout.check(model)
        except ValueError as error:
            why[count] = str(error)
            continue
        ranks[count] = {phase: list(_rows(model, layout, phase, tables)) for phase in ("decode", "prefill")}
        ranks[count] |= _resident(model, layout, tables.machine)
    return {
        "name": model.name,
        "context": model.context,
        "experts": [model.experts, model.active_experts],
        "windows": [window for _, window in model.windows],
        "chunked": model.window_kind == "chunked",
        "ranks": ranks,
        "impossible": why,
    }


def _resident(model: Model, ranks: Ranks, machine: Machine) -> dict[str, Any]:
    """Bytes on one device: weights = a + w x bytes of a weight; of one sequence, per byte of a cached element, so many
    per token in layers that see all and in those that see a window.
    """

    def held(weights: Format, kv: Format, context: int) -> tuple[float, float]:
        made = Precision(weights=weights, kv=kv)
        found = capacity(model, machine, made, context, ranks, USABLE, 0.0, PAGE)
        return found.weights, found.sequence

    bare, page = held(NOTHING, BYTE, PAGE)
    full = held(BYTE, BYTE, PAGE)[0]
    window = model.window if model.window_layers else 0
    kept = [page / PAGE]
    if window:
        # beyond the window only the layers that see all keep on growing
        far = 32 * PAGE * window
        grows = (held(NOTHING, BYTE, 2 * far)[1] - held(NOTHING, BYTE, far)[1]) / far
        kept = [grows, page / PAGE - grows] if len(model.windows) > 1 else [kept[0]]
    return {"weights": [bare, full - bare], "kept": kept}


@lru_cache(maxsize=256)
def _forms(model: Model, ranks: Ranks, phase: str) -> tuple[tuple[dict[Hashable, Operation], tuple], ...]:
    """For each operator: one Operation per key, and its key with each format of weights, then of the KV cache."""
    step = Phase(phase, model).any
    weighted = [operations(model, served(name, KV[0]), step, ranks) for name in WEIGHTS]
    stored = [operations(model, served(WEIGHTS[0], name), step, ranks) for name in KV]
    found = []
    for each in zip(*weighted, *stored, strict=True):
        # which roof and which curve it is under depends on the formats, and not on how much is asked
        keys = tuple((op.work.dtype, *map(op.params.get, ("dtype", "weights", "kv"))) for op in each)
        found.append((dict(zip(keys, each, strict=True)), keys))
    return tuple(found)


def _rows(model: Model, ranks: Ranks, phase: str, tables: _Tables) -> Iterator[dict[str, Any]]:
    for each, (forms, keys) in zip(coefficients(model, ranks, phase), _forms(model, ranks, phase), strict=True):
        looks = {key: _look(tables, operation, ranks) for key, operation in forms.items()}
        by_weights, by_kv = ([looks[key] for key in part] for part in (keys[: len(WEIGHTS)], keys[len(WEIGHTS) :]))
        row = {"name": each.name, "count": each.count, "flops": each.flops, "bytes": each.bytes, "look": by_weights[0]}
        if len(set(by_kv)) > 1:
            row |= {"look": by_kv, "over": "kv"}
        elif len(set(by_weights)) > 1:
            row["look"] = by_weights
        if each.at:
            row["at"] = each.at
        if each.keys >= 0:
            row["keys"] = each.keys
        yield row


# --- a machine: as Machine.seconds looks an operator up, with everything that does not depend on how much is asked


def _look(tables: _Tables, operation: Operation, ranks: Ranks) -> int:
    """The number of what an operator is timed by."""
    machine = tables.machine
    if operation.kind == "collective":
        return tables.looks.number(_message(tables, operation, ranks.tensor))
    roof, own, stated = -1, True, False
    if work := operation.work.flops and operation.work:
        found, own = machine.compute(work.dtype, work.variant)
        roof, stated = tables.roof(found.key, found.rate), bool(work.variant) and work.variant in found.key
    if reading := machine.reading(operation):
        origin = machine.origin if reading.sure else ASSUMED
        curve = tables.curve(reading.curve)
        return tables.looks.number(
            (("roof", roof), ("curve", curve), ("shaped", reading.shaped), ("origin", PROVENANCE.index(origin)))
        )
    up, down = machine.typical.get(operation.kind, (1.0, 1.0))
    origins = (machine.typical_origin, machine.launch_origin, machine.origin)
    origin = max(origins, key=PROVENANCE.index) if own else ASSUMED
    return tables.looks.number(
        (("roof", roof), ("up", 1.0 if stated else up), ("down", down), ("origin", PROVENANCE.index(origin)))
    )


def _message(tables: _Tables, operation: Operation, count: int) -> tuple:
    """A collective by its measured curve, or as the least of lines a + b x bytes."""
    machine, kind = tables.machine, operation.params["collective"]
    measured = machine.messages(count)
    link = ("roof", tables.roof(_LINK, machine.link))
    if measured and kind == "all_reduce":
        origin = machine.origin if measured.mode == machine.mode and measured.ranks == count else ASSUMED
        times = scaled(measured.ranks, count)
        return link, ("message", tables.curve(measured)), ("times", times), ("origin", PROVENANCE.index(origin))
    rate, alpha = machine.bus or BUS * machine.link, machine.latency[machine.collective]
    shared = (2 if kind == "all_reduce" else 1) * (count - 1) / count / rate
    lines = ((alpha, (count - 1) / rate), (2 * alpha, shared))
    if machine.collective == "library":
        lines = ((alpha * formulas.tree(0, count, 1, 1) / formulas.tree(0, 8, 1, 1), shared),)
    return link, ("lines", lines), ("origin", PROVENANCE.index(ASSUMED))
