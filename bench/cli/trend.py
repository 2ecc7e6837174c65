"""The verb trend: a product's headline roofs over all of its Runs."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from bench.cli.codes import OK
from bench.cli.options import option


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
