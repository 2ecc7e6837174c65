import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import units

SCALE = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.rate_text(4.8e12, "dram"), "4.80 TB/s"),
        (units.rate_text(989.4e12, "tensor.bfloat16.library"), "989 TFLOP/s"),
        (units.rate_text(1978.9e12, "tensor.int8.library"), "1.98 POP/s"),
        (units.rate_text(999.9e9, "dram"), "1.00 TB/s"),
        (units.seconds(2.5e-6), "2.50 µs"),
        (units.seconds(0), "0 ns"),
        (units.seconds(130), "2 min 10 s"),
        (units.size(60 * 2**20), "60 MiB"),
        (units.size(100), "100 B"),
        (units.percent(0.93456), "93.5 %"),
        (units.intensity(206.125), "206 FLOP/B"),
        (units.digits(9.999), "10.0"),
        (units.digits(math.inf), "inf"),
    ],
)
def test_text(text, expected):
    assert text == expected


@given(st.floats(1e-8, 9e17), st.integers(2, 6))
def test_text_is_within_half_a_digit(value, significant):
    number, unit = units.bandwidth(value, significant).split(" ")
    prefix = unit.removesuffix("B/s")
    assert float(number) * SCALE[prefix] == pytest.approx(
        value, rel=10.0 ** (1 - significant), abs=0.5 * 10.0 ** (1 - significant)
    )
    assert "e" not in number


@pytest.mark.parametrize(
    ("text", "expected"), [("20us", 20e-6), ("1.5 ms", 1.5e-3), ("3", 3.0), ("2e-6s", 2e-6), ("1m", 60.0)]
)
def test_duration(text, expected):
    assert units.duration(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "nan", "-1s", "fast", "3 parsecs", "inf"])
def test_duration_refuses(text):
    with pytest.raises(ValueError, match=r"not a duration|could not convert"):
        units.duration(text)


def test_energy_and_power():
    assert units.joules(8.1e-13, "FLOP") == "0.810 pJ/FLOP"
    assert units.joules(1.46e-10, "B") == "146 pJ/B"
    assert units.joules(12_300) == "12.3 kJ"
    assert units.joules(0.002) == "2.00 mJ"
    assert units.watts(701.4) == "701 W"
