"""The verb verify: does the instrument read true on this machine?"""

import json as json_text
from dataclasses import asdict
from typing import Annotated, Any

from bench.cli.codes import CRASHED, INCONCLUSIVE, INTERRUPTED, NOTHING, OK, REGRESSED
from bench.cli.options import Device, Json, Wait, option


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
    from bench.measure.exclusive import machine
    from bench.report.render import terminal
    from bench.report.sections.checks import document
    from bench.schema import FAIL, NOT_AVAILABLE

    console, devices = open_console(stderr=json), resolve(device)
    found, failures, interrupted = [], [], False
    with machine(devices, wait, waiting(console)):
        for name in devices:
            mine: list[Any] = []
            try:
                _try(name, deep, console, mine, failures)
            except KeyboardInterrupt:  # what was tried is told
                interrupted = True
            if mine:
                console.print(terminal.text(document(mine, name), full=True))
            found += mine
            if interrupted:
                console.print("interrupted: the other checks were not tried", style="yellow", markup=False)
                break
    failed = any(check.state == FAIL for check in found)
    untried = all(check.state == NOT_AVAILABLE for check in found)
    code = NOTHING if not found else REGRESSED if failed else CRASHED if failures else INCONCLUSIVE if untried else OK
    code = INTERRUPTED if interrupted else code
    for failure in failures:
        console.print(failure, style="red", markup=False, soft_wrap=True)
    if json:
        told = {"exit_code": code, "failures": failures, "checks": [asdict(check) for check in found]}
        print(json_text.dumps(told, indent=2))
    return code


def _try(name: str, deep: bool, console: Any, mine: list[Any], failures: list[str]) -> None:
    """Adds the checks of one device as they come; one that cannot be opened is told to `failures`, and others go on."""
    from bench.measure.device.protocol import DeviceError
    from bench.measure.verify import apart, assumptions, checks

    if name.startswith("sim:"):
        from bench.measure.device.sim import open_simulated

        mine += [check for device in open_simulated(name) for check in checks(device, deep)]
        return
    wanted = [each.name for each in assumptions().values() if deep or not each.deep]
    try:
        with console.status(f"{name}: opening") as status:
            for check in apart.checks(name, deep):
                mine.append(check)
                status.update(f"{name}: {len(mine)} of {len(wanted)} tried, last {check.name}")
    except DeviceError as error:
        failures.append(f"{name}: {error}")
