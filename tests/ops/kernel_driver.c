/* Runs every kernel on arrays of exactly their size, so that a sanitizer sees each step beyond them, and
   checks the numbers against sums in double. `all` tries every size, `few` enough to see threads race. */

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static const double UNIT = 0x1p-24; /* the largest relative error of one rounding */
static const double TINY = 0x1p-140; /* and what products that are denormal may lose */
static const struct kernels *kernels;
static long checks;

static void *exactly(size_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory)
        abort();
    return memory;
}

static uint32_t next_bits(void)
{
    static uint32_t bits = 2463534242u;
    bits ^= bits << 13, bits ^= bits >> 17, bits ^= bits << 5;
    return bits;
}

static float next_float(void) { return (float)((double)next_bits() / 2147483648.0 - 1.0); }

static float *floats(ptrdiff_t count)
{
    float *all = exactly((size_t)count * sizeof *all);
    for (ptrdiff_t i = 0; i < count; i++)
        all[i] = next_float();
    return all;
}

static double widened_f16(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return half >> 15 ? -magnitude : magnitude;
}

/* Makes numbers of a type, and the same as doubles. */
static void *numbers(enum stored type, ptrdiff_t count, double **values)
{
    float *all = floats(count);
    *values = exactly((size_t)count * sizeof **values);
    uint16_t *halves = exactly((size_t)count * sizeof *halves);
    for (ptrdiff_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &all[i], sizeof bits);
        bits &= 0xffff0000;
        float short_float;
        memcpy(&short_float, &bits, sizeof bits);
        /* Exponents from that of denormals on. */
        halves[i] = type == STORED_F16 ? (uint16_t)(next_bits() % 0x4000 | (next_bits() & 0x8000)) : (uint16_t)(bits >> 16);
        (*values)[i] = type == STORED_F32 ? all[i] : type == STORED_F16 ? widened_f16(halves[i]) : short_float;
    }
    free(type == STORED_F32 ? (void *)halves : (void *)all);
    return type == STORED_F32 ? (void *)all : (void *)halves;
}

static void check(const char *what, double actual, double expected, double bound)
{
    checks++;
    if (fabs(actual - expected) <= bound)
        return;
    fprintf(stderr, "%s: %s is %.9g, not %.9g +- %.3g\n", kernels->name, what, actual, expected, bound);
    exit(1);
}

static void check_products(const struct product *p, const double *weight, int transposed, const char *what)
{
    for (ptrdiff_t row = 0; row < p->rows; row++)
        for (ptrdiff_t column = 0; column < p->columns; column++) {
            double sum = p->bias ? p->bias[column] : 0.0, size = fabs(sum);
            for (ptrdiff_t i = 0; i < p->depth; i++) {
                ptrdiff_t index = transposed ? column * p->depth + i : i * p->columns + column;
                double term = p->x[row * p->depth + i] * weight[index];
                sum += term, size += fabs(term);
            }
            check(what, p->out[row * p->columns + column], sum, (double)(p->depth + 3) * UNIT * size + TINY);
        }
}

static void try_products(enum stored type, ptrdiff_t rows, ptrdiff_t depth, ptrdiff_t columns)
{
    double *weight, *table;
    void *stored_weight = numbers(type, depth * columns, &weight), *stored_table = numbers(type, depth * columns, &table);
    float *x = floats(rows * depth), *bias = floats(columns), *out = exactly((size_t)(rows * columns) * 4);
    struct product p = {x, stored_weight, type, NULL, NULL, bias, out, rows, depth, columns, NO_ACTIVATION, NULL};
    if (kernels->linear(&p))
        abort();
    check_products(&p, weight, 0, "linear");
    p.weight = stored_table, p.bias = NULL;
    kernels->head(&p);
    check_products(&p, table, 1, "head");
    free(weight), free(table), free(stored_weight), free(stored_table), free(x), free(bias), free(out);
}

