/* LANES floats at a time, as GCC's and Clang's vector types. The including file defines how many fit a register
   of its instruction set: what is longer is split, often through memory. */

#ifndef GPT2_VECTORS_H
#define GPT2_VECTORS_H

#include "kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef float four __attribute__((vector_size(16)));
/* In memory, where floats are aligned as floats only. */
typedef float vec_memory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t half_memory __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

INLINE vec load(const float *from) { return *(const vec_memory *)from; }

INLINE void store(float *to, vec value) { *(vec_memory *)to = value; }

/* Minus zero must stay what it is, so zero is subtracted. */
INLINE vec splat(float value) { return value - (vec){0}; }

/* a * b + c. Compilers that are left to fuse these do so here and not there, so that they are told not to, and a sum
   is the same wherever it is compiled. */
INLINE vec multiply_add(vec a, vec b, vec c)
{
#if LANES == 16
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

INLINE vec widen_bf16(const uint16_t *from)
{
    /* One instruction, of which GCC 12 makes five where it is not named. */
#if LANES == 16
    uvec bits = (uvec)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
#elif LANES == 8
    uvec bits = (uvec)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from));
#else
    uvec bits = __builtin_convertvector(*(const half_memory *)from, uvec);
#endif
    return (vec)(bits << 16);
}

INLINE vec widen_f16(const uint16_t *from)
{
#if LANES == 16
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif LANES == 8
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
    uvec bits = __builtin_convertvector(*(const half_memory *)from, uvec);
    uvec magnitude = (bits & 0x7fff) << 13;
    /* The exponents differ by 112, and a product also makes denormals normal. */
    uvec finite = (uvec)((vec)magnitude * 0x1p112f);
    uvec special = (uvec)(magnitude >= 0x0f800000) & 0x7f800000;
    return (vec)(finite | special | (bits & 0x8000) << 16);
#endif
}

INLINE vec load_as(const void *from, ptrdiff_t index, enum stored type)
{
    switch (type) {
    case STORED_F16: return widen_f16((const uint16_t *)from + index);
    case STORED_BF16: return widen_bf16((const uint16_t *)from + index);
    default: return load((const float *)from + index);
    }
}

/* Asks for what the next rows of a matrix will need; the hardware does not look beyond a page. Into the
   second cache, as the first would lose it again before it is used. */
INLINE void prefetch_as(const void *from, ptrdiff_t index, enum stored type)
{
    __builtin_prefetch((const char *)from + index * (type == STORED_F32 ? 4 : 2), 0, 2);
}

/* Loads `count` numbers, fewer than LANES, and zeros behind them. */
INLINE vec load_part_as(const void *from, ptrdiff_t index, ptrdiff_t count, enum stored type)
{
    if (type == STORED_F32) {
        float numbers[LANES] = {0};
        __builtin_memcpy(numbers, (const float *)from + index, (size_t)count * sizeof *numbers);
        return load(numbers);
    }
    uint16_t halves[LANES] = {0};
    __builtin_memcpy(halves, (const uint16_t *)from + index, (size_t)count * sizeof *halves);
    return type == STORED_F16 ? widen_f16(halves) : widen_bf16(halves);
}

/* Loads LANES numbers, or as many as there are and zeros behind them. */
INLINE vec load_some(const float *from, ptrdiff_t count)
{
    if (count >= LANES)
        return load(from);
    return count > 0 ? load_part_as(from, 0, count, STORED_F32) : splat(0.0f);
}

INLINE void store_some(float *to, vec value, ptrdiff_t count)
{
    float all[LANES];
    if (count >= LANES) {
        store(to, value);
    } else if (count > 0) {
        store(all, value);
        __builtin_memcpy(to, all, (size_t)count * sizeof *all);
    }
}

