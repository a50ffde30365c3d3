/* The choice of kernels at run time, and the rounding of weights, which is done once. */

#include <math.h>
#include <string.h>

#include "kernels.h"
#include "quantize.h"

const struct kernels *kernels_named(const char *name)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    /* All that have these two have F16C, whose name Clang 14 does not know here. */
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    if (avx512 && (!name || !strcmp(name, "amx")) && kernels_amx())
        return kernels_amx();
    if (avx512 && (!name || !strcmp(name, "avx512")))
        return &kernels_avx512;
    if (avx2 && (!name || !strcmp(name, "avx2")))
        return &kernels_avx2;
#endif
    return !name || !strcmp(name, "generic") ? &kernels_generic : NULL;
}

void kernels_pack(const float *weight, ptrdiff_t step, ptrdiff_t stride, ptrdiff_t depth, ptrdiff_t columns,
                  uint8_t *panels, float *scales, float *totals)
{
    ptrdiff_t padded = (depth + 3) / 4 * 4, all = (columns + PANEL - 1) / PANEL * PANEL;
    memset(panels, 128, (size_t)(padded * all));
    for (ptrdiff_t column = 0; column < all; column++) {
        scales[column] = totals[column] = 0.0f;
        if (column >= columns)
            continue;
        const float *from = weight + column * stride;
        float most = largest_magnitude(from, depth, step), inverse = inverse_scale(127.0f, most);
        scales[column] = isfinite(most) ? most / 127.0f : NAN;
        if (!isfinite(most)) {
            totals[column] = NAN;
            continue;
        }
        int32_t sum = 0;
        uint8_t *panel = panels + column / PANEL * PANEL * padded + column % PANEL * 4;
        for (ptrdiff_t i = 0; i < depth; i++) {
            float scaled = from[i * step] * inverse;
            int whole = (int)(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
            panel[i / 4 * 4 * PANEL + i % 4] = (uint8_t)(whole + 128);
            sum += whole;
        }
        totals[column] = (float)sum * scales[column];
    }
}
