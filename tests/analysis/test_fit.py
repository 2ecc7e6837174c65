import math
import random
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.datasheet import compare, datasheet
from bench.analysis.fit import fit
from bench.analysis.knee import smooth_minimum
from bench.roofline import Roof, Roofline
from bench.schema import FIRST_ROUND
from bench.stats import estimate
from bench.work import ladder


def changed(run, change):
    return replace(run, measurements=tuple(change(m) for m in run.measurements))


@given(st.floats(1e9, 1e16), st.floats(1e9, 1e14), st.floats(0.05, 0.5))
def test_a_smooth_knee_is_recovered(peak, bandwidth, rounding):
    ridge = peak / bandwidth
    points = []
    for step in np.geomspace(ridge / 30, ridge * 30, 15):
        flops, moved = step * 1e6, 1e6
        slow, fast = max(flops / peak, moved / bandwidth), min(flops / peak, moved / bandwidth)
        points.append((flops, moved, slow * (1 + (fast / slow) ** (1 / rounding)) ** rounding))
    found = smooth_minimum(points)
    assert found[0] == pytest.approx(peak, rel=2e-3)
    assert found[1] == pytest.approx(bandwidth, rel=2e-3)
    assert found[2] == pytest.approx(rounding, rel=0.02, abs=1e-3)


@pytest.mark.parametrize("sharpness", [math.inf, 4])
def test_noise_does_not_shift_a_knee(sharpness):
    """A fit that may round a corner but not sharpen it reads a sharp one high, which no repetition averages away."""
    machine = Roofline("m", (Roof("dram", 4.8e12), Roof("vector.float32.loop", 67e12)), sharpness=sharpness)
    ridge = machine.ridge("vector.float32", "dram")
    works = [ladder(2**28, fmas) for fmas in (0, 2, 8, 16, 32, 64, 128)]
    draw = random.Random(1)

    def knee():
        times = [machine.seconds(work) * math.exp(draw.gauss(0, 0.007)) for work in works]
        compute, memory, _ = smooth_minimum([(w.flops, w.bytes, t) for w, t in zip(works, times, strict=True)])
        return compute / memory

    runs = [[knee() for _ in range(11)] for _ in range(80)]
    off = [math.log(value / ridge) for run in runs for value in run]
    assert abs(fmean(off)) < 4 * stdev(off) / math.sqrt(len(off))
    # 95 % of 80 is 76; 69 to 80 holds 99.9 % of binomial draws
    assert 69 <= sum(ridge in estimate(run) for run in runs) <= 80


def test_the_winner_is_chosen_by_the_first_pass_and_stated_by_the_rounds(h200):
    """A mix that was lucky once wins, but its luck does not enter the roof."""

    def lucky(m):
        if m.saturates == "dram" and m.params["mix"] == "copy" and m.repetition == 1:
            return replace(m, seconds=tuple(s / 2 for s in m.seconds))
        return m

    fitted = fit(changed(h200, lucky))[0]
    assert fitted.roofs["dram"].winner.params["mix"] == "copy"
    assert fitted.roofline.roof("dram").rate == pytest.approx(4.8e12, rel=1e-9)
    assert len(fitted.roofs["dram"].rivals) == 5


@pytest.mark.parametrize(("rounds", "winner"), [((0.5, 0.98, 1.01), "copy"), ((0.5, 0.5, 0.5), "add")])
def test_the_rounds_overrule_the_first_pass_only_where_a_rival_is_faster_beyond_their_scatter(h200, rounds, winner):
    """The rival that is faster on their mean alone would win as often by chance."""

    def changed_times(m):
        if m.saturates != "dram" or m.params["mix"] not in ("copy", "add"):
            return m
        first, rival = m.repetition < FIRST_ROUND, m.params["mix"] == "add"
        factor = 1.0 if first == rival else 0.99 if first else 1.0
        factor = rounds[m.repetition - FIRST_ROUND] if rival and not first else factor
        return replace(m, seconds=tuple(s * factor for s in m.seconds))

    assert fit(changed(h200, changed_times))[0].roofs["dram"].winner.params["mix"] == winner


def test_invalid_repetitions_do_not_count_and_suspect_ones_are_said(h200):
    def judged(m):
        if m.saturates == "dram" and m.repetition == 2:
            return replace(m, validity="invalid", reasons=("hot",), seconds=tuple(s * 3 for s in m.seconds))
        if m.saturates == "dram" and m.repetition == 3:
            return replace(m, validity="suspect", reasons=("other processes took 9 %",))
        return m

    roof = fit(changed(h200, judged))[0].roofline.roof("dram")
    assert roof.rate == pytest.approx(4.8e12)
    assert roof.n == 2
    assert roof.caution == "1 of 3 rounds invalid: hot (and 1 more)"


