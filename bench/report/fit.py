"""A Run's roofs in the terminal: each with its interval and its share of theory, and the ridges between them.

Imports neither pandas nor plotly: whoever only wants the numbers waits for neither.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from bench import units
from bench.analysis import names
from bench.analysis.datasheet import compare, datasheet
from bench.analysis.fit import Fit
from bench.report.document import SKIP, WARN, Column, Document, Finding, Section, table
from bench.report.phrases import interval, plain
from bench.schema import Run


def document(run: Run, fits: Sequence[Fit]) -> Document:
    flag = "SIMULATED · " * run.environment.simulated
    sections = tuple(_section(fit) for fit in fits)
    heading, simulated = machine(run, fits), run.environment.simulated
    return Document(
        f"{flag}{heading} · roofs", heading, tuple(about(run)), simulated, tuple(banners(run)), sections=sections
    )


def _section(fit: Fit) -> Section:
    theory = datasheet(fit.info)
    claims = {gap.ours.key: gap for gap in compare(fit.roofline, theory)} if theory else {}
    claimed = names.claim(theory.roofs[0].evidence) if theory and theory.roofs else "datasheet"
    rows = []
    for key, fitted in fit.roofs.items():
        roof, gap, lasting = fitted.roof, claims.get(key), fit.lasting(key)
        text = partial(units.rate_text, key=key)
        row = {"roof": names.roof(key), "measured": text(roof.rate), "interval": interval(roof.estimate, text)}
        row |= {"n": roof.n, "share": gap.ratio if gap else None, "key": key}
        rows.append(row | {"sustained": text(lasting.roof.rate) if lasting else ""})
    for ridge in fit.ridges:
        value, name = ridge.estimate, f"ridge {names.roof(ridge.compute)} / {names.channel(ridge.memory)}"
        row = {"roof": name, "measured": units.intensity(value.value), "n": value.n}
        rows.append(row | {"interval": interval(value, units.intensity)})
    columns = "roof", "measured", "interval", "n", Column(f"% of {claimed}", "share", units.percent), "sustained", "key"
    lacking = [Finding(f"Not measured: {names.roof(key)}, {plain(why)}.", SKIP) for key, why in fit.missing.items()]
    doubts = [
        Finding(f"{names.roof(key)}: {plain(each.roof.caution)}.", WARN)
        for key, each in fit.roofs.items()
        if each.roof.caution
    ]
    shown = table("roofs", "", rows, *columns, folded=False)
    return Section(
        "roofs", f"{names.device(fit.info.id)}: {plain(fit.info.name)}", findings=(*lacking, *doubts), tables=[shown]
    )


def machine(run: Run, fits: Sequence[Fit]) -> str:
    kinds = Counter(fit.info.name for fit in fits)
    named = [f"{count} × {name}" if count > 1 else name for name, count in kinds.items()]
    return ", ".join(named) or run.environment.product


def about(run: Run) -> Iterator[str]:
    made = run.environment
    yield from filter(None, (made.host, f"{made.started[:16].replace('T', ' ')} UTC", f"budget {made.budget}"))
    drivers = dict.fromkeys(d.facts["driver"] for d in made.devices if "driver" in d.facts)
    yield from (f"driver {driver}" for driver in drivers)
    yield f"ridgepoint {made.suite}"


def banners(run: Run) -> Iterator[Finding]:
    if not run.complete:
        how = f"ended as {run.end.status}" if run.end else "was cut short: its file has no end line"
        yield Finding(f"INCOMPLETE: the Run {how}. What is missing was not measured, it is not slow.", WARN)
    if run.environment.redacted:
        yield Finding("Redacted: host name and serial numbers are hashed, paths are left out.")
    yield from (Finding(plain(warning), WARN) for warning in run.warnings)
