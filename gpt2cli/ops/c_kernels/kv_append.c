/* Keys and values go from the rows that a product made into the cache, each head's together. */

#include <string.h>

#include "kernels.h"
#include "pool.h"

static void append_head(void *context, ptrdiff_t task, int worker)
{
    const struct appended *a = context;
    ptrdiff_t batch = task / a->heads, head = task % a->heads, row = a->heads * a->width;
    const float *from = a->qkv + batch * a->time * 3 * row + row + head * a->width;
    ptrdiff_t to = batch * a->stride[0] + head * a->stride[1] + a->past * a->stride[2];
    size_t size = (size_t)a->width * sizeof *from;
    (void)worker;
    for (ptrdiff_t i = 0; i < a->time; i++, from += 3 * row, to += a->stride[2]) {
        memcpy(a->keys + to, from, size);
        memcpy(a->values + to, from + row, size);
    }
}

void kernels_append(const struct appended *appended)
{
    struct appended call = *appended;
    pool_run_unless_small(append_head, &call, call.batch * call.heads, call.time * call.width);
}
