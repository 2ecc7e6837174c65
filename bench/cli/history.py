"""The verb history: the Runs that a gate remembers."""

from pathlib import Path
from typing import Annotated, Literal

from bench.cli.codes import OK, UserError
from bench.cli.options import Some, option


def history(
    action: Annotated[Literal["list", "prune"], option("list the Runs, or delete the oldest", "ACTION")],
    folder: Annotated[Path, option("results/PRODUCT", "DIR")],
    /,
    *,
    keep: Annotated[Some | None, option("how many of the newest Runs prune leaves", "N")] = None,
    yes: Annotated[bool, option("delete; without it prune only says what it would delete")] = False,
) -> int:
    """Lists the Runs of a product as a gate sees them, or deletes the oldest; first only says which."""
    from bench.analysis.gate.samples import past
    from bench.cli.console import open_console
    from bench.report.baselines import history as told
    from bench.report.render import terminal

    console = open_console(stderr=False)
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}; give results/PRODUCT")
    found = past(folder)
    if not found.runs and not found.left_out:
        raise UserError(f"no Runs (*.jsonl) in {folder}: give results/PRODUCT")
    if action == "list":
        console.print(terminal.text(told(found), full=True))
        return OK
    if keep is None:
        raise UserError("history prune needs --keep N: how many of the newest Runs stay")
    # only Runs that count are counted: a node with many interrupted ones must not lose those that say what is usual
    good = [at for at, run in enumerate(found.runs.values()) if not run.excluded]
    files = list(found.runs)[: good[-keep]] if len(good) >= keep else []
    for name in files:
        console.print(f"{'deleted' if yes else 'would delete'} {folder / name}", markup=False, soft_wrap=True)
        if yes:
            try:
                (folder / name).unlink()
            except OSError as error:
                raise UserError(f"cannot delete {folder / name}: {error.strerror or error}") from None
    kept = len(found.runs) - len(files)
    left = f"; {len(found.left_out)} unreadable files are left alone" if found.left_out else ""
    todo = "" if yes or not files else "; nothing was deleted: say --yes to do it"
    console.print(f"{len(files)} of {len(found.runs)} Runs, {kept} stay{left}{todo}", markup=False)
    return OK
