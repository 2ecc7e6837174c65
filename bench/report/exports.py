"""A Run in other forms than the page: Markdown for a pull request, tables for other programs, the main figure alone.

>>> from bench import store
>>> from bench.report import exports
>>> exports.write(store.read("results/h200-sxm/RUN.jsonl"), "roofline.svg", "svg")  # doctest: +SKIP

Every form takes a reader's own kernels and, where it states changes, a baseline, as the page does.
"""

import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.compare import compare, datasheet
from bench.analysis.facts import facts
from bench.analysis.facts import placed as placed_facts
from bench.analysis.fit import Fit, fit
from bench.analysis.placed import Kernel, Placed, place
from bench.report import baseline as baselines
from bench.report import frame, names, page, shell, words
from bench.report.downloads import csv_text
from bench.report.figures import style
from bench.report.figures.roofline import roofline
from bench.report.trust import markdown as trusted
from bench.schema import Run
from bench.store import RunError, whole_file

# As Debian, Google and others call the browser that draws images.
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_INSTALL = "images need kaleido 1 and Chrome or Chromium on the PATH: pip install 'ridgepoint[image]'"
_SIZE = {"width": 1120, "height": 760}
# A comment on a pull request takes so much (GitHub refuses longer ones).
MOST_MARKDOWN = 64 << 10
_SCALE = 2  # pixels of an image per pixel of the page


class ExportError(RunError):
    """A form that cannot be made here; the message says what to install."""


def write(run: Run, path: Path | str, form: str, points: Sequence[Kernel] = (), baseline: Run | None = None) -> Path:
    """Writes a Run in one of FORMS and returns the path; no reader ever sees half of it. Raises RunError where it
    cannot, ExportError where something is missing here.
    """
    return whole_file(made(run, form, points, baseline), path)


def made(run: Run, form: str, points: Sequence[Kernel] = (), baseline: Run | None = None) -> bytes:
    """A Run in one of FORMS."""
    if form not in FORMS:
        raise ExportError(f"unknown form {form!r}; choose one of {', '.join(FORMS)}")
    return FORMS[form](run, points, baseline)


def doubts(run: Run, points: Sequence[Kernel] = (), baseline: Run | None = None) -> list[str]:
    """What the terminal should say of a reader's kernels and of a baseline, before the page is opened."""
    found = []
    chosen = frame.shown(fit(run)) if points else None
    for each in (place(chosen, kernel) for kernel in points if chosen):
        name = each.kernel.name
        if each.above:
            found.append(
                f"{name} is at {units.percent(each.share or 0)} of its roof: are flops, bytes, seconds in base units?"
            )
        elif each.lacking:
            found.append(f"{name} has no roof here: the Run measured no {', '.join(each.lacking)}")
    against = baselines.against(run, baseline)
    if against and not baselines.comparable(against):
        found.append(f"nothing is compared with the baseline: {against.kinship}")
    return found


def markdown(run: Run, points: Sequence[Kernel] = (), baseline: Run | None = None) -> bytes:
    """The verdict, the roofs beside theory, what to look at first and how it was made, in at most 64 KiB."""
    against = baselines.against(run, baseline)
    fits = against.theirs if against else fit(run)
    parts = [f"## {_text(page.title(run, fits))}", ""]
    if run.environment.simulated:
        parts += ["> **SIMULATED**: from a datasheet behind a virtual clock; nothing here was measured.", ""]
    if not run.complete:
        parts += ["> **INCOMPLETE**: the Run was cut short; what is missing was not measured.", ""]
    chosen = frame.shown(fits)
    theory = datasheet(chosen.info) if chosen else None
    state = words.validity(run, fits)
    parts += [f"**{state.word.upper()}.** {_text(words.verdict(run, fits, theory))}", ""]
    if chosen:
        gaps = compare(chosen.roofline, theory) if theory else ()
        rows = frame.cases(chosen, theory)
        parts += [*(f"- {_text(line)}" for line in words.look_first(run, fits, rows, gaps)), ""]
    if against:
        parts += [_text(baselines.beside(against, baselines.before(against, chosen))), ""]
    for fitted in fits:
        parts += [*_roofs(fitted), ""]
    if points and chosen:
        parts += [*_placed([place(chosen, kernel) for kernel in points]), ""]
    parts += [*(_text(line) for line in trusted(run)), ""] if run.checks else []
    about = run.environment
    libraries = ", ".join(f"{name} {version}" for name, version in about.libraries.items())
    when = f"{about.started[:16].replace('T', ' ')} UTC"
    parts += [
        f"Made by {_text(' '.join(about.command))} with ridgepoint {_text(about.suite)}, {_text(when)}, budget"
        f" {_text(about.budget)}, seed {about.seed}{f'; {_text(libraries)}' if libraries else ''}.",
    ]
    return _cut("\n".join(parts) + "\n")


