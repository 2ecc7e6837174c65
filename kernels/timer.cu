/* How coarse %globaltimer is, by which every clock of a batch is taken (see clock.cu).

   steps(out, n) stores the next n differences, in ns, between two readings of %globaltimer that are not equal.

   Shape: one thread of one block reads until the timer has moved; the n stores are all that it writes. What keeps it from
   being deleted: volatile asm and the stores. A timer that stands still ends the loop after 2^22 readings, some tens of
   milliseconds, and leaves a zero.

   What would make it wrong: a timer that steps by less than a reading takes (about 20 clocks), which reads as that. */

extern "C" __global__ void steps(long long* out, long long n) {
    if (blockIdx.x || threadIdx.x) return;
    for (long long i = 0; i < n; ++i) {
        long long first, now;
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(first));
        now = first;
        for (int tries = 1 << 22; now == first && tries > 0; --tries) asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
        out[i] = now - first;
    }
}
