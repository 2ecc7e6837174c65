"""The page: everything put together, escaped, hashed for the Content-Security-Policy and made self-contained."""

import base64
import csv
import gzip
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import median

import jinja2
import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from bench import store, units
from bench.analysis.compare import at_clock, compare, datasheet
from bench.analysis.difference import Against, Difference, Pair, differences
from bench.analysis.fit import Fit, fit
from bench.analysis.placed import Kernel, Placed, place
from bench.report import frame, methods, names, tables, words
from bench.report.figures import machines, style
from bench.report.figures.roofline import claimed_ridge
from bench.report.figures.roofline import roofline as roofline_figure
from bench.report.health import health as healths
from bench.report.sections import Plot, health, sections
from bench.report.tables import Cell, Column, Table
from bench.roofline import Roofline
from bench.schema import SUSTAINED, Run

# Base64 of the compressed Run beyond which medians are embedded instead of every sample, so that the page stays small.
MOST_RAW = 2_600_000
_ICONS = {"valid": "✓", "suspect": "▲", "invalid": "✕", "empty": "∅"}


@dataclass(frozen=True)
class Tile:
    """A headline number: what, how much, how sure, and its share of theory."""

    name: str
    value: str
    spread: str
    theory: str
    doubt: str = ""
    sustained: str = ""
    change: str = ""


@dataclass(frozen=True)
class Data:
    """Something to download: a file's name and kind, and its bytes compressed as base64."""

    id: str
    name: str
    kind: str
    content: str
    note: str = ""


def page(run: Run, points: Sequence[Kernel] = (), baseline: Run | None = None) -> str:
    """The Run as one HTML document, with a reader's own kernels under its roofs and headlines beside a baseline's."""
    beside_it = against(run, baseline)
    fits = beside_it.theirs if beside_it else fit(run)
    chosen = frame.shown(fits)
    theory = datasheet(chosen.info) if chosen else None
    placed = [place(chosen, kernel) for kernel in points] if chosen else []
    earlier = before(beside_it, chosen)
    gaps = compare(chosen.roofline, theory) if chosen and theory else ()
    rows = frame.cases(chosen, theory) if chosen else pd.DataFrame(columns=frame.CASES)
    parts = sections(rows, chosen, theory) if chosen else []
    fared = healths(run, [fit.info for fit in fits])
    well = health(fared, fared[fits.index(chosen)]) if chosen else None
    drawn = frame.burst(rows)
    leading, comparison, strip = _figures(fits, chosen, theory, drawn, gaps, placed, ghost(beside_it, chosen))
    plots = [plot for plot in (leading, comparison, strip) if plot]
    plots += [plot for part in (*([well] if well else []), *parts) for plot in part.plots]
    for plot in plots:
        style.mark(plot.figure, run.environment.simulated)
    css, javascript = stylesheet(), _file("report.js")
    plotly, plotly_hash = _plotly()
    hashes = [_hash(javascript), plotly_hash]
    return (
        _environment()
        .get_template("template.html.j2")
        .render(
            run=run,
            about=run.environment,
            title=title(run, fits),
            machine=_machine(run, fits),
            fits=fits,
            chosen=chosen,
            shared=len(fits) > 1,
            validity=words.validity(run, fits),
            icons=_ICONS,
            verdict=words.verdict(run, fits, theory),
            look=words.look_first(run, fits, rows, gaps),
            tiles=_tiles(fits, chosen, theory, earlier if _comparable(beside_it) else None),
            beside=beside(beside_it, earlier) if beside_it else "",
            yours=yours(placed) if placed else None,
            yours_words=yours_words(placed) if placed else "",
            leading=leading,
            outside=_not_drawn(drawn),
            comparison=comparison,
            theory_words=(
                words.against_theory(
                    gaps, claimed_ridge(chosen, theory), chosen, run.environment.simulated, theory is not None
                )
                if chosen
                else ""
            ),
            roofs=tables.roofs(chosen, theory, gaps) if chosen else None,
            well=well,
            sections=parts,
            strip=strip,
            several=words.several(fits) if len(fits) > 1 else "",
            devices=tables.devices(fits) if len(fits) > 1 else None,
            skips=tables.skips(run),
            formulas=methods.FORMULAS,
            stops=Counter(m.stop_reason for m in run.measurements if m.stop_reason).most_common(6),
            versions=dict.fromkeys((m.probe, m.version) for m in run.measurements),
            downloads=_downloads(run, fits),
            figures=[(plot.id, _inert(plot.figure.to_json())) for plot in plots],
            names=names,
            units=units,
            css=Markup(css),
            javascript=Markup(javascript),
            plotly=plotly,
            csp=(
                "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; style-src"
                f" 'unsafe-inline'; script-src {' '.join(hashes)}"
            ),
        )
    )


