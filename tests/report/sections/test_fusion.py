"""What the section of fusion, cache and packing says of planted savings and losses."""

import pytest

from bench.work import Work
from tests.report.runs import by_hand, measured
from tests.report.sections.conftest import drawn, points, said, section


def attention(form, tokens, seconds, peak=0, origin="computed"):
    params = {"part": "attention", "form": form, "tokens": tokens}
    notes = {"peak_bytes": str(peak), "peak": origin}
    return measured("fusion", params, Work(bytes=1e6), (seconds,) * 6, notes=notes)


def other(part, form, seconds, **facts):
    return measured("fusion", {"part": part, "form": form} | facts, Work(bytes=1e6), (seconds,) * 6)


def test_fusion_that_loses_is_said_so_though_its_longest_wins():
    rows = [attention("fused", n, s, 2**20) for n, s in ((256, 2e-3), (512, 6e-3), (1024, 5e-3))]
    rows += [attention("unfused", n, s, 2**24) for n, s in ((256, 1e-3), (512, 2e-3), (1024, 10e-3))]
    text = said(by_hand(rows), "fusion")
    assert "Fused attention is 2.00 times as fast as unfused at 1,024 tokens; it loses at 2 of 3 lengths." in text
    assert "At 256 tokens fused attention has 0.500 times the speed." in text
    assert "It loses most at 512 tokens: 3.00 times as long." in text
    assert "At 1,024 tokens fused attention holds 1 MiB beyond its inputs, unfused 16 MiB." in text
    figures = drawn(by_hand(rows), "fusion")
    assert points(figures["Fused attention"], "fused") == ([256, 512, 1024], pytest.approx([0.5, 1 / 3, 2]))
    assert points(figures["Memory beyond the inputs"], "unfused") == ([256, 512, 1024], [2**24] * 3)


def test_fusion_that_wins_or_loses_everywhere():
    pair = [attention("fused", 512, 1e-3), attention("unfused", 512, 4e-3)]
    text = said(by_hand(pair), "fusion")
    assert "Fused attention is 4.00 times as fast as unfused at 512 tokens." in text
    assert "loses" not in text
    pair[0] = attention("fused", 512, 9e-3)
    text = said(by_hand(pair), "fusion")
    assert "Fused attention takes 2.25 times as long as unfused at 512 tokens; it loses at 1 of 1 length." in text


def test_who_counted_the_peak_is_said():
    rows = [attention("fused", tokens, 1e-3, 2**20, "torch's allocator") for tokens in (512, 1024)]
    rows.append(attention("unfused", 512, 4e-3, 2**24))
    peak = next(plot for plot in section(by_hand(rows), "fusion").plots if plot.id == "fig-fusion-peak")
    assert peak.caption == "By torch's allocator and computed."


def test_a_cache_and_packing_save_what_was_planted():
    rows = [other("cache", form, s, tokens=128) for form, s in (("cached", 1e-3), ("recomputed", 30e-3))]
    rows += [
        other("padding", form, seconds, sequences=8, rows=count)
        for form, count, seconds in (("packed", 100, 1e-3), ("padded", 250, 2e-3))
    ]
    text = said(by_hand(rows), "fusion")
    assert "With the KV cache a token is 30.0 times as fast as recomputed at 128 tokens." in text
    assert "Padding 8 prompts to the longest multiplies rows by 2.50 and time by 2.00." in text
    figures = drawn(by_hand(rows), "fusion")
    assert points(figures["Padding"], "time") == ([8], [2])
    assert points(figures["Padding"], "rows") == ([8], [2.5])
    assert points(figures["A token by its cache"], "cached") == ([128], pytest.approx([30]))


def test_of_several_lengths_the_longest_is_said():
    rows = [
        other("cache", form, seconds * tokens, tokens=tokens)
        for tokens in (512, 128)
        for form, seconds in (("cached", 1e-3), ("recomputed", 1e-5 * tokens))
    ]
    assert "is 5.12 times as fast as recomputed at 512 tokens" in said(by_hand(rows), "fusion")
