/* New keys and values go into the cache, where those of one head lie together. */

#include <string.h>

#include "kernels.h"
#include "pool.h"

/* A task for each head of each row. */
static void append_head(void *context, ptrdiff_t task, int worker)
{
    const struct kv_update *u = context;
    const struct kv_row *row = &u->rows[task / u->heads];
    ptrdiff_t head = task % u->heads, from = head * u->new_stride[0], to = head * u->stride[0];
    size_t size = (size_t)u->width * sizeof *row->keys;
    (void)worker;
    for (ptrdiff_t i = 0; i < row->time; i++, from += u->new_stride[1], to += u->stride[1]) {
        memcpy(row->keys + to, row->new_keys + from, size);
        memcpy(row->values + to, row->new_values + from, size);
    }
}

void kv_append(const struct kv_update *update)
{
    struct kv_update call = *update;
    ptrdiff_t time = 0;
    for (ptrdiff_t row = 0; row < call.count; row++)
        time += call.rows[row].time;
    if (call.count)
        pool_run_unless_small(append_head, &call, call.count * call.heads, time / call.count * call.width);
}