def _figures(
    fits: Sequence[Fit],
    chosen: Fit | None,
    theory: Roofline | None,
    rows: pd.DataFrame,
    gaps,
    placed: Sequence[Placed] = (),
    baseline: Fit | None = None,
) -> list[Plot | None]:
    if chosen is None:
        return [None, None, None]
    others = [other for other in fits if other is not chosen]
    doubtful = [key for key, fitted in chosen.roofs.items() if fitted.winner.validity != "valid"]
    clocked = {
        key: rate
        for key, fitted in chosen.roofs.items()
        if (rate := at_clock(chosen.info, key, fitted.winner.clock_hz))
    }
    table = frame.siblings(fits)
    few = [
        key
        for key in dict.fromkeys(table["key"])
        if key in _headlines(chosen) or table.loc[table["key"] == key, "apart"].any()
    ]
    made = (
        (
            "fig-roofline",
            roofline_figure(chosen, theory, rows, others, placed, baseline),
            "Roofline",
            f"{_roofline_label(chosen, theory, rows)} {yours_words(placed)}".strip(),
        ),
        (
            "fig-theory",
            machines.against(gaps, doubtful, clocked),
            "Measured against theory",
            words.against_theory(gaps, None, chosen, chosen.info.simulated),
        ),
        ("fig-devices", machines.strip(table, few), "Devices beside one another", words.several(fits)),
    )
    return [
        Plot(name, figure, f"{title}. {label}") if figure is not None else None for name, figure, title, label in made
    ]


def _roofline_label(fit: Fit, theory: Roofline | None, rows: pd.DataFrame) -> str:
    parts = [f"{names.roof(roof.key)} {units.rate_text(roof.rate, roof.key)}" for roof in fit.roofline.roofs]
    if fit.headline:
        value = fit.headline.estimate
        parts.append(f"measured ridge {units.intensity(value.value)}, {words.spread(value, units.digits)}")
    claimed = claimed_ridge(fit, theory)
    if claimed:
        parts.append(f"ridge by the datasheet {units.intensity(claimed)}")
    seen = rows[rows["seconds"].notna() & (rows["intensity"] > 0)]
    parts.append(f"{words.many(len(seen), 'measured point')}, {int(seen['above'].sum())} above their roof")
    return f"{fit.info.name}: {'; '.join(parts)}."


def _headlines(fit: Fit) -> list[str]:
    """The roofs that the verdict leads with: memory, the headline, the plain loop, the fastest dtype, the link."""
    fastest = max(
        # by the method that states its unit: a tensor loop is no kernel's to reach
        (r for r in fit.roofline.roofs if r.is_compute and ".int" not in r.key and fit.roofline.find(r.quantity) is r),
        key=lambda r: r.rate,
        default=None,
    )
    wanted = ["dram", fit.info.headline, "vector.float32.loop", fastest.key if fastest else "", "link"]
    return [key for key in dict.fromkeys(wanted) if key in fit.roofs]


