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
from bench.measure.device.protocol import DeviceError
from bench.report import run as view
from bench.report.render.html import packed
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
    """What travels compressed: "file-1" (the Run), "file-2" (its cases), "file-plotly", "data-<figure>"."""
    packed = next(text for attrs, text in parsed.scripts if attrs.get("id") == name)
    return gzip.decompress(base64.b64decode(packed))


def figure(parsed: Parsed, name: str) -> dict:
    return json.loads(unpacked(parsed, f"data-{name}"))


def test_what_is_packed_comes_back():
    assert gzip.decompress(base64.b64decode(packed("a µ \ud800"))) == b"a \xc2\xb5 ?"


def test_sections_come_in_order(parsed):
    found = [attrs["id"] for attrs in parsed.by("section")]
    first = ["first", "roofline", "datasheet", "health"]
    memory = ["probe-bandwidth", "probe-onchip"]
    compute = ["probe-peak", "probe-intensity", "probe-gemm", "probe-attention", "probe-layer"]
    rest = ["probe-hostcopy", "probe-allreduce", "probe-latency", "probe-launch", "energy"]
    assert found == [*first, *memory, *compute, *rest, "methods", "glossary", "skipped", "environment", "data"]


def test_folds_say_a_line_and_a_number_each(text):
    folds = re.findall(
        r'<details class="group" id="group-([\w-]+)">\s*<summary><h2>(.*?)</h2><span class="line">(.*?)<', text
    )
    assert [name for _, name, _ in folds] == [
        "Memory", "Compute", "GEMM", "Attention", "Transformer layer", "Links", "Latency and launches", "Energy",
        "Methods and environment",
    ]  # fmt: skip
    for _, name, line in folds[:-1]:
        assert line, name
        assert re.search(r"\d", line) or "Not measured" in line, name


def test_every_id_is_unique_and_every_link_leads_somewhere(parsed):
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(attrs["href"].startswith("#") and attrs["href"][1:] in ids for attrs in parsed.by("a"))


def test_every_figure_has_a_text_of_its_own_and_a_table(parsed):
    canvases = [attrs for _, attrs in parsed.tags if "data-figure" in attrs]
    assert len(canvases) >= 8
    assert all(len(attrs["aria-label"]) > 40 and attrs["role"] == "img" for attrs in canvases)
    assert len({attrs["aria-label"] for attrs in canvases}) == len(canvases)
    tables = {attrs["id"] for attrs in parsed.by("table")}
    assert {"skips", "cases-bandwidth", "cases-peak", "cases-gemm", "cases-attention"} <= tables


def test_headlines_carry_interval_and_datasheet(parsed):
    assert "95 % interval" in parsed.text
    assert re.search(r"\d % of datasheet", parsed.text)
    assert "datasheet 206 FLOP/B" in parsed.text


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
        for t in (*running, unpacked(parsed, "file-plotly"))
    }
    assert set(rules["script-src"].split()) == wanted


def test_the_run_travels_whole(h200, parsed):
    assert unpacked(parsed, "file-1").decode().splitlines() == list(store.raw_lines(h200))
    assert store.parse(unpacked(parsed, "file-1"), "again").measurements == h200.measurements


def test_no_event_handlers_and_no_javascript_links(parsed):
    for name, attrs in parsed.tags:
        assert not [key for key in attrs if key.startswith("on")], name
        assert "javascript:" not in str(attrs.get("href", "")).lower()


def test_size(text, slow_sibling):
    assert len(text.encode()) <= 2_000_000
    assert len(report.html(slow_sibling).encode()) <= 3_000_000


def test_a_huge_run_embeds_medians_and_says_so(brief, monkeypatch):
    monkeypatch.setattr(view, "_MOST_SAMPLES", 1000)
    parsed = Parsed(report.html(replace(brief, source="results/x/RUN.jsonl")))
    again = store.parse(unpacked(parsed, "file-1"), "again")
    assert all(len(m.seconds) <= 1 for m in again.measurements)
    assert "every sample is in RUN.jsonl" in parsed.text


def test_at_most_two_thousand_points_per_trace():
    sizes = [measured("many", {"n": n}, work.Work(bytes=float(n))) for n in range(1, 5001)]
    found = figure(Parsed(report.html(by_hand(sizes))), "fig-many-0")
    assert found["data"]
    assert all(len(trace["x"]) <= 2000 for trace in found["data"])


def test_simulated_is_said_everywhere(text, parsed):
    assert text.split("<title>")[1].startswith("SIMULATED")
    assert "simulated" in parsed.by("html")[0]["class"]
    assert any(attrs.get("class") == "band" for attrs in parsed.by("p"))
    figures = [attrs["id"] for attrs, _ in parsed.scripts if attrs.get("id", "").startswith("data-fig")]
    assert figures
    assert all(b"SIMULATED" in unpacked(parsed, name) for name in figures)


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
    assert all("<" not in body for attrs, body in parsed.scripts if "type" in attrs)


