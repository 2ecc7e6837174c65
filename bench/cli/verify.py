"""The verb verify: does the instrument read true on this machine?"""

import json as json_text
from dataclasses import asdict
from typing import Annotated

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
