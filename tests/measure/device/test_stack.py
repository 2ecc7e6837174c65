"""Which GPUs there are, what must fit together before one is measured, and the one thing to do where it does not."""

import ctypes
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.device import stack
from bench.measure.device.stack import Stack, built_for, driver_gpus, remedy

needs_compiler = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs a C compiler")
GOOD = Stack(
    driver="580.159.03",
    driver_cuda=(13, 0),
    torch="2.13.0+cu130",
    torch_cuda=(13, 0),
    cupy={"cupy-cuda13x": "14.2.0"},
    nvrtc="13.0.88",
    capabilities=((9, 0),),
)
OLDER = replace(
    GOOD,
    driver="570.86.15",
    driver_cuda=(12, 8),
    torch="2.13.0+cu126",
    torch_cuda=(12, 6),
    cupy={"cupy-cuda12x": "14.2.0"},
    nvrtc="12.6.85",
)
VOLTA = ((7, 0),)
CUDA12, CUDA13 = ("https://download.pytorch.org/whl/cu126", "https://download.pytorch.org/whl/cu130")


@pytest.mark.parametrize(
    "fitting",
    [
        GOOD,
        OLDER,
        replace(OLDER, driver="580.159.03", driver_cuda=(13, 0)),  # a newer driver runs an older CUDA
        replace(GOOD, torch_cuda=(13, 2), nvrtc="13.4.92"),  # minors mix
        replace(GOOD, driver_cuda=None),  # the driver's number tells
        replace(OLDER, driver="525.60.13", driver_cuda=(12, 0)),
        replace(OLDER, capabilities=VOLTA),
        replace(GOOD, cupy={"cupy": "14.2.0"}),  # built from source for whatever CUDA was there
        replace(GOOD, capabilities=()),
    ],
)
def test_what_fits_needs_nothing(fitting):
    assert remedy(fitting) == ""


@pytest.mark.parametrize(
    ("amiss", "words"),
    [
        (replace(GOOD, torch=""), ["torch cannot be imported", "pip install", CUDA13]),
        (replace(GOOD, driver="", silence="NVML Shared Library Not Found"), ["Not Found", "580", "--gpus all"]),
        (replace(GOOD, driver=""), ["no NVIDIA driver answers: "]),
        (replace(GOOD, driver="", silence="Driver/library version mismatch"), ["mismatch", "reboot"]),
        (
            replace(GOOD, driver="570.86.15", driver_cuda=(12, 8)),
            [
                "driver 570.86.15 (up to CUDA 12.8)",
                "torch 2.13.0+cu130",
                "CUDA 13.0",
                "580",
                CUDA12,
                "ridgepoint[cuda12]",
            ],
        ),
        (replace(GOOD, driver="570.86.15", driver_cuda=None), ["driver 570.86.15 is too old", "580", CUDA12]),
        (
            replace(GOOD, driver="570.86.15", driver_cuda=(12, 8), capabilities=((10, 0),)),
            ["https://download.pytorch.org/whl/cu128"],
        ),
        (replace(OLDER, driver="470.82.01", driver_cuda=(11, 4)), ["driver 470.82.01 (up to CUDA 11.4)", "525"]),
        (
            replace(GOOD, torch="2.13.0+cpu", torch_cuda=None),
            ["torch 2.13.0+cpu was built without CUDA", "580.159.03", CUDA13],
        ),
        (
            replace(GOOD, torch="2.13.0+cpu", torch_cuda=None, driver="570.86.15", driver_cuda=(12, 8)),
            ["without CUDA", CUDA12],
        ),
        (replace(GOOD, torch="2.6.0+cu118", torch_cuda=(11, 8)), ["CUDA 11.8", "CUDA 12 and 13", CUDA13]),
        (
            replace(GOOD, cupy={"cupy-cuda12x": "14.2.0"}),
            ["pip uninstall -y cupy-cuda12x && pip install 'ridgepoint[cuda13]'"],
        ),
        (
            replace(OLDER, cupy={"cupy-cuda13x": "14.2.0"}),
            ["pip uninstall -y cupy-cuda13x && pip install 'ridgepoint[cuda12]'"],
        ),
        (replace(GOOD, cupy={"cupy-rocm-7-0": "14.2.0"}), ["pip uninstall -y cupy-rocm-7-0 && "]),
        (
            replace(GOOD, cupy={"cupy-cuda13x": "14.2.0", "cupy-cuda12x": "13.6.0"}),
            ["both installed", "pip uninstall -y cupy-cuda12x cupy-cuda13x && pip install 'ridgepoint[cuda13]'"],
        ),
        (replace(OLDER, cupy={}), ["CuPy is not installed", ": pip install 'ridgepoint[cuda12]'"]),
        (replace(GOOD, nvrtc=""), ["NVRTC", "missing", "pip install 'ridgepoint[cuda13]'"]),
        (replace(GOOD, nvrtc="12.6.85"), ["NVRTC 12.6.85 is not of CUDA 13", "ridgepoint[cuda13]"]),
        (
            replace(GOOD, capabilities=VOLTA),
            ["sm_70 (V100)", "NVRTC 13", CUDA12, "pip uninstall -y cupy-cuda13x && pip install 'ridgepoint[cuda12]'"],
        ),
        (replace(OLDER, nvrtc="13.0.88", capabilities=VOLTA), ["NVRTC 13.0.88", "ridgepoint[cuda12]"]),
    ],
)
def test_what_does_not_fit_has_one_remedy(amiss, words):
    told = remedy(amiss)
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    ("basic", "also"),
    [
        ({"torch": ""}, {"driver": ""}),
        ({"driver": ""}, {"torch_cuda": None}),
        ({"torch_cuda": None}, {"cupy": {}}),
        ({"driver": "570.86.15", "driver_cuda": (12, 8)}, {"nvrtc": ""}),
        ({"cupy": {}}, {"nvrtc": ""}),
    ],
)
def test_the_most_basic_problem_wins(basic, also):
    assert remedy(replace(GOOD, **basic, **also)) == remedy(replace(GOOD, **basic))


