/* An independent witness of what stream.cu and fma.cu measure: the same quantities by code that anyone would write in
   ten minutes and that shares nothing with theirs, no settings, no helpers. It may be slower; where it is faster, ours
   is not the peak.

     function        result                                       bytes per element   flops per element
     witness_copy    y = x                                                8                  0
     witness_triad   y = x + a * z                                       12                  2
     witness_read    out[0] += sum(x)                                     4                  1
     witness_fma     y = `steps` times r = r * a + b, from r = x    8, once for all      2 * steps

   Shape: a float4 per thread; if the grid is smaller than that, every thread goes on a whole grid further. n is a
   multiple of 4; any grid is right, of blocks of 256 threads (or fewer: a power of two).

   What keeps the work from being deleted: results are stored; read's sum leaves the kernel, by one addition per block.

   What would make it wrong: arrays not 16-byte aligned (fault) or that overlap; arrays that L2 holds, where the launch
   shows, as there are no passes; read on a grid of a block per tile, whose additions to one address queue up: give it a
   few blocks per SM; steps of 2^31 and more. */

extern "C" __global__ void witness_copy(const float4* x, float4* y, long long n) {
    const long long grid = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n / 4; i += grid) y[i] = x[i];
}

extern "C" __global__ void witness_triad(const float4* x, const float4* z, float4* y, long long n, double real) {
    const long long grid = (long long)gridDim.x * blockDim.x;
    const float a = real;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n / 4; i += grid) {
        const float4 v = x[i], w = z[i];
        y[i] = make_float4(v.x + a * w.x, v.y + a * w.y, v.z + a * w.z, v.w + a * w.w);
    }
}

extern "C" __global__ void witness_read(const float4* x, double* out, long long n) {
    __shared__ double sums[256];
    const long long grid = (long long)gridDim.x * blockDim.x;
    float4 sum = make_float4(0, 0, 0, 0);
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n / 4; i += grid) {
        const float4 v = x[i];
        sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
    }
    sums[threadIdx.x] = (double)sum.x + sum.y + sum.z + sum.w;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) atomicAdd(out, sums[0]);
}

extern "C" __global__ void witness_fma(const float4* x, float4* y, long long n, long long steps, double a, double b) {
    const long long grid = (long long)gridDim.x * blockDim.x;
    const float factor = a, offset = b;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n / 4; i += grid) {
        float4 r = x[i];
#pragma unroll 32
        for (int step = 0; step < (int)steps; ++step) {
            r.x = fmaf(r.x, factor, offset), r.y = fmaf(r.y, factor, offset);
            r.z = fmaf(r.z, factor, offset), r.w = fmaf(r.w, factor, offset);
        }
        y[i] = r;
    }
}
