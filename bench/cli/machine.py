"""Verbs of this machine: doctor, verify, list."""

import json as json_text
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from bench.cli.codes import CRASHED, INCONCLUSIVE, INTERRUPTED, NOTHING, OK, REGRESSED
from bench.cli.options import Budget, Device, Json, Results, Wait, option


def doctor(
    *,
    device: Device = "auto",
    budget: Budget = "standard",
    out: Results = Path("results"),
    json: Annotated[bool, option("as JSON on stdout")] = False,
) -> int:
    """Says what is here, what would be measured, what to fix first."""
    from bench.measure import doctor

    return doctor.run(device, budget, json, out)


def verify(
    *,
    device: Device = "auto",
    deep: Annotated[bool, option("with what needs minutes or tools (ncu, compute-sanitizer)")] = False,
    json: Json = False,
    wait: Wait = 600.0,
) -> int:
    """Tries every assumption of the instrument on every device named, and says what came of each."""
    from bench.cli.console import open_console, waiting
    from bench.measure.device.open import resolve
    from bench.measure.device.protocol import DeviceError
    from bench.measure.exclusive import machine
    from bench.measure.verify import apart, wanted
    from bench.report.render import terminal
    from bench.report.sections.checks import document
    from bench.schema import FAIL, NOT_AVAILABLE

    console, devices = open_console(stderr=json), resolve(device)
    checks, failures, interrupted = [], [], False
    with machine(devices, wait, waiting(console)):
        for name in devices:
            mine = []
            try:
                with console.status(f"{name}: opening") as status:
                    for check in apart.checks(name, deep):
                        mine.append(check)
                        status.update(f"{name}: {len(mine)} of {len(wanted(deep))} tried, last {check.name}")
            except DeviceError as error:  # the other devices go on
                failures.append(f"{name}: {error}")
            except KeyboardInterrupt:  # what was tried is told
                interrupted = True
            if mine:
                console.print(terminal.text(document(mine, name), full=True))
            checks += mine
            if interrupted:
                console.print("interrupted: the other checks were not tried", style="yellow", markup=False)
                break
    if interrupted:
        code = INTERRUPTED
    elif not checks:
        code = NOTHING
    elif any(check.state == FAIL for check in checks):
        code = REGRESSED
    elif failures:
        code = CRASHED
    else:
        code = INCONCLUSIVE if all(check.state == NOT_AVAILABLE for check in checks) else OK
    for failure in failures:
        console.print(failure, style="red", markup=False, soft_wrap=True)
    if json:
        told = {"exit_code": code, "failures": failures, "checks": [asdict(check) for check in checks]}
        print(json_text.dumps(told, indent=2))
    return code


_INDENT = 14  # columns before what is said of a name


def listing() -> int:
    """Names the probes, the devices of this machine, the simulated products."""
    from bench import theory
    from bench.measure.device.open import resolve
    from bench.measure.probes import GROUPS, probes

    width = max(40, shutil.get_terminal_size().columns)
    print("probes (* only where they are named)")
    for name, found in probes().items():
        texts = dict.fromkeys([found.text.title, found.text.question])
        texts.pop(name, None)  # a probe without a title of its own
        print(*_entry(f"{'*' if found.asked else ' '} {name}", texts, width), sep="\n")
    print("several at once (--probes NAME)")
    for name, members in GROUPS.items():
        print(*_entry(f"  {name}", [", ".join(members)], width), sep="\n")
    print("devices (--device)")
    for name in dict.fromkeys([*resolve("auto"), "cpu"]):
        print(f"  {name}")
    print("simulated products (--device sim:SKU)")
    print(*_columns([product.sku for product in theory.products()], width), sep="\n")
    return OK


def _entry(name: str, texts: Iterable[str], width: int) -> list[str]:
    """The name with what is said of it beside it, each text on lines of its own that end between words."""
    lines = [line for text in texts for line in textwrap.wrap(text, width - _INDENT)]
    return [f"{head:<{_INDENT}}{line}" for head, line in zip([name, *[""] * len(lines)], lines, strict=False)]


def _columns(words: Sequence[str], width: int) -> list[str]:
    each = max(map(len, words)) + 2
    many = max(1, (width - 2) // each)
    return [
        "  " + "".join(f"{word:<{each}}" for word in words[start : start + many]).rstrip()
        for start in range(0, len(words), many)
    ]
