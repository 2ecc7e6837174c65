/* Peak FMA rate of a GPU's vector units: loops of fused multiply-adds that stay in registers.

   function       chain of               elements per thread   instruction
   fma_float64    float64                         8            DFMA
   fma_float32    float32                         8            FFMA; -DPAIRS=1: FFMA2, two floats at once
   fma_int32      int32, wrapping                 8            IMAD
   fma_float16    half2                          16            HFMA2, HFMA2.MMA
   fma_bfloat16   bfloat162, from sm_80 on       16            HFMA2.BF16, HFMA2.MMA.BF16

   y[i] = `steps` times r = r * a + b, starting from x[i]: 2 * steps flops (int32: operations) per element; one element
   is read and one written, which is nothing beside a large `steps`.

   Shape: 8 independent chains per thread, because an FMA waits four or more clocks for its own chain's last one; 16
   steps per trip, so that 128 FMAs stand beside one counter, compare and branch, and the body stays far below the
   instruction cache. 16-bit types go in pairs: 16 elements per thread, 2 FMAs per instruction. float32 in pairs takes
   the same 8 elements as 4 chains, 32 steps per trip: 8 of them would not leave a full SM registers for anything else,
   and 16 warps with 4 chains each hide the latency as well. a and b are the same in every step, so that the register
   file's reuse cache serves them. `steps` should be a multiple of 32: the rest goes one step at a time.

   a and b are equal in all threads, but r is not, so that the chains stay on the vector pipes: no step may become a
   scalar UIMAD. float64 fills the 32 registers that a full SM leaves each thread: there the assembler reads a and b
   again from the constant bank once per trip, or holds one in a uniform register (sm_90), which is an operand and not
   another unit. sm_100 and sm_103 have the paired FFMA2; later chips take PAIRS too and split each into two FFMA.

   Two pipes: the one that runs HFMA2 takes 64 of them per clock and SM, 256 flops. Chips of twice that rate (float16 on
   sm_80 and sm_87, both types on sm_90) have the rest on another one, HFMA2.MMA, and the assembler alternates between
   the two, but only for operands that are whole registers. Of a and b it can see that both halves are one number, folds
   them to Rn.H0_H0, a form that HFMA2.MMA lacks, and leaves that pipe idle. Hence a and b pass a shuffle, once per
   thread, after which nothing is known about their halves. bfloat16 on sm_80 and sm_87 has no second pipe.

   What keeps the work from being deleted: the results are stored, and fma is exact in its one rounding, so that no step
   may be skipped or joined with another. Integers would allow that (two steps are r * aa + (ab + b)); the compilers
   here do not, and the tests count each architecture's IMADs.

   What would make it wrong: blockDim other than THREADS; too few threads to fill the pipes (elements should be SMs x
   threads an SM holds x elements per thread); BLOCKS other than the blocks that an SM holds, when the registers no
   longer fit and that many elements take two waves; arrays not 16-byte aligned, n not a multiple of 8; a, b that drive
   the values to infinity or to a fixed point, where a chain draws less power (int32: a must be odd, or the values run
   into one), or that are no int32 but given to fma_int32; 16-bit, int32 or float64 rates taken for general: some chips
   have 2 float64 FMAs per clock and SM. */

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#ifndef THREADS
#define THREADS 256
#endif
#ifndef BLOCKS
#define BLOCKS 4
#endif
#ifndef PAIRS
#define PAIRS 0
#endif
#if PAIRS && defined __CUDA_ARCH__ && __CUDA_ARCH__ < 1000
#error "PAIRS=1 needs fma.rn.f32x2, which exists from sm_100 on: leave it out"
#endif

