"""Runs that someone blessed, kept as Runs: one per device by its hashed UUID, and one per product for its siblings.

    results/PRODUCT/baselines/device-<16 hex>.jsonl     the device's own, with its measurements only
    results/PRODUCT/baselines/product.jsonl             for devices without one of their own, at twice the floor
    results/PRODUCT/baselines/replaced/                 what a promotion took the place of

A baseline names the cases that are gated from then on.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as altered
from functools import cached_property
from pathlib import Path
from statistics import median

from bench.analysis.gate.metrics import Metric, Pin, metrics
from bench.analysis.gate.samples import MetricSamples, pins, samples, unusable
from bench.analysis.run_entry import device_entry, identity
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
        pin, infos = {metric: self.pins[metric]}, self.run.environment.devices
        speeds = [samples(self.run, info.id, pin, self.metrics)[metric].speed for info in infos]
        measured = [speed for speed in speeds if speed]
        return median(measured) if measured else None

    @property
    def once(self) -> list[str]:
        """Gated metrics that were measured only once, whose value is a worse guess."""
        return [n for n, measured in self.samples.items() if self.metrics[n].gates and len(measured.first) == 1]

    @cached_property
    def surroundings(self) -> Mapping[str, str]:
        return device_entry(self.run, self.info, None).surroundings

    @property
    def source(self) -> str:
        return f"the {'baseline' if self.own else 'product’s baseline'} of {self.run.environment.started[:10]}"


def find(home: Path, about: Environment, info: DeviceInfo) -> Baseline | None:
    """What a device is compared with: its own baseline, else its product's; None without either.

    Raises RunError for one that cannot be read, or is of another product, or simulated where this is measured.
    """
    path = next((path for path in (device_file(home, about, info), home / FOLDER / OF_PRODUCT) if path.is_file()), None)
    if path is None:
        return None
    found = _read(path)
    if not found.run.complete:
        raise RunError(f"the baseline {path} is incomplete and would gate less than it did; `baseline promote` a Run")
    if found.info.name != info.name:
        raise RunError(
            f"the baseline {path} is of another product, {found.info.name}, and this is {info.name}; bless a Run of"
            " this machine with `baseline set`"
        )
    if (was := found.run.environment.simulated) != about.simulated:
        then, now = ("simulated", "measured") if was else ("measured", "simulated")
        raise RunError(f"the baseline {path} is {then} and this Run is {now}: they are never compared")
    return found


def _read(path: Path) -> Baseline:
    run = read(path)
    if not run.environment.devices:
        raise RunError(f"the baseline {path} is of no device; bless a Run with `baseline promote`")
    return Baseline(run, run.environment.devices[0], path.name != OF_PRODUCT, path)


def elsewhere(home: Path, about: Environment, info: DeviceInfo) -> Path | None:
    """Another product's folder in which this very device is blessed: the node had another number of devices then."""
    name = device_file(home, about, info).name
    homes = [path.parent.parent for path in sorted(home.parent.glob(f"*/{FOLDER}/{name}"))]
    return next((other for other in homes if other.resolve() != home.resolve()), None)


def device_file(home: Path, about: Environment, info: DeviceInfo) -> Path:
    # a redacted Run has no identity, and no file of that name exists
    return home / FOLDER / f"device-{identity(about, info) or 'unknown'}.jsonl"


def tolerances_file(home: Path, about: Environment, info: DeviceInfo) -> Path:
    """A device's own tolerances, as `calibrate` writes them."""
    return device_file(home, about, info).with_suffix(".toml")


def all_of(home: Path) -> list[Baseline]:
    """Every baseline of a product, the product's own first. Raises RunError."""
    files = (home / FOLDER).glob("*.jsonl")
    return [_read(path) for path in sorted(files, key=lambda path: (path.name != OF_PRODUCT, path.name))]


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
    if of_product:
        made = [Baseline(run, about.devices[0], False, home / FOLDER / OF_PRODUCT)]
    else:
        made = [Baseline(_part(run, info), info, True, device_file(home, about, info)) for info in about.devices]
    there = [baseline.path for baseline in made if baseline.path.exists()]
    if there and not promote:
        raise RunError(
            f"there is a baseline already: {there[0]}. `baseline promote` replaces it and keeps the old one."
        )
    return [_blessed(baseline) for baseline in made]


def _blessed(baseline: Baseline) -> Blessed:
    path, before, kept = baseline.path, None, None
    try:
        if path.exists():
            try:
                before = _read(path)
                about = before.run.environment
                which = f"{about.started[:19].replace('-', '').replace(':', '')}Z-{about.run_id[:8]}"
            except RunError:  # what cannot be read is kept all the same
                which = f"damaged-{secrets.token_hex(4)}"
            kept = path.parent / REPLACED / f"{path.stem}-{which}.jsonl"
            kept.parent.mkdir(parents=True, exist_ok=True)
            replaced(kept, path.read_bytes())
        path.parent.mkdir(parents=True, exist_ok=True)
        replaced(path, "".join(f"{line}\n" for line in raw_lines(baseline.run)).encode())
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"cannot write the baseline {path}: {reason}; what was there is kept") from error
    return Blessed(baseline, before, kept)


def _part(run: Run, info: DeviceInfo) -> Run:
    """The Run as if it had had this device only, with what it did together with others."""
    mine = tuple(m for m in run.measurements if m.device == info.id or info.id in m.devices)
    return altered(run, environment=altered(run.environment, devices=(info,)), measurements=mine)


def _fit_for_a_baseline(run: Run, of_product: bool) -> None:
    """Raises RunError with the reason why it is none."""
    about = run.environment
    if not about.devices:
        raise RunError(f"{run.source}: a Run of no device cannot be a baseline")
    if not run.complete:
        raise RunError(f"{run.source}: an incomplete Run cannot be a baseline; measure again")
    if about.redacted and not of_product:
        raise RunError(f"{run.source}: a redacted Run does not say which device it is of; bless it with --product")
    for info in about.devices:
        gated = {name: metric for name, metric in metrics(info).items() if metric.gates}
        chosen = {name: pin for name, pin in pins(run, info).items() if name in gated}
        if not chosen:
            raise RunError(
                f"{run.source}: {info.id} has none of the metrics that a gate follows; measure with `all` or `gate`"
            )
        # what never was valid would be gated no more, and nobody would know
        never = unusable(run, info)
        seen = {m.key for m in run.of(info.id) if m.reasons and not m.skip}
        lost = [name for name in gated if name in never and never[name][0] in seen]
        measured = samples(run, info.id, chosen, gated)
        doubted = [name for name in gated if name in measured and _doubted(measured[name])]
        if lost or doubted:
            raise RunError(
                f"{run.source}: {info.id} {', '.join([*lost, *doubted])} is in doubt, and a baseline must not be;"
                " measure again on a quiet machine"
            )


def _doubted(measured: MetricSamples) -> bool:
    """Whether most repetitions do not vouch for it."""
    return 2 * sum(seen.valid for seen in measured.first) <= len(measured.first)
