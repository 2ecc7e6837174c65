/* Peak rate of Hopper's tensor cores: loops of wgmma, which multiplies out of shared memory. For sm_90a alone.

   C[m, n] = `steps` times C += A B^T for every tile. a is [tiles, m, k], b [tiles, n, k] (column-major, as weights are
   stored), c [tiles, m, n], all row-major; n, the argument, counts the elements of c.

     function            instruction               SASS                            k of a tile   sums
     wgmma_tf32          m64n256k8.f32.tf32        HGMMA.64x256x8.F32.TF32              32       float32
     wgmma_bfloat16      m64n256k16.f32.bf16       HGMMA.64x256x16.F32.BF16             64       float32
     wgmma_float16       m64n256k16.f32.f16        HGMMA.64x256x16.F32                  64       float32
     wgmma_float8_e4m3   m64n256k32.f32.e4m3       QGMMA.64x256x32.F32.E4M3.E4M3       128       float32
     wgmma_int8          m64n256k32.s32.s8         IGMMA.64x256x32.S8.S8               128       int32, wrapping

   A tile is m = 64, n = 256 and 128 bytes of k, four instructions deep: 2 m n k flops per tile and step. Its 40 KiB of
   operands are read and its 64 KiB of sums written once, which is nothing beside a large `steps`.

   Shape: n = 256, the largest, asks shared memory for the fewest bytes per flop: 10 KiB of operands per instruction,
   which takes 128 clocks at the dense rate, are 80 of an SM's 128 B per clock. A warpgroup owns a tile, whose sums fill
   128 registers of each thread. Two warpgroups share an SM, each with operands of its own, and four steps, 16
   instructions or 2048 clocks, go into a commit group: while one warpgroup waits for its group, the other's runs.
   A block takes 256 threads and 81920 bytes of dynamic shared memory, which the launch must ask for; its registers
   leave no room for a second one. Give it 2 tiles per SM, and `steps` a multiple of 4: the rest goes one by one.

   Shared memory (PTX ISA, "Shared memory matrix layout" and "Matrix descriptor format" of wgmma; CUTLASS,
   cute/atom/mma_traits_sm90_gmma.hpp, make_gmma_desc<Major::K>): both operands are K-major without swizzle, canonically
   ((8, m), (T, 2k)) : ((1T, SBO), (1, LBO)) with T elements in 16 bytes. So a core matrix is 8 rows of 16 bytes, row
   after row in 128 bytes; the leading-dimension byte offset LBO leads to the next core matrix along k, of which an
   instruction takes two (32 bytes of k in every type), and the stride-dimension byte offset SBO to the next 8 rows.
   Here the 8 core matrices of 8 whole rows lie one behind the other: LBO = 128, SBO = 1024, and the next instruction's
   two start 256 bytes on. In the descriptor all three are in units of 16 bytes: start address in bits 0-13, LBO in
   16-29, SBO in 32-45; base offset (49-51) and swizzling mode (62-63) are 0.

   Sums (PTX ISA, "Register fragments" of wgmma, D): warp w of the warpgroup holds rows 16 w to 16 w + 15. With lane =
   4 g + t, d[i] is row 16 w + g, or 8 below it where i % 4 >= 2, and column 8 (i / 4) + 2 t + i % 2.

   Order: stores to shared memory; fence.proxy.async, as wgmma reads through the async proxy; barrier; then for each
   group wgmma.fence, instructions, commit, wait. Nothing touches the sums of a group in flight: ptxas would then wait
   behind every instruction and say so in its log alone (C7514, which fails the build).

   What keeps the work from being deleted: volatile asm, whose results are stored.

   What would make it wrong: blockDim other than THREADS; less shared memory than two tiles need; tiles other than 2 per
   SM; a wrong descriptor, which reads other operands, perhaps with bank conflicts (comparing c with its definition
   tells); the same operands in every step, which toggle fewer wires than a GEMM's, so that a chip held by its power
   limit clocks higher here; zeros, which draw less still; sums that overflow, or so many steps (2^24; far fewer for
   float8_e4m3) that float32 sums no longer move. float8_e4m3 is what libraries call fast accumulation: its sums keep
   fewer bits than float32 has. tf32 reads the upper 19 bits of float32 operands: it truncates. */

#ifndef THREADS
#define THREADS 256
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

constexpr int GROUP = 128, GROUPS = THREADS / GROUP;
constexpr int M = 64, N = 256, ROW_BYTES = 128, SUMS = M * N / GROUP;
constexpr int A_BYTES = M * ROW_BYTES, TILE_BYTES = (M + N) * ROW_BYTES;
constexpr int LEADING = 128, STRIDE = 1024, DEPTHS = 4, DEPTH_BYTES = 256;
constexpr int COMMITTED = 4;
static_assert(THREADS % GROUP == 0);

