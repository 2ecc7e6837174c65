"""The arithmetic behind the datasheets: SMs x flops per clock x clock and bus x data rate against every claimed figure.

Simulated devices and the comparison with theory stand on these numbers, so a wrong digit must not get in quietly.
"""

import re
import string
import tomllib
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bench.theory
from bench import units
from bench.theory import TOLERANCE, Product, UnknownProduct, match, product, products

ROUNDED = "printed with two digits"
CUT = "export part with its float64 cut below the architecture's rate"

# (sku, quantity): (claim / arithmetic, why they differ). Every difference above TOLERANCE is here and nothing else is.
MISFITS = {
    ("t4", "vector.float64"): (0.983, ROUNDED),
    ("l4", "vector.float64"): (1.035, ROUNDED),
    ("h100-pcie", "vector.float64"): (1.015, ROUNDED),
    ("h100-sxm5-80gb", "vector.float64"): (1.016, ROUNDED),
    ("h200-sxm", "vector.float64"): (1.016, ROUNDED),
    ("gh200-96gb", "vector.float64"): (1.016, ROUNDED),
    ("gh200-144gb", "vector.float64"): (1.016, ROUNDED),
    ("gb300", "vector.float64"): (1.037, ROUNDED),
    ("gb300", "tensor.float64"): (1.037, ROUNDED),
    ("jetson-thor-t5000", "vector.float64"): (1.032, ROUNDED),
    ("dgx-spark-gb10", "tensor.float4"): (1.017, "half of a round 1 PFLOP/s sparse"),
    ("h20", "vector.float64"): (0.051, CUT),
    ("h20-3e", "vector.float64"): (0.051, CUT),
    ("h800-sxm", "vector.float64"): (0.030, CUT),
    ("h800-sxm", "tensor.float64"): (0.015, CUT),
    ("h800-pcie", "vector.float64"): (0.031, CUT),
    ("h800-pcie", "tensor.float64"): (0.016, CUT),
    ("h20", "vector.float32"): (1.113, "44 TFLOP/s needs 2.2 GHz, the part runs at 1.98"),
    ("h20-3e", "vector.float32"): (1.113, "44 TFLOP/s needs 2.2 GHz, the part runs at 1.98"),
    ("b100", "vector.float64"): (0.806, "implies 1.58 GHz; no figure of this product is verified"),
    ("b100", "tensor.float64"): (0.806, "implies 1.58 GHz; no figure of this product is verified"),
    ("b100", "vector.float32"): (0.806, "implies 1.58 GHz; no figure of this product is verified"),
    ("b300-sxm6", "tensor.int8"): (1.091, "implies 2.03 GHz at 512 OP per clock and SM, above the tensor clock"),
    ("gb300", "tensor.int8"): (1.056, "implies 2.12 GHz at 512 OP per clock and SM, above the tensor clock"),
    ("b200", "dram"): (1.043, "recent drivers report 7680 bits; the datasheet's 8 TB/s fits neither 7680 nor 8192"),
    ("b300-sxm6", "dram"): (1.043, "as B200"),
    ("gb300", "dram"): (1.043, "as B200"),
    ("b100", "dram"): (0.978, "8192 bits are not verified"),
    ("gb200", "dram"): (0.978, "8192 bits are not verified"),
    ("h200-sxm", "dram"): (0.976, "sold as 4.8 TB/s, though the bus runs at 4.917"),
    ("h200-nvl", "dram"): (0.976, "as H200 SXM"),
    ("h20-3e", "dram"): (0.976, "as H200 SXM"),
}

