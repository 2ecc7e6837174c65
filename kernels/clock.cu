/* The mean clock of an SM over a timed batch, from the chip's own counters.

   stamp(counters, slot) stores %globaltimer (ns) and clock64 (cycles) of SM 0 at counters[2 * slot]. Launched before and
   after a batch, the two differences divide to cycles per ns.

   Shape: clock64 counts the cycles of one SM and may not be compared across SMs, so that only blocks that find
   themselves on SM 0 write. Hardware places blocks as it likes, not one on each SM: give it several times as many as
   there are SMs. If none meets SM 0, the counters keep what they held: set them to zero first and take a zero for
   "unknown".

   Several blocks then meet SM 0, and a time from one beside cycles from another would be a clock that is wrong by their
   distance. So each stores its pair at once, as one scalar of 128 bits, which no other store can split (PTX ISA 8.3,
   memory consistency model: a vector of two would be two stores). Any whole pair is right, as both differences are taken
   over the same window; the last one stays. In slot 0 that is the one nearest to the batch, read by a warp that already
   found the code in the instruction cache; in slot 1 it lies behind the batch by no more than one launch takes, a few us.
   The window always holds the whole batch: launches of one stream follow each other.

   What keeps it from being deleted: volatile asm and a store. The two counters are read one right after the other.

   What would make it wrong: a batch shorter than some hundred steps of %globaltimer, whose step is up to 1 us; counters
   that are not 16-byte aligned (fault); slots stamped by launches of two streams. */

extern "C" __global__ void stamp(long long* counters, long long slot) {
    unsigned sm;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
    if (sm != 0 || threadIdx.x != 0) return;
    asm volatile("{.reg .b64 nanoseconds, cycles; .reg .b128 pair;\n"
                 " mov.u64 nanoseconds, %%globaltimer;\n"
                 " mov.u64 cycles, %%clock64;\n"
                 " mov.b128 pair, {nanoseconds, cycles};\n"
                 " st.relaxed.gpu.global.b128 [%0], pair;}" ::"l"(__cvta_generic_to_global(counters + 2 * slot))
                 : "memory");
}
