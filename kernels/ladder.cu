/* The roofline, climbed rung by rung: `fmas` FMAs on every element between reading it and writing it.

     function         element    per thread   bytes per element   flops per element
     ladder_float64   float64         8              16               2 * fmas
     ladder_float32   float32        16               8               2 * fmas
     ladder_float16   float16        32               4               2 * fmas

   y[i] = `fmas` times r = r * a + b, starting from x[i]: fmas / 8, fmas / 4, fmas / 2 FLOP/B. Few fmas: a streaming
   copy at the roof of memory. Many: the loop of fma.cu at the roof of the vector units. Between them both have to
   proceed at once, which the GPU does by running other warps while one waits for memory.

   Shape: 64 bytes per thread as four 16-byte loads in front, then the arithmetic on 8 or 16 independent chains (float16
   in pairs), then four 16-byte stores. The number of FMAs is known only at run time, so that every rung runs the same
   instructions; 8 steps per trip are 128 FFMA or HFMA2 or 64 DFMA beside one counter, compare and branch, the rest goes
   one step at a time. Any grid is right; a tile of THREADS x 64 bytes per block is the intended one.

   float16's a and b pass a shuffle, after which the compiler no longer knows that their halves are equal: it would fold
   them to Rn.H0_H0, a form that HFMA2.MMA lacks, and leave one of the two pipes of sm_80, sm_87 and sm_90 idle (fma.cu).

   What keeps the work from being deleted: every result is stored, and an fma may not be skipped or joined with another.

   What would make it wrong: blockDim other than THREADS, arrays not 16-byte aligned, n not a multiple of 8, a, b that
   drive the values to infinity, arrays that L2 holds, and a clock that differs between the rungs: the knee is rounded
   by power as well as by overlap. Where a chip has 2 float64 FMAs per clock and SM, its ladder has no slope to show. */

#include <cuda_fp16.h>

#ifndef THREADS
#define THREADS 256
#endif
#ifndef BLOCKS
#define BLOCKS 4
#endif

constexpr int VECTORS = 4, STEPS = 8;

__device__ float multiply_add(float r, float a, float b) { return fmaf(r, a, b); }
__device__ double multiply_add(double r, double a, double b) { return fma(r, a, b); }
__device__ __half2 multiply_add(__half2 r, __half2 a, __half2 b) { return __hfma2(r, a, b); }

/* The same pair, of which the compiler no longer knows that its halves are equal. All lanes hold the same one. */
__device__ __half2 opaque(__half2 pair) {
    unsigned bits = reinterpret_cast<unsigned&>(pair);
    bits = __shfl_sync(~0u, bits, 0);
    return reinterpret_cast<__half2&>(bits);
}

/* R: what one chain holds, a number or a pair; N vectors of them, THREADS apart, go through all FMAs. */
template <int N, class R> __device__ void climb(const uint4* x, uint4* y, long long fmas, R a, R b) {
    constexpr int CHAINS = N * sizeof(uint4) / sizeof(R);
    alignas(16) R r[CHAINS];
    uint4* packed = reinterpret_cast<uint4*>(r);
#pragma unroll
    for (int u = 0; u < N; ++u) packed[u] = x[u * THREADS];
    auto step = [&] {
#pragma unroll
        for (int c = 0; c < CHAINS; ++c) r[c] = multiply_add(r[c], a, b);
    };
#pragma unroll 1
    for (int trip = fmas / STEPS; trip > 0; --trip)
#pragma unroll
        for (int s = 0; s < STEPS; ++s) step();
#pragma unroll 1
    for (int rest = fmas % STEPS; rest > 0; --rest) step();
#pragma unroll
    for (int u = 0; u < N; ++u) y[u * THREADS] = packed[u];
}

template <class R> __device__ void ladder(const uint4* x, uint4* y, long long vectors, long long fmas, R a, R b) {
    constexpr int TILE = THREADS * VECTORS;
    const unsigned tiles = vectors / TILE, rest = vectors % TILE;
#pragma unroll 1
    for (unsigned t = blockIdx.x; t < tiles; t += gridDim.x) {
        const long long i = (long long)TILE * t + threadIdx.x;
        climb<VECTORS>(x + i, y + i, fmas, a, b);
    }
#pragma unroll 1
    for (unsigned at = blockIdx.x; at < VECTORS; at += gridDim.x) {
        const long long i = (long long)TILE * tiles + THREADS * at + threadIdx.x;
        if (THREADS * at + threadIdx.x < rest) climb<1>(x + i, y + i, fmas, a, b);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
ladder_float64(const uint4* x, uint4* y, long long n, long long fmas, double a, double b) {
    ladder(x, y, n / 2, fmas, a, b);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
ladder_float32(const uint4* x, uint4* y, long long n, long long fmas, double a, double b) {
    ladder(x, y, n / 4, fmas, (float)a, (float)b);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
ladder_float16(const uint4* x, uint4* y, long long n, long long fmas, double a, double b) {
    ladder(x, y, n / 8, fmas, opaque(__float2half2_rn((float)a)), opaque(__float2half2_rn((float)b)));
}
