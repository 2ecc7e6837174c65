/* Peak rate of a GPU's tensor cores through mma.sync: loops of one instruction on a warp's tile, all in registers.

   C[m, n] = `steps` times C += A B^T for every tile. a is [tiles, m, k], b [tiles, n, k] (column-major, as weights are
   stored), c [tiles, m, n], all row-major; n, the argument, counts the elements of c.

     function          instruction           tile of a warp   SASS                   compute capability
     mma_float64       m8n8k4.f64               32 x 32       DMMA.884, DMMA.8x8x4   8.0, 10.0
                       m16n8k16.f64             32 x 16       DMMA.16x8x16           9.0
     mma_tf32          m16n8k8.f32.tf32         64 x 32       HMMA.1688.F32.TF32     8.0 and later
     mma_bfloat16      m16n8k16.f32.bf16        64 x 32       HMMA.16816.F32.BF16    8.0 and later
     mma_float16       m16n8k16.f32.f16         64 x 32       HMMA.16816.F32         8.0 and later
                       m16n8k8.f32.f16          64 x 32       HMMA.1688.F32          7.5
     mma_float8_e4m3   m16n8k32.f32.e4m3        64 x 32       QMMA.16832.F32         8.9, 12.x
     mma_int8          m16n8k32.s32.s8          64 x 32       IMMA.16832             8.0 and later
                       m8n8k16.s32.s8           64 x 32       IMMA.8816              7.5

   2 m n k flops per tile and step, k being the instruction's own; (m + n) k operands are read and m n results written
   once per tile, which is nothing beside a large `steps`. Sums are float32, of int8 wrapping int32, of float64 float64.
   This is the full rate of 7.5, 8.x and 12.x, and of float64 everywhere. On 9.0, 10.x and 11.0 the other types have
   faster instructions (wgmma, tcgen05): there it is the rate of mma.sync and claims no more. A product that runs
   float32 sums at half rate (GeForce 8.6, 8.9 and 12.x, A10, L40) does so here too: that is its class. Volta's
   mma.m8n8k4 has no loop.

   Shape: a warp holds the sums of 16 instructions (int8 on 7.5: 32; float64 on 9.0: 4, each of which takes many
   clocks), none of which waits for another's result; a step is all of them beside one counter, compare and branch.
   Sums and operands take 90 to 128 registers, so that two blocks of 256 threads, 16 warps, fit an SM and a third does
   not: with SMs x 16 tiles every SM gets the same.

   Fragments (PTX ISA, "Matrix fragments for mma"; CUTLASS, cute/atom/mma_traits_sm80.hpp and _sm90.hpp): with lane =
   4 g + t, a lane holds words t, t + 4, ... of A's rows g and g + 8 and of B^T's row g, and columns 2 t and 2 t + 1 of
   C's rows g and g + 8. In words of 32 bits, or of one double, this is the same for every instruction above: its
   registers count rows first, then words.

   What keeps the work from being deleted: volatile asm, whose results are stored; no one knows that a step repeats the
   last one.

   What would make it wrong: blockDim other than THREADS; tiles that are no multiple of 16 per SM; a type that the chip
   lacks, which compiles into conversions and another instruction without a warning (float8_e4m3 on 9.0 to 11.0: not
   offered); the same operands in every step, which toggle fewer wires than a GEMM's, so that a chip held by its power
   limit clocks higher here; zeros, which draw less still; sums that overflow, or so many steps (2^24) that float32 sums
   no longer move; steps of 2^31 and more. tf32 reads the upper 19 bits of float32 operands: it truncates. */

#ifndef THREADS
#define THREADS 256
#endif

#if __CUDA_ARCH__ >= 750

constexpr int RESIDENT = 2;

/* An instruction of M x 8 x K words. A lane holds HALVES rows of A and C, and DEPTHS words of each row of A and B^T. */
template <class WORD, class SUM, int M, int K> struct Shape {
    using Word = WORD;
    using Sum = SUM;
    static constexpr int ROWS = M, WORDS = K, HALVES = M / 8, DEPTHS = K / 4;
};

