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
from bench.analysis.gate.expectations import DeviceExpectation, Known, siblings, theory
from bench.analysis.gate.metrics import Metric, Pin, Tolerance
from bench.analysis.gate.past import Past
from bench.analysis.gate.samples import MetricSamples, pins
from bench.analysis.gate.thresholds import Comparison, Reference, compare
from bench.analysis.gate.verdict import Gate, MetricVerdict
from bench.schema import Run


def judged(run: Run, known: Mapping[str, Known], past: Past, notes: Sequence[str] = ()) -> Gate:
    """A Run's verdicts. known: by device id; past: the Runs of its product."""
    infos = run.environment.devices
    # without a baseline the first device's cases are everyone's, or siblings could not be compared
    shared = pins(run, infos[0]) if infos else {}
    devices = [DeviceExpectation(run, info, known.get(info.id, Known()), past, shared) for info in infos]
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
        {device.info.id: device.source for device in devices},
        not all(device.has_reference for device in devices),
    )


def suspects(gate: Gate) -> dict[str, tuple[Pin, ...]]:
    """DeviceExpectation -> the cases that are worth another look before a gate fails for them.

    On every device, whichever was slow: a GPU that only fails while its neighbours work would recover alone.
    """
    doubtful = (verdict.SUSPICIOUS, verdict.INCONCLUSIVE, verdict.INVALID)
    names = {v.metric.name for v in gate.verdicts if v.gates and v.pin and not v.looked and v.status in doubtful}
    found: dict[str, list[Pin]] = {}
    for each in gate.verdicts:
        if each.metric.name in names and each.pin:
            found.setdefault(each.device, []).append(each.pin)
    return {device: tuple(pins) for device, pins in found.items()}


