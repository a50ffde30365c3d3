/* What the rounding of weights and of activations to whole numbers share. */

#ifndef GPT2_ROUNDING_H
#define GPT2_ROUNDING_H

#include <stddef.h>
#include <stdint.h>

/* Return the largest magnitude of numbers that are `step` floats apart: NaN where one is not a number. */
static inline float largest_magnitude(const float *from, ptrdiff_t count, ptrdiff_t step)
{
    /* As whole numbers they have the same order, in which infinity comes after all, and then NaN. */
    uint32_t most = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t bits;
        __builtin_memcpy(&bits, from + i * step, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float magnitude;
    __builtin_memcpy(&magnitude, &most, sizeof magnitude);
    return magnitude;
}

/* Return what makes the largest magnitude `steps`; numbers so tiny that it overflows are as good as zero. */
static inline float inverse_scale(float steps, float most)
{
    float inverse = most > 0.0f ? steps / most : 0.0f;
    return inverse <= 3.0e38f ? inverse : 0.0f;
}

#endif
