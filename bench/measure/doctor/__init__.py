"""Whether this machine can be measured now, what a Run would meet, and what to mend first.

Everything is read, nothing is changed, and no number is measured. The devices are opened in processes of their own, so
that a broken context hurts nobody; the driver is asked before, so that nothing of ours is among what it lists.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.measure.budget import BUDGETS, Budget
from bench.measure.budget import budget as budget_of
from bench.measure.device import cuda, stack
from bench.measure.device.open import resolve
from bench.measure.doctor import gpu, host, peers
from bench.measure.doctor.finding import Diagnosis, Finding, Planned, Skipped
from bench.measure.doctor.reading import reading
from bench.measure.doctor.text import facts, text
from bench.measure.probes import describe, probes
from bench.measure.session import plans
from bench.measure.supervisor import Failed, Opened
from bench.measure.supervisor import run as events
from bench.schema import DeviceInfo

__all__ = ["Diagnosis", "Finding", "Planned", "Skipped", "diagnosis", "facts", "run", "text"]


def run(device: str, asked: str, json: bool, folder: Path) -> int:
    """The verb: prints the diagnosis and returns its exit code. Raises DeviceError for a device that is not here."""
    found = diagnosis(device, budget_of(asked, host=resolve(device) == ["cpu"]), folder)
    if json:
        from json import dumps

        print(dumps(facts(found), indent=2))
    else:
        from rich.console import Console

        Console(highlight=False).print(text(found))
    return found.code


def diagnosis(device: str, budget: Budget, folder: Path) -> Diagnosis:
    """What a Run of this budget on --device `device` would meet. Raises DeviceError for a device that is not here."""
    names = resolve(device)
    parts = stack.found()
    found = host.findings(names, folder) + host.libraries(parts, names, chosen=device != "auto")
    uuids = {f"cuda:{each.index}": each.uuid for each in cuda.visible()}
    asked = {name: uuids[name] for name in names if name in uuids}
    readings = {name: reading(uuid) for name, uuid in asked.items()}
    for name, told in readings.items():
        found += gpu.findings(name, told)
    if len(asked) > 1:
        found += peers.findings(list(asked.values()))
    infos, failures = _opened(names)
    found += [_unopened(failure, parts) for failure in failures]
    found += [finding for info in infos for finding in _device(info)]
    skipped = [Skipped(failure.device, "", 0, failure.reason) for failure in failures]
    skipped += [row for info in infos for row in _skipped(info, budget)]
    return Diagnosis(
        devices=tuple(infos),
        findings=tuple(found),
        measured=tuple(_planned(infos, budget)),
        budget=budget.seconds,
        skipped=tuple(skipped),
        readings={name: told.everything for name, told in readings.items()},
        stack=asdict(parts),
    )


def _opened(names: Sequence[str]) -> tuple[list[DeviceInfo], list[Failed]]:
    """Every device that opens in a process of its own, and why the others do not."""
    told = list(events(names, [], BUDGETS["quick"], 0))
    return [e.info for e in told if isinstance(e, Opened)], [e for e in told if isinstance(e, Failed)]


def _unopened(failure: Failed, parts: stack.Stack) -> Finding:
    remedy = stack.remedy(parts) if failure.device.startswith("cuda:") or not parts.torch else ""
    fix = remedy or "mend what the reason names, and ask again"
    return Finding("opening", failure.reason, "bad", fix, failure.device)


def _device(info: DeviceInfo) -> Iterable[Finding]:
    """What a device says of itself once it is open."""
    if info.simulated:
        yield Finding("device", f"{info.facts['simulated']}; options: {info.facts['options']}", "note", device=info.id)
    elif info.id == "cpu":
        family = info.facts.get("family")
        theory = f"theory of {family}, assumed" if family else "its family is not known: no % of theory"
        yield Finding("opening", f"opened; {theory}", "ok" if family else "note", device=info.id)
    else:
        told = "".join(f", {key} {info.facts[key]}" for key in ("arch", "sms", "nvrtc") if key in info.facts)
        yield Finding("opening", f"opened in a process of its own{told}", device=info.id)


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
