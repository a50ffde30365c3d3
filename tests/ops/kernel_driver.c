/* Runs the checks of every kernel and the pool, for the sanitizers. `all` tries every size, `few` enough of them for
   threads to race. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_checks.h"
#include "pool.h"

static void try_all(int all)
{
    static const ptrdiff_t depths[] = {1, 3, 15, 16, 17, 31, 33, 97, 384, 385, 777, 1024};
    static const ptrdiff_t columns[] = {1, 31, 32, 33, 65};
    static const ptrdiff_t rows[] = {1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 24, 30, 47, 89}, widths[] = {1, 15, 16, 17, 64};
    for (int d = all ? 0 : 10; d < COUNT(depths); d++)
        for (int c = all ? 0 : 4; c < COUNT(columns); c++)
            for (int r = all ? (d + c) % 2 : 4; r < COUNT(rows); r += 2) {
                try_products((enum dtype)(r % 3), rows[r], depths[d], columns[c]);
                try_int8(rows[r], depths[d], columns[c], r & 2, (r ^ c) & 1);
            }
    for (int w = all ? 0 : 3; w < COUNT(widths); w++)
        for (ptrdiff_t time = 1; time < 10; time += all ? 1 : 4)
            for (ptrdiff_t past = 0; past < 19; past += all ? 3 : 9)
                try_attention(time, past + time, widths[w], past % 4 ? 0 : time + w);
    for (int w = 0; w < COUNT(widths); w++)
        for (ptrdiff_t time = 31; time < 34; time++)
            for (ptrdiff_t window = 0; window < time; window += 11)
                try_attention(time, time + w, widths[w], window), try_attention(8, time, widths[w], window);
    for (int w = 1; w < COUNT(widths); w++)
        for (ptrdiff_t time = 1; time < 300; time *= 17)
            try_rotate(time, w, widths[w], widths[w] / 2, 0), try_rotate(time, w, widths[w], w, w & 1);
    for (int d = 0; d < COUNT(depths); d++)
        try_layer_norm(d == 10 ? 200 : 3, depths[d]), try_epilogue(depths[d]);
    try_epilogue(8 * 4096 + 7);
    for (int d = 0; d < COUNT(depths); d++)
        try_statistics(d == 10 ? 40 : 3, depths[d], d & 1), try_choose(d == 10 ? 40 : 3, depths[d]);
    try_special_numbers();
    try_empty();
}

static void count_task(void *context, ptrdiff_t task, int worker)
{
    if (worker >= pool_threads())
        abort();
    ((int *)context)[task]++;
}

/* Several threads may use the pool at the same time. */
static void *call_often(void *seed)
{
    enum { MAX_TASKS = 61 };
    int *runs = exactly(MAX_TASKS * sizeof *runs);
    for (int call = *(int *)seed; call < 600; call++) {
        ptrdiff_t tasks = call % (MAX_TASKS + 1);
        memset(runs, 0, MAX_TASKS * sizeof *runs);
        pool_lock();
        if (call % 7 == 0 && pool_set_threads(call % 8 + 1) != call % 8 + 1)
            abort();
        (call % 2 ? pool_run_in_shares : pool_run)(count_task, runs, tasks);
        pool_unlock();
        for (ptrdiff_t task = 0; task < MAX_TASKS; task++)
            if (runs[task] != (task < tasks))
                abort();
    }
    free(runs);
    return NULL;
}

int main(int count, char **arguments)
{
    static const char *const names[] = {"generic", "avx2", "avx512", "amx"};
    static const int threads[] = {1, 3, 8};
    int all = count > 1 && !strcmp(arguments[1], "all"), seeds[] = {0, 3, 5};
    pthread_t callers[COUNT(seeds)];
    for (int i = 0; i < COUNT(seeds); i++)
        if (pthread_create(&callers[i], NULL, call_often, &seeds[i]))
            abort();
    for (int i = 0; i < COUNT(seeds); i++)
        pthread_join(callers[i], NULL);
    pool_lock();
    for (int i = 0; i < COUNT(names); i++) {
        kernels = kernels_named(names[i]);
        for (int t = 0; kernels && t < COUNT(threads); t++) {
            pool_set_threads(threads[t]);
            try_all(all);
        }
        if (kernels)
            printf("%s ", kernels->name);
    }
    /* The sanitizer would report a thread that is left. */
    pool_set_threads(1);
    pool_unlock();
    printf("%ld\n", checks);
    return 0;
}
