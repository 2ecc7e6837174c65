"""The house rules, as tests: floors, style, what is committed, and that README's words are true."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Collection
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.store import read
from tests.perf import house

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()
CONSTRAINTS = (REPOSITORY / "constraints.txt").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def run(*words: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


def tracked(pattern: str) -> list[Path]:
    done = run("git", "ls-files", pattern)
    return [REPOSITORY / line for line in done.stdout.splitlines()] if done.returncode == 0 else []


def test_imports_point_down_only():
    done = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("words", [("check", "."), ("format", "--check", ".")])
def test_ruff(words):
    done = run(sys.executable, "-m", "ruff", *words)
    assert done.returncode == 0, done.stdout[-3000:]


def test_kernels_is_never_a_package():
    assert not list((REPOSITORY / "kernels").rglob("__init__.py"))


def test_only_units_spells_the_units():
    """Prose may; code that prints may not."""
    spelled = re.compile(r"""["'][^"'\n]*\{[^"'\n]*(GB/s|TB/s|GFLOP/s|TFLOP/s)""")
    guilty = [p for p in (REPOSITORY / "bench").rglob("*.py") if p.name != "units.py" and spelled.search(p.read_text())]
    assert not guilty


def test_a_class_name_has_one_meaning():
    assert {name: places for name, places in house.classes().items() if len(places) > 1} == {}


def test_no_file_is_long_and_no_function_either():
    assert [str(path) for path, text in house.sources().items() if len(text.splitlines()) > 350] == []
    assert [f"{path}: {name}" for lines, path, name in house.functions() if lines > 60] == []


def test_what_docs_architecture_names_is_there():
    """Every file and folder of the page, and as many on the way of a case as it says."""
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    named = [name for name in re.findall(r"`((?:bench|kernels|tests|docs)/[^`]*)`", page) if "NAME" not in name]
    assert len(named) > 20
    assert [name for name in named if not (REPOSITORY / name).exists()] == []
    assert 3 <= len(re.findall(r"(?m)^\| \d \| `bench/", page)) <= 8


def test_committed_runs_and_reports_name_nobody():
    for path in tracked("results/**/*.jsonl"):
        assert read(path).environment.redacted, path
    secrets = re.compile(r"GPU-[0-9a-f]{8}-[0-9a-f]{4}|/home/|/root/|/tmp/")
    files = tracked("results/**/*.jsonl") + tracked("reports/**/*.html") + tracked("tests/frozen/*.jsonl")
    assert files
    for path in files:
        # plotly's own bundle is no word of ours
        text = (
            re.sub(r"<script[^>]*>[^<]{500000,}</script>", "", path.read_text())
            if path.suffix == ".html"
            else path.read_text()
        )
        assert not secrets.search(text), path


def test_readme_is_short_and_its_links_exist():
    assert len(README.splitlines()) < 215
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPOSITORY / target).exists(), target


def commands() -> list[str]:
    return [line for line in README.splitlines() if line.startswith("python3 -m venv")]


def test_readme_has_its_two_commands():
    first, second = commands()
    assert first.endswith("-m bench all")
    assert second.endswith("-m pytest")


def test_ci_runs_readmes_test_command():
    script = (REPOSITORY / ".ci" / "run").read_text()
    sed = re.search(r"sed -n '([^']+)'", script)[1]
    found = run("sed", "-n", sed, "README.md").stdout
    assert commands()[1] in found


# A GPU node of Ubuntu 24.04, whose glibc is 2.39; pip matches each older tag only if it is named.
NODE = {"python_version": "3.12", "platform_system": "Linux", "sys_platform": "linux", "platform_machine": "x86_64"}
TAGS = [f"manylinux_2_{minor}_x86_64" for minor in range(5, 40)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]


def chosen(*wanted: str) -> dict[str, dict]:
    """Name -> metadata of the wheel that pip would take on that node, of these alone: what they need is not fetched,
    which would be a gigabyte.
    """
    platforms = [word for tag in TAGS for word in ("--platform", tag)]
    done = run(
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--only-binary=:all:",
        "--python-version", NODE["python_version"], "--implementation", "cp", *platforms, "--target", "unused",
        "--no-deps", "--report", "-", "-c", "constraints.txt", *wanted,
    )  # fmt: skip
    if "Temporary failure in name resolution" in done.stderr or "Failed to establish a new connection" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr[-2000:]
    metadata = [each["metadata"] for each in json.loads(done.stdout)["install"]]
    return {canonicalize_name(each["name"]): each for each in metadata}


def needs(metadata: dict, extras: Collection[str] = ()) -> list[Requirement]:
    found = map(Requirement, metadata.get("requires_dist", []))
    return [
        need
        for need in found
        if not need.marker or any(need.marker.evaluate(NODE | {"extra": extra}) for extra in ("", *extras))
    ]


def test_readmes_first_command_fits_a_gpu_node():
    """An install without a GPU never meets torch's CUDA wheel, which pins a CUDA toolkit and with it NVRTC and the
    runtime. Here are its needs, the toolkit's and those of all that this project asks for: what is pinned meets them.
    """
    extras = re.search(r"'\.\[([\w,]+)\]'", commands()[0])[1].split(",")
    project = PROJECT["project"]
    wanted = project["dependencies"] + [need for extra in extras for need in project["optional-dependencies"][extra]]
    found = chosen(*wanted)
    assert {"torch", "cupy-cuda13x", "nvidia-cuda-nvrtc"} <= set(found)
    toolkit = next((need for need in needs(found["torch"]) if need.name == "cuda-toolkit"), None)
    assert toolkit is not None, "not the CUDA wheel of torch"
    asked = needs(chosen(f"{toolkit.name}{toolkit.specifier}")[toolkit.name], toolkit.extras)
    asked += [need for metadata in found.values() for need in needs(metadata)]
    pins = {canonicalize_name(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)$", CONSTRAINTS)}
    pins |= {name: metadata["version"] for name, metadata in found.items()}
    met = [need for need in asked if canonicalize_name(need.name) in pins]
    assert {"nvidia-cuda-nvrtc", "nvidia-cuda-runtime", "numpy", "jinja2"} <= {need.name for need in met}
    assert [str(need) for need in met if pins[canonicalize_name(need.name)] not in need.specifier] == []


def test_readmes_example_probe_changes_no_other_file(tmp_path):
    """Added to a copy of the suite, it is listed, run, drawn and tested."""
    for folder in ("bench", "kernels", "tests"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    example = re.search(r"```python\n(.*?)```", README, re.S)[1]
    assert len([line for line in example.splitlines() if line.strip() and "import" not in line]) <= 12
    (tmp_path / "bench/measure/probes/fill.py").write_text(example)
    assert "How fast does torch fill a tensor?" in run(sys.executable, "-m", "bench", "list", cwd=tmp_path).stdout
    done = run(
        sys.executable, "-m", "bench", "run", "--probes", "fill", "--device", "cpu", "--budget", "90s", cwd=tmp_path
    )
    # on a busy machine nothing is usable, and that is said
    assert done.returncode in (0, 3), done.stderr
    measured = [m for m in read(next(tmp_path.glob("results/*/*.jsonl"))).measurements if m.seconds]
    assert {m.probe for m in measured} == {"fill"}
    assert "fill" in next(tmp_path.glob("reports/*.html")).read_text().split("<main", 1)[-1]
    tests = run(
        sys.executable, "-m", "pytest", "-k", "fill", "tests/test_work.py", "-p", "no:cacheprovider", cwd=tmp_path
    )
    assert tests.returncode == 0, tests.stdout
    assert re.search(r"[1-9]\d* passed", tests.stdout)


def test_the_wheel_carries_everything_it_reads(tmp_path):
    done = run(sys.executable, "-m", "pip", "wheel", ".", "--quiet", "--no-deps", "-w", str(tmp_path))
    if "Temporary failure in name resolution" in done.stderr or "Failed to establish a new connection" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    sources = [p for p in tracked("kernels/*") if p.suffix in (".c", ".cu")]
    assert sources
    wanted = {f"bench/kernels/{source.name}" for source in sources}
    wanted |= {str(p.relative_to(REPOSITORY)) for p in tracked("bench/**") if p.is_file()}
    assert wanted <= names, wanted - names
    assert not [name for name in names if name.startswith(("tests/", "results/", "kernels/"))]
