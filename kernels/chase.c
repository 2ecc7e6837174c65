/* Latency of one load: a single core follows a chain of pointers, each load waiting for the one before.

   One line of 128 bytes (two of most CPUs' own) is stepped to per hop and 8 bytes of it are read; 0 flops.
   seconds / hops is the latency.

   The first 8 bytes of each line of `lines` hold the absolute address of the next, in a random cycle over all lines
   that the caller has made: no prefetcher can guess it. *at is the address of the line to start from and receives the
   one where the chase ended, so that the next call goes on from there instead of walking again over what this one has
   just brought into the caches. n is 1.

   Shape: the calling thread alone. One load, one count, one branch: the count runs beside the load, which is never
   faster than three or four cycles, so that unrolling would gain nothing.

   What keeps the work from being deleted: the address that was reached is stored, and each load is volatile.

   What would make it wrong: a cycle that misses lines, or one in order of address; hops so few that the call or the
   first walk over a set shows; a thread that wanders between cores; small pages, whose TLB misses are part of what is
   measured as the set grows; neighbours on the last cache. */

#include <stdint.h>

void chase(const void *lines, unsigned long long *at, long long n, long long hops) {
    (void)lines, (void)n;
    uintptr_t line = (uintptr_t)*at;
    for (; hops > 0; hops--) line = *(const volatile uintptr_t *)line;
    *at = line;
}
