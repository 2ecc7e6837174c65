"""The verb gate: did this hardware become slower?"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from bench.cli.codes import CRASHED, INCONCLUSIVE, INTERRUPTED, OK, USAGE, UserError, product_dir, told_in_a_line, worse
from bench.cli.options import Count, GateBudget, Json, Measuring, Reports, option


@dataclass(frozen=True, kw_only=True)
class GateArguments(Measuring):
    """What is judged, how strictly, and where the verdict goes."""

    budget: GateBudget = "quick"
    run: Annotated[Path | None, option("judge this Run instead of measuring", "RUN")] = None
    reports: Reports = None
    json: Json = False
    confirm: Annotated[Count, option("repetitions of a suspect in fresh processes; 0 for none", "N")] = 3
    fail_on: Annotated[
        Literal["regression", "suspicious", "inconclusive", "never"],
        option("the least verdict that is not exit code 0", "VERDICT"),
    ] = "inconclusive"
    require_baseline: Annotated[bool, option("exit code 3 where nothing says what is usual")] = False
    tolerances: Annotated[Path | None, option("TOML that overrides how finely metrics are gated", "FILE")] = None
    export: Annotated[
        tuple[str, ...],
        option("junit, md, prometheus, github-benchmark, pytest-benchmark or json; may be given again", "FORM=FILE"),
    ] = ()
    github: Annotated[bool, option("step summary, outputs and one annotation of GitHub Actions")] = False
    nagios: Annotated[bool, option("one status line, and exit codes as Nagios reads them")] = False


DEFAULTS = GateArguments()


def gate(options: GateArguments = DEFAULTS) -> int:
    """Measures what is followed (or takes a Run), judges it, and says so wherever it was asked to."""
    if not options.nagios:
        return _gate(options)
    try:
        return _gate(options)
    except told_in_a_line() as error:  # Nagios reads stdout, and 2 as critical
        print(f"GATE UNKNOWN - {error}")
        return INCONCLUSIVE


def _gate(options: GateArguments) -> int:
    from bench import gatekeeper
    from bench.analysis.gate.facts import nagios_code
    from bench.cli.console import open_console, waiting
    from bench.measure.budget import BUDGETS
    from bench.measure.device.open import resolve
    from bench.measure.exclusive import machine
    from bench.measure.probes import select
    from bench.report import gate as surfaces
    from bench.report.render import ci, terminal
    from bench.store import read

    if options.json and options.nagios:
        raise UserError("--json and --nagios both want stdout: choose one, or --export json=FILE")
    exports = [_export(text, tuple(surfaces.FORMS)) for text in options.export]
    files = _github_files() if options.github else {}
    console = open_console(stderr=options.json or options.nagios)
    how = gatekeeper.GateOptions(
        confirm=options.confirm, tolerances=options.tolerances, required=options.require_baseline
    )
    session = gatekeeper.GateSession(options.out, select([]), console, how)
    status = "complete"
    if options.run:
        run = read(options.run)
        if not run.complete:
            raise UserError(f"{options.run}: the Run is incomplete, and what it lacks cannot be judged", INCONCLUSIVE)
        found = session.judged(run, product_dir(options.run, run.environment.product, options.out))
    else:
        devices = resolve(options.device)
        with machine(devices, options.wait, waiting(console)):
            run, status = gatekeeper.measured(devices, BUDGETS[options.budget], options.seed, session, console)
        if status == "interrupted":
            console.print(f"the Run was interrupted: nothing is judged; see {run.source}", style="red", markup=False)
            return INTERRUPTED
        found = session.judged(run)
    code = worse(found.code(options.fail_on), CRASHED if status == "failed" else OK)
    # a Run that was measured before has its page already, and making one takes longer than the verdict
    report = _report(run, found, options, console) if options.reports or not options.run else None
    if options.json:
        outcome = {"exit_code": code, "report": str(report) if report else None}
        _said(json.dumps(outcome | surfaces.to_json(found), indent=2))
    elif options.nagios:
        _said(ci.status_line(surfaces.document(found), code))
    else:
        console.print(terminal.text(surfaces.document(found), full=True))
        console.print(f"Run     {run.source}", markup=False, soft_wrap=True)
        if report:
            console.print(f"report  {report}", markup=False, soft_wrap=True)
    # the verdict stands before anything that may fail is written: a full disk must not hide a slow GPU
    written = [_surface(partial(surfaces.write, found, form, path), console) for form, path in exports]
    if files:
        written.append(_surface(partial(_tell_github, found, code, report, console, files), console))
    code = code if all(written) else code or USAGE
    return nagios_code(surfaces.to_json(found), code) if options.nagios else code


def _said(text: str) -> None:
    """On stdout; a reader that leaves early (`| head -1`) takes neither the exit code nor the exports with it."""
    with suppress(BrokenPipeError):
        print(text, flush=True)


def _surface(write: Callable[[], Any], console: Any) -> bool:
    """Whether one more place heard of the verdict."""
    from bench.store import RunError

    try:
        for path in write():
            console.print(f"wrote   {path}", markup=False, soft_wrap=True)
    except RunError as error:
        console.print(f"warning: {error}", style="yellow", markup=False)
        return False
    return True


def _export(text: str, forms: Sequence[str]) -> tuple[str, Path]:
    form, equals, path = text.partition("=")
    if not equals or not path:
        raise UserError(f"--export {text}: write it as FORM=FILE; forms are {', '.join(forms)}")
    if form not in forms:
        raise UserError(f"--export {text}: unknown form {form!r}; choose from {', '.join(forms)}")
    if path == "-":
        raise UserError(f"--export {text}: name a file; for stdout use --json")
    if form == "prometheus" and not path.endswith(".prom"):
        raise UserError(f"--export {text}: a textfile collector only reads names that end in .prom")
    return form, Path(path)


def _report(run: Any, found: Any, options: GateArguments, console: Any) -> Path | None:
    from bench.cli.measuring import told, written

    path = (options.reports or Path("reports")) / f"{Path(run.source).stem}.html"
    said = told(run, console, found)
    return written(run, said, path, console) if said else None


def _github_files() -> dict[str, Path]:
    """The files that a runner of GitHub Actions names; better missed before a GPU is measured than after."""
    names = ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")
    for name in names:
        if not os.environ.get(name):
            raise UserError(f"--github: ${name} is not set; it is, in a step of GitHub Actions")
    return {name: Path(os.environ[name]) for name in names}


def _tell_github(found: Any, code: int, report: Path | None, console: Any, files: Mapping[str, Path]) -> Sequence[Path]:
    """The step summary, the outputs and one annotation. Raises RunError."""
    from bench.report import gate as surfaces
    from bench.report.render.ci import annotation, outputs
    from bench.store import RunError

    made = surfaces.document(found)
    print(annotation(made, code), file=sys.stderr if console.stderr else sys.stdout)
    summary = surfaces.exported(found, "md").decode()
    texts = {"GITHUB_STEP_SUMMARY": summary, "GITHUB_OUTPUT": outputs(made, str(report or ""))}
    for name, path in files.items():
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(texts[name] if texts[name].endswith("\n") else f"{texts[name]}\n")
        except OSError as error:
            raise RunError(f"--github: cannot write {path}: {error.strerror or error}") from None
    return ()
