"""What the layer section says of a whole and of parts whose sum is known."""

import pandas as pd
import pytest

from bench.analysis.transformer_cases import layers
from bench.work import Work
from tests.report.runs import by_hand, cpu, measured
from tests.report.sections.conftest import drawn, points, said, view

LAYER = {"model": "Llama-3.1-8B", "ranks": 1, "dtype": "bfloat16"}
PARTS = {"norm": (2, 1e-3), "gate-up": (1, 5e-3), "attention": (1, 3e-3)}
LINE = "Llama-3.1-8B, 1,024 tokens of context"


def one_layer(batch=8, context=1024, whole=12e-3, phase="decode", parts=None, demand=None):
    """A whole of 12 ms beside parts of 10 ms: two norms of 1 ms, a product of 5 ms, attention of 3 ms."""
    at = LAYER | {"phase": phase, "tokens": batch if phase == "decode" else context}
    place = {"batch": batch, "context": context}
    demand = demand or Work(bytes=1e6)
    rows = []
    for name, (count, seconds) in (parts or PARTS).items():
        attends = name == "attention"
        own = {"part": f"{phase} attention" if attends else name, "count": count}
        own |= place if attends else {"batch": 0, "context": 0}
        rows.append(measured("layer", at | own, demand, (seconds,) * 6))
    return [*rows, measured("layer", at | {"part": "layer", "count": 1} | place, demand, (whole,) * 6)]


def run(rows, **about):
    return by_hand(rows, cpu(**about))


def test_a_layer_is_compared_with_the_sum_of_its_parts():
    made = run(one_layer())
    text = said(made, "layer")
    assert "A layer takes 1.20 times its parts' sum (1 point, 1 clearly above 1)." in text
    assert "Above 1: parts may evict each other's data, or the clock falls." in text
    assert "elow 1" not in text
    assert "Decode's largest part: gate-up 50 % (8B, batch 8, 1,024 tokens)." in text
    figures = drawn(made, "layer")
    assert points(figures["Decode"], LINE) == ([8], [12e-3])
    assert points(figures["Decode"], f"{LINE}: its parts") == ([8], pytest.approx([10e-3]))
    assert points(figures["Composition"], f"{LINE}, decode") == ([8], pytest.approx([1.2]))
    shares = {trace.name: trace.x[0] for trace in figures["Where a layer's time goes"].data}
    assert shares == pytest.approx({"norm": 20, "gate-up": 50, "attention": 30})


def test_a_part_counts_as_often_as_the_layer_launches_it():
    [whole] = layers(view(run(one_layer())).rows).itertuples()
    assert whole.split == pytest.approx({"norm": 2e-3, "gate-up": 5e-3, "attention": 3e-3})
    assert whole.parts == pytest.approx(10e-3)


def test_the_shortest_and_the_longest_point_name_their_largest_part():
    rows = one_layer() + one_layer(64, 8192, 40e-3, parts=PARTS | {"attention": (1, 21e-3)})
    text = said(run(rows), "layer")
    assert "gate-up 50 % (8B, batch 8, 1,024 tokens) to attention 75 % (8B, batch 64, 8,192 tokens)." in text
    assert "Prefill's largest part: gate-up 50 % (8B, 512 tokens)." in said(
        run(one_layer(1, 512, phase="prefill")), "layer"
    )


def test_attention_of_another_context_is_no_part_of_a_layer():
    rows = one_layer(context=1024) + one_layer(context=8192, whole=40e-3)[2:]
    assert layers(view(run(rows)).rows)["parts"].tolist() == pytest.approx([10e-3] * 2)
    rows = one_layer(context=1024) + one_layer(context=8192, whole=40e-3)[3:]
    known = layers(view(run(rows)).rows).set_index("context")["parts"]
    assert known[1024] == pytest.approx(10e-3)
    assert pd.isna(known[8192])


def test_a_layer_without_one_part_is_drawn_but_not_composed():
    rows = one_layer()
    for less in (rows[:2] + rows[3:], [rows[0], measured("layer", rows[1].params, Work(), (), skip="no"), *rows[2:]]):
        [whole] = layers(view(run(less)).rows).itertuples()
        assert pd.isna(whole.parts)
        assert whole.split == {}
        assert "sum" not in said(run(less), "layer")
        assert set(drawn(run(less), "layer")) == {"Decode"}


def test_a_cache_explains_only_a_device_that_has_one():
    below = run(one_layer(whole=8e-3))
    assert "(1 point, 1 clearly below 1)" in said(below, "layer")
    assert "Below 1: a part may find its input in the cache" in said(below, "layer")
    simulated = by_hand(one_layer(whole=8e-3), cpu(simulated=True), simulated=True)
    assert "Below 1: simulated, a whole is bound once" in said(simulated, "layer")
    assert "in the cache" not in said(simulated, "layer")
    close = said(run(one_layer(whole=10.1e-3)), "layer")
    assert "No point is clearly more than 3 % from 1: the parts predict the layer." in close
    assert "(1 point)" in close


def test_the_share_of_the_roof_names_best_and_worst():
    dram = measured("bandwidth", {"mix": "read", "bytes": 2**30}, Work(bytes=1e10), (1.0,) * 6, saturates="dram")
    rows = one_layer(8, whole=10e-3, demand=Work(bytes=9e7)) + one_layer(16, whole=10e-3, demand=Work(bytes=5e7))
    text = said(run([dram, *rows]), "layer")
    assert "Best: 90.0 % of DRAM, decode 8B, batch 8, 1,024 tokens." in text
    assert "Worst: 50.0 % of DRAM, decode 8B, batch 16, 1,024 tokens." in text
    assert "Best" not in said(run(rows), "layer")


def test_bars_show_every_point_and_each_part_or_their_rest():
    parts = {f"part {n}": (1, n * 1e-3) for n in range(1, 9)} | {"attention": (1, 9e-3)}
    rows = [row for batch in range(1, 21) for row in one_layer(batch, whole=45e-3, parts=parts)]
    bars = drawn(run(rows), "layer")["Where a layer's time goes"]
    assert {len(trace.y) for trace in bars.data} == {20}
    assert [trace.name for trace in bars.data] == [*(f"part {n}" for n in range(4, 9)), "attention", "all others"]
    assert sum(trace.x[0] for trace in bars.data) == pytest.approx(100)
    assert bars.data[-1].x[0] == pytest.approx(100 * (1 + 2 + 3) / 45)
    assert bars.data[0].y[0] == "decode 8B, batch 1, 1,024 tokens"
    many = [row for batch in range(1, 61) for row in one_layer(batch)]
    assert len(drawn(run(many), "layer")["Where a layer's time goes"].data[0].y) == 20
