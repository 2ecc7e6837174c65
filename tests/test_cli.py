"""The verbs as a person types them: clear lines, documented exit codes, no traceback, nothing lost."""

import io
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli
from bench.store import RunError, read

REPOSITORY = Path(__file__).resolve().parent.parent
SIM = ("--device", "sim:h200-sxm", "--budget", "quick")


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys) -> tuple[str, str]:
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


def test_all_leaves_a_run_and_a_report(house, capsys):
    assert cli.main(["all", *SIM]) == 0
    out, _ = said(capsys)
    runs, reports = list(house.glob("results/sim-h200-sxm/*.jsonl")), list(house.glob("reports/*.html"))
    assert len(runs) == len(reports) == 1
    assert str(runs[0].relative_to(house)) in out
    assert str(reports[0].relative_to(house)) in out
    assert "SIMULATED" in out
    assert "ridge point" in out
    assert read(runs[0]).complete
    for probe in ("bandwidth", "peak", "intensity", "gemm", "attention", "allreduce"):
        assert sum(line.startswith(probe) for line in out.splitlines()) == 1


def test_json_is_alone_on_stdout(house, capsys):
    assert cli.main(["run", "--probes", "bandwidth,peak", "--json", *SIM]) == 0
    out, err = said(capsys)
    told = json.loads(out)
    assert Path(told["run"]).exists()
    assert Path(told["report"]).exists()
    assert told["exit_code"] == 0
    assert "bandwidth" in err
    roof = next(r for r in told["devices"][0]["roofs"] if r["key"] == "dram")
    assert roof["rate"] == pytest.approx(4.8e12)
    assert (roof["unit"], roof["theory"]) == ("B/s", 4.8e12)
    assert told["devices"][0]["ridge"]["intensity"] == pytest.approx(989.4 / 4.8)


def test_report_and_fit_read_a_run_again(house, capsys):
    cli.main(["run", "--probes", "bandwidth,peak", *SIM])
    path = str(next(house.glob("results/*/*.jsonl")))
    said(capsys)
    assert cli.main(["report", path, "--out", "again.html"]) == 0
    assert (house / "again.html").stat().st_size > 1e6
    assert cli.main(["fit", path]) == 0
    assert "dram" in said(capsys)[0]
    assert cli.main(["fit", path, "--json"]) == 0
    assert json.loads(said(capsys)[0])["simulated"] is True


def test_a_dry_run_measures_nothing(house, capsys):
    assert cli.main(["all", "--dry-run", *SIM]) == 0
    assert "nothing was measured" in said(capsys)[0]
    assert list(house.iterdir()) == []


def test_no_verb_is_help(capsys):
    assert cli.main([]) == 0
    assert "exit codes" in said(capsys)[0]


def test_list_names_everything(capsys):
    assert cli.main(["list"]) == 0
    out, _ = said(capsys)
    assert all(word in out for word in ("bandwidth", "cpu", "h200-sxm", "gb300"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["al"], "unknown verb 'al': did you mean all?"),
        (["all", "--budget", "quik"], "no budget 'quik': sniff, quick, standard, soak, or a duration as 90s"),
        (["all", "--budget", "0s"], "out of range"),
        (["all", "--budget", "-5m"], "--budget: give a name or a positive duration"),
        (["all", "--budget=-5m"], "no budget '-5m'"),
        (["all", "--budget", "3x"], "no budget '3x'"),
        (["doctor", "--budget", "1e99s"], "out of range"),
        (["gate", "--budget", "90s"], "unknown budget '90s'"),
        (["all", "--budget", "6s", "--device", "sim:h200-sxm"], "the report needs 6.0 s; about 10s would do"),
        (["all", "--device", "sim:h20-sxm"], "h200-sxm"),
        (["all", "--device", "sim:h200-sxm,gpus=none"], "gpus=none"),
        (["all", "--device", "cuda:99"], "no device 'cuda:99' on this machine"),
        (["all", "--device", "GPU-ffffffff-0000"], "no device 'GPU-ffffffff-0000'"),
        (["all", "--device", ""], "names no device"),
        (["all", "--device", "cpu,sim:t4"], "cannot be mixed"),
        (["run", "--probes", "bandwith"], "unknown probe 'bandwith': did you mean bandwidth?"),
        (["all", "--seed", "-1"], "seed"),
        (["all", "--seed", "x"], "seed"),
        (["report", "none.jsonl"], "no such Run file: none.jsonl"),
        (["fit", "none.jsonl"], "no such Run file"),
        (["report"], "required: RUN"),
    ],
)
def test_wrong_words_are_one_clear_line(house, capsys, words, message):
    try:
        code = cli.main(words)
    except SystemExit as stop:
        code = stop.code
    _, err = said(capsys)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not list(house.glob("results/**/*.jsonl"))


def test_the_least_that_would_do_does(house, capsys):
    assert cli.main(["run", "--probes", "bandwidth", "--device", "sim:h200-sxm", "--budget", "8s"]) == 0
    assert "dram" in said(capsys)[0]


