"""The verb compare: Runs against the first of them."""

import json as json_text
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bench.cli.codes import OK
from bench.cli.options import option


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
