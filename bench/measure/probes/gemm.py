"""From GEMV to GEMM: one weight matrix, ever more rows against it, as in serving from one user to a full batch.

At batch 1 the weights stream once per product (memory-bound); from the knee batch on the arithmetic binds.
"""

from functools import partial

from bench import work
from bench.measure.device.protocol import Device
from bench.measure.probes import Cases, probe
from bench.measure.workloads import matmul
from bench.schema import Case, DeviceInfo, Setup

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
# (n, k) of a weight matrix: the attention projection and the gated MLP of an 8B-class transformer.
WEIGHTS = ((4096, 4096), (14336, 4096))
DTYPES = ("bfloat16", "float16", "float32", "tf32", "float8_e4m3", "int8", "float4")
# Products of a batched case: heads of 128 against one another, as unfused attention does.
_STRIDED = (32, 512, 512, 128)


@probe(
    version=1,
    title="GEMM over batch",
    question="From which batch on does a weight matrix pay for its own reading?",
    formula=(
        "C[m, n] = A[m, k] B[k, n]: flops = 2 m n k; bytes = A and B read once, C written once, and scale factors if"
        " any."
    ),
)
def gemm(info: DeviceInfo, budget) -> Cases:
    """GEMV turning into GEMM over the batch, per weight shape and dtype; and one strided-batched product."""
    for dtype in DTYPES:
        if dtype not in info.units:
            continue
        for n, k in WEIGHTS:
            for batch in budget.thin(BATCHES):
                yield _case(info, batch, n, k, dtype)
    dtype = next((d for d in DTYPES if d in info.units), "")
    if dtype:
        count, m, n, k = _STRIDED
        yield Case(
            params={"dtype": dtype, "batch": m, "n": n, "k": k, "strided": count},
            work=work.gemm(m, n, k, dtype, info.units[dtype], batch=count),
            prepare=partial(_strided, count, m, n, k, dtype),
        )


def _case(info: DeviceInfo, batch: int, n: int, k: int, dtype: str) -> Case:
    # float8 as serving runs it; the roof beside it is then the fast one too
    variant = "fast_accum" if dtype == "float8_e4m3" else ""
    demand = matmul.work_of(batch, n, k, dtype, info.units[dtype], variant)
    params = {"dtype": dtype, "batch": batch, "n": n, "k": k, "strided": 0} | ({"variant": variant} if variant else {})
    return Case(params=params, work=demand, prepare=partial(_prepare, batch, n, k, dtype, variant))


def _prepare(batch: int, n: int, k: int, dtype: str, variant: str, device: Device) -> Setup:
    size = matmul.work_of(batch, n, k, dtype, "").bytes
    sets = [matmul.operands(device, batch, n, k, dtype) for _ in range(device.rotation(size, "cold"))]
    launches = [matmul.launch(device, *each, dtype, variant) for each in sets]
    matmul.attempt(device, launches[-1], dtype)
    return Setup(launches, partial(matmul.check, launches[-1], *sets[-1], dtype))


def _strided(count: int, m: int, n: int, k: int, dtype: str, device: Device) -> Setup:
    size = work.gemm(m, n, k, dtype, "", batch=count).bytes
    sets = [matmul.operands(device, m, n, k, dtype, batch=count) for _ in range(device.rotation(size, "cold"))]
    launches = [matmul.launch(device, *each, dtype) for each in sets]
    return Setup(launches, partial(matmul.check, launches[-1], *sets[-1], dtype))
