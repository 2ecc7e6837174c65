"""Whether each GPU of a node is well: PASS, WARN, FAIL, or NOT_JUDGED where there is nothing to compare it with.

Two verdicts are never mixed: this one is about the machine, bench.analysis.quality about the measurements. FAIL is what
nobody should have to confirm by reading figures: broken memory, a lost GPU, one that could not be measured, one that is
slower than its siblings or than its own baseline. WARN is what deserves a look. Where what was measured describes a
disturbance, nobody passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.analysis import health_reasons as why
from bench.analysis.fit import Fit
from bench.analysis.health_reasons import BASELINE, DATASHEET, FAIL, SIBLINGS, WARN, Reason
from bench.analysis.quality import NOT_USABLE, quality
from bench.analysis.run_comparison import RunComparison, comparisons
from bench.analysis.siblings import siblings
from bench.analysis.telemetry import DeviceTelemetry, telemetry
from bench.schema import SUSTAINED, DeviceInfo, Run

PASS, NOT_JUDGED = "pass", "not judged"
# What a device is watched for -> the causes that speak against it, and the counters that tell of them.
VITALS = {
    "Heat": ((why.THROTTLED,), ("throttled_sw_thermal_s", "throttled_hw_thermal_s")),
    "Power": ((why.POWER_LIMIT, why.CLOCK_SETTING, why.CLOCK), ("throttled_power_cap_s", "power_w")),
    "ECC": ((why.MEMORY_ERRORS, why.CORRECTED_ERRORS, why.ROW_REMAP), ("ecc_double_bit", "ecc_single_bit")),
    "Links": ((why.PCIE, why.NVLINK), ("pcie_width", "nvlinks")),
}
# What slows a clock, and may be why a roof is low.
_HELD = (why.THROTTLED, why.POWER_LIMIT, why.CLOCK_SETTING, why.CLOCK)
# From what a person must look at to what needs no look.
ORDER = (FAIL, WARN, NOT_JUDGED, PASS)


@dataclass(frozen=True)
class DeviceHealth:
    """One device. reasons: gravest first. references: what it was judged by, of SIBLINGS, BASELINE and DATASHEET.
    roofs, cases: how much of it was measured.
    """

    info: DeviceInfo
    status: str
    reasons: tuple[Reason, ...]
    references: tuple[str, ...]
    roofs: int = 0
    cases: int = 0

    @property
    def by_roof(self) -> dict[str, Reason]:
        """The gravest reason of each roof that one speaks against."""
        return {reason.key: reason for reason in reversed(self.reasons) if reason.key}


@dataclass(frozen=True)
class NodeHealth:
    """Every device of a Run, in its order. absent: devices that never opened, so that nothing else is known of them."""

    status: str
    devices: tuple[DeviceHealth, ...]
    absent: tuple[Reason, ...] = ()

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Of all devices, gravest first."""
        return _sorted([*self.absent, *(reason for device in self.devices for reason in device.reasons)])

    @property
    def grouped(self) -> list[list[Reason]]:
        """Those of one device and one cause together, gravest first."""
        hopeless = {each.device for each in self.reasons if each.cause == why.NOT_MEASURABLE and not each.key}
        found: dict[tuple[str, str], list[Reason]] = {}
        for reason in self.reasons:
            # what could not be measured says why itself
            if reason.cause != why.THROTTLED or reason.device not in hopeless:
                found.setdefault((reason.device, reason.cause), []).append(reason)
        return list(found.values())

    def held(self, slow: Reason, driven: bool) -> Reason | None:
        """What else is known of its device that slows a clock and so explains a slow roof. driven: whether the clock
        drives that roof, so that heat, which is told of a device as a whole, explains it too.
        """
        known = [each for each in self.reasons if each.device == slow.device and each.cause in _HELD]
        return next((each for each in known if each.key == slow.key or (driven and not each.key)), None)

    def of(self, device: str) -> DeviceHealth | None:
        return next((each for each in self.devices if each.info.id == device), None)


def health(run: Run, fits: Sequence[Fit], baseline: Run | RunComparison | None = None) -> NodeHealth:
    """fits: of that Run. baseline: an older Run, or the comparison with it (bench.analysis.run_comparison)."""
    earlier = comparisons((baseline, run))[0] if isinstance(baseline, Run) else baseline
    burst, lasting = siblings(fits), siblings(fits, SUSTAINED)
    compared = list(why.by_siblings(burst, lasting))
    compared += why.by_baseline(earlier) if earlier else ()
    seen = telemetry(run, [fit.info for fit in fits])
    failures = run.end.failures if run.end else ()
    usable = quality(run, fits).status != NOT_USABLE
    devices = []
    for fit, each in zip(fits, seen, strict=True):
        mine = [*compared, *why.by_datasheet(fit, each)]
        mine = [reason for reason in mine if reason.device == fit.info.id]
        # beside a disturbance that took most of the time no comparison is sure
        mine = mine if usable else [replace(reason, status=WARN) for reason in mine]
        most_links = max(other.most_links for other in seen if other.info.name == fit.info.name)
        mine += why.unmeasured(fit, fits, seen, earlier, run)
        mine += why.by_driver(each, fit, most_links)
        judged_by = {
            SIBLINGS: any(row.device == fit.info.id for row in burst),
            BASELINE: earlier is not None and why.judged_by_baseline(earlier, fit.info.id),
            DATASHEET: why.judged_by_datasheet(fit),
        }
        references = tuple(name for name, known in judged_by.items() if known)
        status = _gravest([reason.status for reason in mine] or [PASS if references else NOT_JUDGED])
        if status == PASS and not usable:
            status = NOT_JUDGED
        devices.append(DeviceHealth(fit.info, status, _sorted(mine), references, len(fit.roofs), len(fit.cases)))
    absent = tuple(_absent(failures, [fit.info.id for fit in fits]))
    return NodeHealth(_gravest([*(d.status for d in devices), *(r.status for r in absent)]), tuple(devices), absent)


def shown(fits: Sequence[Fit], health: NodeHealth) -> Fit | None:
    """The device whose figures a page draws: the one in doubt, as far as it has a roof to draw."""
    ranks = {device.info.id: _rank(device) for device in health.devices}
    return min(fits, key=lambda fit: (not fit.roofs, ranks[fit.info.id]), default=None)


def vitals(device: DeviceHealth, seen: DeviceTelemetry) -> dict[str, str]:
    """How a device stands in each of VITALS; "" where no counter tells of it."""
    found = {}
    for name, (causes, counters) in VITALS.items():
        # a simulated counter says what its options planted
        known = any(seen.ever(key) if device.info.simulated else seen.last(key) is not None for key in counters)
        usual = PASS if known else ""
        found[name] = next((reason.status for reason in device.reasons if reason.cause in causes), usual)
    return found


def _rank(device: DeviceHealth) -> tuple:
    gravest = device.reasons[0].weight if device.reasons else (True, 0.0, 0)
    return (ORDER.index(device.status) if device.reasons else len(ORDER), gravest, -device.roofs, -device.cases)


def _gravest(statuses: Sequence[str]) -> str:
    return min(statuses, key=ORDER.index, default=NOT_JUDGED)


def _sorted(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(reasons, key=lambda reason: reason.weight))


def _absent(failures: Sequence[str], known: Sequence[str]) -> list[Reason]:
    """Devices that failed before they said what they are; a Run tells of them as "cuda:5: why"."""
    parts = [failure.partition(": ") for failure in failures]
    unknown = [(device, cause) for device, _, cause in parts if cause and device not in known]
    return [Reason(device, FAIL, why.LOST, detail=cause) for device, cause in unknown]
