/* New keys and values go into the cache, where those of one head lie together. */

#include <string.h>

#include "kernels.h"
#include "pool.h"

/* A task for each head of each batch row. */
static void append_head(void *context, ptrdiff_t task, int worker)
{
    const struct kv_update *u = context;
    ptrdiff_t batch = task / u->heads, head = task % u->heads;
    ptrdiff_t from = batch * u->new_stride[0] + head * u->new_stride[1];
    ptrdiff_t to = batch * u->stride[0] + head * u->stride[1] + u->past * u->stride[2];
    size_t size = (size_t)u->width * sizeof *u->keys;
    (void)worker;
    for (ptrdiff_t i = 0; i < u->time; i++, from += u->new_stride[2], to += u->stride[2]) {
        memcpy(u->keys + to, u->new_keys + from, size);
        memcpy(u->values + to, u->new_values + from, size);
    }
}

void kv_append(const struct kv_update *update)
{
    struct kv_update call = *update;
    pool_run_unless_small(append_head, &call, call.batch * call.heads, call.time * call.width);
}
