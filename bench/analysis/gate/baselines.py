"""Runs that someone blessed, kept as Runs: one per device by its hashed UUID, and one per product for its siblings.

    results/PRODUCT/baselines/device-<16 hex>.jsonl     the device's own, with its measurements only
    results/PRODUCT/baselines/product.jsonl             for devices without one of their own, at twice the floor
    results/PRODUCT/baselines/replaced/                 what a promotion took the place of

A baseline names the cases that are gated from then on.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as altered
from functools import cached_property
from pathlib import Path
from statistics import median

from bench.analysis.gate.metrics import Metric, Pin, metrics
from bench.analysis.gate.past import identity, surroundings
from bench.analysis.gate.samples import MetricSamples, pins, samples, unusable
from bench.schema import DeviceInfo, Environment, Run
from bench.store import RunError, raw_lines, read, replaced

FOLDER, REPLACED, OF_PRODUCT = "baselines", "replaced", "product.jsonl"


@dataclass(frozen=True)
class Baseline:
    """A blessed Run. own: whether it is of this very device; info: the device in it whose cases are pinned."""

    run: Run
    info: DeviceInfo
    own: bool
    path: Path

    @cached_property
    def pins(self) -> Mapping[str, Pin]:
        return pins(self.run, self.info)

    @cached_property
    def metrics(self) -> Mapping[str, Metric]:
        return metrics(self.info)

    @cached_property
    def samples(self) -> Mapping[str, MetricSamples]:
        return samples(self.run, self.info.id, self.pins, self.metrics)

    def speed(self, metric: str) -> float | None:
        """Of its device; of a product's baseline, the median over the devices in it."""
        if metric not in self.pins:
            return None
        if self.own:
            return self.samples[metric].speed
        pin = {metric: self.pins[metric]}
        known = self.run.environment.devices
        speeds = [samples(self.run, info.id, pin, self.metrics)[metric].speed for info in known]
        found = [speed for speed in speeds if speed]
        return median(found) if found else None

    @property
    def once(self) -> list[str]:
        """Gated metrics that were measured only once, whose value is a worse guess."""
        return [n for n, measured in self.samples.items() if self.metrics[n].gates and len(measured.first) == 1]

    @cached_property
    def surroundings(self) -> dict[str, str]:
        return surroundings(self.run, self.info)

    @property
    def source(self) -> str:
        return f"the {'baseline' if self.own else 'product’s baseline'} of {self.run.environment.started[:10]}"


def find(home: Path, about: Environment, info: DeviceInfo) -> Baseline | None:
    """What a device is compared with: its own baseline, else its product's; None without either.

    Raises RunError for one that cannot be read, or is of another product, or simulated where this is measured.
    """
    for path, own in ((own_path(home, identity(about, info)), True), (home / FOLDER / OF_PRODUCT, False)):
        if not path.is_file():
            continue
        run = read(path)
        there = run.environment
        if not there.devices:
            raise RunError(f"the baseline {path} is of no device; bless a Run with `baseline promote`")
        if not run.complete:
            raise RunError(
                f"the baseline {path} is incomplete and would gate less than it did; `baseline promote` a Run"
            )
        if there.devices[0].name != info.name:
            raise RunError(
                f"the baseline {path} is of another product, {there.devices[0].name}, and this is {info.name}; bless a"
                " Run of this machine with `baseline set`"
            )
        if there.simulated != about.simulated:
            kinds = "simulated", "measured"
            was, now = kinds if there.simulated else kinds[::-1]
            raise RunError(f"the baseline {path} is {was} and this Run is {now}: they are never compared")
        return Baseline(run, there.devices[0], own, path)
    return None


def elsewhere(home: Path, about: Environment, info: DeviceInfo) -> Path | None:
    """Another product's folder in which this very device is blessed: the node had another number of devices then."""
    who = identity(about, info)
    found = sorted(home.parent.glob(f"*/{FOLDER}/device-{who}.jsonl")) if who else []
    return next((path.parent.parent for path in found if path.parent.parent.resolve() != home.resolve()), None)


def own_path(home: Path, who: str) -> Path:
    # a redacted Run has no identity, and no file of that name exists
    return home / FOLDER / f"device-{who or 'unknown'}.jsonl"


def all_of(home: Path) -> list[Baseline]:
    """Every baseline of a product, the product's own first. Raises RunError."""
    files = sorted((home / FOLDER).glob("*.jsonl"), key=lambda path: (path.name != OF_PRODUCT, path.name))
    runs = [(read(path), path) for path in files]
    for run, path in runs:
        if not run.environment.devices:
            raise RunError(f"the baseline {path} is of no device; bless a Run with `baseline promote`")
    return [Baseline(run, run.environment.devices[0], path.name != OF_PRODUCT, path) for run, path in runs]


