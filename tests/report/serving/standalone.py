"""The section of serving in a page of its own, under the same script, style and policy as in the report."""

from pathlib import Path

from markupsafe import Markup

from bench.report import shell
from bench.report.figures import style
from bench.report.serving import SCRIPTS, STYLE, Section

PAGE = """{% from "macros.html.j2" import figure, grid with context %}
<!doctype html>
<html lang="en"{% if simulated %} class="simulated"{% endif %}>
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{{ csp }}"><title>Serving</title><style>{{ css }}</style></head>
<body><header><h1>Serving</h1><button type="button" id="theme" aria-live="polite">Theme: system</button></header>
<main>{% include "serving/section.html.j2" %}</main>
{% for id, json in figures %}
<script type="application/json" id="data-{{ id }}">{{ json }}</script>
{% endfor %}
{% if serving.data %}<script type="application/gzip" id="file-serving" data-name="{{ serving.data.name }}"
 data-kind="{{ serving.data.kind }}">{{ serving.data.content }}</script>{% endif %}
<script type="application/gzip" id="file-plotly">{{ plotly }}</script>
<script>{{ javascript }}</script>
</body></html>
"""


def written(section: Section, path: Path, simulated: bool = False) -> Path:
    for plot in section.every_plot:
        style.mark(plot.figure, simulated)
    javascript = "\n".join(shell._file(name) for name in ("report.js", *SCRIPTS))
    plotly, plotly_hash = shell._plotly()
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {shell._hash(javascript)} {plotly_hash}"
    )
    text = (
        shell._environment()
        .from_string(PAGE)
        .render(
            serving=section,
            simulated=simulated,
            csp=policy,
            css=Markup(shell.stylesheet() + shell._file(STYLE)),
            figures=[(plot.id, shell.inert(plot.figure.to_json())) for plot in section.every_plot],
            plotly=plotly,
            javascript=Markup(javascript),
        )
    )
    path.write_text(text, encoding="utf-8")
    return path
