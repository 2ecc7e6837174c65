"""What a Run's Document says first: the verdict, what to do next, and what may be believed. Each fault of an earlier
page is a test.
"""

import json
import re
from dataclasses import replace
from html import unescape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import report, work
from bench.analysis import names
from bench.report import run as view
from bench.report.document import Document
from bench.schema import Cache, End, Run
from tests.report.conftest import every_table, kept
from tests.report.runs import by_hand, cpu, measured, rounds, simulated

TWO = ("bandwidth", "peak")
COPY = {"mix": "copy", "bytes": 2**30}


@pytest.fixture(scope="module")
def lost() -> Document:
    return view.document(simulated("sim:h200-sxm,gpus=8,throttle=thermal@5,noise=0.001:0.002", TWO))


def said(document: Document) -> str:
    return " ".join(finding.text for finding in document.findings)


def health(document: Document):
    return document.verdicts[0]


def row(document: Document, device: str) -> dict[str, str]:
    columns = [column.name for column in document.matrix.shown]
    cells = next(cells for cells in document.matrix.cells if cells[0].text == device)
    return {name: f"{cell.text} {cell.mark}".strip() for name, cell in zip(columns, cells, strict=True)}


def test_a_lost_gpu_is_named_first_and_its_row_says_why(lost):
    assert (health(lost).question, health(lost).word, health(lost).text) == ("GPU health", "fail", "GPU 5")
    first = lost.findings[0]
    assert first.text.startswith("GPU 5: not measurable: hardware thermal slowdown")
    assert "`dmesg`" in first.next_step
    assert row(lost, "GPU 5")["DRAM"] == "– fail"
    assert "not measurable" in row(lost, "GPU 5")["Why"]
    assert row(lost, "GPU 0")["DRAM"] == "100 pass"
    assert "GPU 0" not in said(lost)


def test_the_shown_device_is_the_one_in_doubt():
    document = view.document(simulated("sim:h200-sxm,gpus=8,dram@3=0.9,noise=0.001:0.002", TWO))
    assert health(document).text == "GPU 3"
    found = document.findings[0]
    assert re.fullmatch(
        r"GPU 3: DRAM −(10|9\.\d) % \(4\.3\d against 4\.8\d TB/s, median of the 7 others\)\.", found.text
    ), found
    assert "--device sim:h200-sxm --probes bandwidth" in found.next_step
    assert re.match(r"(90|91|89) fail", row(document, "GPU 3")["DRAM"])
    assert document.lead.title == "Roofline of GPU 3"
    assert [name for name, _ in document.lead.plots[0].variants] == [f"GPU {k}" for k in range(8) if k != 3]


def test_a_slow_fleet_names_its_power_limit():
    document = view.document(simulated("sim:h200-sxm,throttle=power_cap,noise=0.002:0.007", TWO))
    assert health(document).word == "warn"
    assert re.fullmatch(r"BF16 GEMM at 8\d(\.\d)? % of datasheet\.", health(document).text)
    assert "the power limit held the clock 100 % of the time" in document.findings[0].text
    assert "nvidia-smi -q -d POWER" in document.findings[0].next_step


def test_equal_siblings_pass_and_nothing_is_low():
    document = view.document(simulated("sim:h200-sxm,gpus=4,noise=0.002:0.007", TWO))
    assert health(document).word == "pass"
    assert "siblings" in health(document).text
    assert not [finding for finding in document.findings if finding.status]


def test_without_anything_to_judge_by_health_is_not_judged():
    run = by_hand(
        rounds("bandwidth", {"mix": "copy", "bytes": 2**30}, work.stream("copy", 2**27), 1e-3, saturates="dram")
    )
    document = view.document(run)
    assert (health(document).word, health(document).status) == ("not judged", "not judged")
    assert "no datasheet" in health(document).text
    assert "no datasheet" in document.tiles[0].notes[0]


def test_mostly_disturbed_measurements_are_not_usable():
    busy = ("other processes took 85 % of the cores",)
    rows = [
        measured("bandwidth", COPY, work.stream("copy", 2**27), repetition=r, saturates="dram",
                 elapsed=1.0, **({"validity": "suspect", "reasons": busy} if r else {}))
        for r in range(6)
    ]  # fmt: skip
    verdict = view.document(by_hand(rows)).verdicts[1]
    assert (verdict.question, verdict.word, verdict.status) == ("Measurement", "not usable", "fail")
    assert verdict.text.startswith("83 % of the time was disturbed")
    assert "other processes took part of the cores" in verdict.text