def test_a_sniff_says_the_headline_roofs_and_writes_no_report_unless_asked(house, capsys):
    sim = ("all", "--device", "sim:h200-sxm", "--budget", "sniff", "--json")
    assert cli.main(sim) == 0
    told = json.loads(said(capsys)[0])
    assert told["report"] is None
    roofs = {roof["key"] for roof in told["devices"][0]["roofs"]}
    assert roofs == {"dram", "tensor.bfloat16.library"}
    assert cli.main([*sim, "--reports", "r"]) == 0
    assert Path(json.loads(said(capsys)[0])["report"]).exists()


def test_a_damaged_run_is_named(house, capsys):
    (house / "bad.jsonl").write_text('{"type": "environment"')
    assert cli.main(["report", "bad.jsonl"]) == 2
    assert "bad.jsonl is not a ridgepoint Run, or its first line is cut off" in said(capsys)[1]


def test_results_that_cannot_be_written(house, capsys):
    (house / "file").write_text("in the way")
    assert cli.main(["all", *SIM, "--out", "file"]) == 2
    assert "cannot create" in said(capsys)[1]
    assert (house / "file").read_text() == "in the way"


def test_reports_that_cannot_be_written_are_said_before_measuring(house, capsys):
    (house / "file").write_text("in the way")
    assert cli.main(["run", "--probes", "bandwidth", *SIM, "--reports", "file"]) == 2
    assert "cannot write to file" in said(capsys)[1]
    assert not list(house.glob("results/*/*.jsonl"))


def test_a_report_that_fails_loses_no_run(house, capsys, monkeypatch):
    from bench import report

    def full(run, path, gate=None):
        raise RunError("cannot write x.html: No space left on device")

    monkeypatch.setattr(report, "write", full)
    assert cli.main(["run", "--probes", "bandwidth", *SIM]) == 0
    assert "warning: cannot write x.html" in said(capsys)[0]
    assert read(next(house.glob("results/*/*.jsonl"))).complete


def test_a_reader_that_leaves_stops_nothing(house):
    words = f"{sys.executable} -m bench run --probes bandwidth {' '.join(SIM)} | head -1; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert read(next(house.glob("results/*/*.jsonl"))).complete
    assert list(house.glob("reports/*.html"))


def test_no_valid_roof_is_inconclusive(house, capsys):
    assert cli.main(["all", "--device", "sim:h200-sxm,throttle=thermal", "--budget", "quick"]) == 3
    assert "thermal slowdown" in said(capsys)[0]


def test_bytes_that_are_no_text_end_no_run(house, capsys, monkeypatch):
    """Linux allows them in a path and in an argument, JSON and HTML do not."""
    results, reports = (os.fsdecode(name) for name in (b"results\xff", b"reports\xfe"))
    words = ["run", "--probes", "bandwidth", *SIM, "--out", results, "--reports", reports]
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    assert cli.main(words) == 0
    out, err = said(capsys)
    assert r"results\udcff" in out
    assert "warning" not in out + err
    (path,) = Path(results).glob("*/*.jsonl")
    run = read(path)
    assert run.complete
    assert r"results\udcff" in run.environment.command
    assert len(list(Path(reports).glob("*.html"))) == 1
    assert cli.main(["report", str(path), "--out", "again.html"]) == 0
    assert cli.main(["compare", str(path), str(path)]) == 0


def test_a_terminal_that_knows_few_letters_ends_no_run(house, monkeypatch, unpaged):
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding="latin-1"))
    assert cli.main(["run", "--probes", "bandwidth", *SIM]) == 0
    assert rb"\u2265" in kept.getvalue(), "greater or equal, in the words below the table"


def test_redaction_reaches_the_file(house, capsys):
    import socket

    assert cli.main(["run", "--probes", "bandwidth", *SIM, "--redact", "--reports", str(house / "r")]) == 0
    text = next(house.glob("results/*/*.jsonl")).read_text()
    assert socket.gethostname() not in text.split("\n")[0].replace("sim-h200-sxm", "")
    assert str(house) not in text


def test_an_incomplete_run_is_reported_with_a_warning(house, capsys):
    cli.main(["run", "--probes", "bandwidth,peak", *SIM])
    path = next(house.glob("results/*/*.jsonl"))
    path.write_bytes(path.read_bytes()[:-700])
    said(capsys)
    assert cli.main(["report", str(path)]) == 0
    assert "incomplete" in said(capsys)[1]


def python(*words: str, **more) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, check=False, **more
    )


def test_help_is_quick_because_it_loads_nothing_heavy():
    loaded = python(
        "-c",
        "import sys, bench.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: print(*sys.modules, file=sys.stderr)",
    )
    heavy = {"torch", "numpy", "pandas", "plotly", "scipy", "cupy", "rich"} & set(loaded.stderr.split())
    assert not heavy
    # of a core's time: the clock on the wall counts who else uses the machine as well
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert python("-m", "bench", "--help").returncode == 0
    assert 0 < resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.5


