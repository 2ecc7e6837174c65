"""Verbs that only read Run files, or look around: report, compare, trend, fit, doctor, list."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.cli.codes import OK, Complaint
from bench.cli.measuring import verdict

# The page, and bench.report.exports.FORMS, which only loads with pandas.
FORMS = ("html", "md", "csv", "parquet", "json", "png", "svg")


def report(options: argparse.Namespace) -> int:
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
    if form not in FORMS:
        raise Complaint(f"--out {options.out}: no form ends in .{ending}; choose from {', '.join(FORMS)}")
    if ending and ending != form:
        raise Complaint(f"--out {options.out} ends in .{ending}, but --format asks for {form}")
    return form


def compare(options: argparse.Namespace) -> int:
    from bench.report import comparison
    from bench.store import read

    runs = [read(path) for path in options.runs]
    _warn(runs)
    # the files decide the name, so that another comparison is another page
    which = sha256(b"\0".join(os.fsencode(path.resolve()) for path in options.runs)).hexdigest()[:8]
    name = f"compare-{options.runs[0].stem}-and-{len(runs) - 1}-more-{which}.html"
    path = comparison.write(runs, options.out or Path("reports") / name)
    print(json.dumps({"report": str(path)} | comparison.facts(runs), indent=2) if options.json else path)
    return OK


def trend(options: argparse.Namespace) -> int:
    from bench.analysis import changes
    from bench.analysis.history import history
    from bench.report import trend

    found = history(options.folder)
    for warning in (*found.warnings, *(f"{name} is left out: {why}" for name, why in found.left_out.items())):
        print(f"warning: {warning}", file=sys.stderr)
    points = changes.found(found, options.otava) if options.otava else None
    path = trend.write(found, options.out, points)
    print(json.dumps({"report": str(path)} | trend.facts(found, points), indent=2) if options.json else path)
    return OK


def _warn(runs: Sequence[Any]) -> None:
    for run in runs:
        for warning in run.warnings:
            print(f"warning: {run.source}: {warning}", file=sys.stderr)


def fit(options: argparse.Namespace) -> int:
    from bench.analysis.facts import facts
    from bench.analysis.fit import fit
    from bench.cli.console import console
    from bench.report.text import run_table
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
    return verdict("complete", fits)


def doctor(options: argparse.Namespace) -> int:
    from bench import doctor

    return doctor.run(options.device, options.budget, options.json, options.out)


def listing(options: argparse.Namespace) -> int:
    from bench import theory
    from bench.device import resolve
    from bench.probes import GROUPS, probes

    print("probes (* only where they are named)")
    for found in probes().values():
        print(f"{'* ' if found.asked else '  '}{found.name:<12} {found.summary}")
    print("several at once (--probes NAME)")
    for name, members in GROUPS.items():
        print(f"  {name:<12} {', '.join(members)}")
    print("devices (--device)")
    for name in dict.fromkeys([*resolve("auto"), "cpu"]):
        print(f"  {name}")
    print("simulated products (--device sim:SKU)")
    skus = [product.sku for product in theory.products()]
    for start in range(0, len(skus), 4):
        print("  " + "".join(f"{sku:<22}" for sku in skus[start : start + 4]).rstrip())
    return OK
