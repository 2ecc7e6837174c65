"""From GEMV to GEMM: one weight matrix, ever more rows against it, as in serving from one user to a full batch.

At batch 1 the weights stream once per product (memory-bound); from the knee batch on the arithmetic binds.
"""

from functools import partial

from bench.measure.probes import Cases, probe
from bench.measure.workloads import matmul
from bench.schema import Case, DeviceInfo

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
# (n, k) of a weight matrix: the attention projection and the gated MLP of an 8B-class transformer.
WEIGHTS = ((4096, 4096), (14336, 4096))
DTYPES = ("bfloat16", "float16", "float32", "tf32", "float8_e4m3", "int8", "float4")
# Products of a batched case: heads of 128 against one another, as unfused attention does.
_STRIDED = (32, 512, 512, 128)


@probe(version=1, title="GEMM over batch")
def gemm(info: DeviceInfo, budget) -> Cases:
    """From which batch on does a weight matrix pay for its own reading?

    C[m, n] = A[m, k] B[k, n]: flops = 2 m n k; bytes = A and B read once, C written once, and scale factors if any.
    """
    dtypes = [dtype for dtype in DTYPES if dtype in info.units]
    for dtype in dtypes:
        for n, k in WEIGHTS:
            for batch in budget.thin(BATCHES):
                yield _case(info, dtype, batch, n, k)
    for dtype in dtypes[:1]:
        count, m, n, k = _STRIDED
        yield _case(info, dtype, m, n, k, count)


def _case(info: DeviceInfo, dtype: str, batch: int, n: int, k: int, strided: int = 0) -> Case:
    # float8 as serving runs it; the roof beside it is then the fast one too
    variant = "fast_accum" if dtype == "float8_e4m3" else ""
    params = {"dtype": dtype, "batch": batch, "n": n, "k": k, "strided": strided}
    return Case(
        params=params | ({"variant": variant} if variant else {}),
        work=matmul.work_of(batch, n, k, dtype, info.units[dtype], variant, batch=strided or 1),
        prepare=partial(matmul.setup, batch, n, k, dtype, variant, batch=strided),
    )
