/* Bandwidth of a GPU's memory and L2 cache: STREAM's mixes (McCalpin 1995) with read and write added, over float32 arrays.

     function   result                      bytes per element   flops per element
     read       out[0] += passes * sum(x)           4                  1
     write      y = value + i % 16                  4                  0
     copy       y = x                               8                  0
     scale      y = a * x                           8                  1
     add        y = x + z                          12                  1
     triad      y = x + a * z                      12                  2

   Shape: WIDTH bytes per lane and access (16; 32 from sm_100 on) and UNROLL loads of them in flight per thread before
   the first is used (add and triad: half from each array, at least one). A tile is THREADS x UNROLL x WIDTH bytes (add
   and triad: half of it per array). Any grid is right: one tile per block lets the hardware balance SMs that are nearer
   to memory and farther from it; a few blocks per SM walk over all tiles together and end only once.

   Registers are bounded so that nothing spills and all loads of a tile lead: with fewer, the assembler holds some back
   until others' registers are free. That leaves room on each SM for this many threads (or its slots, if fewer), all of
   them with UNROLL x WIDTH bytes in flight, where some 25 KiB per SM are needed (bandwidth x latency: 36 B/ns x 0.7 us
   on an H200, half as much again on a B200):

     WIDTH   UNROLL    threads
       16    1, 2, 4     2048
       16    8           1024
       32    1, 2        1536
       32    4           1024
       32    8            512

   Loads bypass L1 (HINT .cg). HINT may also be .cs (evict first), .L1::no_allocate or empty (the default policy), STORE
   (empty) may be .cs; the assembler takes each of them in both widths.

   passes repeats the sweep inside one launch, so that launching does not dominate a small array. Then only as many
   blocks work as the GPU holds at once: a block that waits for a free SM would otherwise repeat its tile after others
   have finished, and the working set of any moment would be smaller than the array. From pass to pass the tiles move on
   by 977 blocks, so that an SM meets its own again only after it has seen the others': an L1 far smaller than the array
   does not help, whatever HINT says, and L2 serves data that all SMs share, as in real use (gpu-benches' gpu-l2-cache).

   What keeps the work from being deleted: loads are volatile asm with a memory clobber, so that no pass is merged with
   the next or hoisted out of it, and all words are used, or the assembler would narrow the load; stores reach memory,
   and the clobber stands between two passes of them. read's sum leaves the kernel: float per thread and warp, then one
   double per block, added atomically.

   One atomic addition per block to one address goes through one slice of L2, one after another. Blocks of one tile of
   16 KiB would make 290 of them per us at 4.8 TB/s and 490 at 8 TB/s, one every 2 ns: a few clocks of L2, too close.
   A single pass of read therefore wants blocks of 4 tiles (UNROLL x WIDTH elements per thread, not a fourth of it), one
   addition in 8 ns or more, or a grid of a few blocks per SM, some thousand additions in all.

   What would make it wrong: blockDim other than THREADS; arrays not aligned to WIDTH bytes, n not a multiple of
   WIDTH / 4, arrays that overlap; SMS or BLOCKS below the GPU's, where passes leave SMs idle; a working set between L2
   and four times it, which belongs to neither; an array of fewer tiles than blocks fit at once, where SMs idle; read's
   sum where one thread adds up so many elements (2^24 ones) that float stops counting. */

#ifndef WIDTH
#define WIDTH 16
#endif
#ifndef UNROLL
#define UNROLL 4
#endif
#ifndef THREADS
#define THREADS 256
#endif
#ifndef BLOCKS
#define BLOCKS 4
#endif
#ifndef SMS
#define SMS 132
#endif
#ifndef HINT
#define HINT .cg
#endif
#ifndef STORE
#define STORE
#endif
#if WIDTH != 16 && WIDTH != 32
#error "WIDTH is bytes per lane and access: 16 or 32"
#endif
#if WIDTH == 32 && defined __CUDA_ARCH__ && __CUDA_ARCH__ < 1000
#error "WIDTH=32 needs 256-bit loads and stores, which exist from sm_100 on: use WIDTH=16"
#endif
#define TEXT(x) #x
#define SPELL(x) TEXT(x)

constexpr int LANES = WIDTH / 4, SHIFT = 977;
// what the loads of a tile fill and a quarter for the assembler's freedom; sums or results; addresses and counters
constexpr int LOADS = UNROLL > 1 ? UNROLL : 2, REGISTERS = LOADS * LANES * 5 / 4 + 2 * LANES + 4;
constexpr int FIT = 65536 / (THREADS * REGISTERS);
constexpr int RESIDENT = FIT < BLOCKS ? FIT : BLOCKS;
static_assert(RESIDENT > 0, "UNROLL x WIDTH x THREADS asks for more registers than an SM has: lower one");

struct alignas(WIDTH) Pack {
    float lane[LANES];
};

__device__ Pack load(const Pack* from) {
    Pack v;
    float* f = v.lane;
#if WIDTH == 16
    asm volatile("ld.global" SPELL(HINT) ".v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(f[0]), "=f"(f[1]), "=f"(f[2]), "=f"(f[3])
                 : "l"(__cvta_generic_to_global(from))
                 : "memory");
#else
    asm volatile("ld.global" SPELL(HINT) ".v8.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8];"
                 : "=f"(f[0]), "=f"(f[1]), "=f"(f[2]), "=f"(f[3]), "=f"(f[4]), "=f"(f[5]), "=f"(f[6]), "=f"(f[7])
                 : "l"(__cvta_generic_to_global(from))
                 : "memory");
#endif
    return v;
}

