"""What a history remembers of a Run: the headline numbers of each device, and what around them may have moved them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.analysis import fit as fits
from bench.roofline import Roof
from bench.schema import SUSTAINED, DeviceInfo, Measurement, Run
from bench.stats import Estimate
from bench.store import RunError
from bench.work import RoofKey

# Raised when an entry says something else of the same fit, or the fit of the same Run.
VERSION = (1, fits.VERSION)
# The narrowest dtype's GEMM is the fastest roof; by name, because of two close ones noise would choose.
_NARROWEST = ("float4", "float8_e4m3")


@dataclass(frozen=True)
class Value:
    """One headline number of one device in one Run, in SI base units.

    key: of a roof, or "ridge KEY" over DRAM. basis: probes and versions that it rests on; only equal ones are joined.
    An invalid value has n = 0 and no interval: it says what was seen, and nothing about the machine.
    """

    key: str
    regime: str
    value: float
    low: float
    high: float
    n: int
    validity: str
    basis: tuple[str, ...]
    doubt: str = ""

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.value, self.low, self.high, self.n)


@dataclass(frozen=True)
class DeviceEntry:
    """One device in one Run. factors: what of its environment may move its numbers, by name."""

    id: str
    name: str
    uuid: str
    factors: Mapping[str, str]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class RunEntry:
    """One Run. at: its start, in seconds since 1970. status: as its end line says, or "cut short".

    counts: its measurements by validity, skips left out.
    """

    run_id: str
    started: str
    at: float
    host: str
    product: str
    budget: str
    status: str
    simulated: bool
    redacted: bool
    measurements: int
    counts: Mapping[str, int]
    warnings: tuple[str, ...]
    devices: tuple[DeviceEntry, ...]

    @property
    def state(self) -> str:
        """How far it may be believed, in a word: "valid", "suspect", "invalid", "incomplete" or "empty"."""
        values = [value.validity for device in self.devices for value in device.values]
        if not any(word != "invalid" for word in values):
            return "invalid" if self.counts.get("invalid") else "empty"
        if self.status != "complete":
            return "incomplete"
        return next((word for word in ("invalid", "suspect") if word in values), "valid")


def entry(run: Run) -> RunEntry:
    """What a history needs of a Run. Raises RunError for one that has no place in time."""
    about, at = run.environment, moment(run)
    done = [m.validity for m in run.measurements if not m.skip]
    return RunEntry(
        about.run_id,
        about.started,
        at,
        about.host,
        about.product,
        about.budget,
        run.end.status if run.end else "cut short",
        about.simulated,
        about.redacted,
        len(done),
        {word: done.count(word) for word in ("valid", "suspect", "invalid")},
        tuple(w for w in run.warnings if not w.startswith("no end line")),
        tuple(_device(run, fit) for fit in fits.fit(run)),
    )


def moment(run: Run) -> float:
    """When it started, in seconds since 1970. Raises RunError for one that has no place in time."""
    about = run.environment
    try:
        started = datetime.fromisoformat(about.started)
        return (started if started.tzinfo else started.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise RunError(f"it started at {about.started!r}, which is no time") from None


def _device(run: Run, fit: fits.Fit) -> DeviceEntry:
    info, mine = fit.info, run.of(fit.info.id)
    values = []
    regimes = [(info.regime, fit.roofs, fit.headline), (SUSTAINED, {}, None)]
    if fit.sustained:
        regimes[1] = (SUSTAINED, fit.sustained.roofs, fit.sustained.headline)
    for regime, roofs, ridge in regimes:
        found = {}
        for key in _headlines(info):
            claims = [m for m in mine if m.saturates == key and (m.regime == SUSTAINED) == (regime == SUSTAINED)]
            if key in roofs:
                found[key] = _usable(roofs[key], regime, claims, run.complete)
            elif seen := _unusable(key, regime, claims):
                found[key] = seen
        if ridge:
            found["ridge"] = _ridge(ridge, found[ridge.compute], found[ridge.memory])
        values += found.values()
    return DeviceEntry(info.id, info.name, info.uuid, factors(run, info), tuple(values))


def _headlines(info) -> list[str]:
    narrow = next((f"tensor.{dtype}.library" for dtype in _NARROWEST if info.units.get(dtype) == "tensor"), "")
    return list(dict.fromkeys(filter(None, ["dram", info.headline, "vector.float32.loop", narrow, "link"])))


def _basis(claims: Sequence[Measurement]) -> tuple[str, ...]:
    return tuple(sorted({f"{m.probe} {m.version}" for m in claims}))


def _usable(fitted: fits.RoofFit, regime: str, claims: Sequence[Measurement], complete: bool) -> Value:
    roof: Roof = fitted.roof
    doubtful = fitted.winner.validity != "valid" or fitted.winner.lost or not complete
    doubts = [*filter(None, [roof.caution]), *([] if complete else ["the Run is incomplete"])]
    word = "suspect" if doubtful else "valid"
    return Value(roof.key, regime, roof.rate, roof.low, roof.high, roof.n, word, _basis(claims), "; ".join(doubts))


def _unusable(key: str, regime: str, claims: Sequence[Measurement]) -> Value | None:
    """What the invalid measurements of a roof showed, at best; None where nothing was timed."""
    seen = [m for m in claims if m.seconds and RoofKey(key).amount(m.work)]
    if not seen:
        return None
    rate, best = max((RoofKey(key).amount(m.work) / m.median, i) for i, m in enumerate(seen))
    doubt = "; ".join(seen[best].reasons) or "no valid measurement"
    return Value(key, regime, rate, rate, rate, 0, "invalid", _basis(claims), doubt) if math.isfinite(rate) else None


def _ridge(ridge: fits.Ridge, compute: Value, memory: Value) -> Value:
    each, parts = ridge.estimate, (compute, memory)
    word = "suspect" if any(part.validity != "valid" for part in parts) else "valid"
    doubt = "; ".join(dict.fromkeys(part.doubt for part in parts if part.doubt))
    basis = tuple(sorted({*compute.basis, *memory.basis}))
    return Value(f"ridge {ridge.compute}", compute.regime, each.value, each.low, each.high, each.n, word, basis, doubt)


def factors(run: Run, info: DeviceInfo) -> dict[str, str]:
    """What of a device's environment may move its numbers, by name, in the order in which a reader would suspect them;
    what is not known is left out.
    """
    facts, libraries = info.facts, run.environment.libraries
    limit = facts.get("power_limit_w", "")
    found = {
        "driver": facts.get("driver"),
        "power limit": f"{limit} W" if limit else None,
        "torch": libraries.get("torch"),
        "CuPy": libraries.get("cupy-cuda13x") or libraries.get("cupy-cuda12x"),
        "NVRTC": facts.get("nvrtc") or libraries.get("nvidia-cuda-nvrtc"),
        "cuBLAS": facts.get("cublas"),
        "NCCL": libraries.get("nvidia-nccl-cu13") or libraries.get("nvidia-nccl-cu12"),
        "cuDNN": libraries.get("nvidia-cudnn-cu13") or libraries.get("nvidia-cudnn-cu12"),
        "compiler": facts.get("compiler"),
        "ECC": facts.get("ecc"),
        "MIG": facts.get("mig"),
        "suite": run.environment.suite,
    }
    return {name: text for name, text in found.items() if text}