def test_the_desk_works_without_torch(house):
    cli.main(["run", "--probes", "bandwidth,peak,gemm", *SIM])
    path = next(house.glob("results/*/*.jsonl"))
    block = "import sys; sys.modules['torch'] = sys.modules['cupy'] = sys.modules['pynvml'] = None; "
    done = python(
        "-c", f"{block}from bench.cli import main; raise SystemExit(main(['report', {str(path)!r}, '--out', 'x.html']))"
    )
    assert done.returncode == 0, done.stderr
    assert (house / "x.html").exists()


def test_plain_lines_without_a_terminal(house):
    done = python("-m", "bench", "run", "--probes", "bandwidth", *SIM)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A folder with two simulated Runs, the second with memory 10 % slower: made once, copied often."""
    made = tmp_path_factory.mktemp("template")
    for spec in ("sim:h200-sxm", "sim:h200-sxm,dram=0.9"):
        out = ("--out", str(made / "results"), "--reports", str(made / "reports"))
        assert cli.main(["run", "--probes", "bandwidth,peak", "--device", spec, "--budget", "quick", *out]) == 0
    return made / "results"


@pytest.fixture
def two(house, template, capsys):
    """Paths of a Run and of a slower one."""
    shutil.copytree(template, "results")
    said(capsys)
    return [str(path) for path in sorted(house.glob("results/*/*.jsonl"), key=lambda path: path.stat().st_mtime)]


def test_compare_says_what_is_slower(two, capsys):
    assert cli.main(["compare", *two, "--json"]) == 0
    told = json.loads(said(capsys)[0])
    assert Path(told["report"]).exists()
    assert "dram" in json.dumps(told)
    # another comparison is another page
    assert cli.main(["compare", two[1], two[0]]) == 0
    assert len(list(Path("reports").glob("compare-*.html"))) == 2
    assert cli.main(["compare", two[0]]) == 2
    assert "2 to 6 Runs" in said(capsys)[1]


def test_trend_follows_a_product(two, house, capsys):
    assert cli.main(["trend", str(Path(two[0]).parent)]) == 0
    assert Path(said(capsys)[0].strip()).exists()
    assert cli.main(["trend", "results/nothing"]) == 2
    assert "no such folder" in said(capsys)[1]


@pytest.mark.parametrize(
    ("ending", "begins"),
    [("md", b"## "), ("csv", b"device,"), ("json", b"{"), ("parquet", b"PAR1"), ("html", b"<!doctype html>")],
)
def test_a_report_takes_the_form_that_its_name_ends_in(two, house, ending, begins):
    out = house / f"out.{ending}"
    assert cli.main(["report", two[0], "--out", str(out)]) == 0
    assert out.read_bytes().lstrip().startswith(begins)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "x.png", "--format", "csv"), "ends in .png, but --format asks for csv"),
        (("--out", "notes.txt"), "no form ends in .txt"),
        (("--format", "csv", "--points", "mine.csv"), "has no place for --points"),
        (("--points", "none.csv"), "no such file: none.csv"),
    ],
)
def test_what_a_report_cannot_do_is_said(two, house, capsys, words, message):
    (house / "mine.csv").write_text("name,flops,bytes,seconds,unit,dtype\nk,1e12,1e9,1,tensor,bfloat16\n")
    assert cli.main(["report", two[0], *words]) == 2
    assert message in said(capsys)[1]


def test_a_report_never_takes_the_place_of_its_run(two, capsys):
    before = Path(two[0]).read_bytes()
    copy = Path("run.html")
    copy.write_bytes(before)
    assert cli.main(["report", str(copy), "--out", str(copy)]) == 2
    assert "is a Run" in said(capsys)[1]
    assert copy.read_bytes() == before


def test_kernels_and_a_baseline_have_a_page_of_their_own_and_their_doubts_are_told(two, house, capsys):
    rows = "k,1e12,1e9,1e-9,tensor,bfloat16\nl,1e12,1e9,1,tensor,int4\n".replace("int4", "float4")
    (house / "mine.csv").write_text("name,flops,bytes,seconds,unit,dtype\n" + rows)
    assert cli.main(["report", two[1], "--points", "mine.csv", "--baseline", two[0]]) == 0
    out, err = said(capsys)
    assert "-with-mine-vs-" in out
    assert "k is at" in err
    assert "l has no roof here" in err


def test_a_slow_sibling_is_named_in_the_terminal(house, capsys):
    words = ["run", "--probes", "bandwidth", "--device", "sim:h200-sxm,gpus=4,dram@2=0.9", "--budget", "quick"]
    assert cli.main(words) == 0
    assert "! sim:h200-sxm:2: dram is 10 % below the median of its siblings" in said(capsys)[0]


def test_no_probe_is_not_every_probe(house, capsys):
    assert cli.main(["run", "--probes", "", *SIM]) == 2
    assert "names no probe" in said(capsys)[1]


def test_doctor_answers_for_a_datasheet(house, capsys):
    code = cli.main(["doctor", "--device", "sim:h200-sxm", "--json"])
    told = json.loads(said(capsys)[0])
    assert told["code"] == code
    assert "sim:h200-sxm:0" in json.dumps(told)
