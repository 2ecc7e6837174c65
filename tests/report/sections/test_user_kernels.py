"""A reader's own kernels: the farthest, what cannot be right, the nearest, and a row for each."""

from bench import work
from bench.analysis.fit import fit
from bench.analysis.user_kernels import UserKernel, place
from bench.report.document import SKIP, WARN
from bench.report.sections import user_kernels
from tests.report.sections.conftest import view

KERNELS = (
    UserKernel("near <b>", work.gemm(8192, 8192, 8192, "bfloat16", "tensor"), 1.2e-3),
    UserKernel("far", work.Work(1e9, "vector", "float32", bytes=8e9), 4e-3),
    UserKernel("too fast", work.Work(1e9, "vector", "float32", bytes=8e9), 1e-3),
    UserKernel("foreign", work.Work(1e12, "tensor", "float4", bytes=8e9), 3e-3),
    UserKernel("copy", work.Work(bytes=8e9), 2e-3),
)


def made(run, kernels=KERNELS):
    chosen = fit(run)[0]
    return user_kernels.section(view(run, kernels=tuple(place(chosen, kernel) for kernel in kernels)))


def test_findings_lead_with_what_can_be_gained(h200):
    section = made(h200)
    far, wrong, near = (finding.text for finding in section.findings)
    assert far.startswith("far is farthest from its roof, 41.")
    assert "% of memory (DRAM): × 2." in far
    assert far.endswith(" possible.")
    assert wrong.startswith("too fast lies above its roof, 16")
    assert [finding.status for finding in section.findings] == ["", WARN, ""]
    assert near.startswith("near <b> comes nearest to its roof, 9")
    assert "of compute (BF16 tensor)" in near
    assert section.notes == (
        "No share for 1 kernel: this Run has no roof for FP4 tensor.",
        "1 kernel without arithmetic has no place in the figure.",
    )
    assert all(len(finding.text.split()) <= 20 for finding in section.findings)


def test_a_row_for_each_with_its_share_and_limit(h200):
    (table,) = made(h200).tables
    names = [column.name for column in table.shown]
    rows = {cells[0].text: dict(zip(names, cells, strict=True)) for cells in table.cells}
    assert list(rows) == [kernel.name for kernel in KERNELS]
    far = rows["far"]
    assert (far["flops"].value, far["bytes"].value, far["time"].value) == (1e9, 8e9, 4e-3)
    assert (far["compute"].text, far["traffic"].text) == ("250 GFLOP/s", "2.00 TB/s")
    assert far["limited by"].text == "memory (DRAM)"
    assert far["possible"].text == f"× {1 / far['% of roof'].value:.3g}"
    assert (rows["copy"]["flops"].text, rows["copy"]["intensity"].text) == ("–", "–")
    assert rows["too fast"]["note"].mark == WARN
    assert rows["too fast"]["possible"].text == "–"
    assert (rows["foreign"]["note"].text, rows["foreign"]["note"].mark) == ("this Run has no roof for FP4 tensor", SKIP)
    assert rows["foreign"]["% of roof"].text == "–"


def test_one_kernel_on_its_roof_and_none(h200):
    chosen = fit(h200)[0]
    demand = work.Work(1e9, "vector", "float32", bytes=8e9)
    exact = UserKernel("exact", demand, chosen.roofline.seconds(demand))
    (finding,) = made(h200, (exact,)).findings
    assert finding.text == "exact is at its roof, 100 % of memory (DRAM)."
    assert made(h200, ()) is None


def test_hostile_names_are_one_plain_line_in_findings(h200):
    nasty = UserKernel("`rm -rf /`\n<b>", work.Work(1e9, "vector", "float32", bytes=8e9), 4e-3)
    (finding,) = made(h200, (nasty,)).findings
    assert finding.text.startswith("'rm -rf /' <b> is at its roof")
