"""What must fit together on a GPU machine, and the one thing to do where it does not."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.device import stack
from bench.measure.device.stack import Stack, extra, remedy

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


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (GOOD, "cuda13"),
        (OLDER, "cuda12"),
        (replace(GOOD, driver_cuda=(12, 8)), "cuda13"),  # torch decides, not the driver
        (replace(GOOD, torch_cuda=None), "cuda13"),
        (replace(OLDER, torch_cuda=None), "cuda12"),
        (replace(OLDER, torch_cuda=None, driver_cuda=None), "cuda12"),
        (Stack(), "cuda13"),
    ],
)
def test_the_extra_goes_by_torch_then_by_the_driver(one, expected):
    assert extra(one) == expected


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
    assert extra(one) in ("cuda12", "cuda13")


def test_this_machine_answers_without_raising():
    here = stack.found()
    torch = pytest.importorskip("torch")
    assert here.torch == torch.__version__
    assert (here.torch_cuda is None) == (torch.version.cuda is None)
    assert bool(here.driver) != bool(here.silence)
    assert all(name.startswith("cupy") for name in here.cupy)
    assert "\n" not in remedy(here)
