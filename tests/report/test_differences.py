"""A difference in words and rows: the right number, sign and unit, and a name that a reader knows; and of a Run beside
an older one the change, what it rests on, and silence where it would be no change.
"""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.fit import fit
from bench.analysis.quantities import Difference
from bench.analysis.run_comparison import comparisons
from bench.report import differences
from bench.report.document import NOT_JUDGED, PASS, WARN
from bench.report.plots.runs import RunLabel
from bench.schema import SUSTAINED
from tests.report.pairs import NOISE, PROBES, again, good, slow, slower, table
from tests.report.runs import by_hand, simulated


def found(kind="roof", key="dram", regime="burst", **more) -> Difference:
    return Difference(kind=kind, key=key, regime=regime, unit="B/s", **more)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (found(), "DRAM"),
        (found(key="tensor.bfloat16.library", regime=SUSTAINED), "BF16 GEMM sustained"),
        (found("ridge", "tensor.bfloat16.library/dram"), "ridge BF16 GEMM / DRAM"),
        (found("knee", "float32"), "knee of the FP32 FMA sweep"),
        (found("case", "gemm", SUSTAINED, params={"m": 4096}), "gemm: m 4096 sustained"),
    ],
)
def test_a_quantity_has_one_name(asked, text):
    assert differences.what(asked) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.899, "−10.1 %"), (0.9, "−10.0 %"), (1.0032, "+0.32 %"), (0.98, "−2.0 %"), (1, "±0 %"), (3.4, "× 3.40")],
)
def test_changes_have_a_sign_and_the_digits_that_they_deserve(ratio, text):
    assert differences.change(ratio) == text


def test_intervals_say_their_unit_once():
    assert differences.span(found(low=0.891, high=0.907)) == "−10.9 to −9.3 %"
    assert differences.span(found(low=0.9, high=2.5)) == "× 0.900 to × 2.50"
    assert differences.span(found(low=0.01, high=10.0)) == "wider than a factor of 100"
    assert differences.span(found()) == ""


def test_what_could_have_been_seen():
    assert differences.visible(0.013) == "1.3 %"
    assert differences.visible(3.2) == "× 4.2"
    assert differences.visible(1e80) == "× 100"


@given(st.floats(0.01, 100), st.floats(1.0, 1.5))
def test_a_change_and_its_interval_agree_in_sign(ratio, width):
    each = found(low=ratio / width, high=ratio * width, ratio=ratio)
    low, high = differences.span(each).split(" to ")
    if each.low > 0.5 and each.high < 2:
        assert ("−" in low) == (each.low < 1 - 5e-6)
        assert ("+" in high) == (each.high >= 1 + 5e-6)
    else:
        # one end is a factor, so both are: two scales side by side would not compare
        assert low.startswith("× ")
        assert high.startswith("× ")


def test_rows_name_their_run_and_hold_what_tables_and_figures_read():
    (beside,) = comparisons([good(), slow()])
    (pair,) = beside.pairs
    memory = next(d for d in pair.of("roof") if d.key == "dram")
    row = differences.row(RunLabel(1, True, "x"), pair, memory, False)
    assert (row["what"], row["differs"], row["mark"], row["devices"]) == ("DRAM", True, "fail", "")
    assert row["hover"].startswith("<b>DRAM</b><br>B (simulated): GPU 0 over GPU 0<br>−10.0 % (95 % interval: −")
    assert differences.row(RunLabel(1, True, "x"), pair, memory, True)["devices"] == "GPU 0 / GPU 0"


def test_a_difference_too_small_to_matter_says_so():
    (beside,) = comparisons([good(), slow()])
    near = found(low=1.001, high=1.01, ratio=1.005, verdict="faster", basis="95 % interval")
    assert differences.row(RunLabel(1, False, "x"), beside.pairs[0], near, False)["says"] == "faster (by less than 2 %)"


def test_devices_are_named_in_the_order_of_the_ratio():
    node = simulated("sim:h200-sxm,gpus=2,noise=0.002:0.007,seed=2", ("bandwidth",))
    (beside,) = comparisons([good(), node])
    row = differences.row(RunLabel(1, True, "x"), beside.pairs[1], beside.pairs[1].differences[0], True)
    assert row["devices"] == "GPU 1 / GPU 0"
    assert "B (simulated): GPU 1 over GPU 0" in row["hover"]


def test_a_hover_holds_no_markup_of_a_run():
    (beside,) = comparisons([good(), slow()])
    doubtful = found("case", "<i>p", params={"<b>": 1}, low=0.8, high=0.9, ratio=0.85, doubts=("<img src=x>",))
    hover = differences.row(RunLabel(1, False, "x"), beside.pairs[0], doubtful, False)["hover"]
    assert "&lt;img src=x&gt;" in hover
    assert "&lt;i&gt;p: &lt;b&gt; 1" in hover


def test_the_table_has_units_intervals_verdicts_and_what_they_rest_on():
    rows = {row["what"]: row for row in table("differences", good(), slow())}
    memory = rows["DRAM"]
    assert memory["A (simulated)"].endswith(" TB/s")
    assert memory["difference"] == "−10.0 %"
    assert (memory["verdict"], memory["rests on"]) == ("slower", "95 % interval")
    assert memory["visible from"].endswith(" %")
    assert rows["ridge BF16 GEMM / DRAM"]["B (simulated)"].endswith(" FLOP/B")
    assert next(iter(rows)) == "DRAM"


def test_units_are_those_of_the_quantity():
    cases = table("cases", good(), slow())
    assert all(row["A (simulated)"].endswith("s") and "/s" not in row["A (simulated)"] for row in cases)
    assert "Run" not in cases[0]
    assert {row["Run"] for row in table("cases", good(), slow(), slow())} == {"B (simulated)", "C (simulated)"}


