/* Latency of one load: a single thread follows a chain of pointers, each load waiting for the one before.

   One line of 128 bytes is fetched per hop and 8 bytes of it are used; 0 flops. seconds / hops is the latency.

   The first 8 bytes of each line of `lines` hold the absolute address of the next, in a random cycle over all lines
   that the host has made: no prefetcher can guess it. *at is the address of the line to start from and receives the one
   where the chase ended, so that the next launch goes on from there instead of walking again over what this one has
   just brought into the caches. hops may be any number; a multiple of 32 goes whole trips.

   Shape: one thread of one block (n, the elements, is 1). 32 dependent loads of 64 bits per trip and nothing between
   them, so that counter and branch, hidden by no other warp, cost under one cycle per hop. The address space is said to
   be global in the instruction (LDG.E.64): a C++ pointer chase compiles to generic loads, which look it up first.
   LOAD is the loads' cache operator: empty goes through L1, .cg to L2 alone.

   What keeps the work from being deleted: the address that was reached is stored, loads are volatile asm.

   What would make it wrong: a cycle that misses lines, or one in order of address; a set that the caches of one SM and
   the near part of L2 only half hold; hops so few that the launch shows, or that the first walk over a set, which finds
   cold caches, does; TLBs, which add their own steps as the set grows; a clock that has not yet ramped up, as one
   thread is hardly a load. */

#ifndef LOAD
#define LOAD
#endif
#define TEXT(x) #x
#define SPELL(x) TEXT(x)

constexpr int HOPS = 32;

__device__ void hop(unsigned long long& line) {
    asm volatile("ld.global" SPELL(LOAD) ".u64 %0, [%0];" : "+l"(line)::"memory");
}

extern "C" __global__ void chase(const void* lines, unsigned long long* at, long long n, long long hops) {
    if (blockIdx.x || threadIdx.x) return;
    unsigned long long line = *at;
#pragma unroll 1
    for (int trip = hops / HOPS; trip > 0; --trip)
#pragma unroll
        for (int u = 0; u < HOPS; ++u) hop(line);
#pragma unroll 1
    for (int rest = hops % HOPS; rest > 0; --rest) hop(line);
    *at = line;
}
