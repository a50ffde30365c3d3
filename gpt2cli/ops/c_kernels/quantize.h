/* Rounding to whole numbers: what weights and activations share. */

#ifndef GPT2_QUANTIZE_H
#define GPT2_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>

/* The largest magnitude that a number is rounded to, in 8 and in 15 bits. The latter is 127 * 128, so that both of its
   bytes stay within int8. */
#define INT8_QMAX 127.0f
#define INT15_QMAX 16256.0f

/* Returns the largest magnitude of numbers that lie `stride` floats apart; NaN if one of them is NaN. */
static inline float largest_magnitude(const float *from, ptrdiff_t count, ptrdiff_t stride)
{
    /* The bits, read as whole numbers, are ordered as the floats are; infinity is above all of them, then NaN. */
    uint32_t largest = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t bits;
        __builtin_memcpy(&bits, from + i * stride, sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    float magnitude;
    __builtin_memcpy(&magnitude, &largest, sizeof magnitude);
    return magnitude;
}

/* Returns the factor from numbers to whole numbers up to qmax; 0 where it overflows, for numbers that tiny. */
static inline float inverse_scale(float qmax, float largest)
{
    float inverse = largest > 0.0f ? qmax / largest : 0.0f;
    return inverse <= 3.0e38f ? inverse : 0.0f;
}

#endif
