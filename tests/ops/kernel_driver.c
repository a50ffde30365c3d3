/* Runs the checks of every kernel and the pool, for the sanitizers. `all` tries every size, `few` enough of them for
   threads to race. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_checks.h"
#include "pool.h"

/* What the shapes of real models, and of the smallest possible ones, have at their extremes: one of each; GPT-2's
   vocabulary, an odd number; a wide inner layer; the deepest that int8 takes. */
static const ptrdiff_t extremes[][3] = {{1, 1, 1}, {2, 1, 50257}, {1, 3, 50257}, {3, 1600, 1}, {1, 6400, 33},
                                        {1, 65535, 2}, {2, 65536, 1}, {13, 1, 1}, {90, 1, 2}, {90, 2, 1}};

static const ptrdiff_t depths[] = {1, 3, 15, 16, 17, 31, 33, 97, 384, 385, 777, 1024};
static const ptrdiff_t columns[] = {1, 31, 32, 33, 65};
static const ptrdiff_t rows[] = {1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 24, 30, 47, 89}, widths[] = {1, 15, 16, 17, 64};

static void try_int8_extremes(void)
{
    for (int i = 0; i < COUNT(extremes); i++) {
        const ptrdiff_t *s = extremes[i];
        try_int8(s[0], s[1], s[2], i & 1, i & 2);
        try_exact((enum dtype)(i % 3), s[0], s[1], s[2]);
    }
    static const ptrdiff_t some_rows[] = {1, 2, 5, 6, 12, 30, 90}, some_depths[] = {1, 4, 31, 128, 1025};
    for (int r = 0; r < COUNT(some_rows); r++)
        for (int d = 0; d < COUNT(some_depths); d++)
            try_exact((enum dtype)((r + d) % 3), some_rows[r], some_depths[d], 33);
}

static void try_extremes(void)
{
    for (int i = 0; i < COUNT(extremes); i++)
        try_products((enum dtype)(i % 3), extremes[i][0], extremes[i][1], extremes[i][2]);
    static const ptrdiff_t head_widths[] = {1, 2, 3, 80, 96, 128, 255, 256};
    for (int w = 0; w < COUNT(head_widths); w++) {
        ptrdiff_t width = head_widths[w];
        try_attention(1, 1, width, 0), try_attention(1, 1025, width, 1), try_attention(33, 40, width, 2);
        try_attention(1, 300, width, 299);
        if (width > 1)
            try_rotate(1, 1, width, width / 2, w & 1);
    }
    try_layer_norm(1, 1), try_layer_norm(1, 25600), try_epilogue(1);
    try_statistics(1, 1, 1), try_statistics(2, 50257, 0), try_choose(1, 1);
}

static void try_int8_sizes(int all)
{
    for (int d = all ? 0 : 10; d < COUNT(depths); d++)
        for (int c = all ? 0 : 4; c < COUNT(columns); c++)
            for (int r = all ? (d + c) % 2 : 4; r < COUNT(rows); r += 2)
                try_int8(rows[r], depths[d], columns[c], r & 2, (r ^ c) & 1);
    try_special_numbers();
    try_empty();
}

static void try_sizes(int all)
{
    for (int d = all ? 0 : 10; d < COUNT(depths); d++)
        for (int c = all ? 0 : 4; c < COUNT(columns); c++)
            for (int r = all ? (d + c) % 2 : 4; r < COUNT(rows); r += 2)
                try_products((enum dtype)(r % 3), rows[r], depths[d], columns[c]);
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
    for (ptrdiff_t size = 0; size < (all ? 200 : 3); size++)
        try_checksum(size), try_checksum((1 << 20) + size);
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
    /* The fastest comes last. */
    static const char *const names[] = {"generic", "avx2", "avxvnni", "avx512", "amx", "dotprod", "i8mm"};
    const struct kernels *fastest = NULL;
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
            /* Some instruction sets have but a kernel for int8. */
            int is_whole = !fastest || kernels->linear != fastest->linear, has_extremes = all && threads[t] == 3;
            try_int8_sizes(all);
            if (is_whole)
                try_sizes(all);
            if (has_extremes)
                try_int8_extremes();
            if (has_extremes && is_whole)
                try_extremes();
        }
        if (kernels)
            printf("%s ", kernels->name), fastest = kernels;
    }
    if (kernels_named(NULL) != fastest)
        abort();
    /* The sanitizer would report a thread that is left. */
    pool_set_threads(1);
    pool_unlock();
    printf("%ld\n", checks);
    return 0;
}