/* Always in the same order: the upper half is added to the lower until four are left. */
INLINE four sum_to_four(vec value)
{
    four parts[4];
#if LANES == 16
    typedef float eight __attribute__((vector_size(32)));
    eight halves[2];
    __builtin_memcpy(halves, &value, sizeof halves);
    halves[0] += halves[1];
    __builtin_memcpy(parts, halves, sizeof *halves);
#else
    __builtin_memcpy(parts, &value, sizeof value);
#endif
    return LANES > 4 ? parts[0] + parts[1] : parts[0];
}

INLINE float sum_lanes(vec value)
{
    four sums = sum_to_four(value);
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define SHUFFLE_WHOLE SHUFFLE
#else
typedef int32_t indices __attribute__((vector_size(LANES == 16 ? 64 : 16)));
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (indices){__VA_ARGS__})
#define SHUFFLE_WHOLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif

/* Store the sums of four vectors side by side; each is what `sum_lanes` makes of it, for less work. */
INLINE void store_four_sums(float *to, vec a, vec b, vec c, vec d)
{
#if LANES == 16
    vec ab = SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
             SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    vec cd = SHUFFLE(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
             SHUFFLE(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    vec quarters = SHUFFLE(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
                   SHUFFLE(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    vec eighths = quarters + SHUFFLE(quarters, quarters, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    vec all = eighths + SHUFFLE(eighths, eighths, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    vec sums = SHUFFLE(all, all, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
#else
    four first = sum_to_four(a), second = sum_to_four(b), third = sum_to_four(c), fourth = sum_to_four(d);
    four left = SHUFFLE(first, second, 0, 1, 4, 5) + SHUFFLE(first, second, 2, 3, 6, 7);
    four right = SHUFFLE(third, fourth, 0, 1, 4, 5) + SHUFFLE(third, fourth, 2, 3, 6, 7);
    four sums = SHUFFLE(left, right, 0, 2, 4, 6) + SHUFFLE(left, right, 1, 3, 5, 7);
#endif
    __builtin_memcpy(to, &sums, 4 * sizeof *to);
}

INLINE float max_lanes(vec value)
{
    float most = value[0];
    for (int lane = 1; lane < LANES; lane++)
        most = value[lane] > most ? value[lane] : most;
    return most;
}

INLINE vec choose(ivec mask, vec yes, vec no)
{
    return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask));
}

/* The second where one is not a number, as the instruction has it. */
INLINE vec larger(vec a, vec b)
{
#if LANES == 16
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return choose(a > b, a, b);
#endif
}

/* e to the x, within 2 units of the last place; 0 below -87.3, where floats become denormal, and infinity
   from 88.4. The polynomial is that of Cephes (Moshier). */
INLINE vec exponential(vec x)
{
    /* What is not a number becomes one here, as it has no whole number to be converted to. */
    vec bounded = -larger(-larger(x, splat(-88.0f)), splat(-89.0f));
    vec scaled = bounded * 1.44269504088896341f;
    /* Adding and subtracting 1.5 * 2**23 rounds to a whole number. */
    vec power = (scaled + 0x1.8p23f) - 0x1.8p23f;
    vec rest = multiply_add(power, splat(-0.693359375f), bounded);
    rest = multiply_add(power, splat(2.12194440e-4f), rest);
    vec sum = splat(1.9875691500e-4f);
    sum = multiply_add(sum, rest, splat(1.3981999507e-3f));
    sum = multiply_add(sum, rest, splat(8.3334519073e-3f));
    sum = multiply_add(sum, rest, splat(4.1665795894e-2f));
    sum = multiply_add(sum, rest, splat(1.6666665459e-1f));
    sum = multiply_add(sum, rest, splat(5.0000001201e-1f));
    sum = multiply_add(sum, rest * rest, rest) + 1.0f;
    ivec exponent = (__builtin_convertvector(power, ivec) + 127) << 23;
    vec result = sum * (vec)exponent;
    result = choose(x < -87.3f, splat(0.0f), result);
    return choose(x == x, result, x);
}

#endif