static void try_int8(ptrdiff_t rows, ptrdiff_t depth, ptrdiff_t columns, int has_bias, int coarse)
{
    ptrdiff_t padded = (depth + 3) / 4 * 4, all = (columns + PANEL - 1) / PANEL * PANEL;
    uint8_t *panels = exactly((size_t)(padded * all));
    float *weight = floats(depth * columns), *scales = exactly((size_t)all * 4), *totals = exactly((size_t)all * 4);
    float *bias = has_bias ? floats(columns) : NULL;
    float *x = floats(rows * depth), *out = exactly((size_t)(rows * columns) * 4);
    kernels_pack(weight, columns, 1, depth, columns, panels, scales, totals);
    /* A row of an outlier, which is not rounded as coarsely as others. */
    for (ptrdiff_t i = 1; i < depth; i++)
        x[rows / 2 * depth + i] *= 0.001f;
    struct product p = {x, panels, STORED_F32, scales, coarse ? totals : NULL, bias, out, rows, depth, columns,
                        NO_ACTIVATION, NULL};
    if (kernels->linear_int8(&p))
        abort();
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t column = 0; column < columns; column++) {
            /* Of each factor rounding loses half a step at most. */
            double sum = bias ? bias[column] : 0.0, step = scales[column] / 2.0, x_step = coarse ? 1.0 / 127.0 : 1.0 / 16256.0, bound = 1e-6;
            for (ptrdiff_t i = 0; i < depth; i++) {
                double a = x[row * depth + i], b = weight[i * columns + column];
                sum += a * b, bound += fabs(a) * step + (fabs(b) + step) * x_step;
            }
            check("linear_int8", out[row * columns + column], sum, bound);
        }
    free(panels), free(weight), free(scales), free(totals), free(bias), free(x), free(out);
}

static void try_attention(ptrdiff_t time, ptrdiff_t seen, ptrdiff_t width)
{
    enum { BATCH = 2, HEADS = 3 };
    struct attention_shape s = {BATCH, HEADS, time, seen, width, {HEADS * time * width, time * width, width},
                                {HEADS * seen * width, seen * width, width}, {time * HEADS * width, width, HEADS * width}};
    ptrdiff_t news = BATCH * HEADS * time * width, olds = BATCH * HEADS * seen * width;
    float *queries = floats(news), *keys = floats(olds), *values = floats(olds), *out = exactly((size_t)news * 4);
    double *weights = exactly((size_t)seen * sizeof *weights);
    /* The newest keys and values come behind those that a cache holds. */
    float *qkv = floats(3 * news);
    kernels_append(&(struct appended){qkv, keys, values, BATCH, HEADS, time, width, seen - time,
                                      {s.key_stride[0], s.key_stride[1], s.key_stride[2]}});
    for (ptrdiff_t i = 0; i < news; i++) {
        ptrdiff_t head = i / width / time, row = (head / HEADS * time + i / width % time) * 3 + 1;
        ptrdiff_t from = (row * HEADS + head % HEADS) * width + i % width;
        ptrdiff_t to = (head * seen + seen - time + i / width % time) * width + i % width;
        check("appended keys", keys[to], qkv[from], 0.0);
        check("appended values", values[to], qkv[from + HEADS * width], 0.0);
    }
    if (kernels->attention(queries, keys, values, 0.25f, out, &s))
        abort();
    for (ptrdiff_t task = 0; task < BATCH * HEADS * time; task++) {
        ptrdiff_t head = task / time, query = task % time, count = seen - time + query + 1;
        const float *q = queries + task * width, *k = keys + head * seen * width, *v = values + head * seen * width;
        double total = 0.0;
        for (ptrdiff_t key = 0; key < count; key++) {
            double score = 0.0;
            for (ptrdiff_t i = 0; i < width; i++)
                score += 0.25 * q[i] * k[key * width + i];
            total += weights[key] = exp(score);
        }
        const float *to = out + head / HEADS * s.out_stride[0] + head % HEADS * s.out_stride[1] + query * s.out_stride[2];
        for (ptrdiff_t i = 0; i < width; i++) {
            double mean = 0.0;
            for (ptrdiff_t key = 0; key < count; key++)
                mean += weights[key] / total * v[key * width + i];
            check("attention", to[i], mean, (double)(count + width + 20) * 4.0 * UNIT);
        }
    }
    free(queries), free(keys), free(values), free(out), free(weights), free(qkv);
}

