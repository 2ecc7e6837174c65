"""Where a Machine comes from: a Run's fit, a file of `bench fit RUN --json`, or a product's datasheet.

The file (all SI base units; * is needed, all else may be missing and is then assumed and said so):

    {"devices": [{                      or the object of one device alone
       "name": "H200",
       "roofs": [{"key": "dram", "rate": 4.5e12}*, {"key": "tensor.bfloat16.library", "rate": 7.9e14}*, ...],
       "memory_bytes": 1.507e11*,
       "overheads_s": {"launch": {"graph": 2e-6, "eager": 5e-6}, "host": 0.0},
       "collectives": {"alpha_s": {"custom": 5e-6, "library": 1.7e-5}, "bus_bytes_per_s": 4.6e11},
       "watts": {"memory": 480, "compute": 690},
       "reserve_bytes": 6e8,            of the memory, never free
       "self_check": {"decode": {"low": -0.03, "high": 0.05, "points": 6}, ...},    errors of a predicted layer
       "alone": true,                   there was no second device to talk to, so no all-reduce is missed
       "cases": [{"probe": "gemm", "params": {"dtype": "bfloat16", "batch": 1, "n": 4096, "k": 4096},
                  "flops": 3.4e7, "unit": "tensor", "dtype": "bfloat16", "bytes": 3.4e7, "seconds": 1.1e-5}, ...]
    }]}

`cases` are the measured points behind the curves, in the words of the probe that measured them.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import theory, units
from bench.analysis.fit import Fit
from bench.analysis.serving import ServingError
from bench.analysis.serving.efficiency_curves import Curves, MeasuredCase, cases_from, cases_of, curves_of, to_json
from bench.analysis.serving.machine import ASSUMED, FORMULA, LATENCY, LAUNCH, MEASURED, ErrorRange, Machine
from bench.analysis.serving.selfcheck import errors as checked_errors
from bench.roofline import MissingRoof, Roof, Roofline
from bench.work import RoofKey

# Curve -> the probe that measures it.
PROBE_OF = {"gemm": "gemm", "decode": "attention", "prefill": "attention", "stream": "bandwidth", "reduce": "allreduce"}
# The launch probe's ways -> the modes of an engine: kernels of a step are queued, never waited for one by one.
_WAYS = {"graph": "graph", "back to back": "eager"}


def of_run(fit: Fit) -> Machine:
    """The machine that a fitted device of a Run is. Raises ServingError where it lacks the memory or a compute roof."""
    cases = cases_of(fit)
    machine = _machine(
        fit.info.name,
        tuple(each.roof for each in fit.roofs.values()),
        cases,
        FORMULA if fit.info.simulated else MEASURED,
        alone=fit.info.ranks < 2,
        memory_bytes=fit.info.memory_bytes,
        launch=_launch(fit, cases),
        watts=_watts(fit),
        simulated=fit.info.simulated,
        reserve=_reserve(fit),
    )
    # a simulated layer is no real one: it checks the plumbing, and bounds nothing
    return machine if fit.info.simulated else machine.using(errors=checked_errors(fit, machine))


def of_file(path: Path | str) -> Machine:
    """A Roofline file's machine. Raises ServingError, one line, where it is no such file or lacks what it needs."""
    path = Path(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ServingError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"cannot read {path}: {error}") from None
    except json.JSONDecodeError as error:
        raise ServingError(f"{path} is not JSON: {error}") from None
    if isinstance(found, Mapping) and "devices" in found:
        devices = found["devices"]
        if not isinstance(devices, list) or not devices:
            raise ServingError(f"{path} has no device 0")
        found = {"simulated": found.get("simulated", False)} | devices[0]
    if not isinstance(found, Mapping):
        raise ServingError(f"{path} holds no Roofline: write one with `bench fit RUN --json`")
    return of_facts(found, str(path))


