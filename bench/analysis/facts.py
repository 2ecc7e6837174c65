"""A fit as plain values, for --json and for whoever reads it with another program: SI base units, no words."""

from typing import Any

from bench import units
from bench.analysis.datasheet import at_clock, compare, datasheet
from bench.analysis.fit import Fit, Ridge, RoofFit
from bench.analysis.serving.machine_io import machine_facts
from bench.analysis.user_kernels import RooflinePoint
from bench.stats import Estimate


def facts(fit: Fit) -> dict[str, Any]:
    """One device: roofs in bursts and under lasting load, ridges, knees, energy, and what is missing and why."""
    theory, info = datasheet(fit.info), fit.info
    claims = {gap.ours.key: gap.theirs.rate for gap in compare(fit.roofline, theory)} if theory else {}
    roofs = []
    for key, fitted in fit.roofs.items():
        claimed = {"theory": claims.get(key), "theory_at_clock": at_clock(info, key, fitted.winner.clock_hz)}
        roofs.append(_roof(fitted) | claimed | {"sustained": _roof(fit.lasting(key))})
    return {
        "id": info.id,
        "name": info.name,
        "sku": info.sku,
        "overhead_s": fit.roofline.overhead,
        "roofs": roofs,
        "missing": dict(fit.missing),
        "ridge": _ridge(fit.headline),
        "ridge_sustained": _ridge(fit.lasting_headline),
        "knees": {dtype: _interval(knee.intensity, "intensity") for dtype, knee in fit.knees.items()},
        # what serving answers from, beside the roofs: bench.analysis.serving.machine_io says the schema
        **machine_facts(fit),
        "energy": {key: _interval(cost.joules, "joules") | {"watts": cost.watts} for key, cost in fit.energy.items()},
    }


def placed(points: list[RooflinePoint]) -> list[dict[str, Any]]:
    """A user's kernels under the roofs."""
    found = []
    for point in points:
        kernel, work = point.kernel, point.kernel.work
        about = {"name": kernel.name, "flops": work.flops, "bytes": work.bytes, "seconds": kernel.seconds}
        about |= {"share_of_roof": point.share, "limit": point.limit, "above_roof": point.above}
        found.append(about | {"lacking": list(point.lacking)})
    return found


def _interval(value: Estimate, name: str) -> dict[str, float]:
    return {name: value.value, "low": value.low, "high": value.high}


def _roof(fitted: RoofFit | None) -> dict[str, Any] | None:
    if fitted is None:
        return None
    roof, winner = fitted.roof, fitted.winner
    found = {"key": roof.key, **_interval(roof.estimate, "rate"), "interval": roof.estimate.kind, "n": roof.n}
    found |= {"unit": units.rate(roof.key), "clock_hz": winner.clock_hz, "params": dict(winner.params)}
    return found | {"caution": roof.caution, "evidence": roof.evidence}


def _ridge(ridge: Ridge | None) -> dict[str, Any] | None:
    if ridge is None:
        return None
    found = {"compute": ridge.compute, "memory": ridge.memory, **_interval(ridge.estimate, "intensity")}
    return found | {"n": ridge.estimate.n, "unit": "FLOP/B"}
