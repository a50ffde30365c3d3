/* The arithmetic of GPT-2's forward pass on a CPU, for a few rows or for many.

   Every sum has an order that depends on the lengths of its own vectors alone: not on how many rows are
   computed at once, nor on how many threads compute them. So a sample is the same in any batch.

   Matrices are row-major and without gaps. Rows of activations are float32. */

#ifndef GPT2_KERNELS_H
#define GPT2_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum stored { STORED_F32, STORED_F16, STORED_BF16 };
enum activation { NO_ACTIVATION, GELU_TANH };

/* Columns of an int8 matrix that lie together, so that one pass over memory serves all of them; and the
   longest sums of its products that fit 32 bits. */
enum { PANEL = 32, MOST_INT8_DEPTH = 1 << 16 };

/* Queries (batch, heads, time, width) against keys and values (batch, heads, seen, width): strides count
   floats, those of the last axis are 1, and keys and values share theirs. */
struct attention_shape {
    ptrdiff_t batch, heads, time, seen, width;
    ptrdiff_t query_stride[3], key_stride[3], out_stride[3];
};

/* The last two thirds of qkv (batch, time, 3 * heads * width) and where they go: into keys and values (batch, heads,
   positions, width) from position `past` on. Strides as above. */
struct appended {
    const float *qkv;
    float *keys, *values;
    ptrdiff_t batch, heads, time, width, past, stride[3];
};

/* out (rows, columns) of x (rows, depth) and a matrix of one of three kinds: for `linear` weight is
   (depth, columns); for `head` it is (columns, depth); for `linear_int8` it is what `kernels_pack` made,
   with its scales and, if rows of x may be rounded to 8 bits instead of 15, its totals, else NULL. bias is added;
   for `head` and `linear_int8` it may be NULL. Then, but not by `head`, the activation is applied and the
   residual (rows, columns) added, if there is one. */
struct product {
    const float *x;
    const void *weight;
    enum stored type;
    const float *scales, *totals, *bias;
    float *out;
    ptrdiff_t rows, depth, columns;
    enum activation activation;
    const float *residual;
};

/* logits (rows, count) of which those of the targets came; word_starts (count) tells with 1 which tokens begin a
   word, or is NULL. out (4, rows) are log-probabilities, entropies, ranks and the log-probabilities that a word
   begins, NaN where that is not known. */
struct statistics {
    const float *logits, *word_starts;
    const int64_t *targets;
    double *out;
    ptrdiff_t rows, count;
};

/* All use the threads of the pool. Those that return a number return 0, or -1 without memory. */
struct kernels {
    const char *name;
    int (*linear)(const struct product *product);
    void (*head)(const struct product *product);
    int (*linear_int8)(const struct product *product);
    int (*attention)(const float *queries, const float *keys, const float *values, float scale, float *out,
                     const struct attention_shape *shape);
    void (*layer_norm)(const float *x, const float *weight, const float *bias, float epsilon, float *out,
                       ptrdiff_t rows, ptrdiff_t width);
    void (*token_statistics)(const struct statistics *statistics);
};

extern const struct kernels kernels_generic;
#if defined(__x86_64__) && defined(__GNUC__)
extern const struct kernels kernels_avx2, kernels_avx512;

/* NULL where the processor, the system or the compiler has no tiles. Needs what kernels_avx512 needs. */
const struct kernels *kernels_amx(void);
#endif

/* Return the fastest that this processor can run, or the one of a name; NULL where it has no such. */
const struct kernels *kernels_named(const char *name);

void kernels_append(const struct appended *appended);

/* Round weight (depth, columns), whose elements are `step` and `stride` floats apart, to int8 with a scale
   a column, NaN where one of its elements is not finite. Panels of PANEL columns hold 4 elements of depth a
   column side by side, offset by 128. totals are the sums of what the columns became. */
void kernels_pack(const float *weight, ptrdiff_t step, ptrdiff_t stride, ptrdiff_t depth, ptrdiff_t columns,
                  uint8_t *panels, float *scales, float *totals);

#endif
