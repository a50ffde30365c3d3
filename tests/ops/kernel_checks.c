/* Every kernel against naive loops in double. See kernel_checks.h. */

#include "kernel_checks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double UNIT = 0x1p-24; /* the largest relative error of one rounding */
static const double TINY = 0x1p-140; /* what denormal products may lose */
const struct kernels *kernels;
long checks;

void *exactly(size_t bytes)
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

/* Returns random numbers of a dtype, and the same as doubles. */
static void *numbers(enum dtype dtype, ptrdiff_t count, double **values)
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
        /* Small exponents, including that of denormals. */
        uint16_t small_half = (uint16_t)(dtype == DTYPE_F16 ? next_bits() % 0x4000 | (next_bits() & 0x8000) : 0);
        halves[i] = dtype == DTYPE_F16 ? small_half : (uint16_t)(bits >> 16);
        (*values)[i] = dtype == DTYPE_F32 ? all[i] : dtype == DTYPE_F16 ? widened_f16(halves[i]) : short_float;
    }
    free(dtype == DTYPE_F32 ? (void *)halves : (void *)all);
    return dtype == DTYPE_F32 ? (void *)all : (void *)halves;
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

/* Checks that a product has the same bits with its weight packed. */
static void try_packed(struct product p)
{
    ptrdiff_t width = kernels->panel_columns, count = (p.columns + width - 1) / width;
    float *panels = exactly((size_t)(count * p.depth * width) * 4), *out = exactly((size_t)(p.rows * p.columns) * 4);
    kernels->pack(&(struct packing){p.weight, panels, p.depth, p.columns});
    const float *expected = p.out;
    p.weight = panels, p.is_packed = 1, p.out = out;
    if (kernels->linear(&p))
        abort();
    check("a packed product's bits", memcmp(out, expected, (size_t)(p.rows * p.columns) * 4), 0.0, 0.0);
    free(panels), free(out);
}

void try_products(enum dtype dtype, ptrdiff_t rows, ptrdiff_t depth, ptrdiff_t columns)
{
    double *weight, *table;
    void *stored_weight = numbers(dtype, depth * columns, &weight);
    void *stored_table = numbers(dtype, depth * columns, &table);
    float *x = floats(rows * depth), *bias = floats(columns), *out = exactly((size_t)(rows * columns) * 4);
    struct product p = {x, stored_weight, dtype, 0, NULL, NULL, bias, out, rows, depth, columns, ACTIVATION_NONE, NULL};
    if (kernels->linear(&p))
        abort();
    check_products(&p, weight, 0, "linear");
    p.bias = NULL;
    if (kernels->linear(&p))
        abort();
    check_products(&p, weight, 0, "linear without a bias");
    if (dtype == DTYPE_F32)
        try_packed(p);
    p.weight = stored_table, p.transposed = 1;
    if (kernels->lm_head(&p))
        abort();
    check_products(&p, table, 1, "lm_head");
    p.bias = bias;
    if (kernels->linear(&p))
        abort();
    check_products(&p, table, 1, "linear, transposed");
    free(weight), free(table), free(stored_weight), free(stored_table), free(x), free(bias), free(out);
}

/* Returns a product of a column with a row that is rounded to 8 bits around its offset, or to 15. Kernels choose between
   the two, and then differ in no bit as long as the parts of a sum in 15 bits fit a float: up to a depth of 1024. */
static float rounded_product(const float *x, const uint8_t *weights, ptrdiff_t depth, float scale, float total,
                             int in_8_bits)
{
    float highest = 0.0f, lowest = 0.0f;
    for (ptrdiff_t i = 0; i < depth; i++)
        highest = fmaxf(highest, x[i]), lowest = fminf(lowest, x[i]);
    float offset = in_8_bits ? highest * 0.5f + lowest * 0.5f : 0.0f;
    float largest = in_8_bits ? highest * 0.5f - lowest * 0.5f : fmaxf(highest, -lowest);
    float qmax = in_8_bits ? 127.0f : 16256.0f, inverse = largest > 0.0f ? qmax / largest : 0.0f;
    int64_t sum = 0;
    for (ptrdiff_t i = 0; i < depth; i++) {
        float scaled = (x[i] - offset) * inverse;
        int weight = weights[i / INT8_QUAD * INT8_QUAD * INT8_PANEL_COLUMNS + i % INT8_QUAD] - INT8_ZERO_POINT;
        sum += (int64_t)(scaled + (scaled < 0.0f ? -0.5f : 0.5f)) * weight;
    }
    return fmaf((float)sum, scale * (largest / qmax), total * offset);
}

