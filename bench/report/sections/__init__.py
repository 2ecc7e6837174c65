"""The sections of a Run's page: a file per fold or question, found by being here.

A probe's section is a ProbeSection, in a new file or in that of its fold. Its title, question and formula are the
probe's own and travel in the Run; the table of its cases is made here, and frames are selected in bench/analysis.
A question's file (roofline, health, energy ...) has `section(view)`, a Section or None; run.py says where it stands.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis import names, tidy
from bench.analysis.datasheet import RoofRatio
from bench.analysis.datasheet import datasheet as claims
from bench.analysis.fit import Fit
from bench.analysis.health import NodeHealth
from bench.analysis.quality import Quality
from bench.analysis.siblings import SiblingRoof, siblings
from bench.analysis.telemetry import DeviceTelemetry, telemetry
from bench.analysis.tidy import usable, varying
from bench.analysis.user_kernels import RooflinePoint
from bench.report.document import DOUBTS, SKIP, WARN, Column, Plot, Section, Table, table
from bench.report.phrases import many, rate_spread, slug
from bench.report.plots import described, sweep
from bench.roofline import Roof, Roofline
from bench.schema import SUSTAINED, Run

Sentences = Iterable[str]
Plots = Iterable[Plot]
# The folds of the page, in their order; one that is not here comes after them.
GROUPS = ("Memory", "Compute", "GEMM", "Attention", "Transformer layer", "Links", "Latency and launches", "Energy")
OTHER, METHODS = "Other probes", "Methods and environment"
# Columns of the time of a launch and of what it does and moves in that.
RATES = (
    Column("time", "seconds", units.seconds, unit="s"),
    Column("compute", "flop_rate", units.rate_text, by="compute", unit="FLOP/s"),
    Column("traffic", "byte_rate", units.bandwidth, unit="B/s"),
)


@dataclass(frozen=True)
class RunView:
    """A Run as its sections read it. fit: the device that is shown (the one in doubt); theory: what its datasheet
    claims; kernels: the reader's own under its roofs; baseline: the same device in an older Run.
    """

    run: Run
    fits: tuple[Fit, ...]
    fit: Fit
    theory: Roofline | None
    gaps: tuple[RoofRatio, ...]
    health: NodeHealth
    quality: Quality
    kernels: tuple[RooflinePoint, ...] = ()
    baseline: Fit | None = None

    @cached_property
    def cases(self) -> dict[str, pd.DataFrame]:
        """Every case of each device in each regime, as bench.analysis.tidy has it."""
        return {fit.info.id: tidy.cases(fit, claims(fit.info)) for fit in self.fits}

    @property
    def every(self) -> pd.DataFrame:
        """Every case of the shown device."""
        return self.cases[self.fit.info.id]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Without the sustained regime: what figures and findings of probes are made of."""
        return tidy.burst(self.every)

    @cached_property
    def siblings(self) -> pd.DataFrame:
        """Every shared roof of every device beside the median of the others, burst (regime "") and sustained."""
        rows = [(*row, regime) for regime in ("", SUSTAINED) for row in siblings(self.fits, regime)]
        return pd.DataFrame(rows, columns=[*SiblingRoof._fields, "regime"]).astype({"outlier": bool, "behind": bool})

    @cached_property
    def telemetry(self) -> tuple[DeviceTelemetry, ...]:
        """What each device's driver counted over the Run."""
        return telemetry(self.run, [fit.info for fit in self.fits])

    @property
    def headlines(self) -> dict[str, None]:
        """The roofs that devices are first compared by, in their order: DRAM, what each leads with, and the rest."""
        first, *rest = names.HEADLINES
        return dict.fromkeys((first, *(fit.info.headline for fit in self.fits), *rest))

    @property
    def claimed(self) -> str:
        """What the shown device is compared with: "datasheet", or "assumed peak" where no vendor printed one."""
        return names.claim(self.theory.roofs[0].evidence) if self.theory and self.theory.roofs else "datasheet"

    @property
    def simulated(self) -> bool:
        return self.run.environment.simulated

    @property
    def several(self) -> bool:
        return len(self.fits) > 1

    def roof(self, key: str) -> Roof | None:
        """A measured roof of the shown device."""
        return self.fit.roofline.find(key)

    def claim(self, key: str) -> Roof | None:
        """What its datasheet has for a roof, by whatever method that was measured."""
        return self.theory.find(key) if self.theory else None


def plot(id: str, title: str, figure: go.Figure | None, caption: str = "") -> Iterator[Plot]:
    """The figure with a text alternative from its own data; nothing where there is nothing to draw."""
    if figure is not None:
        yield Plot(f"fig-{id}", title, figure, caption, f"{title}. {described(figure)}")


def lines(
    id: str, title: str, caption: str, groups: Mapping[str, pd.DataFrame], *axes: str, **look: Any
) -> Iterator[Plot]:
    """A line per group over a param. axes and look: as plots.sweep has them."""
    return plot(id, title, sweep.sweep(groups, *axes, **look), caption)


def of_roof(share: float, key: str) -> str:
    return f"{units.percent(share)} of the {names.roof(key)} roof"


def span(values: Sequence[float] | pd.Series, text: Callable[[float], str]) -> str:
    """ "2.00 to 3.00", or one where both read alike."""
    return " to ".join(dict.fromkeys(map(text, pd.Series(values).agg(["min", "max"]))))


