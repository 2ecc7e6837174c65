"""The driver's list of GPUs, from a library that has its symbols and says what a test wants."""

import ctypes
import shutil
import subprocess
import sys

import pytest

from bench.measure.device import cuda, driver

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs a C compiler")

BODY = """
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 7 + ordinal; return ordinal < COUNT ? 0 : 101; }
int UUIDS(unsigned char *uuid, int device) { for (int i = 0; i < 16; i++) uuid[i] = 16 * device + i; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, NAME, length); return LOST; }
"""
SETTINGS = {"INIT": 0, "VERSION": 13010, "COUNT": 2, "UUIDS": "cuDeviceGetUuid_v2", "LOST": 0, "NAME": '"NVIDIA H200"'}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A driver's library with these answers, beside a torch that is built for CUDA 13."""
    monkeypatch.setattr(driver, "built_for", lambda: 13)

    def made(**settings) -> str:
        source, path = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
        source.write_text(BODY)
        defines = [f"-D{name}={value}" for name, value in (SETTINGS | settings).items()]
        subprocess.run(["cc", "-shared", "-fPIC", "-w", *defines, "-o", path, source], check=True)
        return str(path)

    return made


def test_it_lists_gpus_as_torch_does(library):
    assert driver.gpus(library()) == [
        ("GPU-70717273-7475-7677-7879-7a7b7c7d7e7f", "NVIDIA H200"),
        ("GPU-80818283-8485-8687-8889-8a8b8c8d8e8f", "NVIDIA H200"),
    ]


@pytest.mark.parametrize(
    "answers",
    [{"INIT": 100}, {"INIT": 803}, {"COUNT": 0}],
    ids=["no device", "mismatch with the kernel's module", "none visible"],
)
def test_no_gpu_that_answers_is_none(library, answers):
    assert driver.gpus(library(**answers)) == []


def test_no_library_is_no_gpu_unless_the_kernel_has_a_driver(tmp_path, monkeypatch):
    sign, nowhere = tmp_path / "version", str(tmp_path / "libcuda.so.1")
    monkeypatch.setattr(driver, "_SIGNS", (sign,))
    assert driver.gpus(nowhere) == []
    sign.touch()
    assert driver.gpus(nowhere) is None


@pytest.mark.parametrize(
    "answers",
    [{"NAME": '"NVIDIA H200 MIG 1g.18gb"'}, {"VERSION": 12080}, {"UUIDS": "cuDeviceGetUuid"}, {"LOST": 999}],
    ids=["a slice", "too old for this torch", "before CUDA 11.4", "one that is off the bus"],
)
def test_what_only_torch_knows_is_left_to_it(library, answers):
    assert driver.gpus(library(**answers)) is None


@pytest.mark.parametrize("built", [None, 14])
def test_a_torch_that_may_not_fit_says_so_itself(library, monkeypatch, built):
    monkeypatch.setattr(driver, "built_for", lambda: built)
    assert driver.gpus(library()) is None


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", 13),
        ("cuda = '12.8'\n", 12),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n", None),
        ("git_version = 'cuda'\n", None),
    ],
)
def test_what_torch_was_built_for_is_read_without_it(tmp_path, text, major):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "torch/version.py").write_text(text)
    code = "import sys; sys.path.insert(0, sys.argv[1])"
    code += "; from bench.measure.device import driver; print(driver.built_for())"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(major)


def test_this_torch_is_read_as_it_says_itself():
    import torch

    assert driver.built_for() == (int(torch.version.cuda.partition(".")[0]) if torch.version.cuda else None)


def test_visible_gpus_are_the_drivers(library, monkeypatch):
    answer = driver.gpus(library())
    monkeypatch.setattr(driver, "gpus", lambda: answer)
    assert [(gpu.index, gpu.uuid[:8]) for gpu in cuda.visible()] == [(0, "GPU-7071"), (1, "GPU-8081")]


def test_symbols_of_a_driver_that_is_here():
    try:
        here = ctypes.CDLL(driver.LIBRARY)
    except OSError:
        pytest.skip("no CUDA driver is here")
    for name in ("cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName"):
        assert getattr(here, name)