static void check_rounded(const struct product *p, const float *totals)
{
    ptrdiff_t padded = (p->depth + INT8_QUAD - 1) / INT8_QUAD * INT8_QUAD;
    for (ptrdiff_t row = 0; row < p->rows; row++) {
        int differs[2] = {0};
        for (ptrdiff_t column = 0; column < p->columns; column++) {
            ptrdiff_t panel = column / INT8_PANEL_COLUMNS * INT8_PANEL_COLUMNS;
            const uint8_t *weights = (const uint8_t *)p->weight + panel * padded + (column - panel) * INT8_QUAD;
            for (int in_8_bits = 0; in_8_bits < 2; in_8_bits++)
                differs[in_8_bits] |= p->out[row * p->columns + column] !=
                                      rounded_product(p->x + row * p->depth, weights, p->depth, p->scales[column],
                                                      totals[column], in_8_bits);
        }
        check("the bits of linear_int8", differs[0] && (differs[1] || !p->totals), 0.0, 0.0);
    }
}

void try_int8(ptrdiff_t rows, ptrdiff_t depth, ptrdiff_t columns, int has_bias, int in_8_bits)
{
    ptrdiff_t padded = (depth + INT8_QUAD - 1) / INT8_QUAD * INT8_QUAD;
    ptrdiff_t all = (columns + INT8_PANEL_COLUMNS - 1) / INT8_PANEL_COLUMNS * INT8_PANEL_COLUMNS;
    uint8_t *panels = exactly((size_t)(padded * all));
    float *weight = floats(depth * columns), *scales = exactly((size_t)all * 4), *totals = exactly((size_t)all * 4);
    float *bias = has_bias ? floats(columns) : NULL;
    float *x = floats(rows * depth), *out = exactly((size_t)(rows * columns) * 4);
    pack_int8(weight, columns, 1, depth, columns, panels, scales, totals);
    /* A row with an outlier, which is rounded to 15 bits even if others are rounded to 8. */
    for (ptrdiff_t i = 1; i < depth; i++)
        x[rows / 2 * depth + i] *= 0.001f;
    struct product p = {x, panels, DTYPE_F32, 0, scales, in_8_bits ? totals : NULL, bias, out, rows, depth, columns,
                        ACTIVATION_NONE, NULL};
    if (kernels->linear_int8(&p))
        abort();
    for (ptrdiff_t row = 0; row < rows; row++)
        for (ptrdiff_t column = 0; column < columns; column++) {
            /* Rounding moves each factor by at most half its scale. */
            double sum = bias ? bias[column] : 0.0, bound = 1e-6;
            double step = scales[column] / 2.0, x_step = in_8_bits ? 1.0 / 127.0 : 1.0 / 16256.0;
            for (ptrdiff_t i = 0; i < depth; i++) {
                double a = x[row * depth + i], b = weight[i * columns + column];
                sum += a * b, bound += fabs(a) * step + (fabs(b) + step) * x_step;
            }
            check("linear_int8", out[row * columns + column], sum, bound);
        }
    if (!bias && depth <= 1024)
        check_rounded(&p, totals);
    free(panels), free(weight), free(scales), free(totals), free(bias), free(x), free(out);
}

