/* Peak FMA rate of the vector units, and the clock: loops of fused multiply-adds that stay in registers.

   y[i] = `steps` times r = r * a + b, starting from x[i]: 2 * steps flops per element; one element is read and one
   written, which is nothing beside a large `steps`.

   A chain of FMAs waits for its own result, so the pipes fill only with latency x pipes chains in flight: 4 x 2 on
   most cores, 4 x 4 on the widest. CHAINS vectors per thread saturate them and leave registers for a and b:
   fma_lanes_DTYPE() elements per thread are one such group. With a single vector per thread, fma_vector_DTYPE()
   elements, every thread runs one dependent chain and steps * latency / seconds is its clock.

   What keeps the work from being deleted: the result is stored, and floating point may not be reassociated, so that
   no step can be skipped. What makes a multiply and an add one instruction: -ffp-contract=fast on a target with FMA;
   on one without, each step is two roundings and two instructions.

   What would make it wrong: a, b that drive the values to infinity or to subnormals, which some cores take slowly;
   -ffast-math; fewer registers than CHAINS + 2; a clock that differs between one chain and many. Arm's NEON overwrites
   the addend, not the factor, so that registers are also copied in each step: an under-estimate where copies cost. */

#include <omp.h>

#if defined __AVX512F__
enum { BYTES = 64, CHAINS = 16 };
#elif defined __AVX__
enum { BYTES = 32, CHAINS = 12 };
#elif defined __aarch64__
enum { BYTES = 16, CHAINS = 16 };
#else
enum { BYTES = 16, CHAINS = 12 };
#endif

#define INLINE static inline __attribute__((always_inline))

/* group: `chains` neighbouring vectors through all steps. Each thread takes its share of the vectors in full groups,
   then one by one; the last also takes the elements that fill no vector. */
#define FMA(dtype, type)                                                                                                   \
    typedef type vec_##dtype __attribute__((vector_size(BYTES)));                                                          \
    enum { LANES_##dtype = BYTES / sizeof(type) };                                                                         \
                                                                                                                           \
    INLINE void group_##dtype(int chains, const type *x, type *y, long long steps, type a, type b) {                       \
        const vec_##dtype va = a - (vec_##dtype){0}, vb = b - (vec_##dtype){0};                                            \
        vec_##dtype r[CHAINS];                                                                                             \
        for (int k = 0; k < chains; k++) r[k] = ((const vec_##dtype *)x)[k];                                               \
        for (long long step = 0; step < steps; step++)                                                                     \
            for (int k = 0; k < chains; k++) r[k] = r[k] * va + vb;                                                        \
        for (int k = 0; k < chains; k++) ((vec_##dtype *)y)[k] = r[k];                                                     \
    }                                                                                                                      \
                                                                                                                           \
    void fma_##dtype(const type *x, type *y, long long n, long long steps, double real_a, double real_b) {                 \
        const type a = (type)real_a, b = (type)real_b;                                                                     \
        _Pragma("omp parallel") {                                                                                          \
            const long long vectors = n / LANES_##dtype, thread = omp_get_thread_num(), count = omp_get_num_threads();     \
            const long long end = vectors * (thread + 1) / count * LANES_##dtype;                                          \
            long long i = vectors * thread / count * LANES_##dtype;                                                        \
            for (; i + CHAINS * LANES_##dtype <= end; i += CHAINS * LANES_##dtype)                                         \
                group_##dtype(CHAINS, x + i, y + i, steps, a, b);                                                          \
            for (; i < end; i += LANES_##dtype) group_##dtype(1, x + i, y + i, steps, a, b);                               \
            for (; thread == count - 1 && i < n; i++) {                                                                    \
                type r = x[i];                                                                                             \
                for (long long step = 0; step < steps; step++) r = r * a + b;                                              \
                y[i] = r;                                                                                                  \
            }                                                                                                              \
        }                                                                                                                  \
    }                                                                                                                      \
                                                                                                                           \
    long long fma_lanes_##dtype(void) { return CHAINS * LANES_##dtype; }                                                   \
    long long fma_vector_##dtype(void) { return LANES_##dtype; }

FMA(float64, double)
FMA(float32, float)
#if defined __AVX512FP16__ || defined __ARM_FEATURE_FP16_VECTOR_ARITHMETIC
FMA(float16, _Float16)
#endif

long long threads(void) { return omp_get_max_threads(); }
