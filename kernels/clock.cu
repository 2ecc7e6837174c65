/* The mean clock of an SM over a timed batch, from the chip's own counters.

   stamp(counters, slot) stores %globaltimer (ns) and clock64 (cycles) of SM 0 at counters[2 * slot]. Launched before and
   after a batch, the two differences divide to cycles per ns.

   Shape: clock64 counts the cycles of one SM and may not be compared across SMs, so that one block goes to each of them
   and only the one that finds itself on SM 0 writes. If none does, the counters keep what they held: set them to zero
   first and take a zero for "unknown". What keeps it from being deleted: volatile asm and a store.

   What would make it wrong: a batch shorter than some hundred steps of %globaltimer, whose step is up to 1 us. */

extern "C" __global__ void stamp(long long* counters, long long slot) {
    unsigned sm;
    long long nanoseconds, cycles;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
    if (sm != 0 || threadIdx.x != 0) return;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(nanoseconds));
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(cycles));
    counters[2 * slot] = nanoseconds;
    counters[2 * slot + 1] = cycles;
}
