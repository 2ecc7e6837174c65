"""The verbs as a person types them: clear lines, documented exit codes, no traceback, nothing lost."""

import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import asdict
from inspect import signature
from pathlib import Path

import pytest

from bench import cli
from bench.cli.app import VERBS, parsed
from bench.measure.probes import probes
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
    # a GPU's page has one about serving beside it
    page, serving = sorted(reports, key=lambda path: len(path.name))
    assert serving.name == f"{page.stem}-serving.html"
    assert serving.name in page.read_text(encoding="utf-8")
    assert len(runs) == 1
    assert str(runs[0].relative_to(house)) in out
    assert str(page.relative_to(house)) in out
    assert "SIMULATED" in out
    assert "Ridge point" in out
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
    assert (house / "again.html").stat().st_size > 5e5
    assert cli.main(["fit", path]) == 0
    assert "DRAM" in said(capsys)[0]
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
    for probe in probes().values():
        mark = "*" if probe.asked else " "
        assert re.search(rf"^{re.escape(mark)} {probe.name} +{probe.title}$", out, re.M)
        assert probe.text.question in " ".join(out.split())


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("words", [[], ["list"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_no_word_is_broken_by_a_narrow_terminal(capsys, monkeypatch, words, columns):
    shown = []
    for width in (columns, 240):
        monkeypatch.setenv("COLUMNS", str(width))
        assert cli.main(words) == 0
        out, _ = said(capsys)
        assert max(map(len, out.splitlines())) <= width
        shown.append(sorted(out.split()))
    assert shown[0] == shown[1]


# What may be typed behind each verb: none of it goes away unnoticed.
MEASURING = "--device --budget --seed --out --wait"
OPTIONS = {
    "doctor": "--device --budget --out --json",
    "verify": "--device --deep --json --wait",
    "all": f"{MEASURING} --reports --json --redact --dry-run",
    "run": f"--probes {MEASURING} --reports --json --redact --dry-run",
    "report": "RUN --out --format --points --baseline --serving",
    "compare": "RUN --out --json",
    "trend": "FOLDER --out --otava --json",
    "fit": "RUN --json",
    "serving": "MODEL --run --roofline --device --batch --context --prompt --output --gpus --weights --kv --sla --mode"
    " --host --price --full --json",
    "gate": f"{MEASURING} --run --reports --json --confirm --fail-on --require-baseline --tolerances --export --github"
    " --nagios",
    "baseline": "ACTION TARGET --product --out",
    "history": "ACTION FOLDER --keep --yes",
    "calibrate": f"{MEASURING} --runs",
    "list": "",
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_may_be_typed(capsys, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "240")
    assert cli.main([verb, "--help"]) == 0
    out, _ = said(capsys)
    assert VERBS[verb][1] in " ".join(out.split())
    assert re.findall(r"^ [ *]*(--[a-z-]+|[A-Z]+)(?= |$)", out, re.M) == OPTIONS[verb].split()


DEFAULTS = {
    "all": {"device": "auto", "budget": "standard", "seed": 0, "out": Path("results"), "wait": 600.0, "reports": None}
    | {"json": False, "redact": False, "dry_run": False},
    "gate": {"device": "auto", "budget": "quick", "seed": 0, "out": Path("results"), "wait": 600.0, "reports": None}
    | {"json": False, "run": None, "confirm": 3, "fail_on": "inconclusive", "require_baseline": False, "export": ()}
    | {"tolerances": None, "github": False, "nagios": False},
    "calibrate": {"device": "auto", "budget": "quick", "seed": 0, "out": Path("results"), "wait": 600.0, "runs": 10},
}


@pytest.mark.parametrize("verb", DEFAULTS)
def test_what_is_left_out_has_its_default(verb):
    function, given = parsed([verb])
    options = given.arguments.get("options") or signature(function).parameters["options"].default
    assert asdict(options) == DEFAULTS[verb]


def test_what_is_typed_has_its_type_and_the_last_of_two_counts():
    words = [
        "gate",
        "--seed",
        "7",
        "--seed=8",
        "--wait=1.5",
        "--confirm",
        "0",
        "--run",
        "a b.jsonl",
        "--fail-on",
        "never",
    ]
    words += ["--export", "md=x", "--export=junit=y", "--json", "--require-baseline", "--budget", "soak"]
    options = parsed(words)[1].arguments["options"]
    assert (options.seed, options.wait, options.confirm, options.run) == (8, 1.5, 0, Path("a b.jsonl"))
    assert (options.fail_on, options.export, options.json) == ("never", ("md=x", "junit=y"), True)
    assert (options.require_baseline, options.budget, options.nagios) == (True, "soak", False)
    assert parsed(["serving", "m", "--batch", "1,8", "--full"])[1].arguments["options"].batch == (1, 8)
    assert parsed(["compare", "a", "--json", "b"])[1].args == (Path("a"), Path("b"))


def test_the_version_is_said(capsys):
    assert cli.main(["--version"]) == 0
    assert said(capsys)[0] == "ridgepoint 0.1.0\n"


def test_nagios_hears_of_what_was_mistyped_where_it_listens(house, capsys):
    assert cli.main(["gate", "--device", "cuda:99", "--nagios"]) == 3
    out, err = said(capsys)
    assert out.startswith("GATE UNKNOWN - no device 'cuda:99' on this machine")
    assert err == ""


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
        (["compare"], "required: RUN"),
        (["history", "list"], "required: FOLDER"),
        (["fit", "a", "b"], "unrecognized arguments: b"),
        (["all", "--devce", "cpu"], "unknown option --devce: did you mean --device?"),
        (["all", "--no-json"], "unknown option --no-json: did you mean --json?"),
        (["gate", "--device"], "argument --device: expected one argument"),
        (["gate", "--fail-on", "regresion"], "unknown fail-on 'regresion': did you mean regression?"),
        (["gate", "--confirm", "1001"], "argument --confirm: must be a whole number from 0 to 1000"),
        (["gate", "--wait", "-1"], "argument --wait: must be a number of seconds, 0 or more"),
        (["calibrate", "--runs", "1.5"], "argument --runs: must be a whole number"),
        (["history", "prune", "x", "--keep", "0"], "argument --keep: must be a whole number from 1 on"),
        (["baseline", "sett"], "unknown action 'sett': did you mean set?"),
        (["report", "x", "--format", "pdf"], "unknown format 'pdf': choose from html, md, txt, csv"),
        (
            ["serving", "m", "--price", "nan"],
            "argument --price: must be a number of USD per device and hour",
        ),
        (["serving", "m", "--mode", "eger"], "unknown mode 'eger': did you mean eager?"),
        (["all", "--device", "sim:b200-sxm"], "no GPU 'b200-sxm' in the table; nearest: b200;"),
        (["all", "--json=maybe"], "--json"),
        (["-x"], "unknown verb '-x': choose from doctor, verify, all"),
    ],
)
def test_wrong_words_are_one_clear_line(house, capsys, words, message):
    assert cli.main(words) == 2
    _, err = said(capsys)
    assert message in err
    assert err.startswith(f"bench {words[0]}: " if words[0] in VERBS else "bench: ")
    assert len(err.strip().splitlines()) == 1
    assert not list(house.glob("results/**/*.jsonl"))


def test_the_least_that_would_do_does(house, capsys):
    assert cli.main(["run", "--probes", "bandwidth", "--device", "sim:h200-sxm", "--budget", "8s"]) == 0
    assert "DRAM" in said(capsys)[0]


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

    def full(run, document, path):
        raise RunError("cannot write x.html: No space left on device")

    monkeypatch.setattr(report, "pages", full)
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


@pytest.mark.parametrize(("options", "code"), [("gpus=8,throttle=thermal@5", 1), ("throttle=power_cap", 0)])
def test_gpu_health_is_the_exit_code_of_whoever_measures_or_reads(house, capsys, options, code):
    device = ("--device", f"sim:h200-sxm,{options}", "--budget", "quick")
    assert cli.main(["run", "--probes", "bandwidth,peak", *device, "--json"]) == code
    told = json.loads(said(capsys)[0])
    assert told["exit_code"] == code
    assert (told["health"] == "fail") == (code == 1)
    assert cli.main(["fit", told["run"]]) == code
    # who only writes a page has done what was asked
    assert cli.main(["report", told["run"], "--out", "again.html"]) == 0


def test_what_is_not_usable_is_inconclusive(house, capsys):
    """Frozen: measured while other processes took 82 to 86 % of the cores' time."""
    assert cli.main(["fit", str(REPOSITORY / "tests" / "frozen" / "run-1.2.jsonl")]) == 3


@pytest.mark.parametrize("verb", ["--help", "list"])
def test_a_reader_of_help_may_leave(verb):
    words = f"{sys.executable} -m bench {verb} | head -1; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


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
    assert len(list(Path(reports).glob("*.html"))) == 2
    assert cli.main(["report", str(path), "--out", "again.html"]) == 0
    assert cli.main(["compare", str(path), str(path)]) == 0


def test_a_terminal_that_knows_few_letters_ends_no_run(house, monkeypatch, unpaged):
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding="latin-1"))
    assert cli.main(["run", "--probes", "bandwidth", *SIM]) == 0
    assert rb"\u2713" in kept.getvalue(), "the mark of what passes"


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
    show = "import sys, bench.cli as c; c.main([{}]); print(*sys.modules, file=sys.stderr)"
    heavy = {"torch", "numpy", "pandas", "plotly", "scipy", "cupy", "pynvml"}
    for words, without in (("'--help'", heavy), ("'gate', '--help'", heavy), ("'list'", {*heavy, "rich"})):
        loaded = set(python("-c", show.format(words)).stderr.split())
        assert "bench.cli" in loaded
        assert not without & loaded
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
        (("--out", "notes.doc"), "no form ends in .doc"),
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
    assert "k lies above its roof" in err
    assert "this Run has no roof for FP4 tensor" in err


def test_a_slow_sibling_is_named_in_the_terminal(house, capsys):
    words = ["run", "--probes", "bandwidth", "--device", "sim:h200-sxm,gpus=4,dram@2=0.9", "--budget", "quick"]
    assert cli.main(words) == 1
    assert re.search(
        r"✕ GPU 2: DRAM −10 % \(4\.32\s+against 4\.80 TB/s, median of\s+the\s+3\s+others\)", said(capsys)[0]
    )


def test_no_probe_is_not_every_probe(house, capsys):
    assert cli.main(["run", "--probes", "", *SIM]) == 2
    assert "names no probe" in said(capsys)[1]


def test_doctor_answers_for_a_datasheet(house, capsys):
    code = cli.main(["doctor", "--device", "sim:h200-sxm", "--json"])
    told = json.loads(said(capsys)[0])
    assert told["code"] == code
    assert "sim:h200-sxm:0" in json.dumps(told)