static void try_layer_norm(ptrdiff_t rows, ptrdiff_t width)
{
    float *x = floats(rows * width), *weight = floats(width), *bias = floats(width), *out = exactly((size_t)(rows * width) * 4);
    kernels->layer_norm(x, weight, bias, 1e-2f, out, rows, width);
    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *from = x + row * width;
        double mean = 0.0, variance = 0.0;
        for (ptrdiff_t i = 0; i < width; i++)
            mean += from[i] / (double)width;
        for (ptrdiff_t i = 0; i < width; i++)
            variance += (from[i] - mean) * (from[i] - mean) / (double)width;
        for (ptrdiff_t i = 0; i < width; i++)
            check("layer_norm", out[row * width + i], (from[i] - mean) / sqrt(variance + 1e-2f) * weight[i] + bias[i],
                  (double)(width + 20) * 20.0 * UNIT);
    }
    free(x), free(weight), free(bias), free(out);
}

static void try_gelu(ptrdiff_t count)
{
    float *x = floats(count), *out = exactly((size_t)count * 4);
    for (ptrdiff_t i = 0; i < count; i++)
        x[i] *= i % 3 ? 8.0f : i % 2 ? 1e30f : 1e-40f;
    float one[] = {1.0f}, *nothing = exactly((size_t)count * 4);
    memset(nothing, 0, (size_t)count * 4);
    struct product p = {one, x, STORED_F32, NULL, NULL, nothing, out, 1, 1, count, GELU_TANH, NULL};
    if (kernels->linear(&p))
        abort();
    for (ptrdiff_t i = 0; i < count; i++) {
        double y = x[i], expected = 0.5 * y * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (y + 0.044715 * y * y * y)));
        check("gelu", out[i], expected, 1e-6 * fabs(expected) + 2e-6);
    }
    free(x), free(out), free(nothing);
}

static void try_statistics(ptrdiff_t rows, ptrdiff_t count, int has_starts)
{
    float *logits = floats(rows * count), *starts = has_starts ? floats(count) : NULL;
    int64_t *targets = exactly((size_t)rows * sizeof *targets);
    double *out = exactly((size_t)rows * 4 * sizeof *out);
    for (ptrdiff_t row = 0; row < rows; row++)
        targets[row] = next_bits() % count;
    for (ptrdiff_t i = 0; starts && i < count; i++)
        starts[i] = starts[i] > 0.0f || i == 0;
    kernels->token_statistics(&(struct statistics){logits, starts, targets, out, rows, count});
    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *of = logits + row * count;
        double total = 0.0, entropy = 0.0, likely = 0.0, rank = 1.0;
        for (ptrdiff_t i = 0; i < count; i++)
            total += exp(of[i]), likely += starts ? starts[i] * exp(of[i]) : 0.0, rank += of[i] > of[targets[row]];
        for (ptrdiff_t i = 0; i < count; i++)
            entropy -= exp(of[i]) / total * (of[i] - log(total));
        check("log-probability", out[row], of[targets[row]] - log(total), 1e-5);
        check("entropy", out[rows + row], entropy, 1e-5);
        check("rank", out[2 * rows + row], rank, 0.0);
        if (starts)
            check("word starts", out[3 * rows + row], log(likely / total), 1e-5);
    }
    free(logits), free(starts), free(targets), free(out);
}

/* What is no number must reach no conversion to whole ones. */
static void try_special_numbers(void)
{
    float special[] = {NAN, -NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, -0.0f, 0.0f};
    float scales[PANEL], totals[PANEL];
    for (int i = 0; i < COUNT(special); i++) {
        float x[] = {special[i], 1.0f}, bias[] = {0.0f, 1.0f}, weight[] = {0.5f, special[i]}, out[2];
        uint8_t panels[4 * PANEL];
        kernels_pack(weight, 1, 2, 2, 1, panels, scales, totals);
        for (int coarse = 0; coarse < 2; coarse++) {
            kernels->linear_int8(&(struct product){x, panels, STORED_F32, scales, coarse ? totals : NULL, bias, out, 1, 2, 1});
            if (isfinite(special[i]) != isfinite(scales[0]) || (!isfinite(special[i]) && !isnan(out[0])))
                check("linear_int8 of what is not finite", out[0], NAN, 0.0);
        }
        kernels->linear(&(struct product){bias + 1, x, STORED_F32, NULL, NULL, x, out, 1, 1, 2, GELU_TANH, x});
        struct attention_shape s = {1, 1, 1, 1, 2, {2, 2, 2}, {2, 2, 2}, {2, 2, 2}};
        if (kernels->attention(x, x, x, 1.0f, out, &s))
            abort();
        kernels->layer_norm(x, weight, bias, 1e-5f, out, 2, 1);
    }
}