def table(run: Run, points: Sequence[Kernel] = (), baseline: Run | None = None) -> bytes:
    """Every case of every device as CSV, base units, one row per case and regime."""
    return csv_text(_cases(fit(run))).encode("utf-8", "replace")


def parquet(run: Run, points: Sequence[Kernel] = (), baseline: Run | None = None) -> bytes:
    """The table as Parquet. Raises ExportError without pyarrow."""
    rows = _cases(fit(run))
    demand = rows.pop("work")
    rows["params"] = [json.dumps(dict(params)) for params in rows["params"]]
    rows["samples"] = [list(samples) for samples in rows["samples"]]
    for name in ("flops", "bytes", "channel", "compute"):
        rows[name] = [getattr(work, name) for work in demand]
    out = BytesIO()
    try:
        rows.drop(columns=["notes"], errors="ignore").to_parquet(out, index=False)
    except ImportError:
        raise ExportError("Parquet needs pyarrow: pip install 'ridgepoint[parquet]'") from None
    return out.getvalue()


def values(run: Run, points: Sequence[Kernel] = (), baseline: Run | None = None) -> bytes:
    """Every fit as JSON, base units; the user's kernels beside them."""
    about, fits = run.environment, fit(run)
    chosen = frame.shown(fits)
    found = {
        "run": run.source,
        "run_id": about.run_id,
        "simulated": about.simulated,
        "complete": run.complete,
        "devices": [facts(fitted) for fitted in fits],
    }
    if points and chosen:
        placed = placed_facts([place(chosen, kernel) for kernel in points])
        found |= {"points_device": chosen.info.id, "points": placed}
    return (json.dumps(found, indent=2, allow_nan=False) + "\n").encode()


def image(kind: str) -> Callable[..., bytes]:
    """A maker of the main figure as "png" or "svg", in light colours."""

    def make(run: Run, points: Sequence[Kernel] = (), baseline: Run | None = None) -> bytes:
        return _drawn(_figure(run, points, baseline), kind)

    return make


def _figure(run: Run, points: Sequence[Kernel], baseline: Run | None) -> go.Figure:
    against = baselines.against(run, baseline)
    fits = against.theirs if against else fit(run)
    chosen = frame.shown(fits)
    theory = datasheet(chosen.info) if chosen else None
    rows = frame.burst(frame.cases(chosen, theory)) if chosen else None
    others = [other for other in fits if other is not chosen]
    placed = [place(chosen, kernel) for kernel in points] if chosen else []
    figure = roofline(chosen, theory, rows, others, placed, baselines.ghost(against, chosen)) if chosen else None
    if figure is None:
        raise ExportError(
            "there is no roofline to draw: it needs a memory roof and a compute roof, measured or claimed"
        )
    style.mark(figure, run.environment.simulated)
    # an image has no page around it: it says itself which machine it shows
    about = f"{chosen.info.name}, {run.environment.started[:10]}"
    return figure.update_layout(title={"text": style.safe(about), "font": {"size": 16}, "x": 0.01}, margin_t=48)


