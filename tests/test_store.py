import ast
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import store
from bench.schema import PASS, Check, End, Measurement, ProbeText, Run
from bench.store import RunError, Writer, parse, read, redacted, run_path
from bench.work import Work

FROZEN = Path(__file__).parent / "frozen"


def written(run: Run, folder: Path) -> Path:
    path = run_path(folder, run.environment)
    writer = Writer(path, run.environment)
    for measurement in run.measurements:
        writer.append(measurement)
    writer.end(run.end)
    return path


@pytest.fixture
def file(h200, tmp_path):
    return written(h200, tmp_path)


def test_a_run_comes_back_whole(h200, file):
    found = read(file)
    assert (found.environment, found.measurements, found.end) == (h200.environment, h200.measurements, h200.end)
    assert found.complete
    assert found.warnings == ()


def test_the_lines_of_a_read_run_are_the_file(file):
    assert "\n".join(store.raw_lines(read(file))) + "\n" == file.read_text()


def checked(h200, folder) -> Path:
    path = run_path(folder, h200.environment)
    writer = Writer(path, h200.environment)
    writer.check(CHECK)
    for measurement in h200.measurements[:5]:
        writer.append(measurement)
    writer.end(h200.end)
    return path


CHECK = Check(
    name="time.linear_copy", device="cpu", proves="Twice is twice.", expected="1 ± 0.1", state=PASS, value="1.01"
)


def test_the_checks_of_a_run_come_back(h200, tmp_path):
    path = checked(h200, tmp_path)
    found = read(path)
    assert found.checks == (CHECK,)
    assert found.measurements == h200.measurements[:5]
    assert "\n".join(store.raw_lines(found)) + "\n" == path.read_text()
    assert read(FROZEN / "run-1.1.jsonl").checks == ()
    assert read(FROZEN / "run-1.2.jsonl").checks


def test_the_texts_of_its_probes_come_back(h200, file):
    found = read(file).environment.probes
    assert found == h200.environment.probes
    assert {m.probe for m in h200.measurements} <= found.keys()
    assert found["gemm"] == ProbeText(
        "GEMM over batch",
        "From which batch on does a weight matrix pay for its own reading?",
        found["gemm"].formula,
    )
    assert "2 m n k" in found["gemm"].formula
    assert read(FROZEN / "run-1.2.jsonl").environment.probes == {}
    assert read(FROZEN / "run-1.3.jsonl").environment.probes["latency"].title == "Memory latency"


def test_texts_of_a_later_minor_are_read_and_said(file):
    probes = {"p": {"title": "P", "question": "Q?", "formula": "", "colour": "red"}}
    found = parse(changed(file, 0, probes=probes), "x")
    assert found.environment.probes == {"p": ProbeText("P", "Q?")}
    assert found.warnings == ("written by a newer minor version; ignored: ProbeText.colour",)


@pytest.mark.parametrize("probes", [{"p": "title"}, {"p": None}, ["p"], None, {"p": {"title": 1}}])
def test_texts_that_are_none_are_refused(file, probes):
    with pytest.raises(RunError, match="line 1"):
        parse(changed(file, 0, probes=probes), "x")


def test_a_check_with_a_foreign_state_is_refused(h200, tmp_path):
    text = checked(h200, tmp_path).read_text().replace('"state":"pass"', '"state":"maybe"')
    with pytest.raises(RunError, match="line 2: unknown state 'maybe' of a check"):
        parse(text.encode(), "x")


def test_nothing_is_overwritten(h200, file):
    before = file.read_bytes()
    with pytest.raises(RunError, match="cannot create"):
        Writer(file, h200.environment)
    assert file.read_bytes() == before


PLAIN = st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=20), st.booleans())


