"""Measure, judge, measure suspects again: the one place that stands on both towers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from bench.analysis.gate import baselines, tolerances
from bench.analysis.gate.expectations import Baselined
from bench.analysis.gate.metrics import Candidate, Pin, metrics, pinned
from bench.analysis.gate.rule import judged, suspects
from bench.analysis.gate.samples import past
from bench.analysis.gate.verdict import Gate
from bench.measure.budget import BUDGETS, Budget
from bench.measure.environment import command_line, environment
from bench.measure.probes import Probe, describe
from bench.measure.progress import Listener
from bench.measure.record import record
from bench.measure.session import NOTHING_SELECTED, CaseSelection
from bench.schema import CONFIRM, FIRST_ROUND, DeviceInfo, Environment, Run, case_key
from bench.store import RunError, read

# Repetitions that state a gated value: a median of three outvotes one bad minute.
REPETITIONS = 3


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """How strictly a gate judges.

    confirm: repetitions of a suspect in fresh processes. tolerances: a file that overrides them. required: whether a
    device must have a baseline. calibrated: whether an earlier calibration counts; who measures the noise anew says no.
    """

    confirm: int = REPETITIONS
    tolerances: Path | None = None
    required: bool = False
    calibrated: bool = True


USUAL = GateOptions()


class GateSession:
    """What a gate holds these devices against. A Run's parts come to it as they are known: devices, measurements."""

    def __init__(self, out: Path, probes: Sequence[Probe], console: Console, options: GateOptions = USUAL):
        self.out, self.probes, self._console, self._options = out, probes, console, options
        self.known: dict[str, Baselined] = {}
        self._home, self._past = out, None
        self._gates = False
        # why a Run that is measured will not be gated
        self.trouble = ""
        self._elsewhere: list[str] = []

    @property
    def blessed(self) -> bool:
        """Whether any device has a baseline."""
        return any(known.baseline for known in self.known.values())

    def everything(self, infos: Sequence[DeviceInfo]) -> CaseSelection:
        """All that a gate follows of these devices, nothing else: the baseline's cases, the registry's beside them."""
        self._learn(environment(infos, (), "", 0))
        self._gates = True
        cases = {info.id: tuple(self._pins(info).values()) for info in infos}
        return CaseSelection(cases, tuple(range(FIRST_ROUND, FIRST_ROUND + REPETITIONS)))

    def beside(self, infos: Sequence[DeviceInfo]) -> CaseSelection:
        """What a baseline follows, to be measured in the rounds of a whole Run; and what gates without claiming a roof,
        which no round would repeat, so that the Run can be a baseline.
        """
        try:
            self._learn(environment(infos, (), "", 0))
        except RunError as error:  # who came to measure is not sent away for it
            self.trouble, self.known = str(error), {}
            self._console.print(f"warning: this Run will not be gated: {error}", style="yellow", markup=False)
            return NOTHING_SELECTED
        self._gates = self.blessed
        return CaseSelection({info.id: tuple(self._pins(info, beside=True).values()) for info in infos})

    def again(self, run: Run) -> CaseSelection:
        """What is suspect in a Run, to be measured again before it is believed."""
        found = suspects(self.judged(run)) if self._options.confirm and self._gates else {}
        if not found:
            return NOTHING_SELECTED
        count = len({pin for pins in found.values() for pin in pins})
        self._console.print(f"{count} suspect case{'s' * (count != 1)}: measuring again", style="yellow", markup=False)
        return CaseSelection(found, tuple(range(CONFIRM + 1, CONFIRM + 1 + self._options.confirm)), CONFIRM)

    def judged(self, run: Run, home: Path | None = None) -> Gate:
        """A Run's verdicts. home: where its product's Runs are, if not under results/."""
        if not self.known:
            self._learn(run.environment, home)
        if self._past is None:
            self._past = past(self._home, self._tell)
        gate = judged(run, self.known, self._past, self._past.warnings)
        return replace(gate, baseline_elsewhere=tuple(self._elsewhere), required=self._options.required)

    def _tell(self, done: int, total: int) -> None:
        if done == 1 and total > 50:
            self._console.print(f"reading {total} Runs of the history; it is remembered", markup=False)

    def _learn(self, about: Environment, home: Path | None = None) -> None:
        self._home = home or self.out / about.product
        for info in about.devices:
            baseline = baselines.find(self._home, about, info)
            if baseline is None and (other := baselines.elsewhere(self._home, about, info)):
                self._elsewhere.append(
                    f"{info.id} is blessed among the devices of {other.name}, and this Run is of {about.product}: is"
                    " one of them gone, or was only a part of them asked for?"
                )
            settings, own = tolerances.Settings(), baselines.tolerances_file(self._home, about, info)
            if self._options.calibrated and own.is_file():
                settings = tolerances.read(own)
            if self._options.tolerances:
                settings = tolerances.read(self._options.tolerances).over(settings)
            self.known[info.id] = Baselined(baseline, settings)

    def _pins(self, info: DeviceInfo, beside: bool = False) -> Mapping[str, Pin]:
        """Metric -> its case: the baseline's, where the probe still measures what it measured then, else what the
        registry follows; beside a whole Run, of that only what gates without claiming a roof.
        """
        cases = [
            Candidate((case_key(probe.name, probe.version, case.params), lasting), case.saturates)
            for probe in self.probes
            for case in describe(info, probe, BUDGETS["standard"])
            for lasting in ((False, True) if info.regime == "burst" else (False,))
            if not case.skip
        ]
        followed = {n: m for n, m in metrics(info).items() if not beside or (m.gates and not m.saturates)}
        own = {name: pin for name, metric in followed.items() if (pin := pinned(metric, cases))}
        baseline, versions = self.known[info.id].baseline, {probe.name: probe.version for probe in self.probes}
        blessed = baseline.pins.items() if baseline else ()
        return {**own, **{name: pin for name, pin in blessed if versions.get(pin[0][0]) == pin[0][1]}}


def measured(
    devices: Sequence[str], budget: Budget, seed: int, session: GateSession, console: Console
) -> tuple[Run, str]:
    """A Run of what is followed, and how it ended."""
    # a Run of a dozen cases is no Run of a whole budget, and a trend must not join the two
    budget = replace(budget, name=f"gate {budget.name}")
    with Listener(console, budget, devices, gate=True) as listener:
        asked = {"choose": lambda infos: listener.expect(session.everything(infos))}
        asked |= {"again": lambda run: listener.expect(session.again(run))}
        made = record(devices, session.probes, budget, seed, session.out, command_line(), listen=listener, **asked)
    return read(made.path), made.status
