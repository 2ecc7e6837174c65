"""Verbs of the gate: gate, baseline, history, calibrate."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from bench.cli.codes import CRASHED, INCONCLUSIVE, INTERRUPTED, OK, USAGE, Complaint, home_of, worse


def gate(options: argparse.Namespace) -> int:
    """Measures what is followed (or takes a Run), judges it, and says so wherever it was asked to."""
    from bench.cli.console import console
    from bench.cli.followed import Followed
    from bench.probes import select
    from bench.report import gate as surfaces
    from bench.report.gate.facts import facts
    from bench.report.gate.text import gate_table, nagios, nagios_code
    from bench.store import read

    if options.json and options.nagios:
        raise Complaint("--json and --nagios both want stdout: choose one, or --export json=FILE")
    exports = [_export(text, tuple(surfaces.FORMS)) for text in options.export]
    files = _github_files() if options.github else {}
    people = console(stderr=options.json or options.nagios)
    followed = Followed(options.out, select([]), options, people)
    status = "complete"
    if options.run:
        run = read(options.run)
        if not run.complete:
            raise Complaint(f"{options.run}: the Run is incomplete, and what it lacks cannot be judged", INCONCLUSIVE)
        found = followed.judged(run, home_of(options.run, run.environment.product, options.out))
    else:
        run, status = _measured(options, followed, people)
        if status == "interrupted":
            people.print(f"the Run was interrupted: nothing is judged; see {run.source}", style="red", markup=False)
            return INTERRUPTED
        found = followed.judged(run)
    code = worse(found.code(options.fail_on), CRASHED if status == "failed" else OK)
    # a Run that was measured before has its page already, and making one takes longer than the verdict
    report = _report(run, found, options, people) if options.reports or not options.run else None
    if options.json:
        outcome = {"exit_code": code, "report": str(report) if report else None}
        _said(json.dumps(outcome | facts(found), indent=2))
    elif options.nagios:
        _said(nagios(found, code))
    else:
        people.print(gate_table(found))
        people.print(f"Run     {run.source}", markup=False, soft_wrap=True)
        if report:
            people.print(f"report  {report}", markup=False, soft_wrap=True)
    if found.unfounded and not followed.blessed:
        people.print(
            f"to hold the next one against it: python -m bench baseline set {run.source}", markup=False, soft_wrap=True
        )
    # the verdict stands before anything that may fail is written: a full disk must not hide a slow GPU
    written = [_surface(partial(surfaces.write, found, form, path), people) for form, path in exports]
    if files:
        written.append(_surface(partial(_tell_github, found, code, report, people, files), people))
    code = code if all(written) else code or USAGE
    return nagios_code(found, code) if options.nagios else code


def _said(text: str) -> None:
    """On stdout; a reader that leaves early (`| head -1`) takes neither the exit code nor the exports with it."""
    with suppress(BrokenPipeError):
        print(text, flush=True)


def _surface(write: Callable[[], Any], people: Any) -> bool:
    """Whether one more place heard of the verdict."""
    from bench.store import RunError

    try:
        for path in write():
            people.print(f"wrote   {path}", markup=False, soft_wrap=True)
    except RunError as error:
        people.print(f"warning: {error}", style="yellow", markup=False)
        return False
    return True


def _export(text: str, forms: Sequence[str]) -> tuple[str, Path]:
    form, equals, path = text.partition("=")
    if not equals or not path:
        raise Complaint(f"--export {text}: write it as FORM=FILE; forms are {', '.join(forms)}")
    if form not in forms:
        raise Complaint(f"--export {text}: unknown form {form!r}; choose from {', '.join(forms)}")
    if path == "-":
        raise Complaint(f"--export {text}: name a file; for stdout use --json")
    if form == "prometheus" and not path.endswith(".prom"):
        raise Complaint(f"--export {text}: a textfile collector only reads names that end in .prom")
    return form, Path(path)


def _measured(options: argparse.Namespace, followed: Any, people: Any) -> tuple[Any, str]:
    """A Run of what is followed, and how it ended."""
    from dataclasses import replace

    from bench.budget import BUDGETS
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
    with machine(options, devices, people), Listener(people, budget, gate=True) as listener:
        made = record(
            devices,
            probes,
            budget,
            options.seed,
            options.out,
            command_line(),
            listen=listener,
            choose=followed.everything,
            again=followed.again,
        )
    return read(made.path), made.status


def machine(options: argparse.Namespace, devices: Sequence[str], people: Any) -> Any:
    """The machine alone for as long as something is measured on it; a datasheet needs none."""
    from contextlib import nullcontext

    from bench import lock

    if devices[0].startswith("sim:"):
        return nullcontext()
    return lock.alone(options.wait, lambda who: people.print(f"waiting for another measurement: {who}", markup=False))


def _report(run: Any, found: Any, options: argparse.Namespace, people: Any) -> Path | None:
    from bench.cli.measuring import written

    return written(run, (options.reports or Path("reports")) / f"{Path(run.source).stem}.html", people, found)


def _github_files() -> dict[str, Path]:
    """The files that a runner of GitHub Actions names; better missed before a GPU is measured than after."""
    names = ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")
    for name in names:
        if not os.environ.get(name):
            raise Complaint(f"--github: ${name} is not set; it is, in a step of GitHub Actions")
    return {name: Path(os.environ[name]) for name in names}


def _tell_github(found: Any, code: int, report: Path | None, people: Any, files: Mapping[str, Path]) -> Sequence[Path]:
    """The step summary, the outputs and one annotation. Raises RunError."""
    from bench.report.gate.github import annotation, outputs
    from bench.report.gate.markdown import markdown
    from bench.store import RunError

    print(annotation(found, code), file=sys.stderr if people.stderr else sys.stdout)
    texts = {"GITHUB_STEP_SUMMARY": markdown(found).decode(), "GITHUB_OUTPUT": outputs(found, str(report or ""))}
    for name, path in files.items():
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(texts[name] if texts[name].endswith("\n") else f"{texts[name]}\n")
        except OSError as error:
            raise RunError(f"--github: cannot write {path}: {error.strerror or error}") from None
    return ()


def baseline(options: argparse.Namespace) -> int:
    """Blesses a Run, or shows what is blessed."""
    from bench.analysis.gate import baselines
    from bench.cli.console import console
    from bench.report.gate.listings import baseline_table, blessed_table
    from bench.store import read

    people = console(stderr=False)
    if options.action == "show":
        root = options.target or options.out
        homes = [root] if (root / "baselines").is_dir() else sorted(p.parent for p in root.glob("*/baselines"))
        found = [each for home in homes for each in baselines.all_of(home)]
        if not found:
            where = options.target or options.out
            raise Complaint(f"no baselines in {where}; bless a Run with `baseline set RUN`", 3)
        people.print(baseline_table(found))
        return OK
    if not options.target:
        raise Complaint(f"baseline {options.action} needs a RUN")
    run = read(options.target)
    home = home_of(options.target, run.environment.product, options.out)
    blessed = baselines.bless(run, home, of_product=options.product, promote=options.action == "promote")
    people.print(blessed_table(blessed))
    return OK


def history(options: argparse.Namespace) -> int:
    """Lists the Runs of a product as a gate sees them, or deletes the oldest; first only says which."""
    from bench.analysis.gate.past import past
    from bench.cli.console import console
    from bench.report.gate.listings import history_table

    people = console(stderr=False)
    if not options.folder.is_dir():
        raise Complaint(f"no such folder: {options.folder}; give results/PRODUCT")
    found = past(options.folder)
    if not found.runs and not found.left_out:
        raise Complaint(f"no Runs (*.jsonl) in {options.folder}: give results/PRODUCT")
    if options.action == "list":
        people.print(history_table(found))
        return OK
    if options.keep is None:
        raise Complaint("history prune needs --keep N: how many of the newest Runs stay")
    # only Runs that count are counted: a node with many interrupted ones must not lose those that say what is usual
    good = [at for at, run in enumerate(found.runs.values()) if run.complete and all(d.who for d in run.devices)]
    files = list(found.runs)[: good[-options.keep]] if len(good) >= options.keep else []
    for name in files:
        people.print(
            f"{'deleted' if options.yes else 'would delete'} {options.folder / name}", markup=False, soft_wrap=True
        )
        if options.yes:
            try:
                (options.folder / name).unlink()
            except OSError as error:
                raise Complaint(f"cannot delete {options.folder / name}: {error.strerror or error}") from None
    kept = len(found.runs) - len(files)
    left = f"; {len(found.left_out)} unreadable files are left alone" if found.left_out else ""
    todo = "" if options.yes or not files else "; nothing was deleted: say --yes to do it"
    people.print(f"{len(files)} of {len(found.runs)} Runs, {kept} stay{left}{todo}", markup=False)
    return OK


def calibrate(options: argparse.Namespace) -> int:
    """Measures the same machine again and again, and writes down what a gate must forgive it."""
    from bench.analysis.gate import calibration, tolerances
    from bench.analysis.gate.past import identity
    from bench.cli.console import console
    from bench.cli.followed import Followed, tolerances_path
    from bench.probes import select
    from bench.report.gate.listings import noise_table

    people = console(stderr=False)
    if options.runs < calibration.FEWEST:
        raise Complaint(f"--runs {options.runs}: at least {calibration.FEWEST} Runs are needed, better 10 and more")
    options.confirm = 0
    runs = []
    for number in range(options.runs):
        people.print(f"Run {number + 1} of {options.runs}", style="bold", markup=False)
        run, status = _measured(options, Followed(options.out, select([]), options, people, bound=False), people)
        if status != "complete":
            return INTERRUPTED if status == "interrupted" else CRASHED
        runs.append(run)
        # a sim's noise is seeded: the same seed would be the same Run
        options.seed += 1
    about = runs[0].environment
    home = options.out / about.product
    for info in about.devices:
        noise = calibration.noise(runs, info)
        people.print(noise_table(info, noise))
        words = (
            f"What a gate must forgive {info.name}, by {len(runs)} Runs in a row from {about.started} on.\n"
            f"Made by: {' '.join(about.command)}\nMetrics that are not here keep the registry's tolerances."
        )
        path = tolerances_path(home, identity(about, info))
        people.print(
            f"floors  {tolerances.write(path, calibration.settings(noise), words)}", markup=False, soft_wrap=True
        )
    return OK
