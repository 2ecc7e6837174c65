"""Verbs that measure: all, run."""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bench.cli.codes import CRASHED, INCONCLUSIVE, INTERRUPTED, OK, Complaint, worse
from bench.cli.gating import machine

# What fitting and writing the report take beside importing what they need, which is timed while devices open: for a
# report of one device, for each more, and for a Run without a report. Seen on three hosts, idle and busy.
REPORT, MORE, FIT = 2.6, 0.4, 0.4
# What is set aside for them on a simulated node, in its own seconds.
SIMULATED = 6.0


class Rehearsal:
    """Imports what comes after measuring while the devices open, and learns from it how fast this machine is now."""

    def __init__(self, report: bool, simulated: bool):
        self._report, self._seconds, self._simulated = report, 0.0, simulated
        self._thread = threading.Thread(target=self._import, daemon=True)
        self._thread.start()

    def _import(self) -> None:
        begun = time.monotonic()
        import bench.cli.followed
        import bench.report.page
        import bench.report.text  # noqa: F401

        self._seconds = time.monotonic() - begun

    def seconds(self, devices: int) -> float:
        """What is to be left for the rest of the command."""
        self._thread.join()
        if self._simulated:  # or what is measured would depend on how busy this machine is
            return SIMULATED
        return self._seconds * (REPORT + MORE * (devices - 1) if self._report else FIT)


def measure(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    from bench.budget import budget as budget_of
    from bench.cli.console import console
    from bench.device import resolve
    from bench.environment import command_line
    from bench.probes import select
    from bench.progress import Listener
    from bench.record import record
    from bench.store import read

    devices = resolve(options.device)
    budget = budget_of(options.budget, host=devices == ["cpu"])
    named = None if options.probes is None else [name.strip() for name in options.probes.split(",") if name.strip()]
    if named == []:
        raise Complaint("--probes names no probe; leave it out to run all, or see `list`")
    probes = select(named or [])
    people = console(stderr=options.json)
    if options.dry_run:
        return _plan(options, devices, probes, budget, people)
    # what a scheduler runs before a job waits for no page
    reports = options.reports or (None if budget.name == "sniff" else Path("reports"))
    if reports:
        _writable(reports)

    follows = named is None and not options.redact and budget.levels

    @cache
    def session() -> Any:
        """What a gate follows beside the Run; a Run of chosen probes lacks what a baseline has, a redacted one hides
        which device it is of, and a sniff is too short for it.
        """
        from bench.cli.followed import Followed

        return Followed(options.out, probes, options, people)

    asked = time.monotonic()
    with machine(options, devices, people):
        # waiting for the machine is no part of what was promised
        begun += time.monotonic() - asked
        rehearsal = Rehearsal(bool(reports), simulated=devices[0].startswith("sim:"))
        with Listener(people, budget) as listener:
            made = record(
                devices, probes, budget, options.seed, options.out, command_line(), options.redact, listener,
                verify=named is None, asked=begun, afterwards=rehearsal.seconds,
                **({"choose": lambda infos: session().beside(infos), "again": lambda run: session().again(run)}
                   if follows else {}),
            )  # fmt: skip
    from bench.analysis.facts import facts
    from bench.analysis.fit import fit

    followed = session() if follows else None
    run = read(made.path)
    fits = fit(run)
    code = verdict(made.status, fits, bool(run.end and run.end.unreached))
    gate = followed.judged(run) if followed and followed.blessed and run.complete else None
    report = written(run, reports / f"{made.path.stem}.html", people, gate) if reports else None
    _say(people, run, fits, made.path, report)
    if followed and followed.trouble:
        code = worse(code, INCONCLUSIVE)
    if gate:
        from bench.report.gate.text import gate_table

        people.print(gate_table(gate))
        code = worse(code, gate.code())
    if options.json:
        paths = {"run": str(made.path), "report": str(report) if report else None}
        print(
            json.dumps(
                paths
                | {"status": made.status, "exit_code": code, "gate": gate.word if gate else None}
                | {"devices": [facts(f) for f in fits]},
                indent=2,
            )
        )
    return code


def _writable(folder: Path) -> None:
    """Raises Complaint for a folder that could not take the report: better known before measuring than after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise Complaint(f"cannot write to {folder}: {reason}. Choose another folder with --reports.") from None


def written(run: Any, path: Path, people: Any, gate: Any = None) -> Path | None:
    """The report's path, or None with a warning: a Run that was measured is never lost to a report that fails."""
    from bench import report
    from bench.store import RunError

    try:
        return report.write(run, path, gate=gate)
    except RunError as error:
        reason = str(error).replace("--out", "--reports")
        again = f"`bench report {run.source}` writes it again"
        people.print(f"warning: {reason} {again}", style="yellow", markup=False)
    except Exception as error:
        people.print(
            f"warning: the report failed ({type(error).__name__}: {error}); please tell us", style="red", markup=False
        )
    return None


def verdict(status: str, fits: Sequence[Any], unreached: bool = False) -> int:
    """unreached: whether there was no time for something."""
    if status == "interrupted":
        return INTERRUPTED
    if status == "failed":
        return CRASHED
    claimed = [fit for fit in fits if fit.roofs or fit.missing]
    return INCONCLUSIVE if (claimed or unreached) and not any(fit.roofs for fit in fits) else OK


def _say(people: Any, run: Any, fits: Sequence[Any], path: Path, report: Path | None) -> None:
    from bench.report.text import run_table

    people.print(run_table(run, fits))
    people.print(f"Run     {path}", markup=False, soft_wrap=True)
    if report:
        people.print(f"report  {report}", markup=False, soft_wrap=True)
    elif run.environment.budget == "sniff":
        people.print("no report after a sniff, unless --reports names a folder", markup=False)


def _plan(options: argparse.Namespace, devices: list[str], probes: list, budget: Any, people: Any) -> int:
    from bench import units
    from bench.session import plans
    from bench.workers import compiled, opened

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
    people.print(f"{', '.join(info.id for info in infos)}: {infos[0].name}, budget {budget.name}", markup=False)
    for row in rows:
        skipped = f", {row.skipped} skipped (`doctor` says why)" if row.skipped else ""
        about = f", about {units.seconds(row.seconds)}" if row.seconds else ""
        people.print(f"  {row.probe.name:<10} {row.cases} case{'s' * (row.cases != 1)}{skipped}{about}", markup=False)
    if costs:
        spent = ", ".join(f"{name} {units.seconds(seconds, 2)}" for name, seconds in costs.items())
        people.print(f"  before the first case: {spent} (just now; what is compiled is kept)", markup=False)
    people.print(
        f"about {units.seconds(sum(row.seconds for row in rows))} for all of it; the budget ends the command after"
        f" {units.seconds(budget.seconds)}, headline roofs and coarse sweeps first; nothing was measured",
        markup=False,
    )
    return OK
