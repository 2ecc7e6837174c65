"""The verb verify: does the instrument read true on this machine?"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.cli.codes import CRASHED, NOTHING, OK, REGRESSED
from bench.cli.gating import machine


def verify(options: argparse.Namespace) -> int:
    """Tries every assumption on every device named, and says what came of each."""
    from bench.cli.console import console
    from bench.device import resolve
    from bench.report.checks import checks_table, verdict
    from bench.schema import FAIL

    people, devices = console(stderr=options.json), resolve(options.device)
    found, failures = [], []
    with machine(options, devices, people):
        for name in devices:
            mine = _tried(name, options.deep, people, failures)
            if mine:
                people.print(checks_table(mine, f"{name}: the instrument, tried"))
            found += mine
    failed = any(check.state == FAIL for check in found)
    code = NOTHING if not found else REGRESSED if failed else CRASHED if failures else OK
    if found:
        people.print(verdict(found))
    for failure in failures:
        people.print(failure, style="red", markup=False, soft_wrap=True)
    if options.json:
        print(json.dumps({"exit_code": code, "failures": failures, "checks": [asdict(c) for c in found]}, indent=2))
    return code


def _tried(name: str, deep: bool, people: Any, failures: list[str]) -> Sequence[Any]:
    """The checks of one device; a device that cannot be opened is told to `failures`, and the others go on."""
    from bench.device import DeviceError
    from bench.verify import apart, assumptions, checks

    if name.startswith("sim:"):
        from bench.device.sim import open_simulated

        return [check for device in open_simulated(name) for check in checks(device, deep)]
    wanted = [each.name for each in assumptions().values() if deep or not each.deep]
    mine: list[Any] = []
    try:
        with people.status(f"{name}: opening") as status:
            for check in apart.checks(name, deep):
                mine.append(check)
                status.update(f"{name}: {len(mine)} of {len(wanted)} tried, last {check.name}")
    except DeviceError as error:
        failures.append(f"{name}: {error}")
    return mine
