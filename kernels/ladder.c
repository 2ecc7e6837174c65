/* The roofline, climbed rung by rung: `fmas` FMAs on every float32 between reading it and writing it.

   y[i] = `fmas` times r = r * a + b, starting from x[i]: 8 bytes and 2 * fmas flops per element, fmas / 4 FLOP/B.
   Few fmas: a streaming copy at the roof of memory. Many: the loop of fma.c at the roof of the vector units. At the
   crossing both have to proceed at once: GROUP vectors per thread go through the loop together, enough chains to fill
   the pipes, while the next lines are fetched and the last results drain past the caches.

   What keeps the work from being deleted: every result is stored, and floating point may not be reassociated. What
   makes a multiply and an add one instruction: -ffp-contract=fast on a target with FMA.

   What would make it wrong: arrays that are not 64-byte aligned (fault), n so far from a multiple of 256 that the rest,
   which goes one by one, shows; a, b that drive the values to infinity or to subnormals, and arrays that a cache holds. */

#include <omp.h>
#if defined __x86_64__
#include <immintrin.h>
#endif

#if defined __AVX512F__
enum { BYTES = 64, GROUP = 16 };
#elif defined __AVX__
enum { BYTES = 32, GROUP = 12 };
#elif defined __aarch64__
enum { BYTES = 16, GROUP = 16 };
#else
enum { BYTES = 16, GROUP = 12 };
#endif
enum { LANES = BYTES / 4, CHUNK = 256, AHEAD = 1024 };

typedef float vec __attribute__((vector_size(BYTES)));

#define INLINE static inline __attribute__((always_inline))

INLINE void stream(float *to, vec v) {
#if defined __AVX512F__
    _mm512_stream_ps(to, (__m512)v);
#elif defined __AVX__
    _mm256_stream_ps(to, (__m256)v);
#elif defined __x86_64__
    _mm_stream_ps(to, (__m128)v);
#elif defined __clang__
    __builtin_nontemporal_store(v, (vec *)to);
#else
    *(vec *)to = v; /* other cores detect streams of whole lines by themselves */
#endif
}

/* `vectors` neighbours through all FMAs; constant wherever it is called, so that they live in registers. */
INLINE void group(int vectors, const float *x, float *y, long long fmas, vec a, vec b) {
    vec r[GROUP];
    /* a page ahead, or the reads would pause while the group computes and while its stores leave in one burst */
    for (int k = 0; k < vectors; k++) __builtin_prefetch(x + AHEAD + k * LANES);
    for (int k = 0; k < vectors; k++) r[k] = *(const vec *)(x + k * LANES);
    for (long long step = 0; step < fmas; step++)
        for (int k = 0; k < vectors; k++) r[k] = r[k] * a + b;
    for (int k = 0; k < vectors; k++) stream(y + k * LANES, r[k]);
}

void ladder_float32(const float *x, float *y, long long n, long long fmas, double real_a, double real_b) {
    const vec a = (float)real_a - (vec){0}, b = (float)real_b - (vec){0};
#pragma omp parallel
    {
        const long long chunks = n / CHUNK, thread = omp_get_thread_num(), count = omp_get_num_threads();
        const long long end = chunks * (thread + 1) / count * CHUNK;
        long long i = chunks * thread / count * CHUNK;
        for (; i + GROUP * LANES <= end; i += GROUP * LANES) group(GROUP, x + i, y + i, fmas, a, b);
        for (; i < end; i += 4 * LANES) group(4, x + i, y + i, fmas, a, b);
        for (; thread == count - 1 && i < n; i++) {
            float r = x[i];
            for (long long step = 0; step < fmas; step++) r = r * (float)real_a + (float)real_b;
            y[i] = r;
        }
#if defined __x86_64__
        _mm_sfence(); /* the time of the last streaming stores belongs to this launch */
#endif
    }
}
