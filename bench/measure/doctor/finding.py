"""What a diagnosis is made of: findings with their remedies, what will be measured, what will be skipped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.schema import DeviceInfo

State = Literal["ok", "note", "warn", "bad"]
# From what must be mended first to what is well.
SEVERITY: tuple[State, ...] = ("bad", "warn", "note", "ok")

FINE, DOUBTFUL, NOTHING = 0, 3, 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. device: "" for the machine as a whole. fix: what to do about it.

    state: "ok"; "note", worth knowing; "warn", numbers will be valid but lower or of another machine than one thinks;
    "bad", numbers will be invalid or suspect, or something will not be measured.
    """

    topic: str
    text: str
    state: State = "ok"
    fix: str = ""
    device: str = ""


@dataclass(frozen=True)
class Planned:
    """A probe on a device: cases that will run, and an upper estimate in seconds."""

    device: str
    probe: str
    cases: int
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """Cases of a probe that will not run, and why. probe and cases: "" and 0 for a device that did not open."""

    device: str
    probe: str
    cases: int
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """What a Run started now would meet. devices: those that opened.

    budget: seconds that a Run would take, whatever of the plan is reached.
    readings: what the driver told of each GPU, SI base units. stack: driver, torch, CuPy and NVRTC as they were found.
    """

    devices: tuple[DeviceInfo, ...]
    findings: tuple[Finding, ...]
    measured: tuple[Planned, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    readings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stack: Mapping[str, Any] = field(default_factory=dict)
    budget: float = 0.0

    @property
    def code(self) -> int:
        """0: nothing stands in the way; 3: results would be invalid, suspect or incomplete; 5: nothing can run."""
        if not self.devices:
            return NOTHING
        return DOUBTFUL if any(finding.state == "bad" for finding in self.findings) else FINE

    @property
    def simulated(self) -> bool:
        return any(info.simulated for info in self.devices)

    @property
    def first(self) -> tuple[Finding, ...]:
        """What to mend, the most severe first."""
        amiss = [finding for finding in self.findings if finding.state in ("bad", "warn")]
        return tuple(sorted(amiss, key=lambda finding: SEVERITY.index(finding.state)))

    @property
    def seconds(self) -> float:
        """How long a Run takes at most: GPUs are measured side by side, the host when they are done."""
        by_device: dict[str, float] = {}
        for row in self.measured:
            by_device[row.device] = by_device.get(row.device, 0.0) + row.seconds
        host = by_device.pop("cpu", 0.0)
        return host + max(by_device.values(), default=0.0)
