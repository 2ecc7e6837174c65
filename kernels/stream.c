/* Bandwidth of memory and caches: STREAM's mixes (McCalpin 1995) with read and write added, over float32 arrays.

     function   result                      bytes per element   flops per element
     read       out[0] += passes * sum(x)           4                  1
     write      y = value + i % 16                  4                  0
     copy       y = x                               8                  0
     scale      y = a * x                           8                  1
     add        y = x + z                          12                  1
     triad      y = x + a * z                      12                  2

   write ... triad store past the caches (streaming), NAME_plain through them. A plain store reads the line that it
   is about to overwrite: that traffic is not counted above and shows as a lower rate, in memory as in caches.

   passes repeats the sweep inside one call, so that starting the threads does not dominate a sweep of a small array.
   Every thread sweeps its own contiguous chunk, the same one in each pass and each call: with pinned threads a small
   array stays in the caches of its cores, and no barrier stands between passes.

   What keeps the work from being deleted: read's sum leaves the function; after each block of stores, and after each
   pass, an empty asm claims to touch all memory, so that no pass can be merged with the next and no loop be turned
   into memcpy, whose stores would be of another kind.

   What would make it wrong: arrays that are not 64-byte aligned (fault), n not a multiple of 1024 (the rest is left
   out), arrays that overlap, threads that wander between cores, pages first touched on another NUMA node, and a
   working set between two caches, which belongs to neither. */

#include <omp.h>
#include <string.h>
#if defined __x86_64__
#include <immintrin.h>
#endif

#if defined __AVX512F__
enum { BYTES = 64 };
#elif defined __AVX__
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
enum { LANES = BYTES / 4, BLOCK = 128, CHUNK = 256, FOLD = 1 << 19, SUMS = 8 };

typedef float vec __attribute__((vector_size(BYTES)));

#define INLINE static inline __attribute__((always_inline))
#define FENCE __asm__ volatile("" ::: "memory")

INLINE vec every(float value) { return value - (vec){0}; }

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

/* Streaming stores wait in write-combining buffers: the time of the last ones belongs to this launch. */
INLINE void drain(void) {
#if defined __x86_64__
    _mm_sfence();
#endif
}

/* First element of a thread's chunk; the next thread's is its end. */
INLINE long long chunk(long long n, int thread) { return n / CHUNK * thread / omp_get_num_threads() * CHUNK; }

long long threads(void) { return omp_get_max_threads(); }

/* Independent accumulators hide the latency of the addition; half of them walk the second half of the thread's chunk,
   as two streams of lines keep a prefetcher busier than one. They are folded into a double before they grow so large
   that single elements would be rounded away. */
void read(const float *x, double *out, long long n, long long passes) {
    double total = 0;
#pragma omp parallel reduction(+ : total)
    {
        const long long begin = chunk(n, omp_get_thread_num()), half = (chunk(n, omp_get_thread_num() + 1) - begin) / 2;
        const float *first = x + begin, *second = first + half;
        vec sums[SUMS] = {{0}};
        long long pending = 0;
        for (long long pass = 0; pass < passes; pass++)
            for (long long i = 0; i < half;) {
                const long long stop = half - i < FOLD ? half : i + FOLD;
                pending += stop - i;
                for (; i < stop; i += SUMS / 2 * LANES)
                    for (int k = 0; k < SUMS / 2; k++) {
                        sums[k] += *(const vec *)(first + i + k * LANES);
                        sums[SUMS / 2 + k] += *(const vec *)(second + i + k * LANES);
                    }
                FENCE;
                if (pending >= FOLD || (i == half && pass == passes - 1)) {
                    const vec sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
                    float lanes[LANES];
                    memcpy(lanes, &sum, sizeof sum);
                    for (int k = 0; k < LANES; k++) total += lanes[k];
                    for (int k = 0; k < SUMS; k++) sums[k] = every(0);
                    pending = 0;
                }
            }
    }
    out[0] += total;
}

enum mix { WRITE, COPY, SCALE, ADD, TRIAD };

/* One thread's share of one mix; mix and plain are constants wherever it is called, and vanish. */
INLINE void sweep(enum mix mix, int plain, const float *x, const float *z, float *y, long long n, long long passes, double real) {
    const long long begin = chunk(n, omp_get_thread_num()), end = chunk(n, omp_get_thread_num() + 1);
    const vec a = every((float)real);
    vec ramp[16 / LANES];
    for (int i = 0; i < 16; i++) ramp[i / LANES][i % LANES] = (float)real + (float)i;
    for (long long pass = 0; pass < passes; pass++)
        for (long long i = begin; i < end; i += BLOCK) {
            for (int k = 0; k < BLOCK; k += LANES) {
                const vec *from = (const vec *)(x + i + k), *other = (const vec *)(z + i + k);
                const vec v = mix == WRITE   ? ramp[k % 16 / LANES]
                              : mix == COPY  ? *from
                              : mix == SCALE ? a * *from
                              : mix == ADD   ? *from + *other
                                             : *from + a * *other;
                if (plain)
                    *(vec *)(y + i + k) = v;
                else
                    stream(y + i + k, v);
            }
            FENCE;
        }
    if (!plain) drain();
}

#define BOTH(name, mix, parameters, x, z, real)                                                                            \
    void name parameters {                                                                                                 \
        _Pragma("omp parallel") sweep(mix, 0, x, z, y, n, passes, real);                                                   \
    }                                                                                                                      \
    void name##_plain parameters {                                                                                         \
        _Pragma("omp parallel") sweep(mix, 1, x, z, y, n, passes, real);                                                   \
    }

BOTH(write, WRITE, (float *y, long long n, long long passes, double value), y, y, value)
BOTH(copy, COPY, (const float *x, float *y, long long n, long long passes), x, x, 0)
BOTH(scale, SCALE, (const float *x, float *y, long long n, long long passes, double a), x, x, a)
BOTH(add, ADD, (const float *x, const float *z, float *y, long long n, long long passes), x, z, 0)
BOTH(triad, TRIAD, (const float *x, const float *z, float *y, long long n, long long passes, double a), x, z, a)