def _verdicts(device: DeviceExpectation, devices: Sequence[DeviceExpectation]) -> Iterator[MetricVerdict]:
    judged = {name: _judged(device, name, devices) for name in device.samples}
    moved = {
        name: causes.Moved(
            device.samples[name], each.ratio, each.per_clock, each.status not in (verdict.OK, verdict.IMPROVED)
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


def _judged(device: DeviceExpectation, name: str, devices: Sequence[DeviceExpectation]) -> MetricVerdict:
    metric, measured = device.metrics[name], device.samples[name]
    tolerance, gates = device.tolerance(metric)
    own, outer = device.references(metric, tolerance)
    beside = siblings(device, metric, devices)
    claimed = theory(device, measured)
    speed = measured.speed or measured.confirmed
    references = [each for each in (own, outer, beside, claimed) if each]
    comparisons = tuple(compare(speed, each) for each in references) if speed else ()
    status, why, decisive = _status(device, measured, metric, tolerance, comparisons, own)
    if metric.together:
        why = f"all {len(devices)} together: {why}"
    found = status
    if not gates and status in (verdict.REGRESSED, verdict.INCONCLUSIVE, verdict.INVALID, verdict.MISSING):
        status = verdict.SUSPICIOUS
    reference = decisive.reference if decisive else own or beside
    seen = [each.speed for each in (measured.again or measured.first)]
    ratio = (measured.confirmed or speed) / reference.centre if speed and reference else None
    return MetricVerdict(
        metric=metric,
        device=device.info.id,
        status=status,
        found=found,
        why=why,
        gates=gates,
        tolerance=tolerance,
        pin=measured.pin,
        speed=speed,
        n=len(measured.first) or len(measured.again),
        again=measured.confirmed if measured.first else None,
        looked=measured.tried[1],
        spread=(max(seen) - min(seen)) / (speed or 1.0) if len(seen) > 1 else None,
        reference=reference,
        comparisons=comparisons,
        per_clock=causes.per_clock(measured, ratio, reference.clock_hz) if ratio else None,
    )


def _status(
    device: DeviceExpectation,
    measured: MetricSamples,
    metric: Metric,
    tolerance: Tolerance,
    comparisons: Sequence[Comparison],
    own: Reference | None,
) -> tuple[str, str, Comparison | None]:
    """(the status, a sentence with its evidence, the comparison that decided)."""
    if not comparisons and not measured.first and not measured.again:
        if measured.lost:
            return verdict.INVALID, f"no valid repetition: {measured.lost[0]}", None
        return verdict.MISSING, measured.skip or "it was expected and this Run does not have it", None
    absurd = next((f for f in comparisons if f.reference.kind == "theory"), None)
    sane = measured.confirmed is not None and absurd and compare(measured.confirmed, absurd.reference).place != "above"
    if absurd and absurd.place == "above" and not sane:
        return verdict.INVALID, f"{_beside(metric, absurd)}: no machine does that, so the measurement is wrong", absurd
    if wrong := next((reason for reason in measured.lost if reason.startswith("wrong result")), ""):
        return verdict.INVALID, f"a repetition computed something else: {wrong}", None
    below = [f for f in comparisons if f.place == "below"]
    if not below and not measured.first and measured.lost:
        return verdict.SUSPICIOUS, f"valid only when it was measured again: {measured.lost[0]}", None
    if not below:
        mine = next((f for f in comparisons if own and f.reference is own), None)
        if mine is None and metric.name in device.renewed:
            return (
                verdict.INCONCLUSIVE,
                f"{device.renewed[metric.name]}: measured otherwise than the baseline; bless anew",
                None,
            )
        if mine is None:
            beside = next((f for f in comparisons if f.reference.kind == "siblings"), None)
            new = "not in the baseline" if device.known.baseline else "nothing of its own to compare with yet"
            others = [_beside(metric, f) for f in (beside, absurd) if f]
            return verdict.OK, "; ".join([new, *others]), beside
        if mine.place == "above":
            return verdict.IMPROVED, f"{_beside(metric, mine)}: bless a new baseline to keep it", mine
        return verdict.OK, _beside(metric, mine), mine
    first = below[0]
    if measured.tried[1] and measured.confirmed is None:
        return (
            verdict.INCONCLUSIVE,
            f"{_beside(metric, first)}; measured again, never validly: {measured.doubts[0]}",
            first,
        )
    if measured.confirmed is None:
        return verdict.SUSPICIOUS, f"{_beside(metric, first)}; not measured again", first
    still = [again for f in below if (again := compare(measured.confirmed, f.reference)).place == "below"]
    if not still:
        return verdict.SUSPICIOUS, f"{_beside(metric, first)} at first, within its band when measured again", first
    decisive = still[0]
    kind, again = decisive.reference.kind, f"{_beside(metric, decisive)}, and again when measured anew"
    if device.info.facts.get("virtual"):
        # where its host puts two virtual cores on one, it is half as fast for minutes, and no counter of its says so
        return verdict.INCONCLUSIVE, f"{again}, but the cores are virtual: what their host does shows nowhere", decisive
    if kind == "theory":
        return verdict.SUSPICIOUS, f"{again}: absurdly far below its datasheet", decisive
    if measured.best >= decisive.reference.centre:
        return verdict.INCONCLUSIVE, f"{again}, but a repetition reached the usual level", decisive
    if not measured.believed:
        return verdict.INCONCLUSIVE, f"{again}, but in doubt: {measured.doubts[0]}", decisive
    if kind in ("baseline", "product") and device.changes:
        return (
            verdict.INCONCLUSIVE,
            f"{again}, since {', '.join(device.changes)}: nothing says that the hardware did it",
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


def _beside(metric: Metric, comparison: Comparison) -> str:
    reference = comparison.reference
    # counted in the metric's unit, as its limit is
    share = comparison.ratio - 1 if metric.better == "higher" else 1 - 1 / comparison.ratio
    if abs(share) < 5e-4:
        change = "as"
    else:
        change = f"{units.percent(abs(share), 2)} {'faster' if share > 0 else 'slower'} than"
    limit = ""
    if comparison.place == "below":
        limit = f" (limit {metric.text(reference.low)})"
    return f"{change} {metric.text(reference.centre)}, {reference.source}{limit}"