NAMES = {
    "Tesla T4": "t4",
    "NVIDIA T4": "t4",
    "Tesla V100-PCIE-16GB": "v100-pcie-16gb",
    "Tesla V100-PCIE-32GB": "v100-pcie-32gb",
    "Tesla V100-SXM2-16GB": "v100-sxm2-16gb",
    "Tesla V100-SXM2-32GB": "v100-sxm2-32gb",
    "NVIDIA A10": "a10",
    "NVIDIA A10G": "a10g",
    "NVIDIA A30": "a30",
    "NVIDIA A40": "a40",
    "NVIDIA A100-PCIE-40GB": "a100-pcie-40gb",
    "NVIDIA A100-SXM4-40GB": "a100-sxm4-40gb",
    "NVIDIA A100 80GB PCIe": "a100-80gb-pcie",
    "NVIDIA A100-SXM4-80GB": "a100-sxm4-80gb",
    "NVIDIA L4": "l4",
    "NVIDIA L40": "l40",
    "NVIDIA L40S": "l40s",
    "NVIDIA H100 PCIe": "h100-pcie",
    "NVIDIA H100 80GB HBM3": "h100-sxm5-80gb",
    "NVIDIA H100 NVL": "h100-nvl",
    "NVIDIA H200": "h200-sxm",
    "NVIDIA H200 NVL": "h200-nvl",
    "NVIDIA GH200 480GB": "gh200-96gb",
    "NVIDIA GH200 120GB": "gh200-96gb",
    "NVIDIA GH200 144G HBM3e": "gh200-144gb",
    "NVIDIA H20": "h20",
    "NVIDIA H20-3e": "h20-3e",
    "NVIDIA H800": "h800-sxm",
    "NVIDIA H800 PCIe": "h800-pcie",
    "NVIDIA B100": "b100",
    "NVIDIA B200": "b200",
    "NVIDIA GB200": "gb200",
    "NVIDIA B300": "b300-sxm6",
    "NVIDIA B300 SXM6 AC": "b300-sxm6",
    "NVIDIA GB300": "gb300",
    "NVIDIA GeForce RTX 3090": "rtx-3090",
    "NVIDIA GeForce RTX 4090": "rtx-4090",
    "NVIDIA GeForce RTX 5090": "rtx-5090",
    "NVIDIA RTX A6000": "rtx-a6000",
    "NVIDIA RTX 6000 Ada Generation": "rtx-6000-ada",
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "rtx-pro-6000-ws",
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": "rtx-pro-6000-ws",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "rtx-pro-6000-server",
    "Orin": "jetson-agx-orin-64gb",
    "Orin (nvgpu)": "jetson-agx-orin-64gb",
    "NVIDIA Thor": "jetson-thor-t5000",
    "NVIDIA GB10": "dgx-spark-gb10",
}

UNKNOWN_NAMES = (
    "NVIDIA A800-SXM4-80GB",
    "NVIDIA A800 80GB PCIe",
    "NVIDIA A100-SXM-64GB",
    "Tesla V100S-PCIE-32GB",
    "NVIDIA H100",
    "NVIDIA H800 NVL",
    "NVIDIA H20 NVL16",
    "NVIDIA GeForce RTX 5090 D",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA GeForce RTX 3090 Ti",
    "NVIDIA H200 MIG 1g.18gb",
    "AMD Instinct MI300X",
    "nvidia h200",
    "",
)

each_product = pytest.mark.parametrize("gpu", products(), ids=lambda p: p.sku)


def ratios(gpu: Product) -> dict[str, float]:
    """Claim over arithmetic, by quantity."""
    found = {quantity: claim / gpu.peak_by_clock(quantity) for quantity, claim in gpu.peaks.items()}
    return found | {"dram": gpu.bandwidth / gpu.bandwidth_by_bus}


def surprises(gpu: Product) -> set[str]:
    """Quantities whose claim and arithmetic disagree in a way that MISFITS does not state."""
    expected = {quantity: MISFITS.get((gpu.sku, quantity), (1.0, ""))[0] for quantity in ratios(gpu)}
    slack = {quantity: TOLERANCE if ratio == 1.0 else 0.001 for quantity, ratio in expected.items()}
    return {quantity for quantity, ratio in ratios(gpu).items() if abs(ratio - expected[quantity]) > slack[quantity]}


def test_the_whole_catalogue_is_there():
    skus = [p.sku for p in products()]
    assert len(skus) == 42
    assert len(set(skus)) == 42
    assert all(sku == sku.lower() for sku in skus)
    assert set(NAMES.values()) == set(skus)


@each_product
def test_claims_follow_from_the_silicon(gpu):
    assert surprises(gpu) == set()


