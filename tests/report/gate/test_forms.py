"""Writing: whole files, never over a Run, one clear line when it cannot be done, nothing heavy unasked."""

import json
import subprocess
import sys

import pytest

from bench import store
from bench.report import gate as surfaces
from bench.store import RunError
from tests.report.gate.gates import GATES, fine, gate, metric, verdict

ENDINGS = {"junit": ".xml", "md": ".md", "prometheus": ".prom"}


@pytest.mark.parametrize("form", surfaces.FORMS)
@pytest.mark.parametrize("name", list(GATES))
def test_every_gate_in_every_form(form, name, tmp_path):
    made = GATES[name]()
    path = tmp_path / "new" / f"gate{ENDINGS.get(form, '.json')}"
    found = surfaces.write(made, form, path)
    assert found[0] == path
    assert path.read_bytes() == surfaces.FORMS[form](made)
    assert sorted(path.parent.iterdir()) == sorted(found)


def test_times_go_into_a_second_file(tmp_path):
    found = surfaces.write(fine(), "github-benchmark", tmp_path / "bench.json")
    assert [path.name for path in found] == ["bench.json", "bench-smaller.json"]
    assert [each["name"] for each in json.loads(found[1].read_text())] == ["launch.async (cuda:0)"]
    assert len(surfaces.write(gate(verdict(metric())), "github-benchmark", tmp_path / "other.json")) == 1


def test_a_run_is_never_overwritten(tmp_path):
    path = tmp_path / "run.jsonl"
    text = "".join(f"{line}\n" for line in store.raw_lines(fine().run))
    path.write_text(text)
    with pytest.raises(RunError, match="is a Run"):
        surfaces.write(fine(), "json", path)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("pdf", "x.pdf", "unknown form 'pdf'"),
        ("prometheus", "x.txt", "does not end in .prom"),
        ("md", "", "needs a file"),
    ],
)
def test_what_cannot_be_written_is_one_clear_line(form, name, said, tmp_path):
    with pytest.raises(RunError, match=said) as caught:
        surfaces.write(fine(), form, tmp_path / name if name else "")
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_way_is_one_clear_line(tmp_path):
    (tmp_path / "gate.md").mkdir()
    with pytest.raises(RunError, match="cannot write the md export"):
        surfaces.write(fine(), "md", tmp_path / "gate.md")


def test_nothing_heavy_is_loaded_before_it_is_asked_for():
    code = (
        "import sys, bench.report.gate, bench.report.gate.text, bench.report.gate.github;"
        "heavy = {'pandas', 'plotly', 'junitparser', 'prometheus_client', 'rich', 'torch'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