def test_suspects_are_counted_with_their_cause():
    rows = [
        measured("bandwidth", {"mix": "copy", "bytes": 2**30}, work.stream("copy", 2**27), repetition=r, elapsed=1.0,
                 validity="suspect" if r < 2 else "valid", reasons=(f"clock moved {r + 3} %",) if r < 2 else ())
        for r in range(8)
    ]  # fmt: skip
    verdict = view.document(by_hand(rows)).verdicts[1]
    assert verdict.word == "suspect"
    assert verdict.text == "6 of 8 measurements valid, 2 suspect: clock moved … %."


def test_an_incomplete_run_says_so_before_anything_else(h200):
    document = view.document(replace(h200, end=None))
    assert document.banners[0].text.startswith("INCOMPLETE: the Run was cut short")
    assert document.title.startswith("SIMULATED · INCOMPLETE · ")
    failed = replace(h200, end=End("failed", 4, "", 1.0, ("cuda:1: fell off the bus",)))
    assert "cuda:1: lost: fell off the bus." in said(view.document(failed))
    assert "Failed" not in said(view.document(failed))
    assert health(view.document(failed)).text == "cuda:1"


def test_a_roof_that_the_shown_device_lacks_keeps_its_tile():
    node = simulated("sim:h200-sxm,gpus=4,noise=0.001:0.002", TWO)
    last = node.environment.devices[3].id
    gone = [replace(m, seconds=(), skip="no memory") if (m.device, m.probe) == (last, "bandwidth") else m
            for m in node.measurements]  # fmt: skip
    document = view.document(replace(node, measurements=tuple(gone)))
    tile = document.tiles[0]
    assert (tile.name, tile.status) == ("DRAM", "warn")
    assert "not measured on GPU 3" in tile.notes
    assert document.tiles[-1].value in said(document)
    assert all(finding.text for finding in document.findings)


def test_a_point_above_its_roof_is_told_once():
    rows = rounds("bandwidth", {"mix": "copy", "bytes": 2**30}, work.stream("copy", 2**27), 1e-3, saturates="dram")
    rows += [measured("bandwidth", {"mix": "copy", "bytes": 2**20}, work.stream("copy", 2**17), (1e-7,) * 6)]
    found = [finding for finding in view.document(by_hand(rows)).findings if "above the measured roof" in finding.text]
    assert len(found) == 1
    assert found[0].status == "warn"
    assert found[0].text.startswith("1 point lies above the measured roof, by ")
    assert "(bandwidth)" in found[0].text


def test_what_was_not_measured_is_one_line(h200):
    document = view.document(h200)
    assert "allreduce (one device: nothing to reduce with)" in document.absent
    assert document.absent.count("allreduce") == 1


def test_one_name_per_roof():
    assert names.roof("tensor.bfloat16.library") == "BF16 GEMM"
    assert names.roof("vector.float32.loop") == "FP32 vector loop"
    assert names.roof("dram") == "DRAM"
    assert names.roof("tensor.float8_e4m3.fast_accum.library") == "FP8 fast GEMM"
    assert names.roof("h2d") == "H2D"


FORBIDDEN = re.compile(
    r"stands? apart|held against|fared|whence|estranged|unfounded|astray|\bladder\b|\bsound\b|\btheory\b"
)


@pytest.mark.parametrize(
    "spec", ["sim:h200-sxm,gpus=2,dram@1=0.9", "sim:b200,throttle=power_cap", "sim:t4,noise=0.01:0.05"]
)
def test_findings_are_short_and_in_the_fields_words(spec):
    document = view.document(simulated(spec))
    for section in document.every_section:
        assert len(section.findings) <= 3, section.id
        for text in (*(finding.text for finding in section.findings), *section.notes):
            assert not FORBIDDEN.search(text), text
        for finding in section.findings:
            assert len(finding.text.split()) <= 28, finding.text
    for finding in document.findings:
        assert not FORBIDDEN.search(finding.text), finding.text


