"""Between measuring and judging: what a gate wants measured, what again, and what it says of the Run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.analysis.gate import baselines, tolerances
from bench.analysis.gate.expectations import Known
from bench.analysis.gate.metrics import Candidate, Pin, metrics, pinned
from bench.analysis.gate.past import identity, past
from bench.analysis.gate.rule import judged, suspects
from bench.analysis.gate.verdict import Gate
from bench.budget import BUDGETS
from bench.cli.machine import machine
from bench.cli.options import Measuring
from bench.environment import environment
from bench.probes import Probe, describe
from bench.schema import CONFIRM, FIRST_ROUND, DeviceInfo, Environment, Run
from bench.session import NOTHING_PINNED, Pinned
from bench.store import RunError

# Repetitions that state a gated value: a median of three outvotes one bad minute.
REPETITIONS = 3


class GateSession:
    """What a gate holds these devices against. A Run's parts come to it as they are known: devices, measurements."""

    def __init__(
        self,
        out: Path,
        probes: Sequence[Probe],
        console: Any,
        *,
        confirm: int = REPETITIONS,
        tolerances: Path | None = None,
        required: bool = False,
        bound: bool = True,
    ):
        """confirm: repetitions of a suspect. tolerances: a file that overrides them. required: whether a device must
        have a baseline. bound: by an earlier calibration; who measures the noise anew is not.
        """
        self._out, self._probes, self._console = out, probes, console
        self._confirm, self._file, self._required = confirm, tolerances, required
        self.known: dict[str, Known] = {}
        self._home, self._past = out, None
        self._gates, self._bound = False, bound
        self.trouble = ""
        self.elsewhere: list[str] = []

    @property
    def blessed(self) -> bool:
        """Whether any device has a baseline."""
        return any(known.baseline for known in self.known.values())

    def everything(self, infos: Sequence[DeviceInfo]) -> Pinned:
        """All that a gate follows of these devices, nothing else: the baseline's cases, the registry's beside them."""
        self._learn(environment(infos, (), "", 0))
        self._gates = True
        cases = {info.id: tuple(self._pins(info).values()) for info in infos}
        return Pinned(cases, tuple(range(FIRST_ROUND, FIRST_ROUND + REPETITIONS)))

    def beside(self, infos: Sequence[DeviceInfo]) -> Pinned:
        """What a baseline follows, to be measured in the rounds of a whole Run; and what gates without claiming a roof,
        which no round would repeat, so that the Run can be a baseline.
        """
        try:
            self._learn(environment(infos, (), "", 0))
        except RunError as error:  # who came to measure is not sent away for it
            self.trouble, self.known = str(error), {}
            self._console.print(f"warning: this Run will not be gated: {error}", style="yellow", markup=False)
            return NOTHING_PINNED
        self._gates = self.blessed
        cases = {}
        for info in infos:
            known = metrics(info)
            own = {
                n: pin
                for n, pin in self._pins(info).items()
                if n in known and known[n].gates and not known[n].saturates
            }
            cases[info.id] = tuple({**own, **self._blessed(info)}.values())
        return Pinned(cases)

    def again(self, run: Run) -> Pinned:
        """What is suspect in a Run, to be measured again before it is believed."""
        found = suspects(self.judged(run)) if self._confirm and self._gates else {}
        if not found:
            return NOTHING_PINNED
        count = len({pin for pins in found.values() for pin in pins})
        self._console.print(f"{count} suspect case{'s' * (count != 1)}: measuring again", style="yellow", markup=False)
        return Pinned(found, tuple(range(CONFIRM + 1, CONFIRM + 1 + self._confirm)), CONFIRM)

    def judged(self, run: Run, home: Path | None = None) -> Gate:
        """A Run's verdicts. home: where its product's Runs are, if not under results/."""
        if not self.known:
            self._learn(run.environment, home)
        if self._past is None:
            self._past = past(self._home, self._reading)
        found = judged(run, self.known, self._past, self._past.warnings)
        return replace(found, baseline_elsewhere=tuple(self.elsewhere), required=self._required)

    def _reading(self, done: int, total: int) -> None:
        if done == 1 and total > 50:
            self._console.print(f"reading {total} Runs of the history; it is remembered", markup=False)

    def _learn(self, about: Environment, home: Path | None = None) -> None:
        self._home = home or self._out / about.product
        for info in about.devices:
            baseline = baselines.find(self._home, about, info)
            if baseline is None and (other := baselines.elsewhere(self._home, about, info)):
                self.elsewhere.append(
                    f"{info.id} is blessed among the devices of {other.name}, and this Run is of {about.product}: is"
                    " one of them gone, or was only a part of them asked for?"
                )
            settings = tolerances.Settings()
            calibrated = tolerances_path(self._home, identity(about, info))
            if self._bound and calibrated.is_file():
                settings = tolerances.read(calibrated)
            if self._file:
                settings = tolerances.read(self._file).over(settings)
            self.known[info.id] = Known(baseline, settings)

    def _blessed(self, info: DeviceInfo) -> Mapping[str, Pin]:
        """A baseline's cases, where the probe still measures what it measured then."""
        baseline = self.known[info.id].baseline
        versions = {probe.name: probe.version for probe in self._probes}
        found = baseline.pins if baseline else {}
        return {name: pin for name, pin in found.items() if versions.get(pin[0][0]) == pin[0][1]}

    def _pins(self, info: DeviceInfo) -> Mapping[str, Pin]:
        cases = [
            Candidate(
                ((probe.name, probe.version, tuple(case.params.items())), lasting), case.saturates, 0.0, case.params
            )
            for probe in self._probes
            for case in describe(info, probe, BUDGETS["standard"])
            for lasting in ((False, True) if info.regime == "burst" else (False,))
            if not case.skip
        ]
        own = {name: pin for name, metric in metrics(info).items() if (pin := pinned(metric, cases))}
        return {**own, **self._blessed(info)}


def measured(options: Measuring, session: GateSession, console: Any) -> tuple[Run, str]:
    """A Run of what is followed, and how it ended."""
    from bench.device import resolve
    from bench.environment import command_line
    from bench.probes import select
    from bench.progress import Listener
    from bench.record import record
    from bench.store import read

    # a Run of a dozen cases is no Run of a whole budget, and a trend must not join the two
    budget, devices = BUDGETS[options.budget], resolve(options.device)
    budget = replace(budget, name=f"gate {budget.name}")
    probes = select([])
    with machine(devices, options.wait, console), Listener(console, budget, devices, gate=True) as listener:
        made = record(
            devices,
            probes,
            budget,
            options.seed,
            options.out,
            command_line(),
            listen=listener,
            choose=lambda infos: listener.expect(session.everything(infos)),
            again=lambda run: listener.expect(session.again(run)),
        )
    return read(made.path), made.status


def tolerances_path(home: Path, who: str) -> Path:
    """A device's own tolerances, as `calibrate` writes them."""
    return baselines.own_path(home, who).with_suffix(".toml")
