"""What a CUDA device does before it needs a GPU: finding none, planning, converting; the rest over a stand-in."""

import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy
import pytest
import torch

from bench.measure.budget import BUDGETS
from bench.measure.device import cuda, nvml, nvrtc, stack
from bench.measure.device.host import near
from bench.measure.device.protocol import DeviceError, Kernel, OutOfMemory, Sample, Unsupported
from bench.measure.timing import measure
from bench.schema import Case, Setup
from bench.work import Work

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_importing_it_loads_neither_torch_nor_cupy():
    code = "import sys, bench.measure.device.cuda; assert not {'torch', 'cupy', 'pynvml', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@no_gpu
def test_without_a_gpu_none_is_visible():
    assert stack.visible() == []


@no_gpu
def test_opening_one_without_a_gpu_says_why():
    with pytest.raises(DeviceError) as caught:
        cuda.CudaDevice(0)
    assert "torch" in str(caught.value)


@pytest.mark.skipif(stack.driver_gpus() != [], reason="torch is asked where there is a driver, or may be one")
@pytest.mark.parametrize("words", ["auto", "cpu"])
def test_asking_for_gpus_does_not_wait_for_torch_without_a_driver(words):
    """It loads for seconds, in the parent, which needs it for nothing else: a sniff has nine."""
    code = "import sys; from bench.measure.device.open import resolve; assert resolve(sys.argv[1]) == ['cpu']"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules", words], check=True)


def test_a_torch_without_cuda_names_the_remedy(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "pytorch.org" in stack.missing()


def test_a_driver_that_refuses_is_quoted(monkeypatch):
    def refuse():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it.")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", refuse)
    monkeypatch.setattr(stack, "driver_gpus", lambda: None)
    assert stack.missing().endswith("driver on your system is too old (found version 11040).")
    assert stack.visible() == []


def test_a_missing_torch_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "needs torch" in stack.missing()


def test_a_ring_passes_four_caches_between_two_uses():
    cache, free = 60 << 20, 140e9
    for size in (1 << 20, 10 << 20, 100 << 20, 1 << 30):
        assert (cuda.ring(size, cache, free) - 1) * size >= 4 * cache
    assert cuda.ring(100e9, cache, free) == 1  # two do not fit
    assert cuda.ring(0, cache, free) > 1


@pytest.mark.parametrize(("elements", "grid"), [(1, 1), (4096, 1), (4097, 2), (1 << 20, 256), (1 << 60, 2**31 - 1)])
def test_blocks_are_tiles(elements, grid):
    assert cuda.blocks(Kernel("k", "k", None, elements=0, per_thread=16), elements, sms=132) == grid


def test_a_walking_grid_has_so_many_blocks_per_multiprocessor():
    kernel = Kernel("k", "k", None, elements=0, per_thread=16, waves=8)
    assert cuda.blocks(kernel, 1 << 30, sms=132) == 8 * 132
    assert cuda.blocks(kernel, 4096, sms=132) == 1


def test_arguments_have_the_types_of_the_signature():
    tensor = torch.zeros(4)
    for value, kind, expected in (
        (3, numpy.int64, 3),
        (0.5, numpy.float64, 0.5),
        (tensor, numpy.uint64, tensor.data_ptr()),
    ):
        found = cuda.argument(value)
        assert type(found) is kind
        assert found == expected
    with pytest.raises(TypeError):
        cuda.argument(True)