def test_the_misfits_still_misfit():
    for (sku, quantity), (ratio, reason) in MISFITS.items():
        actual = ratios(product(sku))[quantity]
        assert abs(actual - 1) > TOLERANCE, f"{sku} {quantity} fits now ({actual:.4f}): remove it, it was: {reason}"
        assert actual == pytest.approx(ratio, abs=0.001)


def test_a_misfit_is_told_beside_its_roof():
    for sku, quantity in MISFITS:
        roof = product(sku).roofline.roof(quantity)
        assert "gives" in roof.caution or "give" in roof.caution, f"{sku} {quantity}: {roof.caution!r}"


def test_arithmetic_by_hand():
    h200 = product("h200-sxm")
    assert h200.peak_by_clock("tensor.bfloat16") == pytest.approx(132 * 4096 * 1830e6)
    assert h200.peak_by_clock("vector.float32") == pytest.approx(132 * 256 * 1980e6)
    assert h200.bandwidth_by_bus == pytest.approx(6144 / 8 * 6.402e9)
    assert product("a10g").peak_by_clock("tensor.float16") == pytest.approx(80 * 1024 / 2 * 1710e6)
    assert product("a10g").peak_by_clock("tensor.int8") == pytest.approx(80 * 2048 / 2 * 1710e6)
    assert product("rtx-4090").peak_by_clock("tensor.int8") == pytest.approx(128 * 2048 * 2520e6)
    assert product("h20").peak_by_clock("tensor.int8") == pytest.approx(78 * 8192 / 4 * 1830e6)
    # the rates of compute capability 12.1 are already halved
    assert product("dgx-spark-gb10").peak_by_clock("tensor.bfloat16") == pytest.approx(48 * 512 * 2500e6)


@each_product
def test_dtypes_keep_the_ratios_of_the_tensor_core(gpu):
    """A figure "with sparsity" among dense ones is off by two, whatever clock was solved from them."""
    base = next(q for q in ("tensor.bfloat16", "tensor.float16") if q in gpu.peaks)
    for quantity, claim in gpu.peaks.items():
        if quantity.startswith("tensor.") and quantity != "tensor.float64" and (gpu.sku, quantity) not in MISFITS:
            expected = gpu.flops_per_clock(quantity) / gpu.flops_per_clock(base)
            assert claim / gpu.peaks[base] == pytest.approx(expected, rel=2 * TOLERANCE), quantity


@each_product
def test_no_tensor_clock_exceeds_the_boost_clock(gpu):
    """Sparse figures throughout would solve to a clock twice as high."""
    assert 0.5 * gpu.boost_hz < gpu.tensor_hz <= gpu.boost_hz


@given(st.sampled_from(products()), st.data(), st.sampled_from((0.5, 0.9, 1.1, 2.0, 1000.0)))
def test_a_wrong_digit_is_noticed(gpu, data, factor):
    quantity = data.draw(st.sampled_from(sorted(gpu.peaks)))
    wrong = replace(gpu, peaks={**gpu.peaks, quantity: factor * gpu.peaks[quantity]})
    assert surprises(wrong) == {quantity}


@given(st.sampled_from(products()), st.sampled_from((0.5, 2.0)))
def test_a_wrong_bus_is_noticed(gpu, factor):
    assert surprises(replace(gpu, bus_bits=int(gpu.bus_bits * factor))) == {"dram"}


@each_product
def test_memory_facts_agree(gpu):
    assert gpu.data_rate == pytest.approx(2 * gpu.memory_clock_hz, rel=2e-3)
    assert 0.9 < gpu.memory_bytes / gpu.nominal_memory_bytes < 1.1
    assert gpu.l2_bytes < gpu.memory_bytes


def test_the_bus_figure_in_the_table_is_the_product_of_its_row():
    table = tomllib.loads(Path(bench.theory.__file__).with_name("nvidia.toml").read_text(encoding="utf-8"))
    for sku, row in table["gpu"].items():
        computed = row["bus_bits"] / 8 * row["data_rate_gbit_per_s"]
        assert row["bandwidth_by_bus_gb_per_s"] == pytest.approx(computed, rel=1e-3), sku
        assert row["confidence"] in ("high", "medium", "low"), sku
        assert row["source"], sku
    assert len(table["arch"]) == 13
    assert {row["arch"] for row in table["gpu"].values()} <= set(table["arch"])


