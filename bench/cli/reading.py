"""Verbs that read Runs: report, compare, trend, fit."""

import json as json_text
import os
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter

from bench.cli.codes import OK, UserError
from bench.cli.measuring import verdict
from bench.cli.options import Run, option

# What bench.report.render has for a Run; it only loads with pandas.
Form = Literal["html", "md", "txt", "csv", "parquet", "json", "png", "svg"]


def report(
    run: Run,
    /,
    *,
    out: Annotated[Path | None, option("the file to write (reports/NAME.html)", "FILE")] = None,
    format: Annotated[Form | None, option("html, or what another program reads; as --out ends", "FORM")] = None,
    points: Annotated[Path | None, option("CSV of your own kernels, drawn under the roofs", "FILE")] = None,
    baseline: Annotated[Path | None, option("a Run whose headline roofs stand beside these", "RUN")] = None,
    serving: Annotated[bool | None, option("a serving page beside it (a GPU has one)")] = None,
) -> int:
    """Writes a Run's page, or what another program reads of it, and prints where."""
    from bench import report as reports
    from bench.analysis.user_kernels import read as kernels
    from bench.report.run import document
    from bench.store import read

    found = read(run)
    against = read(baseline) if baseline else None
    own = kernels(points) if points else ()
    form = _form(out, format)
    if form in ("csv", "parquet") and (points or baseline):
        raise UserError(
            f"{form} holds the cases of the Run and has no place for --points or --baseline; use md or json"
        )
    made = document(found, own, against)
    doubts = [
        each.text
        for section in made.sections
        if section.id == "user-kernels"
        for each in section.findings
        if each.status
    ]
    doubts += [each.text for each in made.findings if "nothing is compared" in each.text]
    for warning in (*found.warnings, *(against.warnings if against else ()), *doubts):
        print(f"warning: {warning}", file=sys.stderr)
    beside = (f"-with-{points.stem}" if points else "") + (f"-vs-{baseline.stem}" if baseline else "")
    path = out or Path("reports") / f"{run.stem}{beside}.{form}"
    print(reports.pages(found, made, path, form, serving))
    return OK


def _form(out: Path | None, asked: str | None) -> str:
    """The form that --format or the end of --out asks for. Raises UserError where the two contradict each other."""
    ending = out.suffix.lower().lstrip(".") if out else ""
    ending = {"htm": "html", "markdown": "md"}.get(ending, ending)
    form = asked or ending or "html"
    if form not in get_args(Form):
        raise UserError(f"--out {out}: no form ends in .{ending}; choose from {', '.join(get_args(Form))}")
    if ending and ending != form:
        raise UserError(f"--out {out} ends in .{ending}, but --format asks for {form}")
    return form


def compare(
    *runs: Annotated[Path, Parameter(name="RUN", required=True, help="2 to 6 Run files, the reference first")],
    out: Annotated[Path | None, option("the file to write (reports/compare-A-B.html)", "FILE")] = None,
    json: Annotated[bool, option("the differences as JSON on stdout")] = False,
) -> int:
    """Writes a page of what differs between Runs."""
    from bench import report
    from bench.cli.console import open_console
    from bench.report import comparison
    from bench.report.render import terminal
    from bench.store import read

    found = [read(path) for path in runs]
    for run in found:
        for warning in run.warnings:
            print(f"warning: {run.source}: {warning}", file=sys.stderr)
    # the files decide the name, so that another comparison is another page
    which = sha256(b"\0".join(os.fsencode(path.resolve()) for path in runs)).hexdigest()[:8]
    name = f"compare-{runs[0].stem}-and-{len(runs) - 1}-more-{which}.html"
    made = comparison.document(found)
    path = report.save(made, out or Path("reports") / name)
    if json:
        print(json_text.dumps({"report": str(path)} | made.data, indent=2))
        return OK
    open_console(stderr=True).print(terminal.text(made))
    print(path)
    return OK


def trend(
    folder: Annotated[Path, option("results/PRODUCT", "DIR")],
    /,
    *,
    out: Annotated[Path | None, option("the file to write (reports/trend-PRODUCT.html)", "FILE")] = None,
    otava: Annotated[
        str | None, option("mark change points with this apache-otava (information, not the gate)", "PATH")
    ] = None,
    json: Annotated[bool, option("the series as JSON on stdout")] = False,
) -> int:
    """Writes a page of the headline roofs over all Runs of a product."""
    from bench import report
    from bench.analysis.change_points import change_points
    from bench.analysis.history import history
    from bench.cli.console import open_console
    from bench.report import trend
    from bench.report.render import data, terminal

    found = history(folder)
    for warning in (*found.warnings, *(f"{name} is left out: {why}" for name, why in found.left_out.items())):
        print(f"warning: {warning}", file=sys.stderr)
    made = trend.document(found, change_points(found, otava) if otava else None)
    path = report.save(made, out or Path("reports") / f"trend-{found.product}.html")
    if json:
        print(data.as_json(replace(made, data={"report": str(path)} | dict(made.data))).decode(), end="")
        return OK
    # stdout is the path alone, for who opens it with another program
    open_console(stderr=True).print(terminal.text(made))
    print(path)
    return OK


def fit(run: Run, /, *, json: Annotated[bool, option("as JSON on stdout")] = False) -> int:
    """Prints a Run's roofs beside theory."""
    from bench.analysis.facts import facts
    from bench.analysis.fit import fit
    from bench.cli.console import open_console
    from bench.store import read

    found = read(run)
    fits = fit(found)
    if json:
        about = {"run": str(run), "simulated": found.environment.simulated, "devices": [facts(each) for each in fits]}
        print(json_text.dumps(about, indent=2))
    else:
        from bench.report.fit import document
        from bench.report.render import terminal

        open_console(stderr=False).print(terminal.text(document(found, fits), full=True))
    return verdict(found, fits)
