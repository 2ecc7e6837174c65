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
from bench.device import DeviceError
from bench.report import page as pages
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
    ]
    assert found == [*wanted, "energy", "skipped", "methods", "environment"]


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


def test_a_huge_run_embeds_medians_and_says_so(h200, monkeypatch):
    monkeypatch.setattr(pages, "MOST_RAW", 1000)
    parsed = Parsed(report.html(replace(h200, source="results/x/RUN.jsonl")))
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
    for count in (0, 1, 2, 7, 30, 90, 200):
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


def test_redacted_run_says_so(h200):
    text = report.html(replace(h200, environment=store.redacted(h200.environment)))
    assert "Redacted" in Parsed(text).text
    assert h200.environment.host not in Parsed(text).text


def test_several_devices_have_a_section(slow_sibling):
    parsed = Parsed(report.html(slow_sibling))
    assert "siblings" in [attrs["id"] for attrs in parsed.by("section")]
    assert "GPU 2 stands apart" in parsed.text


def test_write_is_whole_or_nothing(tmp_path, h200):
    path = report.write(h200, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_write_complains_in_one_line(tmp_path, h200):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(store.RunError, match="cannot write the report") as caught:
        report.write(h200, blocked / "report.html")
    assert "\n" not in str(caught.value)


def test_the_same_run_makes_the_same_page(h200, text):
    assert report.html(h200) == text