def test_a_driver_without_torch_chooses_the_wheels():
    assert CUDA12 in remedy(replace(OLDER, torch="", torch_cuda=None))


def versions(majors):
    return st.tuples(st.sampled_from(majors), st.integers(0, 9))


def words(*often):
    return st.one_of(
        st.sampled_from(often), st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), max_size=8)
    )


CUPY = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy-cuda102", "cupy-rocm-5-0")
STACKS = st.builds(
    Stack,
    driver=words("", "470.82.01", "525.60.13", "570.86.15", "580.159.03", "600.1"),
    driver_cuda=st.none() | versions((11, 12, 13, 14)),
    torch=words("", "2.13.0+cpu", "2.13.0+cu130", "2.13.0+cu126"),
    torch_cuda=st.none() | versions((10, 11, 12, 13, 14)),
    cupy=st.dictionaries(st.sampled_from(CUPY), st.just("14.2.0"), max_size=3),
    nvrtc=words("", "12.6.85", "13.0.88", "13.4"),
    capabilities=st.lists(st.sampled_from([(6, 1), (7, 0), (7, 5), (9, 0), (10, 0), (12, 0)]), max_size=3).map(tuple),
    silence=words("", "Driver/library version mismatch", "NVML Shared Library Not Found"),
)
# Random parts seldom fit: start from one that does and spoil a few of its parts.
SPOILT = st.builds(
    lambda base, other, names: replace(base, **{name: getattr(other, name) for name in names}),
    st.sampled_from([GOOD, OLDER]),
    STACKS,
    st.sets(st.sampled_from([*Stack.__dataclass_fields__]), max_size=3),
)


def fits(one: Stack) -> bool:
    """The rule in other words: all is there, and of torch's CUDA major, which driver and GPUs run."""
    if not (one.driver and one.torch and one.torch_cuda and one.nvrtc and len(one.cupy) == 1):
        return False
    major, number = one.torch_cuda[0], re.match(r"\d+", one.driver)
    oldest = {12: 525, 13: 580}.get(major)
    if oldest is None:
        return False
    if one.driver_cuda:
        runs = one.driver_cuda[0] >= major
    else:
        runs = number is None or int(number[0]) == 0 or int(number[0]) >= oldest
    own = next(iter(one.cupy)) in ("cupy", f"cupy-cuda{major}x")
    compiled = one.nvrtc.startswith(str(major)) and not one.nvrtc[2:3].isdigit()
    return runs and own and compiled and not (major == 13 and any(c < (7, 5) for c in one.capabilities))