@given(
    params=st.dictionaries(st.text(min_size=1, max_size=10), PLAIN, max_size=5),
    seconds=st.lists(st.floats(1e-12, 1e6), max_size=8),
    flops=st.floats(0, 1e30),
    words=st.text(max_size=50),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_measurement_survives(h200, params, seconds, flops, words):
    one = Measurement(
        probe="p", version=1, device="d", params=params, work=Work(flops), seconds=tuple(seconds), reasons=(words,)
    )
    run = Run(h200.environment, (one,), End("complete", 0, "now"))
    data = "".join(line + "\n" for line in store.raw_lines(run)).encode()
    assert parse(data, "x").measurements == (one,)


@given(st.integers(1, 4000))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_keeps_the_whole_lines(h200, cut):
    lines = [line + "\n" for line in store.raw_lines(replace(h200, measurements=h200.measurements[:20]))]
    data = "".join(lines).encode()
    cut = min(cut + len(lines[0].encode()), len(data) - 1)
    found = parse(data[:cut], "x")
    assert not found.complete
    assert any("no end line" in warning for warning in found.warnings)
    assert found.measurements == h200.measurements[: len(found.measurements)]
    assert len(found.measurements) == data[:cut].count(b"\n") - 1


@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused_in_words(data):
    with pytest.raises(RunError):
        parse(data, "x")


def changed(file: Path, line: int, **fields) -> bytes:
    lines = file.read_text().splitlines()
    lines[line] = json.dumps(json.loads(lines[line]) | fields)
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize(
    ("line", "fields", "message"),
    [
        (0, {"version": [2, 0]}, "Upgrade ridgepoint"),
        (0, {"version": "one"}, "version is missing or malformed"),
        (0, {"schema": "other"}, "not a ridgepoint Run"),
        (1, {"seconds": [1.0, -1.0]}, "not a positive number"),
        (1, {"seconds": [1.0, None]}, "line 2"),
        (1, {"seconds": "fast"}, "line 2"),
        (1, {"validity": "great"}, "unknown validity"),
        (1, {"launches": -4}, "negative count"),
        (1, {"work": {"flops": -1.0}}, "negative or not a number"),
        (1, {"type": "environment"}, "second environment"),
    ],
)
def test_bad_fields_are_named(file, line, fields, message):
    with pytest.raises(RunError, match=message):
        parse(changed(file, line, **fields), "x")


def test_nan_is_refused(file):
    text = file.read_text().replace('"seconds":[', '"seconds":[NaN,', 1)
    with pytest.raises(RunError, match="damaged"):
        parse(text.encode(), "x")


def test_a_damaged_line_is_named(file):
    lines = file.read_text().splitlines()
    lines[3] = lines[3][:50]
    with pytest.raises(RunError, match="line 4: damaged"):
        parse(("\n".join(lines) + "\n").encode(), "x")


def test_lines_after_the_end_are_refused(file):
    text = file.read_text()
    with pytest.raises(RunError, match="after the end line"):
        parse((text + text.splitlines()[1] + "\n").encode(), "x")


def test_a_newer_minor_is_read_and_said_once(file):
    data = changed(file, 1, new_field=1) + b""
    text = data.decode().replace('"version": [1, 0]', '"version": [1, 9]')
    found = parse(text.encode(), "x")
    assert found.warnings == ("written by a newer minor version; ignored: Measurement.new_field",)


@pytest.mark.parametrize("path", sorted(FROZEN.glob("*.jsonl")), ids=lambda path: path.name)
def test_frozen_runs_of_every_minor_are_still_read(path):
    found = read(path)
    assert found.complete
    assert found.measurements


def test_there_is_a_frozen_run_of_this_minor():
    assert (FROZEN / f"run-{store.MAJOR}.{store.MINOR}.jsonl").exists()


# --- the Run explains itself

SHAPE = ("heads", "kv_heads", "head_dim")


def test_an_older_runs_cases_have_the_keys_of_new_ones(run_of):
    """Before 1.4 a case of attention did not say its heads: they are added as it is read, where new Runs have them."""
    run = run_of("sim:h200-sxm", ("attention", "decode", "launch"))
    lines = list(store.raw_lines(run))
    said = [json.loads(line) for line in lines]
    for record in said:
        for name in SHAPE if record.get("probe") in ("attention", "decode") else ():
            record["params"].pop(name, None)
    older = "\n".join([lines[0].replace(f'"version":[1,{store.MINOR}]', '"version":[1,3]'), *map(json.dumps, said[1:])])
    assert [m.key for m in parse(f"{older}\n".encode(), "x").measurements] == [m.key for m in run.measurements]
    attention = [
        m for m in run.measurements if m.probe == "attention" or str(m.params.get("part")).endswith("attention")
    ]
    assert {m.params["layout"] for m in attention if "layout" in m.params} == {"mha", "gqa", "mqa", "mla"}
    assert all(tuple(m.params)[-3:] == SHAPE for m in attention)


def test_a_frozen_run_says_the_heads_of_its_attention():
    found = [m for m in read(FROZEN / "run-1.4.jsonl").measurements if m.probe == "attention"]
    assert {tuple(m.params[name] for name in SHAPE) for m in found} == {(32, 8, 128)}


BENCH = Path(store.__file__).parent
READERS = ("transformer_cases.py", "serving/curves.py", "serving/efficiency_curves.py",
           "serving/machine_io.py", "serving/selfcheck.py")  # fmt: skip


def literals(path: Path) -> list[object]:
    """The numbers above 16 and the dicts that a file spells out."""
    found: list[object] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value > 16:
            found.append(node.value)
        elif isinstance(node, ast.Dict) and node.keys and all(isinstance(each, ast.Constant) for each in node.values):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("name", READERS)
def test_what_reads_cases_copies_no_number_and_no_table_of_the_lab(name):
    """What a case's shape is stands in the Run, or in a table below both towers."""
    folders = (BENCH / "measure" / "probes", BENCH / "measure" / "workloads")
    lab = {each for folder in folders for path in folder.rglob("*.py") for each in literals(path)}
    assert {32, 128, 4096, 14336, 128256} <= lab
    assert not lab & set(literals(BENCH / "analysis" / name))


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(RunError, match="no such Run file"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(RunError, match="is empty"):
        read(tmp_path / "empty.jsonl")
    with pytest.raises(RunError, match="is a folder"):
        read(tmp_path)


def test_a_full_disk_is_one_clear_line(h200, tmp_path):
    writer = Writer(tmp_path / "run.jsonl", h200.environment)

    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer._file.close()
    writer._file = Full()
    with pytest.raises(RunError, match=r"No space left on device\. What was written before is kept"):
        writer.append(h200.measurements[0])


def test_redaction_leaves_no_names(h200):
    info = replace(h200.environment.devices[0], uuid="GPU-1234")
    command = ("python", "-m", "bench", "all", "--out", "/home/someone/x", "--device", "GPU-1234", "--reports=/tmp/y")
    about = replace(h200.environment, host="node7", devices=(info,), command=command)
    text = msgspec.json.encode(msgspec.to_builtins(redacted(about))).decode()
    for secret in ("node7", "someone", "GPU-1234", "/tmp", "/home"):
        assert secret not in text
    assert redacted(about).redacted
    assert redacted(about).host != redacted(about).host, "the salt is drawn anew"


def test_file_names_say_when_what_and_which(h200, tmp_path):
    about = replace(h200.environment, started="2026-11-20T13:37:18.123Z", commit="", run_id="0123456789abcdef")
    assert run_path(tmp_path, about) == tmp_path / "sim-h200-sxm" / "20261120T133718Z-nogit-01234567.jsonl"


def test_no_page_takes_the_place_of_a_run(file, tmp_path):
    from bench.store import whole_file

    before = Path(file).read_bytes()
    link = tmp_path / "link.html"
    link.symlink_to(file)
    for path in (file, link, f"{Path(file).parent}/./{Path(file).name}"):
        with pytest.raises(RunError, match="is a Run: a report would take its place"):
            whole_file(b"<html>", path)
    assert Path(file).read_bytes() == before
    assert whole_file(b"<html>", tmp_path / "new" / "page.html").read_bytes() == b"<html>"
    assert whole_file(b"<html>again", tmp_path / "new" / "page.html").read_bytes() == b"<html>again"


def test_a_folder_is_no_run(tmp_path):
    with pytest.raises(RunError, match="is a folder: name a Run file in it"):
        read(tmp_path)
