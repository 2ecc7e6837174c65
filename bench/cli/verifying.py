"""The verb verify: does the instrument read true on this machine?"""

import argparse
import json
from dataclasses import asdict
from typing import Any

from bench.cli.codes import CRASHED, INCONCLUSIVE, INTERRUPTED, NOTHING, OK, REGRESSED
from bench.cli.gating import machine


def verify(options: argparse.Namespace) -> int:
    """Tries every assumption on every device named, and says what came of each."""
    from bench.cli.console import console
    from bench.device import resolve
    from bench.report.checks import checks_table, verdict
    from bench.schema import FAIL, NOT_AVAILABLE

    people, devices = console(stderr=options.json), resolve(options.device)
    found, failures, interrupted = [], [], False
    with machine(options, devices, people):
        for name in devices:
            mine: list[Any] = []
            try:
                _try(name, options.deep, people, mine, failures)
            except KeyboardInterrupt:  # what was tried is told
                interrupted = True
            if mine:
                people.print(checks_table(mine, f"{name}: the instrument, tried"))
            found += mine
            if interrupted:
                people.print("interrupted: the other checks were not tried", style="yellow", markup=False)
                break
    failed = any(check.state == FAIL for check in found)
    untried = all(check.state == NOT_AVAILABLE for check in found)
    code = NOTHING if not found else REGRESSED if failed else CRASHED if failures else INCONCLUSIVE if untried else OK
    code = INTERRUPTED if interrupted else code
    if found:
        people.print(verdict(found))
    for failure in failures:
        people.print(failure, style="red", markup=False, soft_wrap=True)
    if options.json:
        print(json.dumps({"exit_code": code, "failures": failures, "checks": [asdict(c) for c in found]}, indent=2))
    return code


def _try(name: str, deep: bool, people: Any, mine: list[Any], failures: list[str]) -> None:
    """Adds the checks of one device as they come; one that cannot be opened is told to `failures`, and others go on."""
    from bench.device import DeviceError
    from bench.verify import apart, assumptions, checks

    if name.startswith("sim:"):
        from bench.device.sim import open_simulated

        mine += [check for device in open_simulated(name) for check in checks(device, deep)]
        return
    wanted = [each.name for each in assumptions().values() if deep or not each.deep]
    try:
        with people.status(f"{name}: opening") as status:
            for check in apart.checks(name, deep):
                mine.append(check)
                status.update(f"{name}: {len(mine)} of {len(wanted)} tried, last {check.name}")
    except DeviceError as error:
        failures.append(f"{name}: {error}")
