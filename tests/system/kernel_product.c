/* Multiplies some rows by a matrix as often as it is told, so that the instructions of a product can be counted:
   kernel_product SET int8|float32|bfloat16 ROWS DEPTH COLUMNS TIMES. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"

int main(int count, char **arguments)
{
    const struct kernels *kernels = count == 7 ? kernels_named(arguments[1]) : NULL;
    if (!kernels)
        return 1;
    int is_int8 = !strcmp(arguments[2], "int8"), is_short = !strcmp(arguments[2], "bfloat16");
    ptrdiff_t rows = atol(arguments[3]), depth = atol(arguments[4]), columns = atol(arguments[5]);
    float *weight = malloc((size_t)(depth * columns) * 4), *x = malloc((size_t)(rows * depth) * 4);
    float *out = malloc((size_t)(rows * columns) * 4), *scales = malloc((size_t)(columns + 31) * 4);
    float *totals = malloc((size_t)(columns + 31) * 4);
    uint8_t *panels = malloc((size_t)((depth + 3) * (columns + 31)));
    if (!weight || !x || !out || !scales || !totals || !panels)
        return 1;
    for (ptrdiff_t i = 0; i < depth * columns; i++)
        weight[i] = (float)(i % 17) - 8.0f;
    for (ptrdiff_t i = 0; i < rows * depth; i++)
        x[i] = (float)(i % 13) - 6.0f;
    pack_int8(weight, columns, 1, depth, columns, panels, scales, totals);
    struct product product = {.x = x, .weight = is_int8 ? (void *)panels : weight, .rows = rows, .depth = depth,
                              .dtype = is_short ? DTYPE_BF16 : DTYPE_F32, .columns = columns, .out = out,
                              .scales = scales, .totals = totals};
    pool_set_threads(1);
    for (long time = 0; time < atol(arguments[6]); time++)
        if (is_int8 ? kernels->linear_int8(&product) : kernels->linear(&product))
            return 1;
    return 0;
}
