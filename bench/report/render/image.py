"""The leading figure of a Document as an image in light colours, for a README or a slide."""

import json
import math
import re
import shutil
from functools import partial

import plotly.graph_objects as go

from bench.report.document import Document
from bench.report.plots import theme
from bench.report.render.html import stylesheet
from bench.store import RunError

# As Debian, Google and others call the browser that draws images.
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_INSTALL = "images need kaleido 1 and Chrome or Chromium on the PATH: pip install 'ridgepoint[image]'"
_SIZE = {"width": 1120, "height": 760}
_SCALE = 2  # pixels of an image per pixel of the page


def image(kind: str, document: Document) -> bytes:
    """kind: "png" or "svg". Raises RunError where there is nothing to draw, or nothing to draw it with."""
    if document.lead is None or not document.lead.plots:
        raise RunError("there is no roofline to draw: it needs a memory roof and a compute roof, measured or claimed")
    # plotly's own copy: what is added here is not the page's
    figure = theme.mark(go.Figure(document.lead.plots[0].figure), document.simulated)
    # an image has no page around it: it says itself which machine it shows
    about = {"text": theme.safe(document.title), "font": {"size": 16}, "x": 0.01, "y": 0.985, "yanchor": "top"}
    colours = dict(re.findall(r"(--[\w-]+): light-dark\((#\w+),", stylesheet()))
    text = figure.update_layout(title=about, margin_t=72).to_json()
    plain = json.loads(re.sub(r"var\((--[\w-]+)\)", lambda m: colours.get(m[1], "#000000"), text))
    plain["layout"] |= {"paper_bgcolor": colours["--paper"], "plot_bgcolor": colours["--paper"]}
    _tilt(plain["layout"])
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    try:
        from kaleido import calc_fig_sync
    except ImportError:
        raise RunError(f"{_INSTALL} (kaleido is missing)") from None
    if browser is None:
        raise RunError(f"{_INSTALL} (no browser found)")
    # without MathJax, which kaleido would fetch
    options = {"path": browser, "mathjax": False}
    try:
        return calc_fig_sync(plain, opts=_SIZE | {"format": kind, "scale": _SCALE}, kopts=options)
    except Exception as error:
        # kaleido passes on whatever the browser says
        reason = str(error).strip().splitlines()
        raise RunError(f"{_INSTALL} ({reason[0] if reason else type(error).__name__})") from None


def _tilt(layout: dict) -> None:
    """Turns the names of slopes along them, which report.js does on the page."""
    (left, right), (bottom, top) = layout["xaxis"]["range"], layout["yaxis"]["range"]
    margin = layout["margin"]
    # the legend takes its share of the height
    wide, high = _SIZE["width"] - margin["l"] - margin["r"], 0.8 * (_SIZE["height"] - margin["t"] - margin["b"])
    turn = math.atan2(high / (top - bottom), wide / (right - left))
    place = {"textangle": -math.degrees(turn), "yanchor": "middle"}
    place |= {"xshift": -10 * math.sin(turn), "yshift": 10 * math.cos(turn)}
    for note in layout.get("annotations", ()):
        if note.get("name") == "slope label":
            note |= place


FORMS = {"png": partial(image, "png"), "svg": partial(image, "svg")}