def _tiles(fits: Sequence[Fit], chosen: Fit | None, theory: Roofline | None, before: Pair | None) -> list[Tile]:
    if chosen is None:
        return []
    tiles = []
    for key in _headlines(chosen):
        roof = chosen.roofs[key].roof
        rates = [other.roofs[key].roof.rate for other in fits if key in other.roofs]
        claim = theory.find(key) or theory.find(roof.quantity) if theory else None
        value, spread = roof.rate, words.rate_spread(roof)
        if len(rates) > 1:
            value = median(rates)
            spread = (
                f"median of {len(rates)} GPUs,"
                f" {units.between(min(rates), max(rates), lambda v, key=key: units.rate_text(v, key))}"
            )
        share = f"{units.percent(value / claim.rate)} of theory" if claim else "no theory for it"
        tiles.append(
            Tile(
                names.roof(key),
                units.rate_text(value, key),
                spread,
                share,
                chosen.roofs[key].winner.validity.replace("valid", ""),
                _sustained(fits, chosen, key),
                _change(before, fits, "roof", key),
            )
        )
    ridge = chosen.headline
    if ridge:
        value, claimed = ridge.estimate, claimed_ridge(chosen, theory)
        share = f"theory {units.intensity(claimed)}" if claimed else "no theory for it"
        who = f", {names.device(chosen.info.id)}" if len(fits) > 1 else ""
        name = f"Ridge: {names.quantity(ridge.compute)} / {names.channel(ridge.memory)}"
        lasting = chosen.sustained.headline if chosen.sustained else None
        after = f"sustained {units.intensity(lasting.estimate.value)}" if lasting else ""
        spread = words.spread(value, units.digits) + who
        change = _change(before, fits, "ridge", f"{ridge.compute}/{ridge.memory}")
        tiles.insert(2, Tile(name, units.intensity(value.value), spread, share, sustained=after, change=change))
    return tiles


def _sustained(fits: Sequence[Fit], chosen: Fit, key: str) -> str:
    """A tile's line about lasting load: "sustained 701 TFLOP/s, 88.9 % of burst"."""
    lasting = chosen.sustained.roofs.get(key) if chosen.sustained else None
    if lasting is None:
        return ""
    who = f" ({names.device(chosen.info.id)})" if len(fits) > 1 else ""
    share = units.percent(lasting.roof.rate / chosen.roofs[key].roof.rate)
    return f"sustained {units.rate_text(lasting.roof.rate, key)}, {share} of burst{who}"


def against(run: Run, baseline: Run | None) -> Against | None:
    """A Run beside an older one."""
    return differences((baseline, run))[0] if baseline else None


def ghost(against: Against | None, chosen: Fit | None) -> Fit | None:
    """The baseline's device, where it may be laid under the shown one."""
    earlier = before(against, chosen)
    return earlier.reference if earlier and _comparable(against) else None


def before(against: Against | None, chosen: Fit | None) -> Pair | None:
    """The device of the baseline that the shown one is compared with."""
    if against is None or chosen is None:
        return None
    return next((pair for pair in against.pairs if pair.other is chosen and pair.matched != "against the first"), None)


def _comparable(against: Against | None) -> bool:
    """Whether a change would be the machine's: not between a measured and a simulated Run, nor between products."""
    return against is not None and against.kinship not in (
        "different machines",
        "a simulated Run beside a measured one",
        "the same Run",
    )


def _change(before: Pair | None, fits: Sequence[Fit], kind: str, key: str) -> str:
    """A tile's line about the baseline: "−10.1 % since the baseline (95 % interval −10.9 % to −9.3 %)"."""
    if before is None:
        return ""
    found = next((d for d in before.of(kind) if d.key == key and d.regime != SUSTAINED), None)
    who = f" ({names.device(before.other.info.id)})" if len(fits) > 1 else ""
    return f"{_changed(found)}{who}" if found else ""


def _changed(found: Difference) -> str:
    if found.interval is None or found.ratio is None:
        return f"baseline: not compared, {found.reason}"
    if not found.differs:
        return f"no change beyond the interval ({_signed(found.ratio)})"
    low, high = (_signed(bound) for bound in found.interval)
    return f"{_signed(found.ratio)} since the baseline ({found.basis} {low} to {high})"


def _signed(ratio: float) -> str:
    if not 0.5 < ratio < 2:
        return f"× {units.digits(ratio)}"
    change = f"{abs(ratio - 1) * 100:.1f}"
    return f"{'' if change == '0.0' else '−' if ratio < 1 else '+'}{change} %"