__device__ void store(Pack* to, const Pack& v) {
    const float* f = v.lane;
#if WIDTH == 16
    asm volatile("st.global" SPELL(STORE) ".v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                 "f"(f[0]), "f"(f[1]), "f"(f[2]), "f"(f[3])
                 : "memory");
#else
    asm volatile("st.global" SPELL(STORE) ".v8.f32 [%0], {%1, %2, %3, %4, %5, %6, %7, %8};" ::"l"(
                     __cvta_generic_to_global(to)),
                 "f"(f[0]), "f"(f[1]), "f"(f[2]), "f"(f[3]), "f"(f[4]), "f"(f[5]), "f"(f[6]), "f"(f[7])
                 : "memory");
#endif
}

template <int PACKS> struct Count { static constexpr int packs = PACKS; };

/* Calls tile(i, Count) for all of n, `passes` times: Count::packs (PACKS, at the end 1) THREADS apart, from i on. */
template <int PACKS, class Tile> __device__ void sweep(long long n, long long passes, Tile tile) {
    // 32-bit counters of tiles, not 64-bit ones of packs: the registers are needed for loads in flight
    constexpr int TILE = THREADS * PACKS;
    const unsigned blocks = passes > 1 && gridDim.x > SMS * RESIDENT ? SMS * RESIDENT : gridDim.x;
    if (blockIdx.x >= blocks) return;
    const unsigned tiles = n / LANES / TILE, rest = n / LANES % TILE, shift = SHIFT % blocks;
    unsigned first = blockIdx.x;
#pragma unroll 1
    for (int pass = passes; pass > 0; --pass) {
        asm volatile("" ::: "memory");
#pragma unroll 1
        for (unsigned t = first; t < tiles; t += blocks) tile((long long)TILE * t + threadIdx.x, Count<PACKS>());
#pragma unroll 1
        for (unsigned at = first; at < PACKS; at += blocks)
            if (THREADS * at + threadIdx.x < rest)
                tile((long long)TILE * tiles + THREADS * at + threadIdx.x, Count<1>());
        first += shift;
        if (first >= blocks) first -= blocks;
    }
}

/* y[i] = f(x[i]) or f(x[i], z[i]), lane by lane: all loads of a tile first, then all stores. */
template <class F> __device__ void map(const Pack* x, Pack* y, long long n, long long passes, F f) {
    sweep<UNROLL>(n, passes, [=](long long i, auto count) {
        constexpr int N = decltype(count)::packs;
        Pack v[N];
#pragma unroll
        for (int u = 0; u < N; ++u) v[u] = load(x + i + u * THREADS);
#pragma unroll
        for (int u = 0; u < N; ++u) {
#pragma unroll
            for (int k = 0; k < LANES; ++k) v[u].lane[k] = f(v[u].lane[k]);
            store(y + i + u * THREADS, v[u]);
        }
    });
}

template <class F> __device__ void zip(const Pack* x, const Pack* z, Pack* y, long long n, long long passes, F f) {
    sweep<(UNROLL + 1) / 2>(n, passes, [=](long long i, auto count) {
        constexpr int N = decltype(count)::packs;
        Pack v[N], w[N];
#pragma unroll
        for (int u = 0; u < N; ++u) v[u] = load(x + i + u * THREADS);
#pragma unroll
        for (int u = 0; u < N; ++u) w[u] = load(z + i + u * THREADS);
#pragma unroll
        for (int u = 0; u < N; ++u) {
#pragma unroll
            for (int k = 0; k < LANES; ++k) v[u].lane[k] = f(v[u].lane[k], w[u].lane[k]);
            store(y + i + u * THREADS, v[u]);
        }
    });
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
read(const Pack* x, double* out, long long n, long long passes) {
    Pack sum = {};
    sweep<UNROLL>(n, passes, [&](long long i, auto count) {
        constexpr int N = decltype(count)::packs;
        Pack v[N];
#pragma unroll
        for (int u = 0; u < N; ++u) v[u] = load(x + i + u * THREADS);
#pragma unroll
        for (int u = 0; u < N; ++u)
#pragma unroll
            for (int k = 0; k < LANES; ++k) sum.lane[k] += v[u].lane[k];
    });
    float lane = 0;
#pragma unroll
    for (int k = 0; k < LANES; ++k) lane += sum.lane[k];
#pragma unroll
    for (int away = 16; away; away /= 2) lane += __shfl_xor_sync(~0u, lane, away);
    __shared__ float warps[THREADS / 32];
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = lane;
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0;
        for (int warp = 0; warp < THREADS / 32; ++warp) total += warps[warp];
        atomicAdd(out, total);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
write(Pack* y, long long n, long long passes, double value) {
    // a tile starts at a multiple of 16 elements, so that a thread's place in the pattern never changes
    Pack v;
#pragma unroll
    for (int k = 0; k < LANES; ++k) v.lane[k] = (float)value + (LANES * threadIdx.x + k) % 16;
    sweep<UNROLL>(n, passes, [=](long long i, auto count) {
#pragma unroll
        for (int u = 0; u < decltype(count)::packs; ++u) store(y + i + u * THREADS, v);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
copy(const Pack* x, Pack* y, long long n, long long passes) {
    map(x, y, n, passes, [](float v) { return v; });
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
scale(const Pack* x, Pack* y, long long n, long long passes, double real) {
    const float a = (float)real;
    map(x, y, n, passes, [=](float v) { return a * v; });
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
add(const Pack* x, const Pack* z, Pack* y, long long n, long long passes) {
    zip(x, z, y, n, passes, [](float v, float w) { return v + w; });
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
triad(const Pack* x, const Pack* z, Pack* y, long long n, long long passes, double real) {
    const float a = (float)real;
    zip(x, z, y, n, passes, [=](float v, float w) { return fmaf(a, w, v); });
}