@dataclass(frozen=True)
class Blessed:
    """A baseline that was written. before: the one that it took the place of, and where that one is now."""

    baseline: Baseline
    before: Baseline | None = None
    kept: Path | None = None

    @property
    def changes(self) -> Mapping[str, tuple[float | None, float | None]]:
        """Metric -> (the speed that was expected, the one that is from now on)."""
        names = dict.fromkeys([*(self.before.pins if self.before else ()), *self.baseline.pins])
        return {name: (self.before.speed(name) if self.before else None, self.baseline.speed(name)) for name in names}


def bless(run: Run, home: Path, *, of_product: bool = False, promote: bool = False) -> list[Blessed]:
    """Makes a Run the baseline of its devices, or of its product. Raises RunError for a Run that cannot be one, and
    where there is one already and it is not to be replaced: nothing is lost, it is kept under replaced/.
    """
    about = run.environment
    _fit_for_a_baseline(run, of_product)
    parts = [(home / FOLDER / OF_PRODUCT, run, about.devices[0])]
    if not of_product:
        parts = [(own_path(home, identity(about, info)), _part(run, info), info) for info in about.devices]
    there = [path for path, _, _ in parts if path.exists()]
    if there and not promote:
        raise RunError(
            f"there is a baseline already: {there[0]}. `baseline promote` replaces it and keeps the old one."
        )
    return [_blessed(path, part, info, not of_product) for path, part, info in parts]


def _blessed(path: Path, run: Run, info: DeviceInfo, own: bool) -> Blessed:
    before, kept = None, None
    try:
        if path.exists():
            before = _before(path, own)
            kept = path.parent / REPLACED / f"{path.stem}-{_which(before)}.jsonl"
            kept.parent.mkdir(parents=True, exist_ok=True)
            replaced(kept, path.read_bytes())
        path.parent.mkdir(parents=True, exist_ok=True)
        replaced(path, "".join(f"{line}\n" for line in raw_lines(run)).encode())
    except OSError as error:
        raise RunError(
            f"cannot write the baseline {path}: {error.strerror or error}; what was there is kept"
        ) from error
    return Blessed(Baseline(run, info, own, path), before, kept)


def _before(path: Path, own: bool) -> Baseline | None:
    """What a promotion replaces; None for a file that cannot be read, which is kept all the same."""
    try:
        old = read(path)
    except RunError:
        return None
    return Baseline(old, old.environment.devices[0], own, path) if old.environment.devices else None


def _which(before: Baseline | None) -> str:
    if before is None:
        return f"damaged-{secrets.token_hex(4)}"
    about = before.run.environment
    return f"{about.started[:19].replace('-', '').replace(':', '')}Z-{about.run_id[:8]}"


def _part(run: Run, info: DeviceInfo) -> Run:
    """The Run as if it had had this device only, with what it did together with others."""
    mine = tuple(m for m in run.measurements if m.device == info.id or info.id in m.devices)
    return altered(run, environment=altered(run.environment, devices=(info,)), measurements=mine)


def _fit_for_a_baseline(run: Run, of_product: bool) -> None:
    about = run.environment
    if not about.devices:
        raise RunError(f"{run.source}: a Run of no device cannot be a baseline")
    if not run.complete:
        raise RunError(f"{run.source}: an incomplete Run cannot be a baseline; measure again")
    if about.redacted and not of_product:
        raise RunError(f"{run.source}: a redacted Run does not say which device it is of; bless it with --product")
    for info in about.devices:
        known = metrics(info)
        found = samples(run, info.id, pins(run, info), known)
        gated = [metric for metric in known.values() if metric.gates]
        if not any(metric.name in found for metric in gated):
            raise RunError(
                f"{run.source}: {info.id} has none of the metrics that a gate follows; measure with `all` or `gate`"
            )
        # what never was valid would be gated no more, and nobody would know
        never = unusable(run, info)
        seen = {m.key for m in run.of(info.id) if m.reasons and not m.skip}
        lost = [metric.name for metric in gated if metric.name in never and never[metric.name][0] in seen]
        if doubtful := [*lost, *doubts(found, gated)]:
            raise RunError(
                f"{run.source}: {info.id} {', '.join(doubtful)} is in doubt, and a baseline must not be; measure again"
                " on a quiet machine"
            )


def doubts(found: Mapping[str, MetricSamples], gated: Sequence[Metric]) -> list[str]:
    """Gated metrics that most repetitions do not vouch for."""
    return [
        metric.name
        for metric in gated
        if (measured := found.get(metric.name))
        and 2 * sum(seen.valid for seen in measured.first) <= len(measured.first)
    ]