void try_exact(enum dtype dtype, ptrdiff_t rows, ptrdiff_t depth, ptrdiff_t columns)
{
    ptrdiff_t padded = (depth + INT8_QUAD - 1) / INT8_QUAD * INT8_QUAD;
    ptrdiff_t all = (columns + INT8_PANEL_COLUMNS - 1) / INT8_PANEL_COLUMNS * INT8_PANEL_COLUMNS;
    uint8_t *panels = exactly((size_t)(padded * all));
    float *weight = floats(depth * columns), *scales = exactly((size_t)all * 4), *totals = exactly((size_t)all * 4);
    uint16_t *halves = exactly((size_t)(depth * columns) * sizeof *halves);
    float *x = floats(rows * depth), *out = exactly((size_t)(rows * columns) * 4);
    for (ptrdiff_t i = 0; i < rows * depth; i++)
        x[i] = (float)(int)(x[i] * 8.0f);
    for (ptrdiff_t i = 0; i < depth * columns; i++) {
        /* The first row has the largest; -1, 0 and 1 are alike in all types but for their names. */
        weight[i] = i < columns ? 127.0f : (float)(int)(weight[i] * 2.0f);
        uint32_t bits;
        memcpy(&bits, &weight[i], sizeof bits);
        uint16_t in_f16 = i < columns ? 0x57f0 : weight[i] == 0.0f ? 0 : weight[i] > 0.0f ? 0x3c00 : 0xbc00;
        halves[i] = dtype == DTYPE_F16 ? in_f16 : (uint16_t)(bits >> 16);
    }
    pack_int8(weight, columns, 1, depth, columns, panels, scales, totals);
    struct product floating = {x, dtype == DTYPE_F32 ? (void *)weight : (void *)halves, dtype, 0, NULL, NULL, NULL, out,
                               rows, depth, columns, ACTIVATION_NONE, NULL};
    struct product whole = floating;
    whole.weight = panels, whole.dtype = DTYPE_F32, whole.scales = scales;
    for (int bits = 8; bits < 32; bits += 8) {
        int is_int8 = bits < 24;
        whole.totals = bits == 8 ? totals : NULL;
        /* The extremes of each row, which make a step 1 in 8 bits or in 15. */
        for (ptrdiff_t i = 0; i < rows * depth; i++)
            x[i] = i % depth == 0 ? bits == 8 ? 127.0f : 16256.0f : i % depth == 1 ? -127.0f : x[i];
        if (is_int8 ? kernels->linear_int8(&whole) : kernels->linear(&floating))
            abort();
        for (ptrdiff_t row = 0; row < rows; row++)
            for (ptrdiff_t column = 0; column < columns; column++) {
                double sum = 0.0;
                for (ptrdiff_t i = 0; i < depth; i++)
                    sum += (double)x[row * depth + i] * weight[i * columns + column];
                check(is_int8 ? "an exact sum in int8" : "an exact sum", out[row * columns + column], sum, 0.0);
            }
    }
    free(panels), free(weight), free(scales), free(totals), free(halves), free(x), free(out);
}