def of_facts(found: Mapping[str, Any], source: str) -> Machine:
    """As of_file, from the object of one device; `source` names it in messages."""

    def fail(why: str) -> ServingError:
        return ServingError(f"{source}: {why}")

    def numbers(of: Mapping[str, Any]) -> dict[str, float]:
        return {str(name): float(value) for name, value in of.items()}

    try:
        roofs = tuple(Roof(str(row["key"]), float(row["rate"])) for row in found.get("roofs", ()))
        memory = float(found.get("memory_bytes", math.nan))
        overheads, shared = found.get("overheads_s", {}), found.get("collectives", {})
        launch, latency = numbers(overheads.get("launch", {})), numbers(shared.get("alpha_s", {}))
        watts = numbers(found.get("watts", {}))
        host, bus = float(overheads.get("host", 0.0)), float(shared.get("bus_bytes_per_s", 0.0))
        reserve = float(found.get("reserve_bytes", 0.0))
        errors = {
            str(phase): ErrorRange(float(row["low"]), float(row["high"]), int(row.get("points", 0)))
            for phase, row in found.get("self_check", {}).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise fail(f"cannot be read as a Roofline: {error!r}") from None
    amounts = [*launch.values(), host, *latency.values(), bus, *watts.values(), reserve]
    if why := _trouble(roofs, memory, amounts, errors):
        raise fail(why)
    cases = found.get("cases") or []
    if not isinstance(cases, list):
        raise fail("cases is no list of measured cases")
    read = cases_from(cases, fail)
    simulated = found.get("simulated", False)
    if not isinstance(simulated, bool):
        raise fail(f"simulated must be true or false, not {simulated!r}")
    claimed = all(roof.method == "datasheet" for roof in roofs if roof.is_compute)
    return _machine(
        str(found.get("name", Path(source).stem)),
        roofs,
        read,
        FORMULA if simulated or claimed else MEASURED,
        alone=bool(found.get("alone", False)),
        latency=latency,
        memory_bytes=memory,
        launch=launch,
        watts=watts,
        simulated=simulated,
        bus=bus,
        host=host,
        reserve=reserve,
        errors=errors,
    )


def _trouble(roofs: Sequence[Roof], memory: float, amounts: Sequence[float], errors: Mapping[str, ErrorRange]) -> str:
    """Why these numbers make no machine, or ""."""
    needs, keys = "a Roofline needs dram, one compute roof and memory", [roof.key for roof in roofs]
    if "dram" not in keys:
        return f"no roof `dram`; {needs}_bytes"
    if not any(roof.is_compute for roof in roofs):
        return f"no compute roof such as `tensor.bfloat16.library`; {needs}"
    if not (memory > 0 and math.isfinite(memory)):
        return f"no memory_bytes; {needs}_bytes"
    if twice := [key for key in keys if keys.count(key) > 1]:
        return f"the roof {twice[0]} is given twice"
    if math.inf in amounts:
        return "an overhead, a rate, a power or the reserve is endless: inf"
    if negative := [amount for amount in amounts if not amount >= 0]:
        return f"an overhead, a rate, a power or the reserve is negative: {negative[0]:g}"
    if wrong := [phase for phase, (low, high, _) in errors.items() if not -1 < low <= high < math.inf]:
        return f"the self-check of {wrong[0]} is no range of errors (predicted over measured less 1)"
    return ""


def of_product(sku: str) -> Machine:
    """A datasheet's machine: every kernel on its roof, launches assumed. Its numbers are the best that could be."""
    product = theory.product(sku.removeprefix("sim:").split(":")[0])
    return Machine(
        name=product.sku,
        origin=FORMULA,
        memory_bytes=product.memory_bytes,
        roofline=product.roofline,
        typical={},
        typical_origin=FORMULA,
        bus=product.nvlink / 2 if product.nvlink else 0.0,
        watts={"memory": product.tdp_watts, "compute": product.tdp_watts},
        notes=(
            "roofs: formula, from the datasheet; nothing was measured",
            f"launch: assumed, {LAUNCH['graph'] * 1e6:g} µs per kernel in a graph",
            f"collectives: assumed, {LATENCY['custom'] * 1e6:g} µs and NVLink's rate",
            "watts: the board's power limit",
        ),
        partial=tuple(dict.fromkeys(PROBE_OF.values())),
    )


def _machine(
    name: str,
    roofs: tuple[Roof, ...],
    cases: tuple[MeasuredCase, ...],
    origin: str,
    *,
    launch: Mapping[str, float],
    alone: bool,
    latency: Mapping[str, float] | None = None,
    **facts: Any,
) -> Machine:
    """alone: there was no second device to talk to. facts: as Machine has them."""
    if not (memory := any(roof.key == "dram" for roof in roofs)) or not any(roof.is_compute for roof in roofs):
        kind, probe = ("compute", "peak") if memory else ("memory", "bandwidth")
        raise ServingError(f"{name}: no roof of {kind}: run the {probe} probe")
    roofline = Roofline(name, roofs)
    curves = curves_of(cases, roofline)
    lacking = [kind for kind in PROBE_OF if not getattr(curves, kind) and not (kind == "reduce" and (alone or latency))]
    return Machine(
        name=name,
        origin=origin,
        roofline=roofline,
        curves=curves,
        launch=dict(LAUNCH) | dict(launch),
        launch_origin=origin if launch else ASSUMED,
        latency=dict(LATENCY) | dict(latency or {}),
        notes=tuple(_notes(curves, origin, bool(launch), facts["reserve"])),
        partial=tuple(dict.fromkeys(PROBE_OF[kind] for kind in lacking)) + (() if launch else ("launch",)),
        **facts,
    )


def _notes(curves: Curves, origin: str, launch: bool, reserve: float) -> Iterator[str]:
    """What is measured and what assumed, and what a reader of the numbers must know of the curves behind them."""
    yield from (f"{kind}: {origin if getattr(curves, kind) else ASSUMED}" for kind in PROBE_OF)
    yield f"launch: {origin if launch else ASSUMED}"
    if curves.gemm:
        yield "a weight of another shape is read from the nearest that was measured"
    if curves.named.keys() & {"norm + residual", "rotary + KV append", "gated activation"}:
        yield "norms, rotary and gates are torch's, several launches each where an engine has one"
    if curves.unread:
        names = ", ".join(dict.fromkeys(case.probe for case in curves.unread))
        yield f"{len(curves.unread)} cases of {names} cannot be read and are not used"
    for kept in curves.narrow:
        yield f"{kept} KV cache: {origin}, of a kernel that widens it in memory; a fused one would be faster"
    if reserve:
        yield f"memory that is never free: {units.size(reserve)}, {origin}"
    if curves.beaten:
        names = ", ".join(dict.fromkeys(case.probe for case in curves.beaten))
        yield f"{len(curves.beaten)} points of {names} beat their roof and are not used"


def machine_facts(fit: Fit) -> dict[str, Any]:
    """What `bench fit RUN --json` says of a device so that of_file can answer from it alone."""
    cases = cases_of(fit)
    try:
        errors = of_run(fit).errors
    except (ServingError, MissingRoof):  # such a Run answers nothing, and who asks is told why
        errors = {}
    return {
        "memory_bytes": fit.info.memory_bytes,
        "reserve_bytes": _reserve(fit),
        "self_check": {phase: each._asdict() for phase, each in errors.items()},
        "overheads_s": {"launch": _launch(fit, cases)},
        "watts": _watts(fit),
        "alone": fit.info.ranks < 2,
        "cases": to_json(cases),
    }


def _launch(fit: Fit, cases: tuple[MeasuredCase, ...]) -> dict[str, float]:
    """Seconds per kernel by mode; where nothing is launched, what the fit found beside the work."""
    if not fit.info.launches:
        return dict.fromkeys(LAUNCH, fit.roofline.overhead)
    ways = {str(case.params.get("way")): case.seconds for case in cases if case.probe == "launch"}
    return {_WAYS[way]: seconds for way, seconds in ways.items() if way in _WAYS}


def _reserve(fit: Fit) -> float:
    """Bytes in use before the capacity probe took any: contexts, other programs, a host's own; 0 without the probe."""
    taken = [0.0]
    for case in fit.cases:
        if case.probe == "capacity" and case.seconds:
            with suppress(KeyError, ValueError):
                taken.append(float(case.notes["total_bytes"]) - float(case.notes["free_bytes"]))
    return max(taken)


def _watts(fit: Fit) -> dict[str, float]:
    """Mean power under lasting load: the most that a compute roof took, and what the memory roof took."""
    watts: dict[str, float] = {}
    for key, cost in (fit.sustained.energy if fit.sustained else {}).items():
        kind = "compute" if RoofKey(key).is_compute else "memory"
        watts[kind] = max(watts.get(kind, 0.0), cost.watts)
    return watts