class ProbeSection:
    """What a page says of a probe: this class of any probe, a subclass of the one that it names.

    findings: at most three, with their numbers, the first one is the fold's line; plots: made by `plot` or `lines`,
    which leave out what has nothing to draw; notes: what else can be said, in small print.
    """

    probe, group = "", OTHER

    def __init__(self, view: RunView, probe: str = ""):
        self.view, self.fit, self.rows, self.probe = view, view.fit, view.rows, probe or self.probe

    def findings(self) -> Sentences:
        """How much was measured, and the fastest."""
        seen = usable(self.rows, self.probe)
        if seen.empty:
            return
        ends = units.between(seen["seconds"].min(), seen["seconds"].max(), units.seconds)
        yield f"{many(len(seen), 'case')} measured, {ends} a launch."
        for best in tidy.each(seen[seen["share"].notna()].nlargest(1, "share")):
            yield f"Best: {units.percent(best.share)} of the roof that limits it, {names.limiter(best.limiter)}."

    def plots(self) -> Plots:
        return plot(f"{slug(self.probe)}-0", self.probe, sweep.generic(self.rows, self.probe))

    def notes(self) -> Sentences:
        return ()

    def section(self) -> Section:
        about, every = self.view.run.environment.probes.get(self.probe), self.view.every
        rows, id = every[every["probe"] == self.probe], slug(self.probe)
        measured = bool(rows["seconds"].notna().any())
        reasons = list(dict.fromkeys(reason for reason in (*rows["skip"], *rows["causes"]) if reason))
        more = f" (and {many(len(reasons) - 1, 'other reason')})" if len(reasons) > 1 else ""
        unmeasured = f"Not measured: {reasons[0] if reasons else 'no reason was recorded'}{more}."
        # one skip is all said by its sentence
        whole = len(rows) > 1 or not rows["skip"].iloc[0]
        return Section(
            f"probe-{id}",
            about.title if about else self.probe,
            about.question if about else "",
            about.formula if about else "",
            (measured and list(self.findings())) or [unmeasured],
            self.plots() if measured else (),
            [case_table(rows, f"cases-{id}", self.view.claimed)] * whole,
            self.notes() if measured else (),
            self.group,
        )

    def reached(self, roof: Roof) -> str:
        """ "4.78 TB/s (95 % interval 4.77–4.79 TB/s), 99.5 % of the datasheet's 4.80 TB/s"."""
        return f"{units.rate_text(roof.rate, roof.key)} ({rate_spread(roof)}){self.of_claim(roof.key, roof.rate)}"

    def of_claim(self, key: str, rate: float) -> str:
        """ ", 99.5 % of the datasheet's 4.80 TB/s"; "" where nothing is claimed."""
        if (claim := self.view.claim(key)) is None:
            return ""
        claimed = units.rate_text(claim.rate, claim.key)
        return f", {units.percent(rate / claim.rate)} of the {names.claim(claim.evidence)}'s {claimed}"

    def sustained(self, key: str) -> Sentences:
        """What lasting load leaves of a roof, and of its clock."""
        first, lasting = self.fit.roofs.get(key), self.fit.lasting(key)
        if not first or not lasting:
            return
        before, after = first.winner.clock_hz, lasting.winner.clock_hz
        clocks = f", at {units.hertz(after)}" if after else ""
        if before and after:
            clocks += f" instead of {units.hertz(before)}" if abs(after / before - 1) > 0.01 else " as in the burst"
        rate, share = units.rate_text(lasting.roof.rate, key), units.percent(lasting.roof.rate / first.roof.rate)
        yield f"Sustained, {names.roof(key)} keeps {rate}, {share} of its burst{clocks}."

    def missing(self, keys: Iterable[str]) -> Sentences:
        """Why roofs are not there."""
        return [f"No roof for {names.roof(key)}: {self.fit.missing[key]}." for key in keys if key in self.fit.missing]


def own_sections() -> dict[str, type[ProbeSection]]:
    """The section of every probe that has one of its own."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    classes = (member for module in modules for member in vars(module).values() if isinstance(member, type))
    return {each.probe: each for each in classes if issubclass(each, ProbeSection) and each.probe}


def probe_sections(view: RunView) -> list[Section]:
    """One per probe of the Run, by the order of GROUPS and, within a group, that in which the Run measured them."""
    own = own_sections()
    made = [own.get(name, ProbeSection)(view, name).section() for name in dict.fromkeys(view.every["probe"])]
    order = {group: place for place, group in enumerate(GROUPS)}
    return sorted(made, key=lambda section: order.get(section.group, len(order)))


def case_table(rows: pd.DataFrame, id: str, claimed: str = "datasheet") -> Table:
    """Every case in each regime, the skipped and the invalid ones with their cause; a column per param that varies."""
    columns = [Column(key, f"param {key}", partial(names.value, key)) for key in varying(rows)]
    columns += [*["regime"] * (rows["regime"].nunique() > 1), RATES[0], "interval", "n", *RATES[1:]]
    shares = {"% of measured": "share", f"% of {claimed}": "theory_share"}
    columns += [Column(name, key, units.percent) for name, key in shares.items()]
    columns += [Column("limited by", "limiter", names.limiter), Column("clock", "clock_hz", units.hertz, unit="Hz")]
    columns += [Column("validity", "state", mark="mark")]
    return table(id, "Every case", map(_record, tidy.each(rows)), *columns, detail=True)


def _record(row) -> dict:
    state, mark = row.validity, DOUBTS.get(row.validity, "")
    if row.skip:
        state, mark = f"skipped: {row.skip}", SKIP
    elif row.above and state == "valid":
        state, mark = "valid, but above its roof", WARN
    elif row.causes:
        state = f"{state}: {row.causes}"
    interval = units.between(row.low, row.high, units.seconds) if row.n > 1 else ""
    about = {"interval": interval, "compute": row.work.compute, "state": state, "mark": mark}
    return row._asdict() | about | {f"param {key}": value for key, value in row.params.items()}
