"""The verb fit: the roofs of a Run file in the terminal."""

import json as json_text
from typing import Annotated

from bench.cli.measuring import verdict
from bench.cli.options import Run, option


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
        from dataclasses import replace

        from bench.report.render import terminal
        from bench.report.run import document

        made = document(found)
        roofs = tuple(section for section in made.sections if section.id == "datasheet")
        open_console(stderr=False).print(terminal.text(replace(made, lead=None, sections=roofs), full=True))
    return verdict(found, fits)