#define D4(C, i) C(d[i]), C(d[i + 1]), C(d[i + 2]), C(d[i + 3])
#define D16(C, i) D4(C, i), D4(C, i + 4), D4(C, i + 8), D4(C, i + 12)
#define D64(C, i) D16(C, i), D16(C, i + 16), D16(C, i + 32), D16(C, i + 48)
#define OPERANDS                                                                                                   \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "   \
    "%23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "    \
    "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, "    \
    "%65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, "    \
    "%86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, "   \
    "%106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, " \
    "%124, %125, %126, %127}, %128, %129, "

/* An instruction. FLAGS: add to D; then, by type, the signs of A and B, then whether they are transposed. */
#define WGMMA(NAME, SUM, REGISTER, TEXT, FLAGS)                                                    \
    struct NAME {                                                                                  \
        using Sum = SUM;                                                                           \
        static __device__ void multiply(SUM (&d)[SUMS], long long a, long long b) {                \
            asm volatile("wgmma.mma_async.sync.aligned.m64n256" TEXT " " OPERANDS FLAGS ";"        \
                         : D64("+" REGISTER, 0), D64("+" REGISTER, 64)                             \
                         : "l"(a), "l"(b));                                                        \
        }                                                                                          \
    }

WGMMA(Tf32, float, "f", "k8.f32.tf32.tf32", "1, 1, 1");
WGMMA(Bfloat16, float, "f", "k16.f32.bf16.bf16", "1, 1, 1, 0, 0");
WGMMA(Float16, float, "f", "k16.f32.f16.f16", "1, 1, 1, 0, 0");
WGMMA(Float8E4m3, float, "f", "k32.f32.e4m3.e4m3", "1, 1, 1");
WGMMA(Int8, int, "r", "k32.s32.s8.s8", "1");

__device__ long long descriptor(unsigned address) {
    return (long long)(STRIDE >> 4) << 32 | (long long)(LEADING >> 4) << 16 | (address & 0x3ffff) >> 4;
}

/* `rows` rows of 128 bytes, from their order in memory into core matrices. */
__device__ void stage(const uint4* from, unsigned char* to, int rows, int thread) {
    for (int i = thread; i < rows * (ROW_BYTES / 16); i += GROUP) {
        const int row = i / 8, chunk = i % 8;
        *reinterpret_cast<uint4*>(to + (row / 8 * STRIDE + chunk * LEADING + row % 8 * 16)) = from[i];
    }
}

/* One commit group of `STEPS` steps. */
template <class Wgmma, int STEPS>
__device__ void commit(typename Wgmma::Sum (&sum)[SUMS], long long a, long long b) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int i = 0; i < STEPS * DEPTHS; ++i)
        Wgmma::multiply(sum, a + i % DEPTHS * (DEPTH_BYTES >> 4), b + i % DEPTHS * (DEPTH_BYTES >> 4));
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

template <class Wgmma, class Sum = typename Wgmma::Sum>
__device__ void tile(const uint4* a, const uint4* b, Sum* c, long long n, long long steps) {
    extern __shared__ __align__(128) unsigned char shared[];
    // through a shuffle the compiler knows it as equal in the warp, and keeps the descriptors in uniform registers
    const int group = __shfl_sync(~0u, threadIdx.x / GROUP, 0), thread = threadIdx.x % GROUP;
    const long long own = blockIdx.x * (long long)GROUPS + group;
    const bool exists = (own + 1) * (M * N) <= n;
    unsigned char* operands = shared + group * TILE_BYTES;
    if (exists) {
        stage(a + own * (M * ROW_BYTES / 16), operands, M, thread);
        stage(b + own * (N * ROW_BYTES / 16), operands + A_BYTES, N, thread);
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    if (!exists) return;
    const unsigned address = __cvta_generic_to_shared(operands);
    const long long left = descriptor(address), right = descriptor(address + A_BYTES);
    Sum sum[SUMS] = {};
#pragma unroll 1
    for (int trip = steps / COMMITTED; trip > 0; --trip) commit<Wgmma, COMMITTED>(sum, left, right);
#pragma unroll 1
    for (int rest = steps % COMMITTED; rest > 0; --rest) commit<Wgmma, 1>(sum, left, right);
    const int w = thread / 32, g = thread % 32 / 4, t = thread % 4;
    c += own * (M * N);
#pragma unroll
    for (int i = 0; i < SUMS; ++i) c[(16 * w + g + i / 2 % 2 * 8) * N + i / 4 * 8 + 2 * t + i % 2] = sum[i];
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
wgmma_tf32(const uint4* a, const uint4* b, float* c, long long n, long long steps) {
    tile<Tf32>(a, b, c, n, steps);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
wgmma_bfloat16(const uint4* a, const uint4* b, float* c, long long n, long long steps) {
    tile<Bfloat16>(a, b, c, n, steps);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
wgmma_float16(const uint4* a, const uint4* b, float* c, long long n, long long steps) {
    tile<Float16>(a, b, c, n, steps);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
wgmma_float8_e4m3(const uint4* a, const uint4* b, float* c, long long n, long long steps) {
    tile<Float8E4m3>(a, b, c, n, steps);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
wgmma_int8(const uint4* a, const uint4* b, int* c, long long n, long long steps) {
    tile<Int8>(a, b, c, n, steps);
}

#endif