@given(STACKS | SPOILT)
def test_a_remedy_is_one_line_exactly_where_something_does_not_fit(one):
    told = remedy(one)
    assert bool(told) != fits(one)
    assert "\n" not in told


def test_this_machine_answers_without_raising():
    here = stack.installed_stack()
    torch = pytest.importorskip("torch")
    assert here.torch == torch.__version__
    assert (here.torch_cuda is None) == (torch.version.cuda is None)
    assert bool(here.driver) != bool(here.silence)
    assert all(name.startswith("cupy") for name in here.cupy)
    assert "\n" not in remedy(here)


# The driver's list of GPUs, from a library that has its symbols and says what a test wants.
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
    monkeypatch.setattr(stack, "built_for", lambda: 13)

    def made(**settings) -> str:
        source, path = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
        source.write_text(BODY)
        defines = [f"-D{name}={value}" for name, value in (SETTINGS | settings).items()]
        subprocess.run(["cc", "-shared", "-fPIC", "-w", *defines, "-o", path, source], check=True)
        return str(path)

    return made


@needs_compiler
def test_it_lists_gpus_as_torch_does(library):
    assert driver_gpus(library()) == [
        stack.Gpu(0, "GPU-70717273-7475-7677-7879-7a7b7c7d7e7f", "NVIDIA H200"),
        stack.Gpu(1, "GPU-80818283-8485-8687-8889-8a8b8c8d8e8f", "NVIDIA H200"),
    ]


@needs_compiler
@pytest.mark.parametrize(
    "answers",
    [{"INIT": 100}, {"INIT": 803}, {"COUNT": 0}],
    ids=["no device", "mismatch with the kernel's module", "none visible"],
)
def test_no_gpu_that_answers_is_none(library, answers):
    assert driver_gpus(library(**answers)) == []


def test_no_library_is_no_gpu_unless_the_kernel_has_a_driver(tmp_path, monkeypatch):
    sign, nowhere = tmp_path / "version", str(tmp_path / "libcuda.so.1")
    monkeypatch.setattr(stack, "_SIGNS", (sign,))
    assert driver_gpus(nowhere) == []
    sign.touch()
    assert driver_gpus(nowhere) is None


@needs_compiler
@pytest.mark.parametrize(
    "answers",
    [{"NAME": '"NVIDIA H200 MIG 1g.18gb"'}, {"VERSION": 12080}, {"UUIDS": "cuDeviceGetUuid"}, {"LOST": 999}],
    ids=["a slice", "too old for this torch", "before CUDA 11.4", "one that is off the bus"],
)
def test_what_only_torch_knows_is_left_to_it(library, answers):
    assert driver_gpus(library(**answers)) is None


@needs_compiler
@pytest.mark.parametrize("built", [None, 14])
def test_a_torch_that_may_not_fit_says_so_itself(library, monkeypatch, built):
    monkeypatch.setattr(stack, "built_for", lambda: built)
    assert driver_gpus(library()) is None


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
    code += "; from bench.measure.device import stack; print(stack.built_for())"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(major)


def test_this_torch_is_read_as_it_says_itself():
    import torch

    assert built_for() == (int(torch.version.cuda.partition(".")[0]) if torch.version.cuda else None)


@needs_compiler
def test_visible_gpus_are_the_drivers(library, monkeypatch):
    answer = driver_gpus(library())
    monkeypatch.setattr(stack, "driver_gpus", lambda: answer)
    assert stack.visible() == answer


def test_symbols_of_a_driver_that_is_here():
    try:
        here = ctypes.CDLL(stack.DRIVER)
    except OSError:
        pytest.skip("no CUDA driver is here")
    for name in ("cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName"):
        assert getattr(here, name)
