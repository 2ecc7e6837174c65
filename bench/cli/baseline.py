"""The verb baseline: what a gate expects of this machine."""

from pathlib import Path
from typing import Annotated, Literal

from bench.cli.codes import INCONCLUSIVE, OK, UserError, product_dir
from bench.cli.options import Results, option


def baseline(
    action: Annotated[
        Literal["set", "show", "promote"], option("promote replaces a baseline and keeps the old", "ACTION")
    ],
    target: Annotated[Path | None, option("the Run; for show, results/PRODUCT", "RUN")] = None,
    /,
    *,
    product: Annotated[bool, option("for every device of the product without one of its own")] = False,
    out: Results = Path("results"),
) -> int:
    """Blesses a Run, or shows what is blessed."""
    from bench.analysis.gate import baselines
    from bench.cli.console import open_console
    from bench.report import baselines as told
    from bench.report.render import terminal
    from bench.store import read

    console = open_console(stderr=False)
    if action == "show":
        root = target or out
        homes = [root] if (root / "baselines").is_dir() else sorted(p.parent for p in root.glob("*/baselines"))
        found = [each for home in homes for each in baselines.all_of(home)]
        if not found:
            where = target or out
            raise UserError(f"no baselines in {where}; bless a Run with `baseline set RUN`", INCONCLUSIVE)
        console.print(terminal.text(told.baselines(found), full=True))
        return OK
    if not target:
        raise UserError(f"baseline {action} needs a RUN")
    run = read(target)
    home = product_dir(target, run.environment.product, out)
    blessed = baselines.bless(run, home, of_product=product, promote=action == "promote")
    console.print(terminal.text(told.blessed(blessed), full=True))
    return OK