def test_unknown_probe_gets_a_generic_section():
    rows = [measured("my_probe", {"kind": "x", "width": 2**k}, work.Work(bytes=float(2**k))) for k in range(10, 16)]
    parsed = Parsed(report.html(by_hand(rows)))
    assert "probe-my-probe" in [attrs["id"] for attrs in parsed.by("section")]
    assert any(attrs.get("data-figure") == "fig-my-probe-0" for _, attrs in parsed.tags)
    assert "cases-my-probe" in [attrs.get("id") for attrs in parsed.by("table")]


@pytest.mark.parametrize("run", [by_hand(), replace(by_hand(), environment=replace(by_hand().environment, devices=()))])
def test_an_empty_run_says_so(run):
    parsed = Parsed(report.html(run))
    assert "EMPTY" in parsed.text
    assert "nothing was measured" in parsed.text
    assert not [attrs for _, attrs in parsed.tags if "data-figure" in attrs]


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


def test_an_invalid_run_has_no_roof():
    parsed = Parsed(report.html(simulated("sim:b200,throttle=thermal", ("bandwidth", "peak"))))
    assert "FAIL" in parsed.text
    assert "Not measurable: hardware thermal slowdown" in parsed.text
    assert re.search(r"INVALID|NOT USABLE", parsed.text)
    assert "No roof was measured" in parsed.text


@pytest.mark.parametrize(
    "change", [{"validity": "suspect"}, {"validity": "invalid"}, {"clock_hz": (1.7e9,)}, {"repetition": 0}]
)
def test_every_probe_can_be_shown_in_any_state(h200, change):
    rows = tuple(m if m.skip else replace(m, reasons=("planted",), **change) for m in h200.measurements)
    parsed = Parsed(report.html(replace(h200, measurements=rows)))
    if "validity" in change:
        assert re.search("INVALID|NOT USABLE" if change["validity"] == "invalid" else "SUSPECT|NOT USABLE", parsed.text)
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
    assert "Not measured: no memory" in parsed.text
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
    names = [trace.get("name") for trace in figure(Parsed(text), "fig-roofline")["data"]]
    assert "measured, doubtful" in names


def test_redacted_run_says_so(brief):
    text = report.html(replace(brief, environment=store.redacted(brief.environment)))
    assert "Redacted" in Parsed(text).text
    assert brief.environment.host not in Parsed(text).text


def test_several_devices_have_a_matrix_and_a_section(slow_sibling):
    text = report.html(slow_sibling)
    parsed = Parsed(text)
    assert "devices" in [attrs["id"] for attrs in parsed.by("section")]
    assert "GPU 2: DRAM −10" in parsed.text
    rows = re.findall(r"<tr>(.*?)</tr>", text.split('<table id="matrix">')[1].split("</table>")[0], re.DOTALL)[1:]
    marks = [re.findall(r'class="(?:n )?([\w-]+)"', row) for row in rows]
    assert [row.count("fail") > 0 for row in marks] == [False, False, True, False]
    # text and symbol, not colour alone
    assert re.search(r">90 <b>✕</b>", rows[2])


def test_write_is_whole_or_nothing(tmp_path, brief):
    path = report.write(brief, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sorted(p.name for p in path.parent.iterdir()) == ["report-serving.html", "report.html"]


def test_write_complains_in_one_line(tmp_path, brief):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(store.RunError, match="cannot write") as caught:
        report.write(brief, blocked / "report.html")
    assert "\n" not in str(caught.value)


def test_the_same_run_makes_the_same_page(h200, text):
    assert report.html(h200) == text


def test_without_kernels_there_is_no_such_section(text, parsed):
    assert "your-kernels" not in [attrs["id"] for attrs in parsed.by("section")]
    assert all("your kernels" not in trace["meta"] for trace in figure(parsed, "fig-roofline")["data"])


def test_headlines_state_the_change_since_a_baseline(brief):
    now = simulated("sim:h200-sxm,noise=0.002:0.007,overhead=2us,seed=5,dram=0.9", ("bandwidth", "peak"))
    parsed = Parsed(report.html(now, baseline=brief))
    assert re.search(r"−(9|10|11)(\.\d)? % since the baseline \(95 % interval", parsed.text)
    assert "no change beyond the interval" in parsed.text
    assert re.search(r"DRAM −(9|10|11)(\.\d)? %", parsed.text)
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
        assert "nothing is compared" in parsed.text
        assert why in parsed.text
        assert "since the baseline (" not in parsed.text
        assert not any(t["meta"].startswith("baseline") for t in figure(parsed, "fig-roofline")["data"])
