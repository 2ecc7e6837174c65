"""`python -m bench VERB`: one function per verb, no logic.

Imports sit in the verbs, so that --help loads neither torch nor plotly.
"""

import argparse
import difflib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import bench

OK, REGRESSED, USAGE, INCONCLUSIVE, CRASHED, NOTHING, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

_EPILOG = """\
exit codes: 0 ok, 1 confirmed regression or hardware defect (the gate; not in this version), 2 usage, or a file that
cannot be read or written, 3 inconclusive or invalid, 4 a whole device failed, 5 nothing to run, 130 interrupted.
Examples:
  python -m bench doctor                                 is this machine fit to be measured?
  python -m bench all                                    measure this machine, write Run and report
  python -m bench run --probes bandwidth,peak --budget quick
  python -m bench all --device sim:h200-sxm,gpus=8,dram@3=0.9
  python -m bench report results/PRODUCT/RUN.jsonl"""


# The page, and bench.report.exports.FORMS, which only loads with pandas.
_FORMS = ("html", "md", "csv", "parquet", "json", "png", "svg")


class Complaint(Exception):
    """Something the user can mend: one line for stderr and an exit code."""

    def __init__(self, message: str, code: int = USAGE):
        super().__init__(message)
        self.code = code


class _Parser(argparse.ArgumentParser):
    """One clear line for a wrong word, with the nearest right ones."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            near = difflib.get_close_matches(str(value), list(action.choices), 2, 0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(action.choices)}"
            what = (action.option_strings or [action.dest])[-1].lstrip("-")
            raise argparse.ArgumentError(None, f"unknown {what} {value!r}: {hint}")

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code; complaints become one line on stderr, never a traceback."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.verb:
        parser.print_help()
        return OK
    signal.signal(signal.SIGTERM, _stop)
    from bench.device import DeviceError
    from bench.probes import UnknownProbe
    from bench.record import NothingToRun
    from bench.store import RunError

    try:
        return options.function(options)
    except (Complaint, DeviceError, UnknownProbe, RunError, NothingToRun) as error:
        print(f"{parser.prog} {options.verb}: {error}", file=sys.stderr)
        codes = {NothingToRun: NOTHING, Complaint: getattr(error, "code", USAGE)}
        return codes.get(type(error), USAGE)
    except KeyboardInterrupt:
        print(f"{parser.prog} {options.verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # `bench list | head`: nobody reads on, which is no error of ours
        return OK
    except OSError as error:
        print(f"{parser.prog} {options.verb}: {error.strerror or error}", file=sys.stderr)
        return USAGE
    finally:
        _let_go()


def _let_go() -> None:
    """Flushes what is left to a reader that may be gone; Python itself would complain about it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(*_: Any) -> NoReturn:
    """A polite kill is an interrupt: what was measured is kept and reported."""
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bench",
        description="Empirical rooflines: what this machine really does, beside what its datasheet says.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ridgepoint {bench.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)

    everything = verbs.add_parser("all", help="measure everything here, write the Run file and the HTML report")
    chosen = verbs.add_parser("run", help="measure chosen probes")
    chosen.add_argument("--probes", help="comma-separated names (see list); all by default")
    for verb in (everything, chosen):
        verb.add_argument(
            "--device",
            default="auto",
            help="auto, cpu, cuda:N, a GPU's UUID, a list of these, or sim:SKU[,option=value]",
        )
        verb.add_argument(
            "--budget", default="standard", choices=("quick", "standard", "soak"), help="how long and how densely"
        )
        verb.add_argument("--seed", type=_seed, default=0, help="seed of the random inputs and of the order of rounds")
        verb.add_argument(
            "--out", type=Path, default=Path("results"), metavar="DIR", help="folder of Run files (results)"
        )
        verb.add_argument(
            "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder of reports (reports)"
        )
        verb.add_argument("--redact", action="store_true", help="hash host name and UUIDs, drop paths: for publishing")
        verb.add_argument("--dry-run", action="store_true", help="print the plan with a time estimate, measure nothing")
        verb.add_argument("--json", action="store_true", help="machine output on stdout, everything else on stderr")
        verb.set_defaults(function=_measure, probes=None)

    report = verbs.add_parser("report", help="write the report of a Run file: HTML, or another form")
    report.add_argument("run", type=Path, metavar="RUN")
    report.add_argument("--out", type=Path, metavar="FILE", help="the file to write (reports/NAME.html)")
    report.add_argument("--format", choices=_FORMS, help="html, or what another program reads; as --out ends")
    report.add_argument("--points", type=Path, metavar="FILE", help="CSV of your own kernels, drawn under the roofs")
    report.add_argument("--baseline", type=Path, metavar="RUN", help="a Run whose headline roofs stand beside these")
    report.set_defaults(function=_report)

    comparison = verbs.add_parser("compare", help="write a page that compares Runs with the first one")
    comparison.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    comparison.add_argument("--out", type=Path, metavar="FILE", help="the file to write (reports/compare-A-B.html)")
    comparison.add_argument("--json", action="store_true", help="the differences as JSON on stdout")
    comparison.set_defaults(function=_compare)

    trend = verbs.add_parser("trend", help="write a page of the headline roofs over all Runs of a product")
    trend.add_argument("folder", type=Path, metavar="DIR", help="results/PRODUCT")
    trend.add_argument("--out", type=Path, metavar="FILE", help="the file to write (reports/trend-PRODUCT.html)")
    trend.add_argument("--json", action="store_true", help="the series as JSON on stdout")
    trend.set_defaults(function=_trend)

    fit = verbs.add_parser("fit", help="print the roofs, the ridge and theory of a Run file")
    fit.add_argument("run", type=Path, metavar="RUN")
    fit.add_argument("--json", action="store_true", help="as JSON on stdout")
    fit.set_defaults(function=_fit)

    doctor = verbs.add_parser("doctor", help="what is here, what would be measured, what to fix first")
    doctor.add_argument("--device", default="auto", help="as in all")
    doctor.add_argument("--budget", default="standard", choices=("quick", "standard", "soak"), help="as in all")
    doctor.add_argument(
        "--out", type=Path, default=Path("results"), metavar="DIR", help="folder of Run files (results)"
    )
    doctor.add_argument("--json", action="store_true", help="as JSON on stdout")
    doctor.set_defaults(function=_doctor)

    listing = verbs.add_parser("list", help="probes, devices of this machine, simulated products")
    listing.set_defaults(function=_list)
    return parser


