"""A fit as plain values, for --json and for whoever reads it with another program: SI base units, no words."""

from typing import Any

from bench import units
from bench.analysis.datasheet import at_clock, compare, datasheet
from bench.analysis.fit import Fit, Ridge, RoofFit
from bench.analysis.serving.machine_io import machine_facts
from bench.analysis.user_kernels import RooflinePoint


def facts(fit: Fit) -> dict[str, Any]:
    """One device: roofs in bursts and under lasting load, ridges, knees, energy, and what is missing and why."""
    theory = datasheet(fit.info)
    claims = {gap.ours.key: gap.theirs.rate for gap in compare(fit.roofline, theory)} if theory else {}
    lasting = fit.sustained
    return {
        "id": fit.info.id,
        "name": fit.info.name,
        "sku": fit.info.sku,
        "overhead_s": fit.roofline.overhead,
        "roofs": [
            _roof(fitted)
            | {
                "theory": claims.get(key),
                "theory_at_clock": at_clock(fit.info, key, fitted.winner.clock_hz),
                "sustained": _roof(lasting.roofs[key]) if lasting and key in lasting.roofs else None,
            }
            for key, fitted in fit.roofs.items()
        ],
        "missing": dict(fit.missing),
        "ridge": _ridge(fit.headline),
        "ridge_sustained": _ridge(lasting.headline if lasting else None),
        "knees": {
            dtype: {"intensity": knee.intensity.value, "low": knee.intensity.low, "high": knee.intensity.high}
            for dtype, knee in fit.knees.items()
        },
        # what serving answers from, beside the roofs: bench.analysis.serving.machine_io says the schema
        **machine_facts(fit),
        "energy": {
            key: {"joules": cost.joules.value, "low": cost.joules.low, "high": cost.joules.high, "watts": cost.watts}
            for key, cost in (lasting.energy if lasting else {}).items()
        },
    }


def placed(points: list[RooflinePoint]) -> list[dict[str, Any]]:
    """A user's kernels under the roofs."""
    return [
        {
            "name": each.kernel.name,
            "flops": each.kernel.work.flops,
            "bytes": each.kernel.work.bytes,
            "seconds": each.kernel.seconds,
            "share_of_roof": each.share,
            "limit": each.limit,
            "above_roof": each.above,
            "lacking": list(each.lacking),
        }
        for each in points
    ]


def _roof(fitted: RoofFit) -> dict[str, Any]:
    roof = fitted.roof
    return {
        "key": roof.key,
        "rate": roof.rate,
        "low": roof.low,
        "high": roof.high,
        "interval": roof.estimate.kind,
        "n": roof.n,
        "unit": units.rate(roof.key),
        "clock_hz": fitted.winner.clock_hz,
        "params": dict(fitted.winner.params),
        "caution": roof.caution,
        "evidence": roof.evidence,
    }


def _ridge(ridge: Ridge | None) -> dict[str, Any] | None:
    return ridge and {
        "compute": ridge.compute,
        "memory": ridge.memory,
        "intensity": ridge.estimate.value,
        "low": ridge.estimate.low,
        "high": ridge.estimate.high,
        "n": ridge.estimate.n,
        "unit": "FLOP/B",
    }
