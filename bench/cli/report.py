"""The verb report: a Run file as a page, or in another form."""

import sys
from pathlib import Path
from typing import Annotated, Literal, get_args

from bench.cli.codes import OK, UserError
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
