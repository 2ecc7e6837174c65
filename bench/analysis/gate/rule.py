"""From a Run to its verdicts: each metric against its own past, its siblings and its datasheet.

A first value below its limit is only a suspicion. It takes a re-measurement below the limit too, with nothing to
excuse it, to call the hardware regressed. What excuses it:

- a repetition that reached the usual level: noise and neighbours only slow, so the hardware still can;
- looks that are mostly in doubt (other processes, a throttle, a wandering memory clock): the doubt may be the slowness;
- an environment that changed: another driver is another machine, and whose fault it is no number tells;
- virtual cores, of which nobody inside sees what their host does.

That is inconclusive, which is red too, but not the hardware's fault. Being fast needs no excuse: a value within its
band is ok however doubtful the minute was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bench import units
from bench.analysis.gate import causes, defects, verdict
from bench.analysis.gate.bands import Finding, Reference, compare
from bench.analysis.gate.held import Device, Known, siblings, theory
from bench.analysis.gate.metrics import Metric, Pin, Tolerance
from bench.analysis.gate.past import Past
from bench.analysis.gate.readings import Reading, pins
from bench.analysis.gate.verdict import Gate, Verdict
from bench.schema import Run


def judged(run: Run, known: Mapping[str, Known], past: Past, notes: Sequence[str] = ()) -> Gate:
    """A Run's verdicts. known: by device id; past: the Runs of its product."""
    infos = run.environment.devices
    # without a baseline the first device's cases are everyone's, or siblings could not be compared
    shared = pins(run, infos[0]) if infos else {}
    devices = [Device(run, info, known.get(info.id, Known()), past, shared) for info in infos]
    said, verdicts = list(notes), []
    for device in devices:
        verdicts += _verdicts(device, devices)
        said += device.notes
    if past.left_out:
        file, why = next(iter(past.left_out.items()))
        count = len(past.left_out)
        said.append(f"{count} file{'s' * (count != 1)} of the history left out; {file}: {why}")
    return Gate(
        run,
        tuple(verdicts),
        defects.defects(run),
        tuple(dict.fromkeys(said)),
        {device.info.id: device.whence for device in devices},
        not all(device.founded for device in devices),
    )


def suspects(gate: Gate) -> dict[str, tuple[Pin, ...]]:
    """Device -> the cases that are worth another look before a gate fails for them.

    On every device, whichever was slow: a GPU that only fails while its neighbours work would recover alone.
    """
    doubtful = (verdict.SUSPICIOUS, verdict.INCONCLUSIVE, verdict.INVALID)
    names = {v.metric.name for v in gate.verdicts if v.gates and v.pin and not v.looked and v.word in doubtful}
    found: dict[str, list[Pin]] = {}
    for each in gate.verdicts:
        if each.metric.name in names and each.pin:
            found.setdefault(each.device, []).append(each.pin)
    return {device: tuple(pins) for device, pins in found.items()}


def _verdicts(device: Device, devices: Sequence[Device]) -> Iterator[Verdict]:
    judged = {name: _judged(device, name, devices) for name in device.readings}
    moved = {
        name: causes.Moved(
            device.readings[name], each.ratio, each.per_clock, each.word not in (verdict.OK, verdict.IMPROVED)
        )
        for name, each in judged.items()
        if each.ratio
    }
    limits = defects.limits(device.run, device.info.id)
    for name, each in judged.items():
        slow = name in moved and each.ratio < 1 and moved[name].slow
        # other software explains a value beside the baseline's, not one beside siblings that run the same
        changes = device.changes if slow and each.reference.kind in ("baseline", "product") else ()
        yield replace(each, cause=causes.cause(name, moved, changes, limits)) if slow else each


def _judged(device: Device, name: str, devices: Sequence[Device]) -> Verdict:
    metric, reading = device.metrics[name], device.readings[name]
    tolerance, gates = device.tolerance(metric)
    own, outer = device.references(metric, tolerance)
    beside = siblings(device, metric, devices)
    claimed = theory(device, reading)
    speed = reading.speed or reading.confirmed
    references = [each for each in (own, outer, beside, claimed) if each]
    findings = tuple(compare(speed, each) for each in references) if speed else ()
    word, why, decisive = _word(device, reading, metric, tolerance, findings, own)
    if metric.together:
        why = f"all {len(devices)} together: {why}"
    if not gates and word in (verdict.REGRESSED, verdict.INCONCLUSIVE, verdict.INVALID, verdict.MISSING):
        word = verdict.SUSPICIOUS
    reference = decisive.reference if decisive else own or beside
    seen = [each.speed for each in (reading.again or reading.first)]
    ratio = (reading.confirmed or speed) / reference.centre if speed and reference else None
    return Verdict(
        metric=metric,
        device=device.info.id,
        word=word,
        why=why,
        gates=gates,
        tolerance=tolerance,
        pin=reading.pin,
        speed=speed,
        n=len(reading.first) or len(reading.again),
        again=reading.confirmed if reading.first else None,
        looked=reading.tried[1],
        spread=(max(seen) - min(seen)) / (speed or 1.0) if len(seen) > 1 else None,
        reference=reference,
        findings=findings,
        per_clock=causes.per_clock(reading, ratio, reference.clock_hz) if ratio else None,
    )