#define MMA(NAME, SUM, REGISTER, TEXT)                                                                        \
    struct NAME : Shape<unsigned, SUM, 16, 8> {                                                               \
        static __device__ void multiply(SUM (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {        \
            asm volatile("mma.sync.aligned." TEXT " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "           \
                         "{%0, %1, %2, %3};"                                                                  \
                         : "+" REGISTER(d[0]), "+" REGISTER(d[1]), "+" REGISTER(d[2]), "+" REGISTER(d[3])     \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                 \
        }                                                                                                     \
    }

#if __CUDA_ARCH__ >= 800
MMA(Tf32, float, "f", "m16n8k8.row.col.f32.tf32.tf32.f32");
MMA(Bfloat16, float, "f", "m16n8k16.row.col.f32.bf16.bf16.f32");
MMA(Float16, float, "f", "m16n8k16.row.col.f32.f16.f16.f32");
MMA(Int8, int, "r", "m16n8k32.row.col.s32.s8.s8.s32");
#else
struct Float16 : Shape<unsigned, float, 16, 4> {
    static __device__ void multiply(float (&d)[4], const unsigned (&a)[2], const unsigned (&b)[1]) {
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    }
};

struct Int8 : Shape<unsigned, int, 8, 4> {
    static __device__ void multiply(int (&d)[2], const unsigned (&a)[1], const unsigned (&b)[1]) {
        asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                     : "+r"(d[0]), "+r"(d[1])
                     : "r"(a[0]), "r"(b[0]));
    }
};
#endif

#if __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200
#define HAS_FLOAT8
MMA(Float8E4m3, float, "f", "m16n8k32.row.col.f32.e4m3.e4m3.f32");
#endif

#if __CUDA_ARCH__ == 900
#define HAS_FLOAT64
struct Float64 : Shape<double, double, 16, 16> {
    static constexpr int M = 32, N = 16;
    static __device__ void multiply(double (&d)[4], const double (&a)[8], const double (&b)[4]) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, "
                     "{%4, %5, %6, %7, %8, %9, %10, %11}, {%12, %13, %14, %15}, {%0, %1, %2, %3};"
                     : "+d"(d[0]), "+d"(d[1]), "+d"(d[2]), "+d"(d[3])
                     : "d"(a[0]), "d"(a[1]), "d"(a[2]), "d"(a[3]), "d"(a[4]), "d"(a[5]), "d"(a[6]), "d"(a[7]),
                       "d"(b[0]), "d"(b[1]), "d"(b[2]), "d"(b[3]));
    }
};
#elif __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 1000
#define HAS_FLOAT64
struct Float64 : Shape<double, double, 8, 4> {
    static constexpr int M = 32, N = 32;
    static __device__ void multiply(double (&d)[2], const double (&a)[1], const double (&b)[1]) {
        asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
                     : "+d"(d[0]), "+d"(d[1])
                     : "d"(a[0]), "d"(b[0]));
    }
};
#endif

/* One tile of M x N per warp. */
template <class Mma, int M, int N, class Word = typename Mma::Word, class Sum = typename Mma::Sum>
__device__ void tile(const Word* a, const Word* b, Sum* c, long long n, long long steps) {
    constexpr int ROWS = Mma::ROWS, WORDS = Mma::WORDS, HALVES = Mma::HALVES, DEPTHS = Mma::DEPTHS;
    const long long own = (blockIdx.x * (long long)THREADS + threadIdx.x) / 32;
    if ((own + 1) * (M * N) > n) return;
    a += own * (M * WORDS), b += own * (N * WORDS), c += own * (M * N);
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    Word x[M / ROWS][HALVES * DEPTHS], y[N / 8][DEPTHS];
    Sum sum[M / ROWS][N / 8][2 * HALVES] = {};
#pragma unroll
    for (int depth = 0; depth < DEPTHS; ++depth) {
#pragma unroll
        for (int i = 0; i < M / ROWS; ++i)
#pragma unroll
            for (int half = 0; half < HALVES; ++half)
                x[i][HALVES * depth + half] = a[(ROWS * i + 8 * half + g) * WORDS + 4 * depth + t];
#pragma unroll
        for (int j = 0; j < N / 8; ++j) y[j][depth] = b[(8 * j + g) * WORDS + 4 * depth + t];
    }
#pragma unroll 1
    for (int step = steps; step > 0; --step)
#pragma unroll
        for (int i = 0; i < M / ROWS; ++i)
#pragma unroll
            for (int j = 0; j < N / 8; ++j) Mma::multiply(sum[i][j], x[i], y[j]);
#pragma unroll
    for (int i = 0; i < M / ROWS; ++i)
#pragma unroll
        for (int j = 0; j < N / 8; ++j)
#pragma unroll
            for (int e = 0; e < 2 * HALVES; ++e)
                c[(ROWS * i + 8 * (e / 2) + g) * N + 8 * j + 2 * t + e % 2] = sum[i][j][e];
}

#ifdef HAS_FLOAT64
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
mma_float64(const double* a, const double* b, double* c, long long n, long long steps) {
    tile<Float64, Float64::M, Float64::N>(a, b, c, n, steps);
}
#endif

#if __CUDA_ARCH__ >= 800
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
mma_tf32(const unsigned* a, const unsigned* b, float* c, long long n, long long steps) {
    tile<Tf32, 64, 32>(a, b, c, n, steps);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
mma_bfloat16(const unsigned* a, const unsigned* b, float* c, long long n, long long steps) {
    tile<Bfloat16, 64, 32>(a, b, c, n, steps);
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
mma_float16(const unsigned* a, const unsigned* b, float* c, long long n, long long steps) {
    tile<Float16, 64, 32>(a, b, c, n, steps);
}

#ifdef HAS_FLOAT8
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
mma_float8_e4m3(const unsigned* a, const unsigned* b, float* c, long long n, long long steps) {
    tile<Float8E4m3, 64, 32>(a, b, c, n, steps);
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
mma_int8(const unsigned* a, const unsigned* b, int* c, long long n, long long steps) {
    tile<Int8, 64, 32>(a, b, c, n, steps);
}

#endif
