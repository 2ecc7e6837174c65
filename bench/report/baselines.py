"""Baselines, histories and a machine's noise as Documents: what `baseline`, `history` and `calibrate` print."""

from collections.abc import Iterator, Mapping, Sequence

from bench import units
from bench.analysis.gate.baselines import Baseline, Blessed
from bench.analysis.gate.samples import Speeds
from bench.analysis.gate.tolerances import Noise
from bench.analysis.run_index import RunIndex
from bench.report.document import WARN, Column, Document, Finding, Section, table
from bench.report.phrases import listed, many, plain, signed
from bench.schema import DeviceInfo


def baselines(found: Sequence[Baseline]) -> Document:
    """Each baseline with the cases that it pins and what it expects of them."""
    return Document("Baselines", many(len(found), "baseline"), sections=tuple(map(_baseline, found)))


def _plain(*keys: str) -> Iterator[Column]:
    return (Column(key, text=plain) for key in keys)


def _baseline(each: Baseline) -> Section:
    about, rows = each.run.environment, []
    for name, pin in each.pins.items():
        if speed := each.speed(name):
            metric = each.metrics[name]
            warns = "" if metric.gates else " (warns)"
            rows.append({"metric": f"{name}{warns}", "expected": metric.text(speed), "case": case(pin[0][2])})
    whose = each.info.id if each.own else "this product"
    title = f"{each.info.name}, {whose}: {'SIMULATED, ' * about.simulated}Run of {about.started[:16]}Z"
    made = table("expected", str(each.path), rows, *_plain("metric", "expected", "case"))
    return Section("baseline", plain(title), tables=[made])


def case(params: Sequence[tuple[str, object]]) -> str:
    """A case in short: what names it, without what follows from that."""
    known = dict(params)
    if "shape" in known:
        return str(known["shape"])
    return ", ".join(f"{name} {value}" for name, value in known.items() if name not in ("cache", "kind", "dtype"))


def blessed(found: Sequence[Blessed]) -> Document:
    """What was blessed, and what that changes."""
    return Document("Baseline", "Baseline", findings=tuple(each for one in found for each in _blessed(one)))


def _blessed(each: Blessed) -> Iterator[Finding]:
    own = each.baseline
    yield Finding(f"{own.path} is the baseline of {plain(own.info.name)} ({plain(own.info.id)})")
    if once := own.once:
        yield Finding(f"Measured only once: {listed(once, 4)}. A Run of `gate` knows them better.", WARN)
    if each.kept:
        yield Finding(f"The one before is kept: {each.kept}")
    moved = list(_changes(each, each.before)) if each.before else ["New."]
    yield from map(Finding, moved or ["No metric moved by more than its warning threshold."])


def _changes(each: Blessed, old: Baseline) -> Iterator[str]:
    metrics = {**old.metrics, **each.baseline.metrics}
    for name, (before, after) in each.changes.items():
        if before is None or after is None:
            yield f"{name}: {'new' if before is None else 'no longer followed'}"
        elif (was := old.pins[name]) != (now := each.baseline.pins[name]):
            yield f"{name}: another case, {plain(case(was[0][2]))} → {plain(case(now[0][2]))}"
        elif abs(after / before - 1) >= metrics[name].tolerance.warn:
            moved = f"{metrics[name].text(before)} → {metrics[name].text(after)}"
            yield f"{name}: {moved}, {signed(after / before)} in speed"


def history(found: RunIndex[Speeds]) -> Document:
    """The Runs of a product as a gate sees them: newest last, what cannot count said."""
    rows = []
    for file, run in found.runs.items():
        valid = [case.valid for device in run.devices for case in device.values.values()]
        row = {"file": file, "budget": run.budget, "devices": f"{len(run.devices)}", "counts": run.excluded or "yes"}
        rows.append(row | {"valid": f"{sum(valid)} of {len(valid)}"})
    said = [Finding(f"left out: {plain(file)}: {plain(why)}", WARN) for file, why in found.left_out.items()]
    counting = sum(row["counts"] == "yes" for row in rows)
    head = f"{many(len(rows), 'Run')}, {counting} of them count; {many(len(said), 'file')} left out"
    made = table("history", "Runs", rows, *_plain("file", "budget", "devices", "valid", "counts"))
    return Document("History", head, findings=tuple(said), matrix=made)


def noise(info: DeviceInfo, found: Mapping[str, Noise]) -> Document:
    """How far each metric scattered, and the floor that this makes."""
    rows = []
    for name, each in found.items():
        said = "too noisy to gate" if each.useless else "" if each.metric.gates else "warns"
        rows.append(vars(each) | {"metric": name, "said": said, "floor": None if each.useless else each.floor})
    shares = [Column(key, text=lambda v: units.percent(v, 2)) for key in ("deviation", "worst", "floor")]
    made = table("noise", "Noise", rows, "metric", "n", *shares, Column("", "said"))
    return Document("Noise", plain(f"{info.name} ({info.id})"), matrix=made)
