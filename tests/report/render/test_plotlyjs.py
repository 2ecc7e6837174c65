"""Plotly's script without the chart types that no page draws; a bundle of another shape is used whole."""

from pathlib import Path

from plotly.offline import get_plotlyjs

from bench.report.render import plotlyjs


def test_the_script_is_a_part_of_the_bundle_with_its_licence():
    whole, reduced = get_plotlyjs(), plotlyjs.bundle()
    assert reduced.startswith(whole[:100])
    assert "Licensed under the MIT license" in reduced[:300]
    assert len(reduced) < 0.3 * len(whole)
    assert reduced.rstrip().endswith("}));")


def test_another_bundle_is_used_whole(monkeypatch):
    for strange in (
        "",
        "console.log(1)",
        get_plotlyjs().replace(".register([", ".registered(["),
        "var a=W(()=>{});" * 200,
    ):
        monkeypatch.setattr(plotlyjs, "get_plotlyjs", lambda text=strange: text)
        assert plotlyjs.bundle() == strange


def test_it_draws_lines_markers_bars_and_notes(browser, tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text(
        f"""<!doctype html><meta charset="utf-8"><div id="a" style="width:600px;height:400px"></div>
        <script>{plotlyjs.bundle()}</script><script>
        const data = [{{ x: [1, 10], y: [1, 3], error_y: {{ array: [1, 1] }}, mode: "lines+markers+text",
                         text: ["a", "b"], fill: "toself" }}, 
                        {{ type: "bar", orientation: "h", x: [1], y: ["q"], yaxis: "y2" }}];
        const layout = {{ annotations: [{{ text: "note", x: 0, y: 2 }}], xaxis: {{ type: "log" }},
                         yaxis2: {{ anchor: "x" }},
                         shapes: [{{ type: "rect", x0: 1, x1: 2, y0: 1, y1: 2 }}] }};
        Plotly.react("a", data, layout).then(() => {{ document.documentElement.dataset.ready = "yes"; }});</script>""",
        encoding="utf-8",
    )
    browser.open(page)
    for part in (".scatterlayer .trace", ".trace.bars", ".annotation", ".shapelayer path", ".errorbars"):
        assert browser.evaluate(f"document.querySelectorAll('{part}').length") >= 1, part
    assert browser.complaints() == []