__device__ float multiply_add(float r, float a, float b) { return fmaf(r, a, b); }
__device__ double multiply_add(double r, double a, double b) { return fma(r, a, b); }
__device__ unsigned multiply_add(unsigned r, unsigned a, unsigned b) { return r * a + b; }
__device__ __half2 multiply_add(__half2 r, __half2 a, __half2 b) { return __hfma2(r, a, b); }
#if __CUDA_ARCH__ >= 800
__device__ __nv_bfloat162 multiply_add(__nv_bfloat162 r, __nv_bfloat162 a, __nv_bfloat162 b) { return __hfma2(r, a, b); }
#endif
#if PAIRS
struct alignas(8) Pair {
    float low, high;
};
__device__ Pair pair(float value) { return {value, value}; }
__device__ Pair multiply_add(Pair r, Pair a, Pair b) {
    asm("{.reg .b64 r, a, b;\n"
        " mov.b64 r, {%0, %1}; mov.b64 a, {%2, %3}; mov.b64 b, {%4, %5};\n"
        " fma.rn.f32x2 r, r, a, b;\n"
        " mov.b64 {%0, %1}, r;}"
        : "+f"(r.low), "+f"(r.high)
        : "f"(a.low), "f"(a.high), "f"(b.low), "f"(b.high));
    return r;
}
#endif

/* The same pair, of which the compiler no longer knows that its halves are equal. All lanes hold the same one. */
template <class R> __device__ R opaque(R pair) {
    unsigned bits = reinterpret_cast<unsigned&>(pair);
    bits = __shfl_sync(~0u, bits, 0);
    return reinterpret_cast<R&>(bits);
}

/* R: what one chain holds, a number or a pair. Every thread takes CHAINS of them as 16-byte vectors THREADS apart. */
template <int CHAINS, int STEPS, class R>
__device__ void chains(const uint4* x, uint4* y, long long vectors, long long steps, R a, R b) {
    constexpr int N = CHAINS * sizeof(R) / sizeof(uint4), TILE = THREADS * N;
    const unsigned tiles = (vectors + TILE - 1) / TILE;
#pragma unroll 1
    for (unsigned t = blockIdx.x; t < tiles; t += gridDim.x) {
        const long long i = (long long)TILE * t + threadIdx.x;
        alignas(16) R r[CHAINS];
        uint4* packed = reinterpret_cast<uint4*>(r);
#pragma unroll
        for (int u = 0; u < N; ++u) packed[u] = i + u * THREADS < vectors ? x[i + u * THREADS] : make_uint4(0, 0, 0, 0);
        auto step = [&] {
#pragma unroll
            for (int c = 0; c < CHAINS; ++c) r[c] = multiply_add(r[c], a, b);
        };
#pragma unroll 1
        for (int trip = steps / STEPS; trip > 0; --trip)
#pragma unroll
            for (int s = 0; s < STEPS; ++s) step();
#pragma unroll 1
        for (int rest = steps % STEPS; rest > 0; --rest) step();
#pragma unroll
        for (int u = 0; u < N; ++u)
            if (i + u * THREADS < vectors) y[i + u * THREADS] = packed[u];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
fma_float64(const uint4* x, uint4* y, long long n, long long steps, double a, double b) {
    chains<8, 16>(x, y, n / 2, steps, a, b);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
fma_float32(const uint4* x, uint4* y, long long n, long long steps, double a, double b) {
#if PAIRS
    chains<4, 32>(x, y, n / 4, steps, pair((float)a), pair((float)b));
#else
    chains<8, 16>(x, y, n / 4, steps, (float)a, (float)b);
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
fma_int32(const uint4* x, uint4* y, long long n, long long steps, double a, double b) {
    chains<8, 16>(x, y, n / 4, steps, (unsigned)(int)a, (unsigned)(int)b);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
fma_float16(const uint4* x, uint4* y, long long n, long long steps, double a, double b) {
    chains<8, 16>(x, y, n / 8, steps, opaque(__float2half2_rn((float)a)), opaque(__float2half2_rn((float)b)));
}

#if __CUDA_ARCH__ >= 800
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
fma_bfloat16(const uint4* x, uint4* y, long long n, long long steps, double a, double b) {
    chains<8, 16>(x, y, n / 8, steps, opaque(__float2bfloat162_rn((float)a)), opaque(__float2bfloat162_rn((float)b)));
}
#endif
