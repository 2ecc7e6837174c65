"""Verbs that measure: all, run."""

import json
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from bench.cli.codes import CRASHED, INCONCLUSIVE, INTERRUPTED, OK, REGRESSED, UserError, worse
from bench.cli.options import Json, Measuring, Reports, option

# What fitting and writing the report take beside importing what they need, which is timed while devices open: for a
# report of one device, for each more, and for a Run without a report. Seen on three hosts, idle and busy.
REPORT, MORE, FIT = 2.6, 0.4, 0.4
# What is set aside for them on a simulated node, in its own seconds.
SIMULATED = 6.0


@dataclass(frozen=True, kw_only=True)
class MeasureArguments(Measuring):
    """What becomes of the Run beside its file."""

    reports: Reports = None
    json: Json = False
    redact: Annotated[bool, option("hash host name and UUIDs, drop paths: for publishing")] = False
    dry_run: Annotated[bool, option("print the plan with a time estimate, measure nothing")] = False


DEFAULTS = MeasureArguments()


def everything(options: MeasureArguments = DEFAULTS) -> int:
    """Every probe that is not to be asked for by name, a Run file and a report."""
    return _measure(options, None)


def chosen(
    *,
    probes: Annotated[
        str | None, option("comma-separated names (see list), or serving: all that it answers from", "NAMES")
    ] = None,
    options: MeasureArguments = DEFAULTS,
) -> int:
    """Chosen probes, a Run file and a report."""
    return _measure(options, probes)


class Rehearsal:
    """Imports what comes after measuring while the devices open, and learns from it how fast this machine is now."""

    def __init__(self, report: bool, simulated: bool):
        self._report, self._seconds, self._simulated = report, 0.0, simulated
        self._thread = threading.Thread(target=self._import, daemon=True)
        self._thread.start()

    def _import(self) -> None:
        begun = time.monotonic()
        import bench.gatekeeper
        import bench.report.render.html
        import bench.report.run  # noqa: F401

        self._seconds = time.monotonic() - begun

    def seconds(self, devices: int) -> float:
        """What is to be left for the rest of the command."""
        self._thread.join()
        if self._simulated:  # or what is measured would depend on how busy this machine is
            return SIMULATED
        return self._seconds * (REPORT + MORE * (devices - 1) if self._report else FIT)


def _measure(options: MeasureArguments, asked_for: str | None) -> int:
    begun = time.monotonic()
    from bench.cli.console import open_console, waiting
    from bench.measure.budget import budget as budget_of
    from bench.measure.device.open import resolve
    from bench.measure.environment import command_line
    from bench.measure.exclusive import machine
    from bench.measure.probes import select
    from bench.measure.progress import Listener
    from bench.measure.record import record

    devices = resolve(options.device)
    budget = budget_of(options.budget, host=devices == ["cpu"])
    named = None if asked_for is None else [name.strip() for name in asked_for.split(",") if name.strip()]
    if named == []:
        raise UserError("--probes names no probe; leave it out to run all, or see `list`")
    probes = select(named or [])
    console = open_console(stderr=options.json)
    if options.dry_run:
        return _plan(options, devices, probes, budget, console)
    # what a scheduler runs before a job waits for no page
    reports = options.reports or (None if budget.name == "sniff" else Path("reports"))
    if reports:
        _writable(reports)

    # a Run of chosen probes lacks what a baseline has, a redacted one hides which device it is of, a sniff is too short
    follows = named is None and not options.redact and budget.levels
    gate = cache(lambda: _gate_session(options, probes, console))
    asked = time.monotonic()
    with machine(devices, options.wait, waiting(console)):
        # waiting for the machine is no part of what was promised
        begun += time.monotonic() - asked
        rehearsal = Rehearsal(bool(reports), simulated=devices[0].startswith("sim:"))
        with Listener(console, budget, devices, begun=begun, verify=named is None) as listener:
            hooks = {
                "choose": lambda infos: gate().beside(infos),
                "again": lambda run: listener.expect(gate().again(run)),
            }
            made = record(
                devices,
                probes,
                budget,
                options.seed,
                options.out,
                command_line(),
                options.redact,
                listener,
                verify=named is None,
                asked=begun,
                afterwards=rehearsal.seconds,
                **(hooks if follows else {}),
            )
    return _answer(options, made, gate() if follows else None, reports, console)


def _gate_session(options: MeasureArguments, probes: list, console: Any) -> Any:
    """What a gate follows beside the Run; asked once its devices are open, because it takes pandas to know."""
    from bench.gatekeeper import GateSession

    return GateSession(options.out, probes, console)