def beside(against: Against, before: Pair | None) -> str:
    """What the baseline is, and what may be said of a change since."""
    about = against.reference.environment
    which = f"The baseline is the Run of {about.started[:16].replace('T', ' ')} UTC"
    if not _comparable(against):
        why = "it is this very Run" if against.kinship == "the same Run" else f"they are {against.kinship}"
        return f"{which}; nothing is compared with it, because {why}."
    if before is None:
        return f"{which}; nothing is compared with it, because it has no such device."
    text = f"{which}, {before.matched}: {against.kinship}."
    heads = [d for d in before.of("roof", "ridge") if d.headline]
    apart = [d for d in heads if d.differs]
    if apart:
        # a ridge moves because its roofs do
        causes = [d for d in apart if d.kind == "roof"] or apart
        worst = max(causes, key=lambda d: abs(math.log(d.ratio or 1.0)))
        what = names.roof(worst.key) if worst.kind == "roof" else "the ridge"
        lasting = ", sustained," if worst.regime == SUSTAINED else ""
        others = f", and {words.many(len(apart) - 1, 'other headline')} changed" if len(apart) > 1 else ""
        text += f" {what[0].upper()}{what[1:]}{lasting} changed most: {_signed(worst.ratio or 1.0)}{others}."
    elif any(d.judged for d in heads):
        text += " No headline changed beyond its interval."
    left = [d for d in heads if not d.judged]
    if left:
        reasons = "; ".join(dict.fromkeys(d.reason for d in left))
        text += f" Not compared: {words.listed([names.roof(d.key.partition('/')[0]) for d in left])} ({reasons})."
    return text


def yours(placed: Sequence[Placed]) -> Table:
    """A reader's own kernels: demand, rate, share of what the roofs allow, and what limits them."""
    columns = (
        Column("kernel"),
        Column("flops", True, "FLOP"),
        Column("bytes", True, "B"),
        Column("intensity", True, "FLOP/B"),
        Column("time", True, "s"),
        Column("compute", True, "FLOP/s"),
        Column("traffic", True, "B/s"),
        Column("% of roof", True),
        Column("limited by"),
        Column("note"),
    )
    return Table("yours", "Your kernels", columns, tuple(_yours(each) for each in placed))


def _yours(each: Placed) -> tuple[Cell, ...]:
    work, seconds, none = each.kernel.work, each.kernel.seconds, Cell("–")
    lacking = f"this Run has no roof for {words.listed([names.quantity(key) for key in each.lacking])}"
    note = (
        Cell("above its roof: a wrong count, a warm cache, or a roof under-measured", mark="suspect")
        if each.above
        else Cell(lacking, mark="skip")
        if each.lacking
        else Cell("")
    )
    flop_rate, byte_rate = work.flops / seconds, work.bytes / seconds
    return (
        Cell(each.kernel.name, each.kernel.name),
        Cell(units.number(work.flops), work.flops) if work.flops else none,
        Cell(units.size(work.bytes), work.bytes) if work.bytes else none,
        Cell(units.intensity(work.intensity), work.intensity) if work.flops and work.bytes else none,
        Cell(units.seconds(seconds), seconds),
        Cell(units.rate_text(flop_rate, f"{work.compute}.x"), flop_rate) if work.flops else none,
        Cell(units.bandwidth(byte_rate), byte_rate) if work.bytes else none,
        Cell(units.percent(each.share), each.share) if each.share is not None else none,
        Cell(names.limiter(each.limit)) if each.limit else none,
        note,
    )


def yours_words(placed: Sequence[Placed]) -> str:
    """Your kernels in a paragraph: the nearest to its roof, the farthest, what is above and what cannot be judged."""
    if not placed:
        return ""
    judged = [each for each in placed if each.share is not None]
    text = f"{words.many(len(placed), 'kernel')} of yours."
    sound = [each for each in judged if not each.above]
    if sound:
        best, worst = max(sound, key=lambda each: each.share or 0.0), min(sound, key=lambda each: each.share or 0.0)
        text += (
            f" {best.kernel.name} comes nearest to its roof, {units.percent(best.share or 0.0)} of it, limited by"
            f" {names.limiter(best.limit)}."
        )
        if worst is not best:
            gain = 1 / (worst.share or 1.0)
            text += (
                f" {worst.kernel.name} is farthest, {units.percent(worst.share or 0.0)}, limited by"
                f" {names.limiter(worst.limit)}: its roof allows {units.digits(gain)} times its speed."
            )
    above = [each for each in judged if each.above]
    if above:
        which = words.listed([each.kernel.name for each in above[:3]]) + " and more" * (len(above) > 3)
        most = units.percent(max(each.share or 0.0 for each in above))
        text += (
            f" {which} {'lies' if len(above) == 1 else 'lie'} above the roof, {most} at most: flops or bytes are"
            " miscounted, data stayed in a cache, or the roof was under-measured."
        )
    lacking = [each for each in placed if each.lacking]
    if lacking:
        keys = dict.fromkeys(key for each in lacking for key in each.lacking)
        what = words.listed([names.quantity(key) for key in keys])
        text += f" No share for {words.many(len(lacking), 'kernel')}: this Run has no roof for {what}."
    moving = [each for each in placed if not each.kernel.work.flops]
    if moving:
        have = "has" if len(moving) == 1 else "have"
        text += f" {words.many(len(moving), 'kernel')} without arithmetic {have} no place in the figure."
    return text