@pytest.fixture
def device(monkeypatch):
    """A CudaDevice on a stand-in H200: torch's CUDA calls answer, tensors live on the host, launches are recorded."""
    properties = SimpleNamespace(
        name="NVIDIA H200",
        uuid="00000000-1111-2222-3333-444444444444",
        multi_processor_count=132,
        total_memory=140 << 30,
        max_threads_per_multi_processor=2048,
        L2_cache_size=60 << 20,
    )
    answers = {
        "init": lambda: None,
        "device_count": lambda: 1,
        "get_device_properties": lambda index: properties,
        "get_device_capability": lambda index: (9, 0),
        "set_device": lambda index: None,
        "mem_get_info": lambda index: (100 << 30, 140 << 30),
        "memory_reserved": lambda index: 3 << 30,
        "memory_allocated": lambda index: 1 << 30,
        "current_stream": lambda: SimpleNamespace(cuda_stream=7),
        "empty_cache": lambda: None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0.88")
    monkeypatch.setattr(cuda.CudaDevice, "_device", "cpu")
    monkeypatch.setattr(cuda.CudaDevice, "real_stopwatch", cuda.CudaDevice._stopwatch, raising=False)
    monkeypatch.setattr(cuda.CudaDevice, "_stopwatch", lambda self, cycles: SimpleNamespace(forget=lambda: None))
    return cuda.CudaDevice(0, seed=1)


def test_info_describes_the_gpu(device):
    info = device.info
    assert (info.name, info.product, info.sku) == ("NVIDIA H200", "h200-sxm", "h200-sxm")
    assert info.uuid == "GPU-00000000-1111-2222-3333-444444444444"
    assert info.memory_bytes == 140 << 30
    assert [(cache.name, cache.bytes) for cache in info.caches] == [("l2", 60 << 20)]
    assert (info.regime, info.stores, info.algorithms, info.ranks) == ("burst", ("default",), (), 1)
    assert info.facts["arch"] == "sm_90a"
    assert info.headline == "tensor.bfloat16.library"


def test_the_root_of_its_host_link_is_known(device, monkeypatch):
    monkeypatch.setattr(nvml.Monitor, "identity", lambda self: {"pcie_root": "pci0000:15"})
    assert cuda.CudaDevice(0).info.root == "pci0000:15"
    assert device.info.root == ""


def test_the_clock_is_stamped_by_more_blocks_than_multiprocessors(device, monkeypatch):
    """So that one of them meets SM 0 though a batch's last block may still be on it."""
    grids = []
    monkeypatch.setattr(device, "_function", lambda kernel: lambda grid, *_, **__: grids.append(grid))
    monkeypatch.setattr(cuda, "Stopwatch", lambda counters, stamp, *_: stamp(counters, 0))
    device.real_stopwatch(2e9)
    assert grids == [(4 * 132,)]


def test_an_index_beyond_the_last_gpu_is_an_error(device):
    with pytest.raises(DeviceError, match="no GPU cuda:3; there are 1"):
        cuda.CudaDevice(3)


def test_peers_bring_algorithms(device):
    assert cuda.CudaDevice(0, ranks=8).info.algorithms == ("ring", "default")


@pytest.mark.parametrize("dtype", ["float64", "float32", "tf32", "float16", "bfloat16", "float8_e4m3", "int8"])
def test_random_data_is_bounded_and_repeats_with_the_seed(device, monkeypatch, dtype):
    monkeypatch.setattr(cuda, "CHUNK", 1000)
    found = device.random(64, 100, dtype=dtype)
    values = found.double()
    low, high = (-128, 127) if dtype == "int8" else (-1, 1)
    assert low <= float(values.min()) < 0.9 * low
    assert 0.9 * high < float(values.max()) <= high
    assert torch.equal(cuda.CudaDevice(0, seed=1).random(64, 100, dtype=dtype).double(), values)


def test_a_full_gpu_is_the_suites_own_word(device, monkeypatch):
    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 99 GiB.\nMore words.")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(OutOfMemory, match=r"Tried to allocate 99 GiB\.$"):
        device.empty(1, dtype="float32")


def test_rotation_is_one_when_hot(device):
    assert device.rotation(1 << 20, "hot") == 1
    assert device.rotation(1 << 20, "cold") == 241


def ring_of(device, size, **more):
    """The record of a cold case of `size` bytes on the stand-in, its ring as the device sizes it."""
    device._watch.time = lambda launches, count, timing: Sample(1e-5, 1.5e9, count)

    def prepare(device):
        return Setup([partial(int)] * device.rotation(size, "cold"))

    case = Case(params={"bytes": size}, work=Work(bytes=float(size)), prepare=prepare, saturates="dram", **more)
    return measure(device, "p", 1, case, BUDGETS["quick"])


def test_a_ring_that_a_graphs_nodes_cap_is_hot(device):
    """1,024 launches of 64 KiB are 64 MiB: an L2 of 60 MiB serves most of them, and they say nothing of the memory."""
    found = ring_of(device, 64 << 10)
    assert found.usable
    assert (found.cache, found.saturates, found.work.channel, found.work.bytes) == ("hot", "", "l2", 64 << 10)
    assert found.notes["cache"] == "hot: the ring's 1024 sets of buffers are 64 MiB, which l2 keeps"


@pytest.mark.parametrize("size", [256 << 10, 1 << 20, 100 << 20, 1 << 30])
def test_a_ring_beyond_four_caches_is_cold(device, size):
    found = ring_of(device, size)
    assert (found.cache, found.saturates, found.work.channel) == ("cold", "dram", "dram")


@pytest.mark.parametrize(("size", "cache"), [(200 << 20, "hot"), (300 << 20, "cold")])
def test_where_memory_caps_the_ring_at_one_its_launch_decides(device, monkeypatch, size, cache):
    monkeypatch.setattr(device, "_free", lambda: 400 << 20)
    assert device.rotation(size, "cold") == 1
    assert ring_of(device, size).cache == cache


def test_a_layers_small_parts_are_hot_on_this_gpu(device):
    """A norm of one token is 40 KB: no graph holds enough of them to leave the cache."""
    from bench.measure.workloads import layers

    device._watch.time = lambda launches, count, timing: Sample(2e-6, 1.5e9, count)
    span = layers.Span(1, 1, 1024)
    demand = layers.parts(layers.SHAPES[0], [span], "bfloat16", "tensor")["norm + residual"][1]
    prepare = partial(layers.part_setup, layers.SHAPES[0], span, "norm + residual", demand.bytes, "bfloat16")
    found = measure(device, "layer", 3, Case(params={}, work=demand, prepare=prepare), BUDGETS["quick"])
    assert found.usable
    assert (found.cache, found.work.channel) == ("hot", "l2")


def test_a_launch_has_its_grid_its_stream_and_converted_arguments(device, monkeypatch):
    calls = []
    monkeypatch.setattr(device, "_function", lambda kernel: lambda *args, **how: calls.append((args, how)))
    x = torch.zeros(8)
    device.load(Kernel("stream", "scale", None, elements=1, per_thread=16))(x, 8192, 3, 0.75)
    ((grid, block, arguments), how) = calls[0]
    assert (grid, block) == ((2,), (256,))
    assert arguments == (x.data_ptr(), 8192, 3, 0.75)
    assert how["stream"].ptr == 7
    assert how["shared_mem"] == 0


def test_a_kernel_is_compiled_for_its_launch_and_loaded_once(device, monkeypatch):
    function = pytest.importorskip("cupy.cuda.function")
    compiled, loaded = [], []

    class Module:
        def load(self, code):
            loaded.append(code)

        def get_function(self, name):
            if name == "absent":
                raise RuntimeError("CUDA_ERROR_NOT_FOUND: named symbol not found")
            return name

    def cubin(source, arch, defines, instances):
        compiled.append((source.name, arch, defines))
        return nvrtc.Cubin(b"code", {instance: f"mangled {instance}" for instance in instances})

    monkeypatch.setattr(function, "Module", Module)
    monkeypatch.setattr(nvrtc, "cubin", cubin)
    kernel = Kernel("stream", "copy", None, elements=2, defines=(("UNROLL", 2),))
    assert device._function(kernel) == device._function(kernel) == "copy"
    shape = (("THREADS", 256), ("BLOCKS", 8), ("SMS", 132), ("UNROLL", 2))
    assert compiled == [("stream.cu", "sm_90a", shape)]
    assert loaded == [b"code"]
    with pytest.raises(Unsupported, match="no absent for sm_90a"):
        device._function(Kernel("stream", "absent", None, elements=2))


def test_alone_there_is_nothing_to_agree_with(device):
    assert device.agree("x") == "x"
    assert device.gather("x") == ["x"]
    with pytest.raises(Unsupported, match="group of ranks"):
        device.all_reduce(None, "ring")


def test_a_group_runs_only_the_algorithm_it_was_started_for(device, monkeypatch):
    device.world = 2
    monkeypatch.delenv("NCCL_NVLS_ENABLE", raising=False)
    with pytest.raises(Unsupported, match="NCCL_NVLS_ENABLE"):
        device.all_reduce(None, "ring")
    monkeypatch.setenv("NCCL_NVLS_ENABLE", "0")
    tensor = torch.zeros(1)
    assert device.all_reduce(tensor, "ring").args == (tensor,)


def test_a_case_lets_go_of_the_last_one(device, monkeypatch):
    forgotten = []
    device._watch = SimpleNamespace(forget=lambda: forgotten.append(1))
    device.begin(Case(params={}, work=Work()))
    device.empty(4, dtype="float32")
    device.rotation(1 << 20, "cold")
    assert len(forgotten) == 3


def test_telemetry_without_a_driver_says_so(device, monkeypatch):
    device._monitor = nvml.Monitor("GPU-none")
    reading = device.telemetry()
    assert device.judge({"before": reading, "after": reading}, 1.0) == ("valid", ())
    with device.watch() as during:
        pass
    assert not during.get("n")
    device.close()


def test_without_a_compiler_libraries_are_still_measured(device, monkeypatch):
    """No NVRTC, no CuPy or an unknown chip costs the suite's own kernels, each with the reason, and nothing else."""

    def missing(capability):
        raise DeviceError("CUDA kernels need CuPy and NVRTC: pip install 'ridgepoint[cuda13]' (no cupy)")

    monkeypatch.setattr(nvrtc, "arch", missing)
    monkeypatch.setattr(stack, "remedy", lambda found: "")
    bare = cuda.CudaDevice(0)
    assert "only libraries" in bare.info.facts["caution"]
    assert "nvrtc" not in bare.info.facts
    with pytest.raises(Unsupported, match=r"ridgepoint\[cuda13\]"):
        bare.load(Kernel("stream", "copy", None, elements=2))
    assert bare.info.units == device.info.units


@pytest.mark.parametrize(
    ("identity", "error", "words"),
    [
        (
            {"compute_mode": "exclusive process"},
            "CUDA-capable device(s) is/are busy or unavailable",
            "exclusive-process",
        ),
        ({"compute_mode": "prohibited"}, "no CUDA-capable device is detected", "nvidia-smi -c DEFAULT"),
        ({}, "CUDA error: out of memory\nmore", "has no memory left for this process (other processes: 77)"),
        ({}, "CUDA error: unknown error", "cannot be used: CUDA error: unknown error"),
    ],
)
def test_a_gpu_that_another_process_holds_says_so(device, monkeypatch, identity, error, words):
    def refuse(index):
        raise RuntimeError(error)

    monkeypatch.setattr(torch.cuda, "set_device", refuse)
    monkeypatch.setattr(nvml.Monitor, "identity", lambda self: identity)
    monkeypatch.setattr(nvml.Monitor, "counters", lambda self: {"other_processes": [77]})
    with pytest.raises(DeviceError) as caught:
        cuda.CudaDevice(0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("identity", [{"mig": True, "name": "NVIDIA H200"}, {"name": "NVIDIA H200 MIG 1g.18gb"}])
def test_a_slice_has_no_datasheet(device, monkeypatch, identity):
    monkeypatch.setattr(nvml.Monitor, "identity", lambda self: identity)
    assert cuda.CudaDevice(0).info.sku == ""


def test_float4_is_bytes_of_any_code(device):
    drawn = device.random(64, 100, dtype="float4")
    assert drawn.dtype == torch.float4_e2m1fn_x2
    assert len(drawn.view(torch.uint8).unique()) == 256


def test_a_process_moves_near_its_gpu_and_stays_where_nothing_is_known():
    import os

    before = os.sched_getaffinity(0)
    try:
        near(None)
        near(4000)
        assert os.sched_getaffinity(0) == before
        near(0)
        assert os.sched_getaffinity(0) <= before
    finally:
        os.sched_setaffinity(0, before)


def test_host_memory_is_allocated_as_asked(device):
    assert not device.host(16, dtype="float32", memory="pageable").is_pinned()
    with pytest.raises(OutOfMemory, match="no pinned host memory"):
        device.host(16, dtype="float32", memory="pinned")


def test_two_copies_run_at_once_and_end_together(device, monkeypatch):
    from contextlib import nullcontext

    order = []

    class Event:
        def record(self):
            order.append("record")

    class Stream:
        def wait_event(self, event):
            order.append("wait")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    device.duplex(lambda: order.append("one"), lambda: order.append("other"))()
    assert order == ["record", "wait", "other", "record", "one", "wait"]