def test_a_suspect_winner_is_said(h200):
    def judged(m):
        doubtful = m.saturates == "dram" and m.repetition == 3
        return replace(m, validity="suspect", reasons=("other processes took 9 %",)) if doubtful else m

    assert fit(changed(h200, judged))[0].roofline.roof("dram").caution == "suspect: other processes took 9 %"


def test_a_first_pass_that_no_round_confirms_states_nothing(h200):
    """A GPU that throttles as soon as it is warm has no roof, however well it began."""

    def throttled(m):
        hot = m.saturates == "dram" and m.repetition >= 2
        return replace(m, validity="invalid", reasons=("hardware thermal slowdown",)) if hot else m

    fitted = fit(changed(h200, throttled))[0]
    assert "dram" not in fitted.roofline
    assert fitted.missing["dram"] == "hardware thermal slowdown"


def test_a_roof_without_valid_measurements_is_missing_with_its_cause(h200):
    def broken(m):
        return replace(m, validity="invalid", reasons=("wrong result: off",)) if m.saturates == "dram" else m

    fitted = fit(changed(h200, broken))[0]
    assert fitted.missing["dram"] == "wrong result: off"
    assert "dram" not in fitted.roofline
    assert fitted.headline is None


def test_a_point_above_its_roof_is_flagged(h200):
    def warm(m):
        return replace(m, seconds=tuple(s / 3 for s in m.seconds)) if m.probe == "attention" and m.seconds else m

    fitted = fit(changed(h200, warm))[0]
    flagged = [case for case in fitted.cases if fitted.above(case)]
    assert flagged
    assert {case.probe for case in flagged} == {"attention"}


def test_a_ratio_pairs_repetitions_of_the_same_round(h200):
    """A slow round slows both roofs: the ridge must not move, nor its interval widen."""
    draw = random.Random(3)
    factor = {r: math.exp(draw.gauss(0, 0.1)) for r in range(2, 10)}

    def shaken(m):
        return replace(m, seconds=tuple(s * factor.get(m.repetition, 1.0) for s in m.seconds))

    ridge = fit(changed(h200, shaken))[0].headline.estimate
    assert ridge.value == pytest.approx(989.4 / 4.8)
    assert ridge.high / ridge.low == pytest.approx(1.0)


def test_the_overhead_comes_from_the_smallest_copy_though_its_ring_is_too_small_to_be_cold(h200):
    """Its bytes are next to nothing, wherever they lie; its record says hot, and it stands over no memory roof."""
    copies = [
        m for m in h200.measurements if m.probe == "bandwidth" and m.params["mix"] == "copy" and m.cache == "cold"
    ]
    least, most = (end(m.params["bytes"] for m in copies) for end in (min, max))

    def slower(m):
        m = replace(m, seconds=tuple(s + 3e-6 for s in m.seconds))
        return replace(m, cache="hot", work=replace(m.work, channel="l2")) if m.params["bytes"] == least else m

    run = replace(h200, measurements=tuple(slower(m) for m in copies if m.params["bytes"] in (least, most)))
    fitted = fit(run)[0]
    assert fitted.roofline.overhead == pytest.approx(3e-6, rel=1e-3)
    assert fitted.roofline.roof("dram").rate == pytest.approx(4.8e12, rel=1e-3)


def test_few_repetitions_are_a_range(h200):
    roof = fit(h200)[0].roofline.roof("dram")
    assert roof.n == 3
    assert roof.estimate.kind == "range of 3"


def test_an_empty_run_fits_to_nothing(h200):
    fitted = fit(replace(h200, measurements=()))[0]
    assert (fitted.roofs, fitted.ridges, fitted.knees, fitted.missing) == ({}, (), {}, {})


def test_compare_pairs_by_quantity():
    ours = Roofline("a", (Roof("dram", 3.0, 2.0, 4.0, 5), Roof("vector.float32.loop", 8.0), Roof("l2", 1.0)))
    theirs = Roofline("b", (Roof("dram", 6.0), Roof("vector.float32.datasheet", 16.0)))
    gaps = {gap.ours.key: gap for gap in compare(ours, theirs)}
    assert set(gaps) == {"dram", "vector.float32.loop"}
    assert (gaps["dram"].ratio, gaps["dram"].low, gaps["dram"].high) == (0.5, 2 / 6, 4 / 6)


def test_no_datasheet_for_the_unknown(h200):
    info = h200.environment.devices[0]
    assert datasheet(replace(info, sku="", facts={})) is None
    assert datasheet(replace(info, sku="gone-from-the-table")) is None
    cpu = datasheet(replace(info, sku="", facts={"family": "zen5", "clock_hz": "4e9", "cores": "2"}))
    assert cpu is None or all(roof.evidence.startswith("assumed:") for roof in cpu.roofs)