void try_attention(ptrdiff_t time, ptrdiff_t seen, ptrdiff_t width, ptrdiff_t window)
{
    enum { BATCH = 2 };
    ptrdiff_t heads = (time + width) % 5 ? 3 : 1, kv_heads = (window + time) % 2 ? 1 : heads, group = heads / kv_heads;
    struct attention_row rows[BATCH + 1];
    struct attention_shape s = {rows, BATCH + 1, heads, kv_heads, width, window, {time * width, width},
                                {seen * width, width}, {width, heads * width}};
    ptrdiff_t news = BATCH * heads * time * width, olds = BATCH * kv_heads * seen * width;
    float *queries = floats(news), *keys = floats(olds), *values = floats(olds), *out = exactly((size_t)news * 4);
    double *weights = exactly((size_t)seen * sizeof *weights);
    /* The new keys and values, side by side (batch, time, 2, kv_heads, width), go behind those in the cache. */
    ptrdiff_t row = kv_heads * width;
    float *kv = floats(BATCH * time * 2 * row);
    struct kv_row kv_rows[BATCH];
    for (ptrdiff_t batch = 0; batch < BATCH; batch++) {
        float *new = kv + batch * time * 2 * row, *k = keys + batch * row * seen, *v = values + batch * row * seen;
        ptrdiff_t first = batch * heads * time * width;
        kv_rows[batch] = (struct kv_row){new, new + row, k + (seen - time) * width, v + (seen - time) * width, time};
        /* A row without queries lies between. */
        rows[2 * batch] = (struct attention_row){queries + first, k, v, out + first, time, seen};
    }
    rows[1] = (struct attention_row){queries, keys, values, out, 0, seen};
    kv_append(&(struct kv_update){kv_rows, BATCH, kv_heads, width, {width, 2 * row}, {seen * width, width}});
    for (ptrdiff_t i = 0; i < BATCH * time * row; i++) {
        ptrdiff_t head = i / width / time, position = i / width % time;
        ptrdiff_t from = (head / kv_heads * time + position) * 2 * row + head % kv_heads * width + i % width;
        ptrdiff_t to = (head * seen + seen - time + position) * width + i % width;
        check("appended keys", keys[to], kv[from], 0.0);
        check("appended values", values[to], kv[from + row], 0.0);
    }
    if (kernels->attention(&s, 0.25f))
        abort();
    for (ptrdiff_t task = 0; task < BATCH * heads * time; task++) {
        ptrdiff_t head = task / time, query = task % time, count = seen - time + query + 1;
        ptrdiff_t kv_head = head / group, begin = window && count > window ? count - window : 0;
        const float *q = queries + task * width;
        const float *k = keys + kv_head * seen * width, *v = values + kv_head * seen * width;
        double total = 0.0;
        for (ptrdiff_t key = begin; key < count; key++) {
            double score = 0.0;
            for (ptrdiff_t i = 0; i < width; i++)
                score += 0.25 * q[i] * k[key * width + i];
            total += weights[key] = exp(score);
        }
        const float *to = out + head / heads * time * heads * width + head % heads * width + query * heads * width;
        for (ptrdiff_t i = 0; i < width; i++) {
            double mean = 0.0;
            for (ptrdiff_t key = begin; key < count; key++)
                mean += weights[key] / total * v[key * width + i];
            check("attention", to[i], mean, (double)(count + width + 20) * 4.0 * UNIT);
        }
    }
    free(queries), free(keys), free(values), free(out), free(weights), free(kv);
}

void try_rotate(ptrdiff_t time, ptrdiff_t heads, ptrdiff_t width, ptrdiff_t pairs, int neighbours)
{
    enum { BATCH = 2 };
    /* One head of keys lies behind those of queries. */
    ptrdiff_t row = (heads + 1) * width, count = BATCH * time * row;
    float *x = floats(count), *cosines = floats(time * pairs), *sines = floats(time * pairs);
    float *before = exactly((size_t)count * 4);
    memcpy(before, x, (size_t)count * 4);
    struct rotation r = {{{x, heads, {time * row, width, row}}, {x + heads * width, 1, {time * row, width, row}}},
                         cosines, sines, BATCH, time, pairs, neighbours};
    rotate(&r);
    for (ptrdiff_t i = 0; i < count; i++) {
        ptrdiff_t place = i % width, angle = i / row % time * pairs;
        ptrdiff_t pair = neighbours ? place / 2 : place % pairs, is_second = neighbours ? place % 2 : place >= pairs;
        ptrdiff_t other = i + (is_second ? -1 : 1) * (neighbours ? 1 : pairs);
        double expected = before[i];
        if (place < 2 * pairs)
            expected = before[i] * (double)cosines[angle + pair] +
                       (is_second ? 1.0 : -1.0) * before[other] * (double)sines[angle + pair];
        check("rotate", x[i], expected, 4.0 * UNIT);
    }
    free(x), free(before), free(cosines), free(sines);
}

