"""Baselines, histories and noise as Documents: what is expected, what changed, what counts, what is forgiven."""

from dataclasses import replace

import pytest

from bench import store
from bench.analysis.gate.baselines import all_of, bless
from bench.analysis.gate.samples import past
from bench.analysis.gate.tolerances import noise
from bench.report import baselines as view
from bench.report.document import WARN, Document
from bench.report.render import terminal
from bench.schema import FIRST_ROUND
from tests.analysis.gate.runs import CASES, GEMM, READ, gpu, run


@pytest.fixture
def home(tmp_path):
    return tmp_path / "some-gpu"


def put(home, made, name):
    home.mkdir(exist_ok=True)
    (home / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in store.raw_lines(made)))


def texts(document: Document) -> list[str]:
    return [finding.text for finding in document.findings]


def cells(table) -> list[dict[str, str]]:
    return [{c.name: cell.text for c, cell in zip(table.shown, row, strict=True)} for row in table.cells]


def test_a_baseline_lists_each_metric_with_its_expectation_and_case(home):
    bless(run(), home)
    document = view.baselines(all_of(home))
    (section,) = document.sections
    assert section.title == "Some GPU, cuda:0: Run of 2026-01-01T00:00Z"
    rows = {row["metric"]: row for row in cells(section.tables[0])}
    assert rows[READ] == {"metric": READ, "expected": "4.29 TB/s", "case": "mix read, bytes 2147483648"}
    assert rows[GEMM]["case"] == "cube-8192"
    assert "launch.synchronous (warns)" in rows
    assert section.tables[0].caption.endswith(".jsonl")


def test_a_products_baseline_says_so_and_a_simulated_one_too(home):
    bless(run(simulated=True), home, of_product=True)
    assert view.baselines(all_of(home)).sections[0].title.startswith("Some GPU, this product: SIMULATED, Run of")


def test_a_promotion_says_what_it_changes_and_where_the_old_one_is(home):
    first = view.blessed(bless(run(0), home))
    assert texts(first)[0].endswith("is the baseline of Some GPU (cuda:0)")
    slower = bless(run(1, slow={READ: 1.1}, without=("host.h2d",)), home, promote=True)
    said = texts(view.blessed(slower))
    assert "memory.dram.read: 4.29 TB/s → 3.90 TB/s, −9.1 % in speed" in said
    assert "host.h2d: no longer followed" in said
    assert any("replaced" in text for text in said)
    same = bless(run(2, slow={READ: 1.1}, without=("host.h2d",)), home, promote=True)
    assert texts(view.blessed(same))[-1] == "No metric moved by more than its warning threshold."
    more = bless(run(3, slow={READ: 1.1}), home, promote=True)
    assert "host.h2d: new" in texts(view.blessed(more))


def test_what_was_measured_once_is_named(home):
    made = run()
    read = CASES[READ].pin
    kept = tuple(m for m in made.measurements if m.repetition_key[:2] != read or m.repetition == FIRST_ROUND)
    once = replace(made, measurements=kept)
    (found,) = [finding for finding in view.blessed(bless(once, home)).findings if finding.status == WARN]
    assert READ in found.text


def test_a_history_says_what_counts_and_why_the_rest_does_not(home):
    for number in range(2):
        put(home, run(number), f"{number}")
    put(home, run(2, complete=False), "2")
    put(home, run(3, redacted=True), "3")
    (home / "bad.jsonl").write_text("{")
    document = view.history(past(home))
    assert [row["counts"] for row in cells(document.matrix)] == ["yes", "yes", "incomplete", "redacted"]
    assert document.heading == "4 Runs, 2 of them count; 1 file left out"
    assert [(finding.text[:20], finding.status) for finding in document.findings] == [("left out: bad.jsonl:", WARN)]
    assert cells(document.matrix)[0]["file"] == "0.jsonl"


def test_noise_says_the_floor_and_what_is_too_noisy():
    slow = (1.0, 1.01, 1.02, 1.0, 1.01)
    runs = [run(n, slow={READ: factor, GEMM: 1.0 + 2 * (n == 1)}) for n, factor in enumerate(slow)]
    document = view.noise(gpu(), noise(runs, gpu()))
    rows = {row["metric"]: row for row in cells(document.matrix)}
    assert rows[READ]["n"] == "5"
    assert rows[READ]["floor"].endswith(" %")
    assert (rows[GEMM][""], rows[GEMM]["floor"]) == ("too noisy to gate", "–")
    assert rows["launch.synchronous"][""] == "warns"


def test_foreign_names_stay_text(home):
    bless(run(devices=(gpu(name="[red]\x1b[31m`x`"),)), home)
    printed = terminal.render(view.baselines(all_of(home)))
    assert "\x1b" not in printed
    assert "[red]" in printed
