"""What every page shares: one file with its style, its script, plotly and its data inside, and a policy for them."""

import base64
import gzip
import hashlib
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from bench.report.sections import Plot


@dataclass(frozen=True)
class Data:
    """Something to download: a file's name and kind, and its bytes compressed as base64."""

    id: str
    name: str
    kind: str
    content: str
    note: str = ""


def rendered(template: str, drawn: Iterable[Plot], also: Sequence[str] = (), **values: Any) -> str:
    """A page from a template of this package, with further scripts and styles of it (`also`). Every script is hashed
    for the Content-Security-Policy.
    """
    javascript = "\n".join(_file(name) for name in ("report.js", *(name for name in also if name.endswith(".js"))))
    plotly, plotly_hash = _plotly()
    return (
        _environment()
        .get_template(template)
        .render(
            figures=[(plot.id, inert(plot.figure.to_json())) for plot in drawn],
            css=Markup("".join([stylesheet(), *(_file(name) for name in also if name.endswith(".css"))])),
            javascript=Markup(javascript),
            plotly=plotly,
            csp=(
                "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; style-src"
                f" 'unsafe-inline'; script-src {_hash(javascript)} {plotly_hash}"
            ),
            **values,
        )
    )


def packed(text: str) -> str:
    """Text compressed, as base64."""
    # mtime 0: the same Run makes the same page
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 9, mtime=0)).decode()


def inert(text: str) -> Markup:
    """JSON that no HTML parser mistakes for markup; NaN and infinity, which JSON lacks, were null before."""
    json.loads(text, parse_constant=_refuse)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def stylesheet() -> str:
    """What the page looks like; its colours are those of the figures."""
    return _file("report.css")


@cache
def _plotly() -> tuple[str, str]:
    """Plotly's own bundle, compressed, and the hash of its text: report.js unpacks it into one inline script."""
    bundle = get_plotlyjs()
    return packed(bundle), _hash(bundle)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _refuse(constant: str) -> None:
    raise ValueError(f"a figure contains {constant}, which is not JSON")


def _file(name: str) -> str:
    return files("bench.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_file),
    )
    environment.filters["command"] = shlex.join
    return environment