@pytest.mark.parametrize(("name", "sku"), NAMES.items())
def test_a_driver_name_means_one_product(name, sku):
    assert [p.sku for p in products() if re.fullmatch(p.names, name)] == [sku]
    assert match(name).sku == sku


@pytest.mark.parametrize("name", UNKNOWN_NAMES)
def test_other_names_mean_none(name):
    assert match(name) is None


@given(st.sampled_from(sorted(NAMES)), st.text(string.printable, min_size=1, max_size=20))
def test_names_are_anchored(name, extra):
    for longer in (name + extra, extra + name):
        assert match(longer) is None or longer in NAMES


@given(st.sampled_from(products()), st.data())
def test_a_sku_is_found_in_any_case(gpu, data):
    flips = data.draw(st.lists(st.booleans(), min_size=len(gpu.sku), max_size=len(gpu.sku)))
    mixed = "".join(c.upper() if up else c for c, up in zip(gpu.sku, flips, strict=True))
    assert product(mixed) is gpu


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("h100", "h100-sxm5-80gb"),
        ("H200", "h200-sxm"),
        ("h200-smx", "h200-sxm"),
        ("rtx4090", "rtx-4090"),
        ("b300", "b300-sxm6"),
        ("b200-sxm", "nearest: b200; "),
        ("B200-SXM6", "nearest: b200; "),
        ("nvidia-b200", "nearest: b200; "),
        ("gb200-nvl72", "nearest: gb200; "),
        ("b100-sxm", "nearest: b100; "),
        ("h200-sxm-141gb", "nearest: h200-sxm, h200-nvl; "),
        ("h100-sxm", "nearest: h100-sxm5-80gb; "),
        ("a100-sxm-80gb", "nearest: a100-sxm4-80gb, "),
        ("h20-sxm", "nearest: h20, h20-3e, h200-sxm; "),
        ("l40-s", "l40s"),
        ("rtx-4090-ti", "nearest: rtx-4090; "),
    ],
)
def test_an_unknown_sku_names_the_nearest(typed, meant):
    with pytest.raises(UnknownProduct, match=re.escape(meant)) as error:
        product(typed)
    assert typed in str(error.value)
    assert "names all 42" in str(error.value)


@given(st.text(string.printable, max_size=20))
def test_any_unknown_sku_says_so(text):
    if text.strip().lower() not in {p.sku for p in products()}:
        with pytest.raises(UnknownProduct, match=r"nearest: [a-z]"):
            product(text)


def test_an_unknown_product_is_a_lookup_error():
    assert issubclass(UnknownProduct, LookupError)


@each_product
def test_every_product_is_a_roofline(gpu):
    line = gpu.roofline
    assert line.name == gpu.sku
    assert line.roof("dram").rate == gpu.bandwidth
    assert line.roof("vector.float32").key == "vector.float32.datasheet"
    assert line.overhead == 0
    assert ("link" in line) == (gpu.nvlink is not None)
    assert len({roof.key for roof in line.roofs}) == len(line.roofs)
    for roof in line.roofs:
        assert roof.n == 0
        assert roof.low == roof.high == roof.rate
        assert "confidence" in roof.evidence or roof.key in ("h2d", "d2h", "duplex")
        assert roof.method == ("datasheet" if roof.is_compute else "")
        if roof.is_compute:
            assert f"at {units.hertz(gpu.clock(roof.quantity), 4)}" in roof.evidence


def test_h200_to_the_digit():
    line = product("h200-sxm").roofline
    assert {roof.key.removesuffix(".datasheet"): roof.rate for roof in line.roofs} == {
        "vector.float64": 34e12,
        "vector.float32": 67e12,
        "vector.float16": pytest.approx(133.8e12, rel=1e-3),
        "vector.bfloat16": pytest.approx(133.8e12, rel=1e-3),
        "vector.int32": pytest.approx(33.45e12, rel=1e-3),
        "tensor.float64": 67e12,
        "tensor.tf32": 494.7e12,
        "tensor.float16": 989.4e12,
        "tensor.bfloat16": 989.4e12,
        "tensor.float8_e4m3": 1978.9e12,
        "tensor.int8": 1978.9e12,
        "dram": 4.8e12,
        "link": 450e9,
        "shared": pytest.approx(33.45e12, rel=1e-3),
        "l1": pytest.approx(33.45e12, rel=1e-3),
        "h2d": pytest.approx(63.015e9, rel=1e-4),
        "d2h": pytest.approx(63.015e9, rel=1e-4),
        "duplex": pytest.approx(126.03e9, rel=1e-4),
    }
    assert line.ridge("tensor.bfloat16", "dram") == 206.125
    assert "4.917 TB/s" in line.roof("dram").evidence