def test_a_probe_that_was_skipped_whole_is_listed():
    skipped = tuple(
        replace(m, seconds=(), skip="no compiler", stop_reason="skipped") if m.probe == "peak" else m
        for m in good().measurements
    )
    other = again(replace(good(), measurements=skipped))
    rows = table("one-sided", good(), other)
    found = [
        row
        for row in rows
        if (row["measured in"], row["not in"], row["probe"]) == ("A (simulated)", "B (simulated)", "peak")
    ]
    assert [row["why"] for row in found] == ["no compiler"]
    assert int(found[0]["number"]) > 4
    assert f"and {int(found[0]['number']) - 4} more" in found[0]["which"]
    assert "only in the reference: no compiler" in {row["why"] for row in table("refused", good(), other)}
    back = table("one-sided", other, good())
    assert [row["measured in"] for row in back if row["probe"] == "peak"] == ["B (simulated)"]


def test_other_versions_are_refused_and_counted():
    newer = again(replace(good(), measurements=tuple(replace(m, version=99) for m in good().measurements)))
    rows = table("refused", good(), newer)
    memory = next(row for row in rows if row["what"] == "cases of bandwidth")
    assert re.fullmatch(r"other versions of the probe bandwidth: \d+ and 99", memory["why"])
    assert int(memory["number"]) > 4


# --- a Run beside its baseline


def against(run, old):
    return comparisons([old, run])[0]


def beside(run, old):
    found = against(run, old)
    return found, found.theirs[0]


def told(run, old):
    found, chosen = beside(run, old)
    return [(each.text, each.status) for each in differences.since(found, chosen)]


def line(run, old, kind="roof", key="dram"):
    found, chosen = beside(run, old)
    return differences.noted(found, chosen, kind, key)


def test_the_change_is_stated_with_its_interval():
    (text,) = line(slow(), good())
    assert re.fullmatch(r"−10\.0 % since the baseline \(95 % interval −1\d\.\d to −\d\.\d %\)", text)
    (text,) = line(slow(), good(), "ridge", "tensor.bfloat16.library/dram")
    assert text.startswith("+11.1 % since the baseline (95 % interval +")
    assert line(slow(), good(), "roof", "tensor.bfloat16.library") == ["no change beyond the interval (±0 %)"]
    assert line(slow(), good(), "roof", "no such roof") == []


def test_what_changed_most_is_said_first():
    (first, status), (which, _) = told(slow(), good())
    assert re.fullmatch(
        r"Since the baseline: DRAM −10\.0 % \(−1\d\.\d to −\d\.\d %\); 1 other headline changed\.", first
    )
    assert status == WARN
    assert re.fullmatch(
        r"Baseline: the Run of \d{4}-\d\d-\d\d \d\d:\d\d UTC, same UUID: the same simulated devices\.", which
    )
    assert told(good(), slow())[0][1] == ""
    lost_compute = slower(good(), "peak", 0.7)
    assert "GEMM" in told(lost_compute, good())[0][0] or "FP32" in told(lost_compute, good())[0][0]


def test_no_change_is_said_too():
    assert told(again(good()), good())[0] == ("Since the baseline: no headline changed beyond its interval.", PASS)


@pytest.mark.parametrize(
    ("old", "why"),
    [(by_hand, "they are a simulated Run beside a measured one"), (good, "it is this very Run")],
)
def test_another_machine_or_the_same_run_is_no_baseline(old, why):
    ((text, status),) = told(good(), old())
    assert text.endswith(f"UTC; nothing is compared: {why}.")
    assert status == NOT_JUDGED
    assert line(good(), old()) == []
    found, chosen = beside(good(), old())
    assert found.earlier(chosen) is None


def test_other_versions_of_a_probe_are_said_and_not_compared():
    old = again(replace(good(), measurements=tuple(replace(m, version=m.version + 1) for m in good().measurements)))
    (text,) = line(good(), old)
    assert text.startswith("baseline: not compared, other versions of the probe bandwidth")
    found = told(good(), old)
    assert found[-1][0].startswith("Not compared with the baseline: DRAM (other versions of the probe bandwidth")
    assert "(other versions of the probe peak" in found[-1][0]
    assert not any(text.startswith("Since") for text, _ in found)


def test_the_ghost_is_the_device_that_the_shown_one_was():
    node = simulated(f"sim:h200-sxm,gpus=2,{NOISE},seed=2", PROBES)
    found = against(again(node, "7"), node)
    for k in (0, 1):
        assert found.earlier(found.theirs[k]).reference.info.id == node.environment.devices[k].id
    assert found.earlier(None) is None
    (text,) = differences.noted(found, found.theirs[1], "roof", "dram")
    assert text.endswith(" (GPU 1)")


def test_a_device_that_the_baseline_lacks_is_said():
    node = simulated(f"sim:h200-sxm,gpus=2,{NOISE},seed=2", PROBES)
    found = against(node, good())
    (finding,) = differences.since(found, found.theirs[1])
    assert finding.text.endswith("nothing is compared: it has no such device.")


def test_without_a_baseline_there_is_nothing():
    chosen = fit(good())[0]
    assert differences.noted(None, chosen, "roof", "dram") == []


def test_no_finding_is_longer_than_a_reader_takes():
    for old in (good(), slow(), by_hand(), again(good(), host="x" * 40)):
        for run in (good(), slow(), again(good(), "9")):
            assert all(len(text.split()) <= 20 for text, _ in told(run, old)), told(run, old)
