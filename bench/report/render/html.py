"""A Document as one HTML file that needs nothing else: its style, its script, plotly and its data are inside.

Every script is hashed for the Content-Security-Policy, which forbids everything else. Plotly and the figures travel
compressed; report.js unpacks them. Without script the page still says everything: tables are HTML, and the first
figure is a static picture.
"""

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib.resources import files

import jinja2
from markupsafe import Markup

from bench import __version__
from bench.report.document import SYMBOLS, Document, Download, Plot, groups
from bench.report.phrases import slug
from bench.report.plots import theme
from bench.report.plots.static import svg
from bench.report.render.data import csv_text
from bench.report.render.plotlyjs import bundle


def render(document: Document) -> str:
    """The whole page."""
    javascript = "\n".join(_file(name) for name in ("report.js", "roofline.js", *document.scripts))
    plotly, plotly_hash = _plotly()
    figures = [
        (id, packed(theme.mark(figure, document.simulated).to_json()))
        for plot in document.every_plot
        for id, _, figure in variants(plot)
    ]
    template = _environment().get_template("base.html.j2")
    policy = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; style-src 'unsafe-inline'"
    return template.render(
        document=document,
        groups=groups(document.sections),
        figures=figures,
        data=packed(json.dumps(document.data, allow_nan=False)) if document.scripts else "",
        css=Markup(stylesheet()),
        javascript=Markup(javascript),
        downloads=[(each, packed(each.content)) for each in _downloads(document)],
        plotly=plotly if figures else "",
        csp=f"{policy}; script-src {_hash(javascript)} {plotly_hash}",
    )


def _downloads(document: Document) -> tuple[Download, ...]:
    if document.rows is None:
        return document.downloads
    name = document.downloads[0].name.rpartition(".")[0] if document.downloads else slug(document.title)
    return (*document.downloads, Download(f"{name}.csv", "text/csv", csv_text(document.rows)))


def variants(plot: Plot) -> list[tuple[str, str, object]]:
    """(id of its data, name, figure): the figure itself and the same for other devices."""
    first = plot.figure.layout.meta.get("device", "") if isinstance(plot.figure.layout.meta, dict) else ""
    others = [(f"{plot.id}-{k}", name, figure) for k, (name, figure) in enumerate(plot.variants, 1)]
    return [(plot.id, first, plot.figure), *others]


def packed(text: str) -> str:
    """Text compressed, as base64."""
    # mtime 0: the same Run makes the same page
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode()


def stylesheet() -> str:
    """What the page looks like; its colours are those of the figures."""
    return _file("report.css")


@cache
def _plotly() -> tuple[str, str]:
    """Plotly compressed, and the hash of its text: report.js unpacks it into one inline script."""
    text = bundle()
    return packed(text), _hash(text)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    package, _, file = name.rpartition("/")
    return files(package or "bench.report.render").joinpath(file).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    strict = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(autoescape=True, loader=jinja2.FunctionLoader(_file), **strict)
    environment.filters |= {"code": _code, "slug": slug, "sortable": _sortable, "picture": svg}
    environment.globals |= {"symbols": SYMBOLS, "suite": __version__, "variants": variants}
    return environment


def _code(text: str) -> Markup:
    """`command` as code; everything else is escaped."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(p) if k % 2 else p for k, p in enumerate(parts))


def _sortable(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


FORMS = {"html": render}