def test_what_is_absent_stays_absent():
    assert {"tensor.tf32", "tensor.bfloat16", "tensor.int8", "vector.bfloat16"}.isdisjoint(
        roof.quantity for roof in product("v100-sxm2-16gb").roofline.roofs
    )
    assert "tensor.bfloat16" not in product("t4").roofline
    assert "tensor.float8_e4m3" not in product("a100-sxm4-80gb").roofline
    assert "tensor.float4" not in product("h200-sxm").roofline
    assert product("b100").nvml_memory_bytes is None
    assert product("l40s").nvlink is None
    assert product("dgx-spark-gb10").pcie is None


def test_packed_bfloat16_of_an_a100_runs_at_half_the_float16_rate():
    line = product("a100-sxm4-80gb").roofline
    assert line.roof("vector.float16").rate == pytest.approx(78e12, rel=2e-3)
    assert line.roof("vector.bfloat16").rate == pytest.approx(39e12, rel=2e-3)


@each_product
def test_units_name_a_roof_that_exists(gpu):
    for dtype, unit in gpu.units().items():
        assert f"{unit}.{dtype}" in gpu.roofline
    assert gpu.units()["float32"] == "vector"
    assert ("tensor.float64" in gpu.peaks) == (gpu.units()["float64"] == "tensor")


def test_units_of_three_generations():
    assert product("v100-pcie-16gb").units() == {"float64": "vector", "float32": "vector", "float16": "tensor"}
    assert "bfloat16" not in product("t4").units()
    assert product("h200-sxm").units() == {
        "float64": "tensor",
        "float32": "vector",
        **dict.fromkeys(("tf32", "float16", "bfloat16", "float8_e4m3", "int8"), "tensor"),
    }


def test_theory_at_another_clock():
    h200 = product("h200-sxm")
    assert h200.at_clock("tensor.bfloat16.datasheet", 1830e6) == pytest.approx(989.4e12)
    assert h200.at_clock("tensor.bfloat16", 1980e6) == pytest.approx(989.4e12 * 1980 / 1830)
    assert h200.at_clock("vector.float32.datasheet", 990e6) == pytest.approx(33.5e12)
    assert h200.at_clock("tensor.float64", 990e6) == pytest.approx(33.5e12)
    assert h200.at_clock("dram", 1830e6) is None
    assert h200.at_clock("tensor.float4", 1830e6) is None


@given(st.sampled_from(products()), st.data(), st.floats(1e8, 4e9))
def test_compute_scales_with_the_clock(gpu, data, clock_hz):
    roof = data.draw(st.sampled_from([roof for roof in gpu.roofline.roofs if roof.is_compute]))
    assert gpu.at_clock(roof.key, gpu.clock(roof.quantity)) == pytest.approx(roof.rate)
    assert gpu.at_clock(roof.key, clock_hz) / clock_hz == pytest.approx(roof.rate / gpu.clock(roof.quantity))


def test_cautions_bear_on_their_number():
    b300 = product("b300-sxm6").roofline
    assert "15 PFLOP/s" in b300.roof("tensor.float4").caution
    assert "15 PFLOP/s" not in b300.roof("tensor.bfloat16").caution
    assert "7.672 TB/s" in b300.roof("dram").caution
    assert product("a100-sxm4-80gb").roofline.roof("dram").caution == ""


@each_product
def test_every_caution_reaches_a_roof(gpu):
    shown = " ".join(roof.caution for roof in gpu.roofline.roofs)
    assert all(caution in shown for caution in gpu.cautions.values())


def test_products_are_facts():
    assert products() is products()
    assert len(set(products())) == 42
    with pytest.raises(FrozenInstanceError):
        product("t4").sms = 41