def test_three_names_tell_the_devices_of_a_node_apart(lost):
    assert lost.heading == "8 × simulated h200-sxm"
    assert [cells[0].text for cells in lost.matrix.cells] == [f"GPU {k}" for k in range(8)]


@st.composite
def planted(draw) -> Run:
    """Runs of one or several GPUs or a CPU with whatever befell their measurements."""
    count = draw(st.integers(1, 3))
    info = cpu(name=draw(st.sampled_from(["Some CPU", "A|B `c` <b>", "*x*_y_"])), caches=(Cache("l1", 2**16),))
    infos = tuple(replace(info, id=f"dev:{k}" if count > 1 else "cpu") for k in range(count))
    rows = []
    for device in infos:
        speed = draw(st.sampled_from([1.0, 1.0, 0.9, 0.5]))
        state = draw(st.sampled_from(["valid", "valid", "suspect", "invalid"]))
        why = draw(st.sampled_from(["clock moved 5 %", "a `b` | <c> *d*", "e\nf"]))
        for r in (0, *range(2, 2 + draw(st.integers(1, 6)))):
            for probe, params, demand, key, seconds in (
                ("bandwidth", {"mix": "copy", "bytes": 2**30}, work.stream("copy", 2**27), "dram", 1e-3),
                ("peak", {"kind": "loop"}, work.fma_loop(512, 10**6, "float32"), "vector.float32.loop", 1e-2),
            ):
                jitter = 1 + draw(st.floats(0, 0.01))
                given = {"validity": state, "reasons": (why,) if state != "valid" else ()}
                rows.append(
                    measured(probe, params, demand, (seconds / speed * jitter,) * 3, repetition=r, saturates=key,
                             device=device.id, **given)
                )  # fmt: skip
    return by_hand(rows, infos[0], complete=draw(st.booleans()), devices=infos)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(planted())
def test_every_form_states_the_same_findings(run):
    document = view.document(run)
    wanted = [finding.text for finding in document.findings]
    wanted += [verdict.text for verdict in document.verdicts]
    wanted += [finding.text for section in document.every_section for finding in section.findings]
    told = json.loads(report.made(document, "json"))
    listed = [finding["text"] for finding in told["findings"]] + [verdict["text"] for verdict in told["verdicts"]]
    listed += [finding["text"] for section in told["sections"] for finding in section["findings"]]
    assert listed == wanted
    for form in ("html", "md", "txt"):
        text = report.made(document, form).decode()
        text = words(text) if form == "html" else bare(unescape(text))
        for sentence in wanted:
            assert bare(sentence) in text, f"{form}: {sentence}"


def words(text: str) -> str:
    """Letters and digits alone: forms differ in marks, breaks and escapes."""
    text = re.sub(r"<style.*?</style>|<script.*?</script>", " ", text, flags=re.DOTALL)
    return bare(unescape(re.sub(r"</?[a-z][^>]*>|<!.*?>", "", text)))


def bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)


def test_assumed_peaks_are_not_called_a_datasheet():
    document = view.document(kept())
    assert "no datasheet, no sibling and no baseline" in health(document).text
    assert "Measured against assumed peak" in [section.title for section in document.every_section]
    columns = [column.name for table in every_table(document) for column in table.columns]
    assert "% of assumed peak" in columns
    assert not [name for name in columns if "datasheet" in name]


def test_what_all_gpus_measured_together_is_not_missing_on_the_slow_one(slow_sibling):
    """As a Run has it: the ranks' all-reduce is recorded once, under the first of them."""
    rows = [m for m in slow_sibling.measurements if m.probe != "allreduce" or m.device.endswith(":0")]
    tiles = view.document(replace(slow_sibling, measurements=tuple(rows))).tiles
    (link,) = [tile for tile in tiles if tile.name == "link"]
    assert link.status == ""
    assert link.notes[1].startswith("4 GPUs together, ")
    assert not any("not measured" in note for note in link.notes)
    # four of eight speak for themselves alone
    few = [replace(m, params=m.params | {"ranks": 2}) if m.probe == "allreduce" else m for m in rows]
    tiles = view.document(replace(slow_sibling, measurements=tuple(few))).tiles
    (link,) = [tile for tile in tiles if tile.name == "link"]
    assert (link.status, link.notes[1:]) == ("warn", ("of one of 4 GPUs", "not measured on GPU 2"))