void try_layer_norm(ptrdiff_t rows, ptrdiff_t width)
{
    float *x = floats(rows * width), *weight = floats(width), *bias = floats(width);
    float *out = exactly((size_t)(rows * width) * 4), *rms_out = exactly((size_t)(rows * width) * 4);
    kernels->layer_norm(&(struct norm){x, weight, bias, 1e-2f, out, rows, width});
    kernels->rms_norm(&(struct norm){x, weight, NULL, 1e-2f, rms_out, rows, width});
    for (ptrdiff_t row = 0; row < rows; row++) {
        const float *from = x + row * width;
        double mean = 0.0, variance = 0.0, square = 0.0, bound = (double)(width + 20) * 20.0 * UNIT;
        for (ptrdiff_t i = 0; i < width; i++)
            mean += from[i] / (double)width, square += from[i] * from[i] / (double)width;
        for (ptrdiff_t i = 0; i < width; i++)
            variance += (from[i] - mean) * (from[i] - mean) / (double)width;
        for (ptrdiff_t i = 0; i < width; i++) {
            check("layer_norm", out[row * width + i], (from[i] - mean) / sqrt(variance + 1e-2f) * weight[i] + bias[i],
                  bound);
            check("rms_norm", rms_out[row * width + i], from[i] / sqrt(square + 1e-2f) * weight[i], bound);
        }
    }
    kernels->layer_norm(&(struct norm){x, weight, NULL, 1e-2f, x, rows, width});
    for (ptrdiff_t i = 0; i < rows * width; i++)
        check("layer_norm without a bias", x[i], out[i] - bias[i % width], 1e-5);
    free(x), free(weight), free(bias), free(out), free(rms_out);
}

void try_epilogue(ptrdiff_t count)
{
    float *x = floats(count), *out = exactly((size_t)count * 4);
    for (ptrdiff_t i = 0; i < count; i++)
        x[i] *= i % 3 ? 8.0f : i % 2 ? 1e30f : 1e-40f;
    float one[] = {1.0f}, *residual = floats(count), *gate = floats(count);
    for (int activation = ACTIVATION_NONE; activation <= ACTIVATION_SILU; activation++) {
        struct product p = {one, x, DTYPE_F32, 0, NULL, NULL, NULL, out, 1, 1, count, (enum activation)activation,
                            residual, gate};
        if (kernels->linear(&p))
            abort();
        for (ptrdiff_t i = 0; i < count; i++) {
            double y = x[i], inner = sqrt(2.0 / acos(-1.0)) * (y + 0.044715 * y * y * y);
            double gelu_tanh = 0.5 * y * (1.0 + tanh(inner)), gelu = 0.5 * y * erfc(-y / sqrt(2.0));
            double activated[] = {y, gelu_tanh, gelu, y / (1.0 + exp(-y))};
            double expected = activated[activation] * gate[i] + residual[i];
            check("epilogue", out[i], expected, 1e-6 * fabs(activated[activation]) + 4e-6);
        }
    }
    free(x), free(out), free(residual), free(gate);
}

void try_statistics(ptrdiff_t rows, ptrdiff_t count, int has_starts)
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

void try_choose(ptrdiff_t rows, ptrdiff_t count)
{
    static const float temperatures[] = {0.0f, 0.7f, 2.0f};
    static const double nuclei[] = {1.0, 0.9, 0.3};
    float *logits = floats(rows * count);
    struct choice *choices = exactly((size_t)rows * sizeof *choices);
    int64_t *out = exactly((size_t)rows * sizeof *out);
    for (int filter = 0; filter < 27; filter++) {
        for (ptrdiff_t row = 0; row < rows; row++)
            choices[row] = (struct choice){logits + row * count, temperatures[filter % 3], filter % 5 * 20,
                                           nuclei[filter / 9], filter % 2 ? -1.0f : -INFINITY, (double)row / (double)rows};
        if (kernels->choose(&(struct choices){choices, out, rows, count}))
            abort();
        for (ptrdiff_t row = 0; row < rows; row++) {
            double above = 0.0;
            for (ptrdiff_t i = 0; i < count; i++)
                above += logits[row * count + i] > logits[row * count + out[row]];
            /* Rows of temperature 0 take the likeliest, and no row takes one below its top_k. */
            if (filter % 3 == 0 || (filter % 5 && above >= filter % 5 * 20))
                check("choose", above, 0.0, 0.0);
        }
    }
    free(logits), free(choices), free(out);
}

