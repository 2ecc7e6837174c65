"""Cubins: compiled once, kept whole, and with a compiler's message that points at the real line."""

import builtins
import sys

import pytest

from bench.measure.device import nvrtc
from bench.measure.device.protocol import DeviceError

SOURCE = """
#ifndef FACTOR
#define FACTOR 2
#endif
extern "C" __global__ void scale(float* y) { y[threadIdx.x] *= FACTOR; }
"""


def wheels() -> bool:
    try:
        nvrtc.version()
    except DeviceError:
        return False
    return True


needs_wheels = pytest.mark.skipif(not wheels(), reason="needs the CuPy and NVRTC wheels")


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small kernel file and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "small.cu"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def compilations(monkeypatch):
    """The options of every compilation that really took place."""
    log, real = [], nvrtc._compiled

    def compiled(source, text, options, instances):
        log.append(options)
        return real(source, text, options, instances)

    monkeypatch.setattr(nvrtc, "_compiled", compiled)
    return log


def kept(tmp_path):
    return sorted((tmp_path / "cache" / "ridgepoint").iterdir())


@needs_wheels
def test_a_cubin_is_an_elf_file_with_its_last_byte(source):
    code = nvrtc.cubin(source, "sm_90a").code
    assert code.startswith(b"\x7fELF")
    # the program header table is the last thing in the file: where it ends is how long the file must be
    offset, size, count = (int.from_bytes(code[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    assert len(code) == offset + size * count


@needs_wheels
def test_a_second_cubin_does_not_compile(source, compilations):
    assert nvrtc.cubin(source, "sm_80") == nvrtc.cubin(source, "sm_80")
    assert len(compilations) == 1


@needs_wheels
def test_source_arch_defines_and_version_each_make_another_cubin(source, compilations, monkeypatch, tmp_path):
    nvrtc.cubin(source, "sm_80")
    nvrtc.cubin(source, "sm_90a")
    nvrtc.cubin(source, "sm_80", (("FACTOR", 3),))
    source.write_text(SOURCE.replace("*=", "+="))
    nvrtc.cubin(source, "sm_80")
    monkeypatch.setattr(nvrtc, "version", lambda: "99.0")
    nvrtc.cubin(source, "sm_80")
    assert len(compilations) == 5
    assert len(kept(tmp_path)) == 5
    assert all(path.suffix == ".cubin" for path in kept(tmp_path))


@needs_wheels
def test_a_damaged_cubin_is_compiled_again(source, compilations, tmp_path):
    code = nvrtc.cubin(source, "sm_80")
    (path,) = kept(tmp_path)
    for damaged in (b"", path.read_bytes()[:-100], b"\0" + path.read_bytes()[1:]):
        path.write_bytes(damaged)
        assert nvrtc.cubin(source, "sm_80") == code
    assert len(compilations) == 4


@needs_wheels
def test_a_cache_that_cannot_be_written_costs_only_time(source, compilations, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert nvrtc.cubin(source, "sm_80") == nvrtc.cubin(source, "sm_80")
    assert len(compilations) == 2


@needs_wheels
def test_a_broken_kernel_is_reported_by_file_and_line(source, tmp_path):
    source.write_text(SOURCE.replace("FACTOR;", "UNKNOWN;"))
    with pytest.raises(DeviceError) as caught:
        nvrtc.cubin(source, "sm_90a")
    assert f"{source}(5): error" in str(caught.value)
    assert "UNKNOWN" in str(caught.value)
    assert "sm_90a" in str(caught.value)
    assert not (tmp_path / "cache").exists()


@needs_wheels
def test_a_template_is_instantiated_by_name(source, compilations):
    source.write_text("template <class T, int N> __global__ void fill(T* y) { y[threadIdx.x] = N; }")
    wanted = ("fill<float, 8>", "fill<double, 2>")
    first = nvrtc.cubin(source, "sm_80", instances=wanted)
    assert set(first.names) == set(wanted)
    assert all(name.encode() in first.code for name in first.names.values())
    # from the cache with its names; another instance is another cubin
    assert nvrtc.cubin(source, "sm_80", instances=wanted) == first
    assert nvrtc.cubin(source, "sm_80", instances=wanted[:1]) != first
    assert len(compilations) == 2


@needs_wheels
def test_cuda_headers_are_found(source):
    source.write_text("#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n" + SOURCE)
    assert nvrtc.cubin(source, "sm_90a")


@needs_wheels
def test_missing_headers_say_what_to_install(source, monkeypatch):
    monkeypatch.setattr(nvrtc, "_includes", list)
    source.write_text("#include <cuda_fp16.h>\n" + SOURCE)
    with pytest.raises(DeviceError, match=r"nvidia-cuda-runtime.*cuda13"):
        nvrtc.cubin(source, "sm_90a")


@needs_wheels
def test_an_arch_that_nvrtc_does_not_know_is_its_own_error(source):
    with pytest.raises(DeviceError, match="invalid value for --gpu-architecture"):
        nvrtc.cubin(source, "sm_1")


def test_serialised_tensor_instructions_fail_the_build(source, monkeypatch):
    class Fake:
        NVRTCError = RuntimeError
        getVersion = staticmethod(lambda: (13, 0))
        createProgram = staticmethod(lambda *_: 1)
        compileProgram = staticmethod(lambda *_: None)
        getProgramLog = staticmethod(lambda _: "ptxas info : (C7514) Potential Performance Loss: wgmma.mma_async ...")
        destroyProgram = staticmethod(lambda _: None)

    monkeypatch.setattr(nvrtc, "_nvrtc", lambda: Fake)
    with pytest.raises(DeviceError, match="C7514"):
        nvrtc.cubin(source, "sm_90a")


def test_capabilities_have_the_arch_that_opens_their_instructions():
    expected = {(7, 5): "sm_75", (8, 9): "sm_89", (9, 0): "sm_90a", (10, 0): "sm_100a", (10, 3): "sm_103a"}
    expected |= {(11, 0): "sm_110a", (12, 0): "sm_120a", (12, 1): "sm_121a"}
    assert {capability: nvrtc.arch(capability) for capability in expected} == expected


def test_an_unknown_capability_is_an_error_that_lists_the_known_ones():
    with pytest.raises(DeviceError, match=r"6\.1; known: .*9\.0"):
        nvrtc.arch((6, 1))


@pytest.mark.parametrize(("release", "known"), [((12, 9), True), ((13, 0), False)])
def test_volta_needs_nvrtc_12(monkeypatch, release, known):
    class Fake:
        getVersion = staticmethod(lambda: release)

    monkeypatch.setattr(nvrtc, "_nvrtc", lambda: Fake)
    if known:
        assert nvrtc.arch((7, 0)) == "sm_70"
    else:
        with pytest.raises(DeviceError, match="cuda12"):
            nvrtc.arch((7, 0))


@pytest.fixture
def unbound():
    """The binding is looked for anew, before and after."""
    nvrtc._nvrtc.cache_clear()
    yield
    nvrtc._nvrtc.cache_clear()


@pytest.mark.usefixtures("unbound")
def test_a_missing_cupy_says_what_to_install(source, monkeypatch):
    real = builtins.__import__

    def importer(name, *rest):
        if name.split(".")[0] == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importer)
    with pytest.raises(DeviceError, match=r"pip install 'ridgepoint\[cuda13\]' \(No module named 'cupy'\)"):
        nvrtc.cubin(source, "sm_90a")


@needs_wheels
@pytest.mark.usefixtures("unbound")
def test_a_missing_library_says_what_to_install(source, monkeypatch):
    class Unloadable:
        @staticmethod
        def getVersion():
            raise RuntimeError('Failure finding "libnvrtc.so.13"\nlisted: ...')

    import cupy.cuda

    monkeypatch.setattr(cupy.cuda, "nvrtc", Unloadable)
    monkeypatch.setitem(sys.modules, "cupy.cuda.nvrtc", Unloadable)
    with pytest.raises(DeviceError, match=r"cuda13.*libnvrtc\.so\.13\"\)$"):
        nvrtc.cubin(source, "sm_90a")
