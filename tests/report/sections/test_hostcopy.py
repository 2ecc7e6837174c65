"""The host link: beside its claim, from pinned and pageable memory, alone and in company."""

import pytest

from bench.work import Work
from tests.report.runs import by_hand, gpu, rounds
from tests.report.sections.conftest import drawn, findings, points, said

SIZES = (4096, 1 << 20, 1 << 29)


def copy(path, memory, size, rate, wait=2e-6, **more):
    params = {"path": path, "memory": memory, "bytes": size} | more.pop("about", {})
    ways = 2 if path == "duplex" else 1
    return rounds("hostcopy", params, Work(bytes=float(ways * size), channel=path), wait + ways * size / rate, **more)


def copies():
    found = []
    for memory, rate in (("pinned", 50e9), ("pageable", 10e9)):
        for path in ("h2d", "d2h"):
            for size in SIZES:
                found += copy(path, memory, size, rate, saturates=path * (memory == "pinned" and size == SIZES[-1]))
    found += copy("duplex", "pinned", SIZES[-1], 90e9, saturates="duplex")
    waited = {"path": "h2d", "memory": "pinned", "bytes": 8, "waited": True}
    return [*found, *rounds("hostcopy", waited, Work(), 9e-6)]


def test_each_direction_stands_beside_the_link():
    assert findings(by_hand(copies(), gpu()), "hostcopy") == [
        "H2D, pinned: 50.0 GB/s (95 % interval 50.0–50.0 GB/s), 79.3 % of the datasheet's 63.0 GB/s.",
        "D2H, pinned: 50.0 GB/s (95 % interval 50.0–50.0 GB/s), 79.3 % of the datasheet's 63.0 GB/s.",
        "H2D and D2H, pinned: 90.0 GB/s (95 % interval 90.0–90.0 GB/s), 71.4 % of the datasheet's 126 GB/s.",
    ]


def test_what_pageable_memory_and_small_copies_cost():
    text = said(by_hand(copies(), gpu()), "hostcopy")
    assert "Both ways at once move 1.80 times what one way moves." in text
    assert "pageable memory reaches 20.0 % H2D and 20.0 % D2H" in text
    assert "Half the bandwidth to the device needs copies of 1 MiB." in text
    assert "A copy of 8 B that is waited for takes 9.00 µs H2D (pinned)." in text


def test_a_link_that_all_share_is_beside_itself_alone():
    crowded = copy("h2d", "pinned", 1 << 29, 7e9, 0.0, about={"company": "all"})
    text = said(by_hand([*copies(), *crowded], gpu()), "hostcopy")
    assert "While every device copies at once, this one keeps H2D 7.00 GB/s (14 %)." in text
    assert "H2D, pinned: 50.0 GB/s" in text, "alone it is what it was"


def test_paths_are_colours_and_memory_is_the_dash():
    figure = drawn(by_hand(copies(), gpu()), "hostcopy")["Host link bandwidth over the size of a copy"]
    look = {trace.name: (trace.line.color, trace.line.dash) for trace in figure.data}
    assert look["H2D, pinned"] == (look["H2D, pageable"][0], "solid")
    assert look["H2D, pageable"][1] == "dot"
    # the copy that is waited for says nothing of bandwidth
    assert points(figure, "H2D, pinned")[0] == list(SIZES)
    assert min(min(trace.x) for trace in figure.data) == pytest.approx(4096)
    levels = [note.text for note in figure.layout.annotations]
    assert levels == ["link, one way 63.0 GB/s", "link, both ways 126 GB/s"]