def _word(
    device: Device,
    reading: Reading,
    metric: Metric,
    tolerance: Tolerance,
    findings: Sequence[Finding],
    own: Reference | None,
) -> tuple[str, str, Finding | None]:
    """(the word, a sentence with its evidence, the comparison that decided)."""
    if not findings and not reading.first and not reading.again:
        if reading.lost:
            return verdict.INVALID, f"no valid repetition: {reading.lost[0]}", None
        return verdict.MISSING, reading.skip or "it was expected and this Run does not have it", None
    absurd = next((f for f in findings if f.reference.kind == "theory"), None)
    sane = reading.confirmed is not None and absurd and compare(reading.confirmed, absurd.reference).place != "above"
    if absurd and absurd.place == "above" and not sane:
        return verdict.INVALID, f"{_beside(metric, absurd)}: no machine does that, so the measurement is wrong", absurd
    if wrong := next((reason for reason in reading.lost if reason.startswith("wrong result")), ""):
        return verdict.INVALID, f"a repetition computed something else: {wrong}", None
    below = [f for f in findings if f.place == "below"]
    if not below and not reading.first and reading.lost:
        return verdict.SUSPICIOUS, f"valid only when it was measured again: {reading.lost[0]}", None
    if not below:
        mine = next((f for f in findings if own and f.reference is own), None)
        if mine is None and metric.name in device.renewed:
            return (
                verdict.INCONCLUSIVE,
                f"{device.renewed[metric.name]}: measured otherwise than the baseline; bless anew",
                None,
            )
        if mine is None:
            beside = next((f for f in findings if f.reference.kind == "siblings"), None)
            new = "not in the baseline" if device.known.baseline else "nothing of its own to compare with yet"
            others = [_beside(metric, f) for f in (beside, absurd) if f]
            return verdict.OK, "; ".join([new, *others]), beside
        if mine.place == "above":
            return verdict.IMPROVED, f"{_beside(metric, mine)}: bless a new baseline to keep it", mine
        return verdict.OK, _beside(metric, mine), mine
    first = below[0]
    if reading.tried[1] and reading.confirmed is None:
        return (
            verdict.INCONCLUSIVE,
            f"{_beside(metric, first)}; measured again, never validly: {reading.doubts[0]}",
            first,
        )
    if reading.confirmed is None:
        return verdict.SUSPICIOUS, f"{_beside(metric, first)}; not measured again", first
    still = [again for f in below if (again := compare(reading.confirmed, f.reference)).place == "below"]
    if not still:
        return verdict.SUSPICIOUS, f"{_beside(metric, first)} at first, within its band when measured again", first
    decisive = still[0]
    kind, again = decisive.reference.kind, f"{_beside(metric, decisive)}, and again when measured anew"
    if device.info.facts.get("virtual"):
        # where its host puts two virtual cores on one, it is half as fast for minutes, and no counter of its says so
        return verdict.INCONCLUSIVE, f"{again}, but the cores are virtual: what their host does shows nowhere", decisive
    if kind == "theory":
        return verdict.SUSPICIOUS, f"{again}: absurdly far below its datasheet", decisive
    if reading.best >= decisive.reference.centre:
        return verdict.INCONCLUSIVE, f"{again}, but a repetition reached the usual level", decisive
    if not reading.believed:
        return verdict.INCONCLUSIVE, f"{again}, but in doubt: {reading.doubts[0]}", decisive
    if kind in ("baseline", "product") and device.changes:
        return (
            verdict.INCONCLUSIVE,
            f"{again}, since {', '.join(device.changes)}: not held against the hardware",
            decisive,
        )
    if kind == "siblings":
        if own is not None or decisive.ratio >= 1 - tolerance.siblings:
            before = ", as it has been before" if own is not None else ""
            return verdict.SUSPICIOUS, f"{again}{before}", decisive
        return verdict.REGRESSED, again, decisive
    drifted = (
        " (its history drifted there, out of twice the baseline’s floor)"
        if own and decisive.reference is not own
        else ""
    )
    return verdict.REGRESSED, f"{again}{drifted}", decisive


def _beside(metric: Metric, finding: Finding) -> str:
    reference = finding.reference
    # counted in the metric's unit, as its limit is
    share = finding.ratio - 1 if metric.better == "higher" else 1 - 1 / finding.ratio
    if abs(share) < 5e-4:
        change = "as"
    else:
        change = f"{units.percent(abs(share), 2)} {'faster' if share > 0 else 'slower'} than"
    limit = ""
    if finding.place == "below":
        limit = f" (limit {metric.text(reference.low)})"
    return f"{change} {metric.text(reference.centre)}, {reference.whence}{limit}"
