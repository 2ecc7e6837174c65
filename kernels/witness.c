/* An independent witness of what stream.c, fma.c and ladder.c measure: the same quantities by code that anyone would
   write in ten minutes and that shares nothing with theirs. It may be slower; where it is faster, ours is not the peak.

     function        result                                       bytes per element   flops per element
     witness_copy    y = x                                                8                  0
     witness_triad   y = x + a * z                                       12                  2
     witness_read    out[0] += sum(x)                                     4                  1
     witness_fma     y = `steps` times r = r * a + b, from r = x    8, once for all      2 * steps
     witness_adds    `rounds` times 16 additions to pair[0], pair[1]      0                  0

   Plain stores also read the line that they overwrite, which is not counted above: triad's equal is triad_plain of
   stream.c. Copy is the C library's memcpy, which stores past the caches where an array is large. n may be any number.

   witness_adds is a clock: each of its integer additions waits for the one before, and takes one cycle on any core that
   is in use. Every thread makes all of them, as every thread runs a chain of fma.c's clock; n is 1.

   What keeps the work from being deleted: the results leave in arrays of the caller's.

   What would make it wrong: arrays that overlap; arrays that a cache holds, where starting the threads shows, as there
   are no passes; a compiler that leaves witness_fma's 96 chains in memory, which makes it slow and never fast (they fit 16 registers of
   256 bits beside both factors); additions that it sums in another order, which the empty asm statements forbid. */

#include <omp.h>
#include <string.h>

void witness_copy(const float *x, float *y, long long n) {
#pragma omp parallel
    {
        const long long thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const long long begin = n * thread / threads, end = n * (thread + 1) / threads;
        memcpy(y + begin, x + begin, (size_t)(end - begin) * sizeof *x);
    }
}

void witness_triad(const float *x, const float *z, float *y, long long n, double a) {
    const float factor = (float)a;
#pragma omp parallel for simd
    for (long long i = 0; i < n; i++) y[i] = x[i] + factor * z[i];
}

void witness_read(const float *x, double *out, long long n) {
    double sum = 0;
#pragma omp parallel for simd reduction(+ : sum)
    for (long long i = 0; i < n; i++) sum += x[i];
    out[0] += sum;
}

void witness_fma(const float *x, float *y, long long n, long long steps, double a, double b) {
    const float factor = (float)a, offset = (float)b;
#pragma omp parallel for
    for (long long i = 0; i < n; i += 96) {
        float r[96] = {0};
        const size_t bytes = (size_t)(n - i < 96 ? n - i : 96) * sizeof *x;
        memcpy(r, x + i, bytes);
        for (long long step = 0; step < steps; step++)
            for (int k = 0; k < 96; k++) r[k] = r[k] * factor + offset;
        memcpy(y + i, r, bytes);
    }
}

#define ADD(to, from)                                                                                                  \
    to += from;                                                                                                        \
    __asm__("" : "+r"(to))
#define ADDS ADD(a, b); ADD(b, a); ADD(a, b); ADD(b, a)

void witness_adds(unsigned long long *pair, long long n, long long rounds) {
    (void)n;
    const unsigned long long first = pair[0], second = pair[1];
#pragma omp parallel
    {
        unsigned long long a = first, b = second;
        for (long long round = 0; round < rounds; round++) {
            ADDS; ADDS; ADDS; ADDS;
        }
#pragma omp master
        {
            pair[0] = a;
            pair[1] = b;
        }
    }
}