/* NaN and infinity must never be converted to whole numbers. */
void try_special_numbers(void)
{
    float special[] = {NAN, -NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, -0.0f, 0.0f};
    float scales[INT8_PANEL_COLUMNS], totals[INT8_PANEL_COLUMNS];
    for (int i = 0; i < COUNT(special); i++) {
        float x[] = {special[i], 1.0f}, bias[] = {0.0f, 1.0f}, weight[] = {0.5f, special[i]}, out[2];
        uint8_t panels[INT8_QUAD * INT8_PANEL_COLUMNS];
        pack_int8(weight, 1, 2, 2, 1, panels, scales, totals);
        for (int in_8_bits = 0; in_8_bits < 2; in_8_bits++) {
            kernels->linear_int8(
                &(struct product){x, panels, DTYPE_F32, 0, scales, in_8_bits ? totals : NULL, bias, out, 1, 2, 1});
            if (isfinite(special[i]) != isfinite(scales[0]) || (!isfinite(special[i]) && !isnan(out[0])))
                check("linear_int8 of what is not finite", out[0], NAN, 0.0);
        }
        struct attention_row row = {x, x, x, out, 1, 1};
        if (kernels->attention(&(struct attention_shape){&row, 1, 1, 1, 2, 0, {2, 2}, {2, 2}, {2, 2}}, 1.0f))
            abort();
        for (int activation = ACTIVATION_NONE; activation <= ACTIVATION_SILU; activation++)
            kernels->linear(&(struct product){bias + 1, x, DTYPE_F32, 0, NULL, NULL, x, out, 1, 1, 2,
                                              (enum activation)activation, x, x});
        int64_t chosen;
        struct choice choice = {x, 1e-30f, 1, 0.5, -1.0f, 0.5};
        if (kernels->choose(&(struct choices){&choice, &chosen, 1, 2}) || chosen > 1)
            abort();
        kernels->layer_norm(&(struct norm){x, weight, bias, 1e-5f, out, 2, 1});
        kernels->rms_norm(&(struct norm){x, weight, NULL, 1e-5f, out, 2, 1});
    }
}

void try_empty(void)
{
    float one[] = {1.0f, 1.0f, 1.0f, 1.0f};
    uint8_t panels[INT8_QUAD * INT8_PANEL_COLUMNS] = {0};
    for (int i = 0; i < 3; i++) {
        struct product p = {one, one, DTYPE_F32, 0, one, i ? one : NULL, one, one, i & 1, 1, i & 2};
        struct attention_row row = {one, one, one, one, 0, i};
        kernels->linear(&p);
        p.transposed = 1;
        kernels->linear(&p);
        kernels->lm_head(&p);
        p.weight = panels;
        kernels->linear_int8(&p);
        kernels->attention(&(struct attention_shape){&row, i & 1, 1 + (i & 2), 1, 1, 0, {0}, {0}, {0}}, 1.0f);
    }
    kernels->layer_norm(&(struct norm){one, one, one, 1.0f, one, 0, 1});
    kernels->rms_norm(&(struct norm){one, one, NULL, 1.0f, one, 0, 1});
    check("what no kernel was given", one[0], 1.0, 0.0);
}

void try_checksum(ptrdiff_t size)
{
    uint8_t *data = malloc((size_t)size + 1);
    uint64_t *sums = calloc((size_t)checksum_blocks((size_t)size) + 1, sizeof *sums);
    if (!data || !sums)
        abort();
    memset(data, 7, (size_t)size + 1);
    uint64_t sum = checksum(data, (size_t)size, sums);
    if (size)
        data[size - 1] ^= 128;
    if (size && checksum(data, (size_t)size, sums) == sum)
        abort();
    free(data);
    free(sums);
}
