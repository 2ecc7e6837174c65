/* Bandwidth of a GPU's memory and L2 cache: STREAM's mixes (McCalpin 1995) with read and write added, over float32 arrays.

     function   result                      bytes per element   flops per element
     read       out[0] += passes * sum(x)           4                  1
     write      y = value + i % 16                  4                  0
     copy       y = x                               8                  0
     scale      y = a * x                           8                  1
     add        y = x + z                          12                  1
     triad      y = x + a * z                      12                  2

   Shape: 16 bytes per lane, and UNROLL loads of them in flight per thread before the first is used (add and triad: half
   from each array). The registers are bounded so that every thread slot of an SM is filled: 4 x 16 B x 2048 threads =
   128 KiB in flight per SM, several times what bandwidth x latency asks for. Any grid is right; one tile of THREADS x
   UNROLL x 4 elements per block lets the hardware balance SMs that are nearer to memory and farther from it.

   Loads bypass L1 (HINT .cg), so that a small array comes from L2 and never from the SM that read it last. -DHINT=.cs
   or -DHINT= tries others.

   passes repeats the sweep inside one launch, so that launching does not dominate a small array. Then only as many
   blocks work as the GPU holds at once (SMS x BLOCKS): a block that waits for a free SM would otherwise repeat its tile
   after others have finished, and the working set of any moment would be smaller than the array.

   What keeps the work from being deleted: loads are volatile asm with a memory clobber, so that no pass is merged with
   the next or hoisted out of it, and all four words are used, or the assembler would narrow the load; stores reach
   memory, and the clobber stands between two passes of them. read's sum leaves the kernel: float per thread and warp,
   then one double per block, added atomically.

   What would make it wrong: blockDim other than THREADS; arrays not 16-byte aligned, n not a multiple of 4, arrays that
   overlap; SMS or BLOCKS below the GPU's, where passes leave SMs idle; a working set between L2 and four times it, which
   belongs to neither; so many blocks that read's atomic additions, all to one address, take longer than its loads. */

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
#define TEXT(x) #x
#define SPELL(x) TEXT(x)

__device__ float4 load(const float4* from) {
    float4 v;
    asm volatile("ld.global" SPELL(HINT) ".v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(__cvta_generic_to_global(from))
                 : "memory");
    return v;
}

template <int VECTORS> struct Count { static constexpr int vectors = VECTORS; };

/* Calls tile(i, Count) for all of n, `passes` times: Count::vectors (VECTORS, at the end 1) THREADS apart, from i on. */
template <int VECTORS, class Tile> __device__ void sweep(long long n, long long passes, Tile tile) {
    // 32-bit counters of tiles, not 64-bit ones of vectors: the registers are needed for loads in flight
    constexpr int TILE = THREADS * VECTORS;
    const unsigned blocks = passes > 1 && gridDim.x > SMS * BLOCKS ? SMS * BLOCKS : gridDim.x;
    if (blockIdx.x >= blocks) return;
    const unsigned tiles = n / 4 / TILE, rest = n / 4 % TILE;
#pragma unroll 1
    for (int pass = passes; pass > 0; --pass) {
        asm volatile("" ::: "memory");
#pragma unroll 1
        for (unsigned t = blockIdx.x; t < tiles; t += blocks) tile((long long)TILE * t + threadIdx.x, Count<VECTORS>());
#pragma unroll 1
        for (unsigned at = blockIdx.x; at < VECTORS; at += blocks)
            if (THREADS * at + threadIdx.x < rest)
                tile((long long)TILE * tiles + THREADS * at + threadIdx.x, Count<1>());
    }
}

/* y[i] = f(x[i]) or f(x[i], z[i]), lane by lane: all loads of a tile first, then all stores. */
template <class F> __device__ void map(const float4* x, float4* y, long long n, long long passes, F f) {
    sweep<UNROLL>(n, passes, [=](long long i, auto count) {
        constexpr int N = decltype(count)::vectors;
        float4 v[N];
#pragma unroll
        for (int u = 0; u < N; ++u) v[u] = load(x + i + u * THREADS);
#pragma unroll
        for (int u = 0; u < N; ++u) y[i + u * THREADS] = make_float4(f(v[u].x), f(v[u].y), f(v[u].z), f(v[u].w));
    });
}

template <class F> __device__ void zip(const float4* x, const float4* z, float4* y, long long n, long long passes, F f) {
    sweep<(UNROLL + 1) / 2>(n, passes, [=](long long i, auto count) {
        constexpr int N = decltype(count)::vectors;
        float4 v[N], w[N];
#pragma unroll
        for (int u = 0; u < N; ++u) v[u] = load(x + i + u * THREADS);
#pragma unroll
        for (int u = 0; u < N; ++u) w[u] = load(z + i + u * THREADS);
#pragma unroll
        for (int u = 0; u < N; ++u)
            y[i + u * THREADS] =
                make_float4(f(v[u].x, w[u].x), f(v[u].y, w[u].y), f(v[u].z, w[u].z), f(v[u].w, w[u].w));
    });
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
read(const float4* x, double* out, long long n, long long passes) {
    float4 sum = make_float4(0, 0, 0, 0);
    sweep<UNROLL>(n, passes, [&](long long i, auto count) {
        constexpr int N = decltype(count)::vectors;
        float4 v[N];
#pragma unroll
        for (int u = 0; u < N; ++u) v[u] = load(x + i + u * THREADS);
#pragma unroll
        for (int u = 0; u < N; ++u) sum.x += v[u].x, sum.y += v[u].y, sum.z += v[u].z, sum.w += v[u].w;
    });
    float lane = (sum.x + sum.y) + (sum.z + sum.w);
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

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
write(float4* y, long long n, long long passes, double value) {
    // a tile starts at a multiple of 4 vectors, so that a thread's place in the pattern of 16 never changes
    const float first = (float)value + 4 * (threadIdx.x % 4);
    const float4 v = make_float4(first, first + 1, first + 2, first + 3);
    sweep<UNROLL>(n, passes, [=](long long i, auto count) {
#pragma unroll
        for (int u = 0; u < decltype(count)::vectors; ++u) y[i + u * THREADS] = v;
    });
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
copy(const float4* x, float4* y, long long n, long long passes) {
    map(x, y, n, passes, [](float v) { return v; });
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
scale(const float4* x, float4* y, long long n, long long passes, double real) {
    const float a = (float)real;
    map(x, y, n, passes, [=](float v) { return a * v; });
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
add(const float4* x, const float4* z, float4* y, long long n, long long passes) {
    zip(x, z, y, n, passes, [](float v, float w) { return v + w; });
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
triad(const float4* x, const float4* z, float4* y, long long n, long long passes, double real) {
    const float a = (float)real;
    zip(x, z, y, n, passes, [=](float v, float w) { return fmaf(a, w, v); });
}
