/* Weights in int8: rounded once, when a model is converted. */

#include <math.h>
#include <string.h>

#include "kernels.h"
#include "quantize.h"

void pack_int8(const float *weight, ptrdiff_t depth_stride, ptrdiff_t column_stride, ptrdiff_t depth, ptrdiff_t columns,
               uint8_t *panels, float *scales, float *totals)
{
    ptrdiff_t padded_depth = (depth + INT8_QUAD - 1) / INT8_QUAD * INT8_QUAD;
    ptrdiff_t padded_columns = (columns + INT8_PANEL_COLUMNS - 1) / INT8_PANEL_COLUMNS * INT8_PANEL_COLUMNS;
    memset(panels, INT8_ZERO_POINT, (size_t)(padded_depth * padded_columns));
    for (ptrdiff_t column = 0; column < padded_columns; column++) {
        scales[column] = totals[column] = 0.0f;
        if (column >= columns)
            continue;
        const float *from = weight + column * column_stride;
        float largest = largest_magnitude(from, depth, depth_stride), inverse = inverse_scale(INT8_QMAX, largest);
        scales[column] = isfinite(largest) ? largest / INT8_QMAX : NAN;
        if (!isfinite(largest)) {
            totals[column] = NAN;
            continue;
        }
        int32_t sum = 0;
        uint8_t *panel = panels + column / INT8_PANEL_COLUMNS * INT8_PANEL_COLUMNS * padded_depth +
                         column % INT8_PANEL_COLUMNS * INT8_QUAD;
        for (ptrdiff_t k = 0; k < depth; k++) {
            float scaled = from[k * depth_stride] * inverse;
            int whole = (int)(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
            panel[k / INT8_QUAD * INT8_QUAD * INT8_PANEL_COLUMNS + k % INT8_QUAD] = (uint8_t)(whole + INT8_ZERO_POINT);
            sum += whole;
        }
        totals[column] = (float)sum * scales[column];
    }
}
