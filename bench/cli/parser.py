"""What may be typed: verbs, options and their defaults."""

import argparse
import difflib
import sys
from pathlib import Path
from typing import Any, NoReturn

import bench
from bench.cli import gating, measuring, reading, serving, verifying
from bench.cli.codes import USAGE

_EPILOG = """\
exit codes: 0 ok, 1 confirmed regression or hardware defect, 2 usage, or a file that cannot be read or written,
3 inconclusive, invalid or a metric missing, 4 a whole device failed, 5 nothing to run, 130 interrupted.
Examples:
  python -m bench doctor                                 is this machine fit to be measured?
  python -m bench verify                                 does the instrument read true on it?
  python -m bench all                                    measure this machine, write Run and report
  python -m bench run --probes bandwidth,peak --budget quick
  python -m bench all --device sim:h200-sxm,gpus=8,dram@3=0.9
  python -m bench report results/PRODUCT/RUN.jsonl
  python -m bench baseline set results/PRODUCT/RUN.jsonl && python -m bench gate   did this machine become slower?"""


class _Parser(argparse.ArgumentParser):
    """One clear line for a wrong word, with the nearest right ones."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            near = difflib.get_close_matches(str(value), list(action.choices), 2, 0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(action.choices)}"
            what = (action.option_strings or [action.dest])[-1].lstrip("-")
            raise argparse.ArgumentError(None, f"unknown {what} {value!r}: {hint}")

    def error(self, message: str) -> NoReturn:
        if message == "argument --budget: expected one argument":  # what begins with a dash is taken for an option
            message = "argument --budget: give a name or a positive duration, as quick or 90s"
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(USAGE)


def parser() -> argparse.ArgumentParser:
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
    chosen.add_argument("--probes", help="comma-separated names (see list), or serving: all that it answers from")
    gate = verbs.add_parser("gate", help="did this hardware become slower? measures what is followed, or takes a Run")
    calibrate = verbs.add_parser("calibrate", help="measure this machine's own noise, write what a gate must forgive")
    for verb in (everything, chosen, gate, calibrate):
        verb.add_argument(
            "--device",
            default="auto",
            help="auto, cpu, cuda:N, a GPU's UUID, a list of these, or sim:SKU[,option=value]",
        )
        verb.add_argument(
            "--budget",
            default="quick" if verb in (gate, calibrate) else "standard",
            **({"choices": ("quick", "standard", "soak")} if verb in (gate, calibrate) else {"type": _budget}),
            metavar="BUDGET",
            help="wall time of the whole command, report included: sniff (9 s), quick, standard, soak, or 90s, 5m, 1h",
        )
        verb.add_argument("--seed", type=_seed, default=0, help="seed of the random inputs and of the order of rounds")
        verb.add_argument(
            "--out", type=Path, default=Path("results"), metavar="DIR", help="folder of Run files (results)"
        )
        verb.add_argument(
            "--wait",
            type=_seconds,
            default=600.0,
            metavar="SECONDS",
            help="how long to wait for a machine in use (600)",
        )
    for verb in (everything, chosen, gate):
        # a Run that is judged later only gets a page where somebody names a folder
        verb.add_argument("--reports", type=Path, metavar="DIR", help="folder of reports (reports)")
        verb.add_argument("--json", action="store_true", help="machine output on stdout, everything else on stderr")
    for verb in (everything, chosen):
        verb.add_argument("--redact", action="store_true", help="hash host name and UUIDs, drop paths: for publishing")
        verb.add_argument("--dry-run", action="store_true", help="print the plan with a time estimate, measure nothing")
        verb.set_defaults(function=measuring.measure, probes=None)
    _gates(verbs, gate, calibrate)
    serving.options_of(verbs, _some, _seconds)

    report = verbs.add_parser("report", help="write the report of a Run file: HTML, or another form")
    report.add_argument("run", type=Path, metavar="RUN")
    report.add_argument("--out", type=Path, metavar="FILE", help="the file to write (reports/NAME.html)")
    report.add_argument("--format", choices=reading.FORMS, help="html, or what another program reads; as --out ends")
    report.add_argument("--points", type=Path, metavar="FILE", help="CSV of your own kernels, drawn under the roofs")
    report.add_argument("--baseline", type=Path, metavar="RUN", help="a Run whose headline roofs stand beside these")
    report.set_defaults(function=reading.report)

    comparison = verbs.add_parser("compare", help="write a page that compares Runs with the first one")
    comparison.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    comparison.add_argument("--out", type=Path, metavar="FILE", help="the file to write (reports/compare-A-B.html)")
    comparison.add_argument("--json", action="store_true", help="the differences as JSON on stdout")
    comparison.set_defaults(function=reading.compare)

    trend = verbs.add_parser("trend", help="write a page of the headline roofs over all Runs of a product")
    trend.add_argument("folder", type=Path, metavar="DIR", help="results/PRODUCT")
    trend.add_argument("--out", type=Path, metavar="FILE", help="the file to write (reports/trend-PRODUCT.html)")
    trend.add_argument(
        "--otava", metavar="PATH", help="mark change points with this apache-otava (information, not the gate)"
    )
    trend.add_argument("--json", action="store_true", help="the series as JSON on stdout")
    trend.set_defaults(function=reading.trend)

    fit = verbs.add_parser("fit", help="print the roofs, the ridge and theory of a Run file")
    fit.add_argument("run", type=Path, metavar="RUN")
    fit.add_argument("--json", action="store_true", help="as JSON on stdout")
    fit.set_defaults(function=reading.fit)

    doctor = verbs.add_parser("doctor", help="what is here, what would be measured, what to fix first")
    doctor.add_argument("--device", default="auto", help="as in all")
    doctor.add_argument("--budget", type=_budget, default="standard", help="as in all")
    doctor.add_argument(
        "--out", type=Path, default=Path("results"), metavar="DIR", help="folder of Run files (results)"
    )
    doctor.add_argument("--json", action="store_true", help="as JSON on stdout")
    doctor.set_defaults(function=reading.doctor)

    verify = verbs.add_parser("verify", help="does the instrument read true here? every assumption of it, tried")
    verify.add_argument("--device", default="auto", help="as in all")
    verify.add_argument("--deep", action="store_true", help="with what needs minutes or tools (ncu, compute-sanitizer)")
    verify.add_argument("--json", action="store_true", help="machine output on stdout, everything else on stderr")
    verify.add_argument("--wait", type=_seconds, default=600.0, metavar="SECONDS", help="as in all (600)")
    verify.set_defaults(function=verifying.verify)

    listing = verbs.add_parser("list", help="probes, devices of this machine, simulated products")
    listing.set_defaults(function=reading.listing)
    return parser


def _gates(
    verbs: argparse._SubParsersAction, gate: argparse.ArgumentParser, calibrate: argparse.ArgumentParser
) -> None:
    gate.add_argument("--run", type=Path, metavar="RUN", help="judge this Run instead of measuring")
    gate.add_argument(
        "--confirm",
        type=_count,
        default=3,
        metavar="N",
        help="repetitions of a suspect in fresh processes (3; 0 for none)",
    )
    gate.add_argument(
        "--fail-on",
        default="inconclusive",
        choices=("regression", "suspicious", "inconclusive", "never"),
        help="the least verdict that is not exit code 0 (inconclusive)",
    )
    gate.add_argument("--require-baseline", action="store_true", help="exit code 3 where nothing says what is usual")
    gate.add_argument(
        "--tolerances", type=Path, metavar="FILE", help="TOML that overrides how finely metrics are gated"
    )
    gate.add_argument(
        "--export",
        action="append",
        default=[],
        metavar="FORM=FILE",
        help="junit, md, prometheus, github-benchmark, pytest-benchmark or json; may be given again",
    )
    gate.add_argument(
        "--github", action="store_true", help="step summary, outputs and one annotation of GitHub Actions"
    )
    gate.add_argument("--nagios", action="store_true", help="one status line, and exit codes as Nagios reads them")
    gate.set_defaults(function=gating.gate)
    calibrate.add_argument("--runs", type=_count, default=10, metavar="N", help="Runs in a row (10)")
    calibrate.set_defaults(function=gating.calibrate, tolerances=None)

    baseline = verbs.add_parser("baseline", help="bless a Run as what a gate expects of this machine, or show what is")
    baseline.add_argument(
        "action", choices=("set", "show", "promote"), help="promote replaces a baseline and keeps the old"
    )
    baseline.add_argument("target", type=Path, nargs="?", metavar="RUN", help="the Run; for show, results/PRODUCT")
    baseline.add_argument(
        "--product", action="store_true", help="for every device of the product without one of its own"
    )
    baseline.add_argument(
        "--out", type=Path, default=Path("results"), metavar="DIR", help="folder of Run files (results)"
    )
    baseline.set_defaults(function=gating.baseline)

    history = verbs.add_parser("history", help="the Runs that a gate remembers of a product; delete the oldest")
    history.add_argument("action", choices=("list", "prune"))
    history.add_argument("folder", type=Path, metavar="DIR", help="results/PRODUCT")
    history.add_argument("--keep", type=_some, metavar="N", help="how many of the newest Runs prune leaves")
    history.add_argument("--yes", action="store_true", help="delete; without it prune only says what it would delete")
    history.set_defaults(function=gating.history)


def _budget(text: str) -> str:
    from bench.budget import BadBudget, budget

    try:
        budget(text)
    except BadBudget as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1000:
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 1000")
    return int(text)


def _some(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 or more")
    return value


def _seed(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 2^63 - 1")
    return value