def _answer(options: MeasureArguments, made: Any, gated: Any, reports: Path | None, console: Any) -> int:
    """Says and writes what a Run that was made is worth; returns the exit code."""
    from bench.analysis.facts import facts
    from bench.analysis.fit import fit
    from bench.analysis.health import health
    from bench.analysis.quality import quality
    from bench.store import read

    with console.status("fitting the roofs" + ", writing the report" * bool(reports)):
        run = read(made.path)
        fits = fit(run)
        node = health(run, fits)
        code = verdict(run, fits, made.status, node)
        gate = gated.judged(run) if gated and gated.blessed and run.complete else None
        said = told(run, console, gate)
        report = written(run, said, reports / f"{made.path.stem}.html", console) if reports and said else None
    _say(console, run, said, made.path, report)
    if gated and gated.trouble:
        code = worse(code, INCONCLUSIVE)
    if gate:
        code = worse(code, gate.code())
    if options.json:
        answer = {"run": str(made.path), "report": str(report) if report else None}
        answer |= {"status": made.status, "exit_code": code, "gate": gate.status if gate else None}
        answer |= {"health": node.status, "quality": quality(run, fits).status}
        print(json.dumps(answer | {"devices": [facts(each) for each in fits]}, indent=2))
    return code


def _writable(folder: Path) -> None:
    """Raises UserError for a folder that could not take the report: better known before measuring than after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write to {folder}: {reason}. Choose another folder with --reports.") from None


def told(run: Any, console: Any, gate: Any = None) -> Any:
    """The Run's Document, or None with a warning: a Run that was measured is never lost to a report that fails."""
    try:
        from bench.report.run import document

        return document(run, gate=gate)
    except Exception as error:
        _failed(console, error)
        return None


def written(run: Any, found: Any, path: Path, console: Any) -> Path | None:
    """The report's path, or None with a warning."""
    from bench import report
    from bench.store import RunError

    try:
        return report.pages(run, found, path)
    except RunError as error:
        reason = str(error).replace("--out", "--reports")
        again = f"`bench report {run.source}` writes it again"
        console.print(f"warning: {reason} {again}", style="yellow", markup=False)
    except Exception as error:
        _failed(console, error)
    return None


def _failed(console: Any, error: Exception) -> None:
    why = f"{type(error).__name__}: {error}"
    console.print(f"warning: the report failed ({why}); please tell us", style="red", markup=False)


def verdict(run: Any, fits: Sequence[Any], status: str = "complete", node: Any = None) -> int:
    """The exit code that a Run deserves, whoever measured or reads it. status: how measuring it ended; node: its GPU
    health, where that is known already. What only deserves a look, or could not be judged, is no failure.
    """
    from bench.analysis.health import FAIL, health
    from bench.analysis.quality import INVALID, NOT_USABLE, quality

    codes = [{"interrupted": INTERRUPTED, "failed": CRASHED}.get(status, OK)]
    if (node or health(run, fits)).status == FAIL:
        codes.append(REGRESSED)
    # without a roof there is an answer only where none was asked for
    asked = any(fit.roofs or fit.missing for fit in fits) or bool(run.end and run.end.unreached)
    if quality(run, fits).status in (INVALID, NOT_USABLE) or (asked and not any(fit.roofs for fit in fits)):
        codes.append(INCONCLUSIVE)
    return worse(*codes)


def _say(console: Any, run: Any, said: Any, path: Path, report: Path | None) -> None:
    if said:
        from bench.report.render import terminal

        console.print(terminal.text(said))
    console.print(f"Run     {path}", markup=False, soft_wrap=True)
    if report:
        console.print(f"report  {report}", markup=False, soft_wrap=True)
    elif run.environment.budget == "sniff":
        console.print("no report after a sniff, unless --reports names a folder", markup=False)


def _plan(options: MeasureArguments, devices: list[str], probes: list, budget: Any, console: Any) -> int:
    from bench import units
    from bench.measure.session import plans
    from bench.measure.supervisor import compiled, opened

    answers = opened(devices)
    infos, costs = [answer.info for answer in answers], dict(answers[0].costs)
    if made := compiled(devices[0], probes, budget):
        costs[f"compiling {made.kernels} kernels"] = made.seconds
    rows = plans(infos[0], probes, budget)
    if options.json:
        found = [{"probe": r.probe.name, "cases": r.cases, "skipped": r.skipped, "estimate_s": r.seconds} for r in rows]
        plan = {"devices": [info.id for info in infos], "budget": budget.name, "budget_s": budget.seconds}
        plan |= {"costs_s": costs, "probes": found}
        print(json.dumps(plan, indent=2))
        return OK
    console.print(f"{', '.join(info.id for info in infos)}: {infos[0].name}, budget {budget.name}", markup=False)
    for row in rows:
        skipped = f", {row.skipped} skipped (`doctor` says why)" if row.skipped else ""
        about = f", about {units.seconds(row.seconds)}" if row.seconds else ""
        console.print(f"  {row.probe.name:<10} {row.cases} case{'s' * (row.cases != 1)}{skipped}{about}", markup=False)
    if costs:
        spent = ", ".join(f"{name} {units.seconds(seconds, 2)}" for name, seconds in costs.items())
        console.print(f"  before the first case: {spent} (just now; what is compiled is kept)", markup=False)
    console.print(
        f"about {units.seconds(sum(row.seconds for row in rows))} for all of it; the budget ends the command after"
        f" {units.seconds(budget.seconds)}, headline roofs and coarse sweeps first; nothing was measured",
        markup=False,
    )
    return OK
