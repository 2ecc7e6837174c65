"""What the section of attention variants says of planted kinds, caches, lengths, prefixes and samplers."""

import pytest

from bench.analysis.transformer_cases import wide_decodes
from bench.work import Work
from tests.report.runs import by_hand, measured
from tests.report.sections.conftest import drawn, points, said, view


def attend(cache="bfloat16", layout="gqa", batch=1, context=1024, seconds=1e-3, size=2e6, method="", **more):
    params = {"part": "attention", "dtype": "bfloat16", "layout": layout, "cache": cache, "batch": batch}
    params |= {"context": context} | ({"method": method} if method else {})
    return measured("decode", params, Work(bytes=size), (seconds,) * 6, **more)


def other(part, seconds, **facts):
    return measured("decode", {"part": part, "dtype": "bfloat16"} | facts, Work(bytes=8.0), (seconds,) * 6)


KINDS = [
    attend(layout="mha", seconds=8e-3, size=8e6),
    attend(layout="gqa", seconds=2e-3, size=2e6),
    attend(layout="gqa", seconds=4e-3, size=2e6, context=8192),
    attend(layout="mla", seconds=9e-3, size=1e6, method="slow"),
    attend(layout="mla", seconds=4e-3, size=1e6, method="fast"),
    measured("bandwidth", {"mix": "read", "bytes": 2**30}, Work(bytes=1e10), (1.0,) * 6, saturates="dram"),
]


def test_kinds_of_attention_are_compared_at_one_point_and_by_their_fastest_method():
    run = by_hand(KINDS)
    text = said(run, "decode")
    assert "Speed over MHA (bytes alone) at batch 1, 1,024 tokens: GQA 4.00 (4.00), MLA 2.00 (8.00)." in text
    # 10 GB/s is the roof, and GQA moves 2 MB in 2 ms
    assert "At best MHA 10.0 %, GQA 10.0 %, MLA 2.50 % of DRAM." in text
    assert points(drawn(run, "decode")["Kinds of attention"], "GQA, batch 1") == ([1024, 8192], pytest.approx([10, 5]))
    best = wide_decodes(view(run).rows)
    found = dict(zip(zip(best["layout"], best["context"], strict=True), best["seconds"], strict=True))
    assert found == {("MHA", 1024): 8e-3, ("GQA", 1024): 2e-3, ("GQA", 8192): 4e-3, ("MLA", 1024): 4e-3}


def test_the_point_of_comparison_is_one_where_mha_was_measured():
    rows = [*KINDS, *(attend(layout=layout, batch=64, seconds=1e-3) for layout in ("gqa", "mqa", "mla"))]
    rows += [attend(layout=layout, context=8192, batch=64) for layout in ("mha", "gqa")]
    assert "over MHA (bytes alone) at batch 1, 1,024 tokens: GQA" in said(by_hand(rows), "decode")
    assert "over MHA" not in said(by_hand(rows[1:-2]), "decode")


def test_a_larger_batch_shares_the_colour_of_its_kind():
    rows = [attend(batch=batch, layout=layout) for layout in ("mha", "gqa") for batch in (1, 64)]
    traces = drawn(by_hand([*rows, KINDS[-1]]), "decode")["Kinds of attention"].data
    assert [trace.name for trace in traces] == ["MHA, batch 1", "MHA, batch 64", "GQA, batch 1", "GQA, batch 64"]
    assert traces[0].line.color == traces[1].line.color != traces[2].line.color
    assert [trace.line.dash for trace in traces] == ["solid", "dot", "solid", "dot"]


def test_a_narrow_cache_is_compared_with_the_wide_one_and_says_its_method():
    rows = [
        attend(seconds=1e-3),
        attend("int8", seconds=4e-3, size=1e6, notes={"method": "widened first"}),
        attend(context=8192, seconds=9e-3, size=16e6),
    ]
    text = said(by_hand(rows), "decode")
    assert "A cache of INT8 is 0.250 times as fast as the wide one (bytes alone: up to 2.00)." in text
    assert "Cache of INT8: widened first." in text
    assert points(drawn(by_hand(rows), "decode")["A narrow cache"], "INT8, batch 1") == ([1024], [0.25])
    rows = [attend(seconds=4e-3), attend("int8", seconds=2e-3, size=1e6), attend("int8", context=8192, seconds=1e-3)]
    text = said(by_hand(rows), "decode")
    assert "INT8 is 2.00 times as fast" in text
    assert "widened" not in text, "only a case's own notes say how it was computed"
    rows.append(attend(context=8192, seconds=3e-3))
    assert "A cache of INT8 is 2.00 to 3.00 times as fast as the wide one" in said(by_hand(rows), "decode")


def test_uneven_lengths_a_prefix_and_what_follows():
    spreads = {"equal": 2e-3, "spread": 3e-3, "one long": 5e-3}
    rows = [
        *(other("ragged attention", seconds, spread=spread) for spread, seconds in spreads.items()),
        *(
            other("prefill attention", s, new=512, prefix=prefix)
            for prefix, s in ((0, 1e-3), (512, 3e-3), (2048, 7e-3))
        ),
        other("LM head", 1e-3, rows=1),
        other("LM head", 3e-3, rows=64),
        other("sampling", 4e-6, rows=64, method="argmax"),
    ]
    run = by_hand(rows)
    text = said(run, "decode")
    assert "Times as long as equal lengths of as many keys: spread 1.50 and one long 2.50." in text
    assert "512 new tokens take 7.00 times as long after 2,048 cached ones, still read." in text
    assert "For 64 rows: LM head 3.00 ms and argmax sampling 4.00 µs." in text
    figures = drawn(run, "decode")
    assert points(figures["A cached prefix"], "prefill") == ([512, 1024, 2560], [1e-3, 3e-3, 7e-3])
    assert points(figures["Append, LM head and sampling"], "LM head") == ([1, 64], [1e-3, 3e-3])
    bars = figures["Uneven lengths"].data[0]
    assert list(bars.y) == ["equal", "spread", "one long"]
    assert list(bars.x) == pytest.approx([1, 1.5, 2.5])


def test_without_equal_lengths_uneven_ones_say_nothing():
    run = by_hand(
        [other("ragged attention", 2e-3, spread="one long"), other("prefill attention", 1e-3, new=8, prefix=9)]
    )
    assert said(run, "decode") == ""
    assert set(drawn(run, "decode")) == {"A cached prefix"}
