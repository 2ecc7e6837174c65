"""The compile cache: what it keeps, what makes it compile again, and what it says when it cannot."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import bench
from bench.measure.device import cc
from bench.measure.device.protocol import DeviceError, Kernel, Unsupported, kernel_source

pytestmark = pytest.mark.skipif(cc.compiler() is None, reason="no C compiler")

ROOT = Path(bench.__file__).resolve().parents[1]
SOURCE = """
#ifndef ANSWER
#define ANSWER 42
#endif
long long answer(void) { return ANSWER; }
void fill(float *y, long long n, double value) { for (long long i = 0; i < n; i++) y[i] = (float)value; }
void halve(long long n, float *y) { for (long long i = 0; i < n; i++) y[i] /= 2; }
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small kernel file, an empty cache, and kernel_source leading to the file."""
    path = tmp_path / "small.c"
    path.write_text(SOURCE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cc, "kernel_source", lambda name, suffix: tmp_path / f"{name}{suffix}")
    return path


@pytest.fixture
def compilations(tmp_path, monkeypatch):
    """The command lines by which libraries were made, logged by a compiler in front of the real one."""
    log, folder = tmp_path / "log", tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "cc"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {cc.compiler().path} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda: [line for line in log.read_text().splitlines() if " -o " in line]


def kernel(function: str, defines: tuple = ()) -> Kernel:
    return Kernel("small", function, print, elements=1, defines=defines)


def test_a_second_build_does_not_compile(source, compilations):
    assert cc.build(source) == cc.build(source)
    assert len(compilations()) == 1


def test_another_process_finds_the_library(source, compilations):
    library = cc.build(source)
    program = f"from pathlib import Path; from bench.measure.device import cc; print(cc.build(Path({str(source)!r})))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == str(library)
    assert len(compilations()) == 1


def test_a_changed_source_compiles_again(source, compilations):
    assert cc.integer("small", "answer") == 42
    source.write_text(SOURCE.replace("42", "43"))
    assert cc.integer("small", "answer") == 43
    assert len(compilations()) == 2


def test_changed_flags_compile_again(source, compilations, monkeypatch):
    first = cc.build(source)
    monkeypatch.setattr(cc, "FLAGS", (*cc.FLAGS, "-DANSWER=7"))
    assert cc.build(source) != first
    assert cc.integer("small", "answer") == 7
    assert len(compilations()) == 2


def test_defines_make_a_library_of_their_own(source, compilations):
    plain, defined = cc.build(source), cc.build(source, (("ANSWER", 7),))
    assert plain != defined
    assert "-DANSWER=7" in compilations()[1]


def test_another_cpu_compiles_again(source, monkeypatch):
    first = cc.build(source)
    monkeypatch.setattr(cc, "_cpu", lambda: "another CPU")
    assert cc.build(source) != first


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:],
        lambda data: b"not a library",
    ],
    ids=["empty", "cut", "flipped", "foreign"],
)
def test_a_damaged_library_is_built_again(source, compilations, damage):
    library = cc.build(source)
    library.write_bytes(damage(library.read_bytes()))
    assert cc.build(source) == library
    assert cc.integer("small", "answer") == 42
    assert len(compilations()) == 2


def test_builds_at_the_same_time_do_not_clash(source):
    program = (
        "from pathlib import Path; from bench.measure.device import cc; import ctypes;"
        f"assert ctypes.CDLL(str(cc.build(Path({str(source)!r})))).answer() == 42"
    )

    def run(_):
        return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=ROOT)

    with ThreadPoolExecutor(6) as pool:
        assert [done.stderr for done in pool.map(run, range(6)) if done.returncode] == []
    assert [path.suffix for path in cc.build(source).parent.iterdir()] == [".so"]


def test_a_broken_kernel_names_its_file_and_line(source):
    source.write_text("long long fine(void) { return 1; }\nlong long broken(void) { return nothing; }\n" * 50)
    with pytest.raises(DeviceError) as caught:
        cc.build(source)
    assert f"{source}:2:" in str(caught.value)
    assert "nothing" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 20
    assert not (source.parent / "cache").exists()


def test_an_unwritable_cache_gives_way_to_a_private_folder(source, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(source))  # a file, which stops even root
    library = cc.build(source)
    assert library.is_file()
    assert source not in library.parents
    assert cc.integer("small", "answer") == 42


def test_without_a_compiler_there_is_none(source, monkeypatch):
    monkeypatch.setenv("PATH", str(source.parent))
    assert cc.compiler() is None
    with pytest.raises(DeviceError, match="no C compiler"):
        cc.build(source)


def test_a_compiler_that_does_not_answer_is_passed_over(source, monkeypatch):
    name = cc.compiler().path.name
    folder = source.parent / "bin"
    folder.mkdir()
    (folder / "cc").write_text("#!/bin/sh\nexit 1\n")
    (folder / "cc").chmod(0o755)
    (folder / "gcc").symlink_to(cc.compiler().path)
    monkeypatch.setenv("PATH", str(folder))
    assert cc.compiler().path == folder / "gcc", name


def test_the_environment_does_not_choose_the_compiler(monkeypatch):
    usual = cc.compiler()
    monkeypatch.setenv("CC", "false")
    assert cc.compiler() == usual


def test_arguments_become_c_values(source):
    fill, y = cc.function(kernel("fill")), torch.full((4,), torch.nan)
    fill(y, 3, 2.5)
    assert y[:3].tolist() == [2.5, 2.5, 2.5]
    assert y[3].isnan()


def test_two_signatures_do_not_disturb_each_other(source):
    fill, halve, y = cc.function(kernel("fill")), cc.function(kernel("halve")), torch.empty(2)
    for value in (8.0, 2.0):
        fill(y, 2, value)
        halve(2, y)
        assert y.tolist() == [value / 2] * 2


def test_a_function_that_this_cpu_lacks_is_unsupported(source):
    with pytest.raises(Unsupported, match="fma_float128"):
        cc.function(kernel("fma_float128"))
    with pytest.raises(Unsupported, match="lanes"):
        cc.integer("small", "lanes")


def test_kernel_sources_are_found():
    assert kernel_source("stream", ".c").read_text().startswith("/*")
    with pytest.raises(DeviceError, match=r"nowhere\.cu"):
        kernel_source("nowhere", ".cu")
