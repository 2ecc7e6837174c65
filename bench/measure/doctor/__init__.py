"""Whether this machine can be measured now, what a Run would meet, and what to mend first.

Everything is read, nothing is changed, and no number is measured. The devices are opened in processes of their own, so
that a broken context hurts nobody; the driver is asked before, so that nothing of ours is among what it lists.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path

from rich.console import Console

from bench.measure.budget import BUDGETS, Budget
from bench.measure.budget import budget as budget_of
from bench.measure.device import stack
from bench.measure.device.open import resolve
from bench.measure.doctor import gpu, host
from bench.measure.doctor.diagnosis import Diagnosis, Observation, Planned, Skipped, facts, observed, text
from bench.measure.probes import describe, probes
from bench.measure.session import plans
from bench.measure.supervisor import Failed, Opened
from bench.measure.supervisor import run as events
from bench.schema import DeviceInfo


def run(device: str, asked: str, json: bool, folder: Path) -> int:
    """The verb: prints the diagnosis and returns its exit code. Raises DeviceError for a device that is not here."""
    found = diagnosis(device, budget_of(asked, host=resolve(device) == ["cpu"]), folder)
    if json:
        print(dumps(facts(found), indent=2))
    else:
        Console(highlight=False).print(text(found))
    return found.code


def diagnosis(device: str, budget: Budget, folder: Path) -> Diagnosis:
    """What a Run of this budget on --device `device` would meet. Raises DeviceError for a device that is not here."""
    names, parts = resolve(device), stack.installed_stack()
    findings = host.findings(names, folder) + host.libraries(parts, names, chosen=device != "auto")
    uuids = {f"cuda:{each.index}": each.uuid for each in stack.visible()}
    readings = {name: gpu.reading(uuids[name]) for name in names if name in uuids}
    for name, told in readings.items():
        findings += gpu.findings(name, told)
    if len(readings) > 1:
        findings += gpu.peers([uuids[name] for name in readings])
    # every device that opens in a process of its own, and why the others do not
    heard = list(events(names, [], BUDGETS["quick"], 0))
    infos = [event.info for event in heard if isinstance(event, Opened)]
    failures = [event for event in heard if isinstance(event, Failed)]
    findings += [_unopened(failure, parts) for failure in failures]
    findings += [replace(_opened(info), device=info.id) for info in infos]
    skipped = [Skipped(failure.device, "", 0, failure.reason) for failure in failures]
    skipped += [row for info in infos for row in _skipped(info, budget)]
    return Diagnosis(
        devices=tuple(infos),
        findings=tuple(findings),
        measured=tuple(_planned(infos, budget)),
        budget=budget.seconds,
        skipped=tuple(skipped),
        readings={name: {**told.values, "absent": told.absent} for name, told in readings.items()},
        stack=asdict(parts),
    )


def _unopened(failure: Failed, parts: stack.Stack) -> Observation:
    remedy = stack.remedy(parts) if failure.device.startswith("cuda:") or not parts.torch else ""
    remedy = remedy or "mend what the reason names, and ask again"
    return replace(observed("opening", "failed", reason=failure.reason, remedy=remedy), device=failure.device)


def _opened(info: DeviceInfo) -> Observation:
    """What a device says of itself once it is open."""
    if info.simulated:
        return observed("device", "simulated", **info.facts)
    if info.id == "cpu":
        return observed("opening", "family" if "family" in info.facts else "cpu", **info.facts)
    told = "".join(f", {key} {info.facts[key]}" for key in ("arch", "sms", "nvrtc") if key in info.facts)
    return observed("opening", "gpu", facts=told)


def _planned(infos: Sequence[DeviceInfo], budget: Budget) -> Iterable[Planned]:
    for info in infos:
        for plan in plans(info, list(probes().values()), budget):
            if plan.cases > plan.skipped:
                yield Planned(info.id, plan.probe.name, plan.cases - plan.skipped, plan.seconds)


def _skipped(info: DeviceInfo, budget: Budget) -> Iterable[Skipped]:
    for probe in probes().values():
        reasons = Counter(case.skip for case in describe(info, probe, budget) if case.skip)
        for reason, cases in reasons.items():
            yield Skipped(info.id, probe.name, cases, reason)
