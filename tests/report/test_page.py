"""The page is one file: escaped, hashed, small, marked for what it is, and whole whatever the Run is like."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from bench import report, store, work
from bench.analysis.placed import Kernel
from bench.device import DeviceError
from bench.report import downloads
from bench.schema import End, Run
from tests.report.runs import by_hand, cpu, measured, simulated, through_file

HOSTILE = "</script><img src=x onerror=alert(1)>"


class Parsed(HTMLParser):
    """Tags with attributes, the text of scripts, and the text of everything else."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.scripts, self.text, self._open = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        self._open = [tag] if tag in ("script", "style") else []

    def handle_endtag(self, tag):
        self._open = []

    def handle_data(self, data):
        if self._open == ["script"]:
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif not self._open:
            self.text += data

    def by(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def brief(h200):
    """What has roofs and a section or two, for what is not about the other probes: a third of the page's time."""
    return replace(h200, measurements=tuple(m for m in h200.measurements if m.probe in ("bandwidth", "peak")))


@pytest.fixture(scope="module")
def text(h200):
    return report.html(h200)


@pytest.fixture(scope="module")
def parsed(text):
    return Parsed(text)


def unpacked(parsed: Parsed, name: str) -> bytes:
    packed = next(text for attrs, text in parsed.scripts if attrs.get("id") == f"file-{name}")
    return gzip.decompress(base64.b64decode(packed))


def test_sections_come_in_order(parsed):
    found = [attrs["id"] for attrs in parsed.by("section")]
    wanted = [
        "verdict",
        "roofline",
        "theory",
        "health",
        "probe-bandwidth",
        "probe-onchip",
        "probe-latency",
        "probe-peak",
        "probe-intensity",
        "probe-launch",
        "probe-gemm",
        "probe-attention",
        "probe-hostcopy",
        "probe-allreduce",
        "probe-layer",
    ]
    assert found == [*wanted, "energy", "serving", "skipped", "methods", "environment"]


def test_every_id_is_unique_and_every_link_leads_somewhere(parsed):
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(attrs["href"].startswith("#") and attrs["href"][1:] in ids for attrs in parsed.by("a"))


def test_every_figure_has_a_text_from_the_data_and_a_table(parsed):
    canvases = [attrs for _, attrs in parsed.tags if "data-figure" in attrs]
    assert len(canvases) >= 8
    assert all(len(attrs["aria-label"]) > 40 and attrs["role"] == "img" for attrs in canvases)
    roofline = next(attrs for attrs in canvases if attrs["data-figure"] == "fig-roofline")
    assert "TB/s" in roofline["aria-label"]
    assert "ridge by the datasheet 206 FLOP/B" in roofline["aria-label"]
    tables = {attrs["id"] for attrs in parsed.by("table")}
    assert {"roofs", "skips", "cases-bandwidth", "cases-peak", "cases-gemm", "cases-attention"} <= tables


def test_headlines_carry_interval_and_theory(parsed):
    assert "95 % interval" in parsed.text
    assert re.search(r"\d % of theory", parsed.text)
    assert "theory 206 FLOP/B" in parsed.text


def test_nothing_is_fetched(text, parsed):
    for name, attrs in parsed.tags:
        assert not attrs.get("src"), name
        assert name not in ("link", "iframe", "img", "object", "embed", "base")
    css = text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in css
    assert "@import" not in css


def test_policy_lists_exactly_the_scripts_that_run(parsed):
    policy = next(a["content"] for a in parsed.by("meta") if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    running = [body.encode() for attrs, body in parsed.scripts if "type" not in attrs]
    assert len(running) == 1
    wanted = {
        f"'sha256-{base64.b64encode(hashlib.sha256(t).digest()).decode()}'"
        for t in (*running, unpacked(parsed, "plotly"))
    }
    assert set(rules["script-src"].split()) == wanted


def test_plotly_is_its_own_bundle(parsed):
    from plotly.offline import get_plotlyjs

    assert unpacked(parsed, "plotly").decode() == get_plotlyjs()


def test_the_run_travels_whole(h200, parsed):
    assert unpacked(parsed, "raw").decode().splitlines() == list(store.raw_lines(h200))
    assert store.parse(unpacked(parsed, "raw"), "again").measurements == h200.measurements


def test_no_event_handlers_and_no_javascript_links(parsed):
    for name, attrs in parsed.tags:
        assert not [key for key in attrs if key.startswith("on")], name
        assert "javascript:" not in str(attrs.get("href", "")).lower()


def test_size(text, slow_sibling):
    assert len(text.encode()) <= 6_000_000
    assert len(report.html(slow_sibling).encode()) <= 6_000_000


def test_a_huge_run_embeds_medians_and_says_so(brief, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_RAW", 1000)
    parsed = Parsed(report.html(replace(brief, source="results/x/RUN.jsonl")))
    again = store.parse(unpacked(parsed, "raw"), "again")
    assert all(len(m.seconds) <= 1 for m in again.measurements)
    assert "every sample is in RUN.jsonl" in parsed.text


def test_at_most_two_thousand_points_per_trace():
    sizes = [measured("many", {"n": n}, work.Work(bytes=float(n))) for n in range(1, 5001)]
    found = re.findall(r'data-fig-many-0">(.*?)</script>', report.html(by_hand(sizes)))
    assert found
    assert all(len(trace["x"]) <= 2000 for trace in json.loads(found[0])["data"])


def test_simulated_is_said_everywhere(text, parsed):
    assert text.split("<title>")[1].startswith("SIMULATED")
    assert "simulated" in parsed.by("html")[0]["class"]
    assert any(attrs.get("class") == "band" for attrs in parsed.by("div"))
    figures = [body for attrs, body in parsed.scripts if attrs.get("type") == "application/json"]
    assert figures
    assert all("SIMULATED" in body for body in figures)


def test_a_measured_run_is_not_called_simulated():
    text = report.html(by_hand([measured("bandwidth", {"mix": "copy", "bytes": 2**20}, work.stream("copy", 2**17))]))
    assert "simulated" not in Parsed(text).by("html")[0].get("class", "")
    assert "SIMULATED" not in Parsed(text).text


def test_hostile_strings_stay_text():
    info = cpu(name=HOSTILE, facts={HOSTILE: HOSTILE}, uuid=HOSTILE)
    rows = [
        measured(
            "bandwidth", {"mix": HOSTILE, "bytes": 2**20, "cache": "cold"}, work.stream("copy", 2**17), saturates="dram"
        ),
        measured(
            "bandwidth",
            {"mix": "copy", "bytes": 2**21, "cache": "cold"},
            work.stream("copy", 2**18),
            skip=HOSTILE,
            seconds=(),
        ),
        measured(HOSTILE, {HOSTILE: 1}, work.Work(bytes=1.0), validity="invalid", reasons=(HOSTILE,)),
        measured(HOSTILE, {HOSTILE: 2}, work.Work(bytes=1.0), validity="suspect", reasons=(HOSTILE,)),
    ]
    run = by_hand(
        rows,
        info,
        host=HOSTILE,
        commit=HOSTILE,
        product=HOSTILE,
        command=("python", HOSTILE),
        libraries={HOSTILE: HOSTILE},
    )
    run = replace(
        run, warnings=(HOSTILE,), source=f"results/{HOSTILE}.jsonl", end=End(HOSTILE, 4, HOSTILE, 1.0, (HOSTILE,))
    )
    text = report.html(run)
    parsed = Parsed(text)
    assert not parsed.by("img")
    assert "<img" not in text
    assert HOSTILE in parsed.text
    assert all("<" not in body for attrs, body in parsed.scripts if attrs.get("type") == "application/json")


def test_unknown_probe_gets_a_generic_section():
    rows = [measured("my_probe", {"kind": "x", "width": 2**k}, work.Work(bytes=float(2**k))) for k in range(10, 16)]
    parsed = Parsed(report.html(by_hand(rows)))
    assert "probe-my-probe" in [attrs["id"] for attrs in parsed.by("section")]
    assert any(attrs.get("data-figure") == "fig-my-probe-0" for _, attrs in parsed.tags)
    assert "cases-my-probe" in [attrs.get("id") for attrs in parsed.by("table")]


def test_empty_run():
    parsed = Parsed(report.html(by_hand()))
    assert "EMPTY" in parsed.text
    assert "There is no roofline to draw" in parsed.text


def test_no_devices():
    assert "There is no roofline" in report.html(
        replace(by_hand(), environment=replace(by_hand().environment, devices=()))
    )


def test_incomplete_run_says_so(h200):
    cut = Run(
        h200.environment, h200.measurements[:120], None, ("no end line: the Run was cut short and is incomplete",)
    )
    text = report.html(through_file(cut))
    assert "INCOMPLETE" in text.split("<title>")[1].split("</title>")[0]
    assert "cut short" in Parsed(text).text


def test_every_prefix_of_a_run_can_be_shown(h200):
    for count in (0, 1, 2, 7, 90):
        report.html(replace(h200, measurements=h200.measurements[:count], end=None))


def test_invalid_run_draws_nothing_as_sound():
    run = simulated("sim:b200,throttle=thermal", ("bandwidth", "peak"))
    parsed = Parsed(report.html(run))
    assert "INVALID" in parsed.text
    assert "thermal slowdown" in parsed.text
    assert "A datasheet is known" in parsed.text
    assert "No roof rests on a sound measurement" in parsed.text


@pytest.mark.parametrize(
    "change", [{"validity": "suspect"}, {"validity": "invalid"}, {"clock_hz": (1.7e9,)}, {"repetition": 0}]
)
def test_every_probe_can_be_shown_in_any_state(h200, change):
    rows = tuple(m if m.skip else replace(m, reasons=("planted",), **change) for m in h200.measurements)
    parsed = Parsed(report.html(replace(h200, measurements=rows)))
    if "validity" in change:
        assert change["validity"].upper() in parsed.text
        assert "planted" in parsed.text


def test_every_product_can_be_shown():
    for sku in ("v100-sxm2-32gb", "b200", "rtx-4090"):
        try:
            run = simulated(f"sim:{sku}", ("bandwidth", "peak"))
        except DeviceError:
            continue
        report.html(run)


def test_all_cases_skipped():
    rows = [
        measured("gemm", {"batch": b}, work.gemm(b, 8, 8, "float32", "vector"), seconds=(), skip="no memory")
        for b in (1, 2)
    ]
    parsed = Parsed(report.html(by_hand(rows)))
    assert "Nothing was measured" in parsed.text
    assert "no memory" in parsed.text
    assert "fig-gemm-0" not in str(parsed.tags)


def test_one_sample():
    rows = [
        measured(
            "bandwidth",
            {"mix": "copy", "bytes": 2**20, "cache": "cold"},
            work.stream("copy", 2**17),
            (1e-3,),
            saturates="dram",
        ),
        measured(
            "peak",
            {"kind": "loop"},
            work.fma_loop(512, 10**6, "float32"),
            (1e-2,),
            saturates="vector.float32.loop",
            cache="hot",
        ),
    ]
    text = report.html(by_hand(rows))
    assert "range of 1" in Parsed(text).text
    assert "measured, doubtful" in text


def test_redacted_run_says_so(brief):
    text = report.html(replace(brief, environment=store.redacted(brief.environment)))
    assert "Redacted" in Parsed(text).text
    assert brief.environment.host not in Parsed(text).text


def test_several_devices_have_a_section(slow_sibling):
    parsed = Parsed(report.html(slow_sibling))
    assert "siblings" in [attrs["id"] for attrs in parsed.by("section")]
    assert "GPU 2 stands apart" in parsed.text


def test_write_is_whole_or_nothing(tmp_path, brief):
    path = report.write(brief, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_write_complains_in_one_line(tmp_path, brief):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(store.RunError, match="cannot write the report") as caught:
        report.write(brief, blocked / "report.html")
    assert "\n" not in str(caught.value)


def test_the_same_run_makes_the_same_page(h200, text):
    assert report.html(h200) == text


def figure(parsed: Parsed, name: str) -> dict:
    return json.loads(next(body for attrs, body in parsed.scripts if attrs.get("id") == f"data-{name}"))


def test_every_trace_of_the_roofline_says_what_it_is(parsed):
    found = figure(parsed, "fig-roofline")
    names = [trace["meta"] for trace in found["data"]]
    sides = found["layout"]["meta"]["traces"]
    assert len(set(names)) == len(names)
    assert set(names) == set(sides)
    roof = sides["roof tensor.bfloat16.library"]
    assert (roof["dtype"], roof["method"], roof["level"], roof["regime"]) == ("bfloat16", "library", "", "burst")
    assert sides["theory dram"]["method"] == "datasheet"
    assert (sides["roof h2d"]["level"], sides["roof d2h"]["level"]) == ("host", "host")
    assert sides["points attention decode bfloat16"]["probe"] == "attention decode"
    # whatever a trace says can be chosen
    choices = {each["side"]: [c["value"] for c in each["choices"]] for each in found["layout"]["meta"]["selectors"]}
    for each in sides.values():
        assert all(each[side] in ("", *values) for side, values in choices.items())


def test_sweeps_are_paths_of_one_shape_each(h200, parsed):
    path = next(t for t in figure(parsed, "fig-roofline")["data"] if t["meta"] == "points GEMM over batch bfloat16")
    rows = [m for m in h200.measurements if m.probe == "gemm" and m.params.get("dtype") == "bfloat16" and m.seconds]
    shapes = {tuple(m.params.get(key) for key in ("n", "k", "strided")) for m in rows}
    assert path["x"].count(None) == len(shapes) - 1 > 0
    assert "lines" in path["mode"]


def test_kernels_are_drawn_listed_and_judged(h200):
    kernels = [
        Kernel("near <b>", work.gemm(8192, 8192, 8192, "bfloat16", "tensor"), 1.2e-3),
        Kernel("far", work.Work(1e9, "vector", "float32", bytes=8e9), 4e-3),
        Kernel("too fast", work.Work(1e9, "vector", "float32", bytes=8e9), 1e-3),
        Kernel("foreign", work.Work(1e12, "tensor", "float4", bytes=8e9), 3e-3),
        Kernel("copy", work.Work(bytes=8e9), 2e-3),
    ]
    text = report.html(h200, points=kernels)
    parsed = Parsed(text)
    assert "your-kernels" in [attrs["id"] for attrs in parsed.by("section")]
    for sentence in (
        "5 kernels of yours.",
        "near <b> comes nearest to its roof, 9",
        "far is farthest, 41.",
        "limited by memory (DRAM): its roof allows 2.",
        "too fast lies above the roof, 167 % at most",
        "No share for 1 kernel: this Run has no roof for FP4 tensor.",
        "1 kernel without arithmetic has no place in the figure.",
    ):
        assert sentence in parsed.text
    found = {trace["meta"]: trace for trace in figure(parsed, "fig-roofline")["data"]}
    assert len(found["points your kernels"]["x"]) == 4
    assert len(found["above your kernels"]["x"]) == 1
    assert found["points your kernels"]["text"][0] == "near &lt;b&gt;"
    assert found["points your kernels"]["marker"]["symbol"] == ["bowtie", "bowtie", "bowtie", "bowtie-open"]
    assert "41." in found["points your kernels"]["customdata"][1]


def test_without_kernels_there_is_no_such_section(text, parsed):
    assert "your-kernels" not in [attrs["id"] for attrs in parsed.by("section")]
    assert "points your kernels" not in text


def test_headlines_state_the_change_since_a_baseline(brief):
    now = simulated("sim:h200-sxm,noise=0.002:0.007,overhead=2us,seed=5,dram=0.9", ("bandwidth", "peak"))
    parsed = Parsed(report.html(now, baseline=brief))
    tiles = [" ".join(tile.split()) for tile in parsed.text.split("What is drawn")[0].split("DRAM")]
    assert any(re.search(r"−(9|10|11)\.\d % since the baseline \(95 % interval", tile) for tile in tiles)
    assert "no change beyond the interval" in parsed.text
    assert "The baseline is the Run of" in parsed.text
    assert "same UUID" in parsed.text
    assert "DRAM changed most: −" in parsed.text
    assert any(t["meta"].startswith("baseline") for t in figure(parsed, "fig-roofline")["data"])


def test_other_versions_of_a_probe_are_said_and_not_compared(brief):
    old = replace(brief, measurements=tuple(replace(m, version=m.version + 1) for m in brief.measurements))
    text = Parsed(report.html(brief, baseline=old)).text
    assert "baseline: not compared, other versions of the probe" in text
    assert "since the baseline (" not in text
    assert "no change beyond" not in text


def test_another_machine_or_the_same_run_is_no_baseline(brief):
    for other, why in ((by_hand(), "a simulated Run beside a measured one"), (brief, "this very Run")):
        parsed = Parsed(report.html(brief, baseline=other))
        assert "nothing is compared with it" in parsed.text
        assert why in parsed.text
        assert "since the baseline (" not in parsed.text
        assert not any(t["meta"].startswith("baseline") for t in figure(parsed, "fig-roofline")["data"])