def _seed(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 2^63 - 1")
    return value


def _measure(options: argparse.Namespace) -> int:
    from bench.analysis.facts import facts
    from bench.analysis.fit import fit
    from bench.device import resolve
    from bench.environment import command_line
    from bench.measure import BUDGETS
    from bench.probes import select
    from bench.progress import Listener
    from bench.record import record
    from bench.report.text import console
    from bench.store import read

    budget, devices = BUDGETS[options.budget], resolve(options.device)
    named = None if options.probes is None else [name.strip() for name in options.probes.split(",") if name.strip()]
    if named == []:
        raise Complaint("--probes names no probe; leave it out to run all, or see `list`")
    probes = select(named or [])
    people = console(stderr=options.json)
    if options.dry_run:
        return _plan(options, devices, probes, budget, people)
    _writable(options.reports)
    with Listener(people, probes, budget) as listener:
        made = record(devices, probes, budget, options.seed, options.out, command_line(), options.redact, listener)
    run = read(made.path)
    fits = fit(run)
    code = _verdict(made.status, fits)
    report = _written(run, options.reports / f"{made.path.stem}.html", people)
    _say(people, run, fits, made.path, report)
    if options.json:
        paths = {"run": str(made.path), "report": str(report) if report else None}
        print(
            json.dumps(
                paths | {"status": made.status, "exit_code": code, "devices": [facts(f) for f in fits]}, indent=2
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


def _written(run: Any, path: Path, people: Any) -> Path | None:
    """The report's path, or None with a warning: a Run that was measured is never lost to a report that fails."""
    from bench import report
    from bench.store import RunError

    try:
        return report.write(run, path)
    except RunError as error:
        people.print(f"warning: {error}", style="yellow", markup=False)
    except Exception as error:
        people.print(
            f"warning: the report failed ({type(error).__name__}: {error}); please tell us", style="red", markup=False
        )
    return None


def _verdict(status: str, fits: Sequence[Any]) -> int:
    if status == "interrupted":
        return INTERRUPTED
    if status == "failed":
        return CRASHED
    claimed = [fit for fit in fits if fit.roofs or fit.missing]
    return INCONCLUSIVE if claimed and not any(fit.roofs for fit in claimed) else OK


def _say(people: Any, run: Any, fits: Sequence[Any], path: Path, report: Path | None) -> None:
    from bench.report.text import run_table

    people.print(run_table(run, fits))
    people.print(f"Run     {path}", markup=False, soft_wrap=True)
    if report:
        people.print(f"report  {report}", markup=False, soft_wrap=True)


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
        plan = {"devices": [info.id for info in infos], "budget": budget.name, "costs_s": costs, "probes": found}
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
    people.print(f"about {units.seconds(sum(row.seconds for row in rows))} in all; nothing was measured", markup=False)
    return OK


def _report(options: argparse.Namespace) -> int:
    from bench import report
    from bench.analysis.placed import read as kernels
    from bench.report import exports
    from bench.store import read

    run = read(options.run)
    baseline = read(options.baseline) if options.baseline else None
    points = kernels(options.points) if options.points else ()
    form = _form(options)
    if form in ("csv", "parquet") and (points or baseline):
        raise Complaint(
            f"{form} holds the cases of the Run and has no place for --points or --baseline; use md or json"
        )
    warnings = [*run.warnings, *(baseline.warnings if baseline else ()), *exports.doubts(run, points, baseline)]
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    beside = (f"-with-{options.points.stem}" if points else "") + (f"-vs-{options.baseline.stem}" if baseline else "")
    path = options.out or Path("reports") / f"{options.run.stem}{beside}.{form}"
    write = report.write if form == "html" else partial(exports.write, form=form)
    print(write(run, path, points=points, baseline=baseline))
    return OK


def _form(options: argparse.Namespace) -> str:
    """The form that --format or the end of --out asks for. Raises Complaint where the two contradict each other."""
    ending = options.out.suffix.lower().lstrip(".") if options.out else ""
    ending = {"htm": "html", "markdown": "md"}.get(ending, ending)
    form = options.format or ending or "html"
    if form not in _FORMS:
        raise Complaint(f"--out {options.out}: no form ends in .{ending}; choose from {', '.join(_FORMS)}")
    if ending and ending != form:
        raise Complaint(f"--out {options.out} ends in .{ending}, but --format asks for {form}")
    return form


def _compare(options: argparse.Namespace) -> int:
    from bench.report import comparison
    from bench.store import read

    runs = [read(path) for path in options.runs]
    _warn(runs)
    # the files decide the name, so that another comparison is another page
    which = sha256("\0".join(str(path.resolve()) for path in options.runs).encode()).hexdigest()[:8]
    name = f"compare-{options.runs[0].stem}-and-{len(runs) - 1}-more-{which}.html"
    path = comparison.write(runs, options.out or Path("reports") / name)
    print(json.dumps({"report": str(path)} | comparison.facts(runs), indent=2) if options.json else path)
    return OK


def _trend(options: argparse.Namespace) -> int:
    from bench.analysis.history import history
    from bench.report import trend

    found = history(options.folder)
    for warning in (*found.warnings, *(f"{name} is left out: {why}" for name, why in found.left_out.items())):
        print(f"warning: {warning}", file=sys.stderr)
    path = trend.write(found, options.out)
    print(json.dumps({"report": str(path)} | trend.facts(found), indent=2) if options.json else path)
    return OK


def _warn(runs: Sequence[Any]) -> None:
    for run in runs:
        for warning in run.warnings:
            print(f"warning: {run.source}: {warning}", file=sys.stderr)


def _fit(options: argparse.Namespace) -> int:
    from bench.analysis.facts import facts
    from bench.analysis.fit import fit
    from bench.report.text import console, run_table
    from bench.store import read

    run = read(options.run)
    fits = fit(run)
    if options.json:
        print(
            json.dumps(
                {"run": str(options.run), "simulated": run.environment.simulated, "devices": [facts(f) for f in fits]},
                indent=2,
            )
        )
    else:
        console(stderr=False).print(run_table(run, fits))
    return _verdict("complete", fits)


def _doctor(options: argparse.Namespace) -> int:
    from bench import doctor

    return doctor.run(options.device, options.budget, options.json, options.out)


def _list(options: argparse.Namespace) -> int:
    from bench import theory
    from bench.device import resolve
    from bench.probes import probes

    print("probes")
    for found in probes().values():
        print(f"  {found.name:<12} {found.summary}")
    print("devices (--device)")
    for name in dict.fromkeys([*resolve("auto"), "cpu"]):
        print(f"  {name}")
    print("simulated products (--device sim:SKU)")
    skus = [product.sku for product in theory.products()]
    for start in range(0, len(skus), 4):
        print("  " + "".join(f"{sku:<22}" for sku in skus[start : start + 4]).rstrip())
    return OK
