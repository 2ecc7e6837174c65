/* The roofline, climbed rung by rung: `fmas` FMAs on every float32 between reading it and writing it.

   y[i] = `fmas` times r = r * a + b, starting from x[i]: 8 bytes and 2 * fmas flops per element, fmas / 4 FLOP/B.
   Few fmas: a streaming copy at the roof of memory. Many: the loop of fma.cu at the roof of the vector units. Between
   them both have to proceed at once, which the GPU does by running other warps while one waits for memory.

   Shape: 16 floats per thread as four 16-byte loads in front, then the arithmetic on 16 independent chains, then four
   16-byte stores. The number of FMAs is known only at run time, so that every rung runs the same instructions; 8 per
   trip are 128 FFMA beside one counter, compare and branch, the rest goes one at a time. Any grid is right; a tile of
   THREADS x 16 elements per block is the intended one.

   What keeps the work from being deleted: every result is stored, and an fma may not be skipped or joined with another.

   What would make it wrong: blockDim other than THREADS, arrays not 16-byte aligned, n not a multiple of 4, a, b that
   drive the values to infinity, arrays that L2 holds, and a clock that differs between the rungs: the knee is rounded
   by power as well as by overlap. */

#ifndef THREADS
#define THREADS 256
#endif
#ifndef BLOCKS
#define BLOCKS 4
#endif

constexpr int VECTORS = 4, STEPS = 8;

template <int N> __device__ void climb(const float4* x, float4* y, long long fmas, float a, float b) {
    float4 r[N];
#pragma unroll
    for (int u = 0; u < N; ++u) r[u] = x[u * THREADS];
    auto step = [&] {
#pragma unroll
        for (int u = 0; u < N; ++u)
            r[u] = make_float4(fmaf(r[u].x, a, b), fmaf(r[u].y, a, b), fmaf(r[u].z, a, b), fmaf(r[u].w, a, b));
    };
#pragma unroll 1
    for (int trip = fmas / STEPS; trip > 0; --trip)
#pragma unroll
        for (int s = 0; s < STEPS; ++s) step();
#pragma unroll 1
    for (int rest = fmas % STEPS; rest > 0; --rest) step();
#pragma unroll
    for (int u = 0; u < N; ++u) y[u * THREADS] = r[u];
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
ladder(const float4* x, float4* y, long long n, long long fmas, double real_a, double real_b) {
    constexpr int TILE = THREADS * VECTORS;
    const float a = (float)real_a, b = (float)real_b;
    const unsigned tiles = n / 4 / TILE, rest = n / 4 % TILE;
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
