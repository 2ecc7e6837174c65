"""The page: everything put together, escaped, hashed for the Content-Security-Policy and made self-contained."""

import base64
import csv
import gzip
import hashlib
import io
import json
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
from bench.analysis.fit import Fit, fit
from bench.report import frame, methods, names, tables, words
from bench.report.figures import machines, style
from bench.report.figures.roofline import roofline as roofline_figure
from bench.report.health import health as healths
from bench.report.sections import Plot, health, sections
from bench.roofline import Roofline
from bench.schema import Run

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


@dataclass(frozen=True)
class Data:
    """Something to download: a file's name and kind, and its bytes compressed as base64."""

    id: str
    name: str
    kind: str
    content: str
    note: str = ""


def page(run: Run) -> str:
    """The Run as one HTML document."""
    fits = fit(run)
    chosen = frame.shown(fits)
    theory = datasheet(chosen.info) if chosen else None
    gaps = compare(chosen.roofline, theory) if chosen and theory else ()
    rows = frame.cases(chosen, theory) if chosen else pd.DataFrame(columns=frame.CASES)
    parts = sections(rows, chosen, theory) if chosen else []
    fared = healths(run, [fit.info for fit in fits])
    well = health(fared, fared[fits.index(chosen)]) if chosen else None
    drawn = frame.burst(rows)
    leading, comparison, strip = _figures(fits, chosen, theory, drawn, gaps)
    plots = [plot for plot in (leading, comparison, strip) if plot]
    plots += [plot for part in (*([well] if well else []), *parts) for plot in part.plots]
    for plot in plots:
        style.mark(plot.figure, run.environment.simulated)
    css, javascript = _file("report.css"), _file("report.js")
    plotly, plotly_hash = _plotly()
    hashes = [_hash(javascript), plotly_hash]
    return (
        _environment()
        .get_template("template.html.j2")
        .render(
            run=run,
            about=run.environment,
            title=_title(run, fits),
            machine=_machine(run, fits),
            fits=fits,
            chosen=chosen,
            shared=len(fits) > 1,
            validity=words.validity(run, fits),
            icons=_ICONS,
            verdict=words.verdict(run, fits, theory),
            look=words.look_first(run, fits, rows, gaps),
            tiles=_tiles(fits, chosen, theory),
            leading=leading,
            outside=_not_drawn(drawn),
            comparison=comparison,
            theory_words=(
                words.against_theory(
                    gaps, _claimed_ridge(chosen, theory), chosen, run.environment.simulated, theory is not None
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
    fits: Sequence[Fit], chosen: Fit | None, theory: Roofline | None, rows: pd.DataFrame, gaps
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
            roofline_figure(chosen, theory, rows, others),
            "Roofline",
            _roofline_label(chosen, theory, rows),
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
    claimed = _claimed_ridge(fit, theory)
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


def _tiles(fits: Sequence[Fit], chosen: Fit | None, theory: Roofline | None) -> list[Tile]:
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
            )
        )
    ridge = chosen.headline
    if ridge:
        value, claimed = ridge.estimate, _claimed_ridge(chosen, theory)
        share = f"theory {units.intensity(claimed)}" if claimed else "no theory for it"
        who = f", {names.device(chosen.info.id)}" if len(fits) > 1 else ""
        name = f"Ridge: {names.quantity(ridge.compute)} / {names.channel(ridge.memory)}"
        lasting = chosen.sustained.headline if chosen.sustained else None
        after = f"sustained {units.intensity(lasting.estimate.value)}" if lasting else ""
        spread = words.spread(value, units.digits) + who
        tiles.insert(2, Tile(name, units.intensity(value.value), spread, share, sustained=after))
    return tiles


def _sustained(fits: Sequence[Fit], chosen: Fit, key: str) -> str:
    """A tile's line about lasting load: "sustained 701 TFLOP/s, 88.9 % of burst"."""
    lasting = chosen.sustained.roofs.get(key) if chosen.sustained else None
    if lasting is None:
        return ""
    who = f" ({names.device(chosen.info.id)})" if len(fits) > 1 else ""
    share = units.percent(lasting.roof.rate / chosen.roofs[key].roof.rate)
    return f"sustained {units.rate_text(lasting.roof.rate, key)}, {share} of burst{who}"


def _claimed_ridge(fit: Fit | None, theory: Roofline | None) -> float | None:
    quantity = fit.info.headline.rsplit(".", 1)[0] if fit else ""
    return theory.ridge(quantity) if theory and quantity in theory and "dram" in theory else None


def _machine(run: Run, fits: Sequence[Fit]) -> str:
    kinds = Counter(fit.info.name for fit in fits)
    return (
        ", ".join(f"{count} × {name}" if count > 1 else name for name, count in kinds.items())
        or run.environment.product
    )


def _title(run: Run, fits: Sequence[Fit]) -> str:
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
        Data("csv", f"{name}.csv", "text/csv", _packed(_csv(everything))),
    ]


def _lines(run: Run) -> str:
    return "".join(f"{line}\n" for line in store.raw_lines(run))


def _csv(rows: pd.DataFrame) -> str:
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