def _drawn(figure: go.Figure, kind: str) -> bytes:
    colours = dict(re.findall(r"(--[\w-]+): light-dark\((#\w+),", shell.stylesheet()))
    text = re.sub(r"var\((--[\w-]+)\)", lambda m: colours.get(m[1], "#000000"), figure.to_json())
    plain = json.loads(text)
    plain["layout"] |= {"paper_bgcolor": colours["--paper"], "plot_bgcolor": colours["--paper"]}
    _tilted(plain)
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    try:
        from kaleido import calc_fig_sync
    except ImportError:
        raise ExportError(f"{_INSTALL} (kaleido is missing)") from None
    if browser is None:
        raise ExportError(f"{_INSTALL} (no browser found)")
    # without MathJax, which kaleido would fetch
    options = {"path": browser, "mathjax": False}
    try:
        return calc_fig_sync(plain, opts=_SIZE | {"format": kind, "scale": _SCALE}, kopts=options)
    except Exception as error:
        # kaleido passes on whatever the browser says
        reason = str(error).strip().splitlines()
        raise ExportError(f"{_INSTALL} ({reason[0] if reason else type(error).__name__})") from None


def _tilted(figure: dict) -> None:
    """Turns the names of slopes along them, which report.js does on the page."""
    layout = figure["layout"]
    (left, right), (bottom, top) = layout["xaxis"]["range"], layout["yaxis"]["range"]
    margin = layout["margin"]
    # the legend takes its share of the height
    wide, high = _SIZE["width"] - margin["l"] - margin["r"], 0.8 * (_SIZE["height"] - margin["t"] - margin["b"])
    angle = -math.degrees(math.atan2(high / (top - bottom), wide / (right - left)))
    for note in layout["annotations"]:
        if note.get("name") == "slope label":
            note["textangle"] = angle


def _cases(fits: Sequence[Fit]) -> pd.DataFrame:
    parts = [frame.cases(fitted, datasheet(fitted.info)) for fitted in fits]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=frame.CASES)


def _roofs(fitted: Fit) -> list[str]:
    theory = datasheet(fitted.info)
    gaps = {gap.ours.key: gap for gap in compare(fitted.roofline, theory)} if theory else {}
    lasting = fitted.sustained
    lines = [f"### {_text(fitted.info.name)} ({_text(fitted.info.id)})", ""]
    lines += [f"| roof | measured | interval | n | % of theory |{' sustained |' if lasting else ''}"]
    lines += [f"|---|--:|---|--:|--:|{'--:|' if lasting else ''}"]
    for key, made in fitted.roofs.items():
        roof = made.roof
        cells = [names.roof(key) + (" ⚠" if roof.caution else ""), units.rate_text(roof.rate, key)]
        cells += [units.between(roof.low, roof.high, lambda v, key=key: units.rate_text(v, key)), str(roof.n)]
        cells += [units.percent(gaps[key].ratio) if key in gaps else "–"]
        if lasting:
            cells += [units.rate_text(lasting.roofs[key].roof.rate, key) if key in lasting.roofs else "–"]
        lines.append(f"| {' | '.join(map(_text, cells))} |")
    if fitted.headline:
        value = fitted.headline.estimate
        lines += ["", f"Ridge {units.intensity(value.value)} ({words.spread(value, units.digits)})."]
    if fitted.missing:
        lines += ["", *(f"- missing {_text(names.roof(key))}: {_text(cause)}" for key, cause in fitted.missing.items())]
    return lines


def _placed(placed: Sequence[Placed]) -> list[str]:
    lines = ["### Your kernels", "", "| kernel | % of roof | limited by |", "|---|--:|---|"]
    for each in placed:
        share = units.percent(each.share) + (" ⚠ above" if each.above else "") if each.share is not None else "–"
        limit = (
            names.limiter(each.limit)
            if each.limit
            else f"no roof for {words.listed([names.quantity(key) for key in each.lacking])}"
        )
        lines.append(f"| {_text(each.kernel.name)} | {share} | {_text(limit)} |")
    return lines


def _text(text: str) -> str:
    """Text that stays text in Markdown and in the HTML that it becomes."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text)


def _cut(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if len(data) <= MOST_MARKDOWN:
        return data
    note = b"\n\n*Cut here: the whole is in the HTML report.*\n"
    kept = data[: MOST_MARKDOWN - len(note)].decode(errors="ignore")
    return kept.rpartition("\n")[0].encode() + note


# Form -> its maker; the page itself is made by bench.report.page.
FORMS: dict[str, Callable[..., bytes]] = {
    "md": markdown,
    "csv": table,
    "parquet": parquet,
    "json": values,
    "png": image("png"),
    "svg": image("svg"),
}