static void try_empty(void)
{
    float one[] = {1.0f, 1.0f, 1.0f, 1.0f};
    uint8_t panels[4 * PANEL] = {0};
    for (int i = 0; i < 3; i++) {
        struct product p = {one, one, STORED_F32, one, i ? one : NULL, one, one, i & 1, 1, i & 2};
        struct attention_shape s = {i & 1, i & 2, 0, i, 1, {0}, {0}, {0}};
        kernels->linear(&p);
        kernels->head(&p);
        p.weight = panels;
        kernels->linear_int8(&p);
        kernels->attention(one, one, one, 1.0f, one, &s);
    }
    kernels->layer_norm(one, one, one, 1.0f, one, 0, 1);
    check("what no kernel was given", one[0], 1.0, 0.0);
}

static void try_all(int all)
{
    static const ptrdiff_t depths[] = {1, 3, 15, 16, 17, 31, 33, 97, 384, 385, 777, 1024};
    static const ptrdiff_t columns[] = {1, 31, 32, 33, 65};
    static const ptrdiff_t rows[] = {1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 24, 30, 47, 89}, widths[] = {1, 15, 16, 17, 64};
    for (int d = all ? 0 : 10; d < COUNT(depths); d++)
        for (int c = all ? 0 : 4; c < COUNT(columns); c++)
            for (int r = all ? (d + c) % 2 : 4; r < COUNT(rows); r += 2) {
                try_products((enum stored)(r % 3), rows[r], depths[d], columns[c]);
                try_int8(rows[r], depths[d], columns[c], r & 2, (r ^ c) & 1);
            }
    for (int w = all ? 0 : 3; w < COUNT(widths); w++)
        for (ptrdiff_t time = 1; time < 10; time += all ? 1 : 4)
            for (ptrdiff_t past = 0; past < 19; past += all ? 3 : 9)
                try_attention(time, past + time, widths[w]);
    for (int w = 0; w < COUNT(widths); w++)
        for (ptrdiff_t time = 31; time < 34; time++)
            try_attention(time, time + w, widths[w]), try_attention(8, time, widths[w]);
    for (int d = 0; d < COUNT(depths); d++)
        try_layer_norm(d == 10 ? 200 : 3, depths[d]), try_gelu(depths[d]);
    try_gelu(8 * 4096 + 7);
    for (int d = 0; d < COUNT(depths); d++)
        try_statistics(d == 10 ? 40 : 3, depths[d], d & 1);
    try_special_numbers();
    try_empty();
}

static void count_task(void *context, ptrdiff_t task, int worker)
{
    if (worker >= pool_threads())
        abort();
    ((int *)context)[task]++;
}

/* Several threads may ask for the pool at the same time. */
static void *call_often(void *seed)
{
    enum { MOST_TASKS = 61 };
    int *runs = exactly(MOST_TASKS * sizeof *runs);
    for (int call = *(int *)seed; call < 600; call++) {
        ptrdiff_t tasks = call % (MOST_TASKS + 1);
        memset(runs, 0, MOST_TASKS * sizeof *runs);
        pool_lock();
        if (call % 7 == 0 && pool_set_threads(call % 8 + 1) != call % 8 + 1)
            abort();
        (call % 2 ? pool_run_in_shares : pool_run)(count_task, runs, tasks);
        pool_unlock();
        for (ptrdiff_t task = 0; task < MOST_TASKS; task++)
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
    /* A thread that is left is reported as lost. */
    pool_set_threads(1);
    pool_unlock();
    printf("%ld\n", checks);
    return 0;
}
