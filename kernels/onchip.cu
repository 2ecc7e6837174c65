/* Bandwidth of what is inside an SM: shared memory and the L1 cache, read 16 bytes per lane and access.

     function      result                      from              bytes per element and pass   flops
     shared_read   out[0] += passes * sum(x)   shared memory                 4                  1
     l1_read       out[0] += passes * sum(x)   L1, x in place                4                  1

   Every block has a tile of its own, 32 KiB of x: 8 elements per thread of 1024, as many blocks as tiles. It is copied
   into shared memory once, or left where it is and comes through L1 after the first pass; then it is read `passes`
   times. n (a multiple of 8192) should be tiles for every SM, as many as it has room for 1024 threads: two where it
   holds 2048, else one.

   Shape: 16 loads of 16 bytes per trip at constant distances from one address. A warp's 16 cover a quarter of the tile,
   so that 8 passes over the whole tile are one trip of the block; from trip to trip every warp moves on to the next
   quarter. Its lanes read 512 neighbouring bytes: all banks of shared memory in the fewest cycles, four whole lines of
   L1. passes should be a multiple of 8: the rest goes one pass at a time. The sums take 4 FADD per load. Where an SM
   delivers 128 B/clk a warp's load takes 4 clocks, in which the SM issues 16 instructions: the FADDs are a quarter of
   them, and half of what the pipes take on sm_80 (64 lanes); address, counter and branch are a tenth of the trip. At
   least 3 loads per warp are under way before the first is used, of 32 warps or 64.

   What keeps the work from being deleted: the sums leave the kernel; loads are volatile asm with a memory clobber; all
   four words are used, or the assembler would narrow the load. A trip reads elsewhere than the one before: with one
   address for all, the assembler takes the loads of L1 out of the loop, volatile asm or not. Every 512 trips the float
   sums leave as one double per block, added atomically, before they grow so large that single elements would be rounded
   away.

   What would make it wrong: blockDim other than THREADS; a grid other than a block per tile; tiles that do not fill
   every SM equally; x not 16-byte aligned; for L1, so much of the SM's memory set aside as shared that less than 32 KiB
   per block is left, which then comes from L2; so few passes that filling shows. */

#ifndef THREADS
#define THREADS 1024
#endif
#ifndef BLOCKS
#define BLOCKS 1
#endif

constexpr int VECTORS = 2048, LOADS = 16, QUARTER = 32 * LOADS, PASSES = LOADS * THREADS / VECTORS, FOLD = 512;
static_assert(THREADS == 1024, "32 warps share the four quarters of a tile of 2048 vectors");

struct Shared {
    static __device__ float4 load(const float4* from) {
        float4 v;
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                     : "r"((unsigned)__cvta_generic_to_shared(from))
                     : "memory");
        return v;
    }
};

struct L1 {
    static __device__ float4 load(const float4* from) {
        float4 v;
        asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                     : "l"(__cvta_generic_to_global(from))
                     : "memory");
        return v;
    }
};

/* Adds a block's sum to *out: one atomic addition per block, as they go one after another to one address. */
__device__ void give(double lane, double* out) {
    __shared__ double warps[THREADS / 32];
#pragma unroll
    for (int away = 16; away; away /= 2) lane += __shfl_xor_sync(~0u, lane, away);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = lane;
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0;
        for (int warp = 0; warp < THREADS / 32; ++warp) total += warps[warp];
        atomicAdd(out, total);
    }
    __syncthreads();
}

/* Adds N vectors per thread, APART from each other, `times` times; the first of them moves on within SPAN. */
template <class Memory, int N, int APART, int SPAN>
__device__ void add(const float4* tile, double* out, unsigned first, int times) {
#pragma unroll 1
    while (times > 0) {
        const int trips = times < FOLD ? times : FOLD;
        float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 1
        for (int trip = trips; trip > 0; --trip) {
            float4 v[N];
#pragma unroll
            for (int u = 0; u < N; ++u) v[u] = Memory::load(tile + first + u * APART);
#pragma unroll
            for (int u = 0; u < N; ++u) sum.x += v[u].x, sum.y += v[u].y, sum.z += v[u].z, sum.w += v[u].w;
            first = (first + QUARTER) % SPAN;
        }
        give((sum.x + sum.y) + (sum.z + sum.w), out);
        times -= trips;
    }
}

template <class Memory> __device__ void read(const float4* tile, double* out, long long passes) {
    const unsigned quarter = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    add<Memory, LOADS, 32, VECTORS>(tile, out, quarter * QUARTER + lane, passes / PASSES);
    add<Memory, VECTORS / THREADS, THREADS, THREADS>(tile, out, threadIdx.x, passes % PASSES);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
shared_read(const float4* x, double* out, long long n, long long passes) {
    __shared__ float4 tile[VECTORS];
    for (int i = threadIdx.x; i < VECTORS; i += THREADS) tile[i] = x[(long long)VECTORS * blockIdx.x + i];
    __syncthreads();
    read<Shared>(tile, out, passes);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
l1_read(const float4* x, double* out, long long n, long long passes) {
    read<L1>(x + (long long)VECTORS * blockIdx.x, out, passes);
}