def _machine(run: Run, fits: Sequence[Fit]) -> str:
    kinds = Counter(fit.info.name for fit in fits)
    return (
        ", ".join(f"{count} × {name}" if count > 1 else name for name, count in kinds.items())
        or run.environment.product
    )


def title(run: Run, fits: Sequence[Fit]) -> str:
    """What the page is called: the machine, the day, and first of all what the Run is not."""
    flags = "SIMULATED · " * run.environment.simulated + "INCOMPLETE · " * (not run.complete)
    return f"{flags}{_machine(run, fits)} · roofline · {run.environment.started[:10]}"


def _not_drawn(rows: pd.DataFrame) -> int:
    """Measured cases without flops, which have no place on a logarithmic intensity axis."""
    return int((rows["seconds"].notna() & ~(rows["intensity"] > 0)).sum())


def _downloads(run: Run, fits: Sequence[Fit]) -> list[Data]:
    name = Path(run.source).stem or f"{run.environment.started[:10]}-{run.environment.run_id[:8]}"
    content, note, suffix = _packed(_lines(run)), "", ".jsonl"
    if len(content) > MOST_RAW:
        medians = (replace(m, seconds=(m.median,), clock_hz=()) if m.seconds else m for m in run.measurements)
        content, suffix = _packed(_lines(replace(run, measurements=tuple(medians)))), "-medians.jsonl"
        note = (
            "Too large to embed whole: each repetition is its median here; every sample is in"
            f" {Path(run.source).name or 'the Run file'}."
        )
    everything = (
        pd.concat([frame.cases(fit, datasheet(fit.info)) for fit in fits], ignore_index=True)
        if fits
        else pd.DataFrame()
    )
    return [
        Data("raw", name + suffix, "application/jsonl", content, note),
        Data("csv", f"{name}.csv", "text/csv", _packed(csv_text(everything))),
    ]


def _lines(run: Run) -> str:
    return "".join(f"{line}\n" for line in store.raw_lines(run))


def csv_text(rows: pd.DataFrame) -> str:
    """Cases as CSV in base units, safe to open in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [column for column in rows.columns if column not in ("work", "samples", "params", "notes")]
    writer.writerow([*columns, "flops", "bytes", "channel", "compute"])
    for row in rows.to_dict("records"):
        demand = row["work"]
        values = ["" if row[c] is None or row[c] != row[c] else row[c] for c in columns]
        # a spreadsheet runs a text that begins like a formula
        values = [f"'{v}" if isinstance(v, str) and v[:1] in ("=", "+", "-", "@") else v for v in values]
        writer.writerow([*values, demand.flops, demand.bytes, demand.channel, demand.compute])
    return out.getvalue()


def _packed(text: str) -> str:
    # mtime 0: the same Run makes the same page
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 9, mtime=0)).decode()


@cache
def _plotly() -> tuple[str, str]:
    """Plotly's own bundle, compressed, and the hash of its text: report.js unpacks it into one inline script."""
    bundle = get_plotlyjs()
    return _packed(bundle), _hash(bundle)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _inert(text: str) -> Markup:
    """JSON that no HTML parser mistakes for markup; NaN and infinity, which JSON lacks, were null before."""
    json.loads(text, parse_constant=_refuse)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _refuse(constant: str) -> None:
    raise ValueError(f"a figure contains {constant}, which is not JSON")


def stylesheet() -> str:
    """What the page looks like; its colours are those of the figures."""
    return _file("report.css")


def _file(name: str) -> str:
    return files("bench.report").joinpath(name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_file),
    )
    environment.filters["command"] = _command
    return environment


def _command(parts: Iterable[str]) -> str:
    import shlex

    return " ".join(shlex.quote(part) for part in parts)
