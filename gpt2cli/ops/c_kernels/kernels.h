/* A decoder's forward pass on a CPU.

   The order of a sum depends only on the lengths of its own vectors, not on how many rows are computed at once nor on
   how many threads compute them. So a sample has the same bits in any batch.

   Matrices are row-major without gaps. Activations are float32. */

#ifndef GPT2_KERNELS_H
#define GPT2_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
enum activation { ACTIVATION_NONE, ACTIVATION_GELU_TANH, ACTIVATION_GELU, ACTIVATION_SILU };

enum {
    INT8_PANEL_COLUMNS = 32, /* of an int8 matrix; they lie together, so that one pass over memory serves them all */
    INT8_QUAD = 4, /* numbers of a column that lie together in a panel */
    INT8_ZERO_POINT = 128, /* that stands for zero in a panel */
    INT8_MAX_DEPTH = 1 << 16, /* whose sums of products still fit 32 bits */
};

/* Neighbouring queries of one text, the newest of the `seen` positions whose keys and values lie from `keys` and
   `values` on. */
struct attention_row {
    const float *queries, *keys, *values;
    float *out;
    ptrdiff_t time, seen;
};

/* Queries (heads, time, width) of each row against its keys and values (kv_heads, seen, width), each of whose heads
   serves as many neighbouring heads of queries. A query sees the positions up to its own: the last `window` of them, or
   all if that is 0. Strides count floats, from a head to the next and from a position to the next; those of the last
   axis are 1, and keys and values share theirs. */
struct attention_shape {
    const struct attention_row *rows;
    ptrdiff_t count, heads, kv_heads, width, window, query_stride[2], key_stride[2], out_stride[2];
};

/* New keys and values of a text, and where they go behind those that are cached. */
struct kv_row {
    const float *new_keys, *new_values;
    float *keys, *values;
    ptrdiff_t time;
};

/* New keys and values (heads, time, width) of each row. Strides as above. */
struct kv_update {
    const struct kv_row *rows;
    ptrdiff_t count, heads, width, new_stride[2], stride[2];
};

/* Numbers (batch, heads, time, width). Strides count floats, as above. */
struct heads {
    float *numbers;
    ptrdiff_t heads, stride[3];
};

/* Queries and keys, of whose width the first 2 * pairs are rotated in place: a number with that of the other half or,
   among neighbours, with the next. cosines and sines (time, pairs) are those of the angles. */
struct rotation {
    struct heads parts[2];
    const float *cosines, *sines;
    ptrdiff_t batch, time, pairs;
    int neighbours;
};

/* out (rows, columns) = x (rows, depth) times a weight, plus bias.

   `linear` takes a weight (depth, columns), or (columns, depth) if it is transposed, as it is for `lm_head`, or the
   float32 panels of `pack` if it is packed; `linear_int8` takes the panels of `pack_int8` with their scales. Given
   their totals too, it may round rows of x to 8 bits; else it rounds them to 15. bias may be NULL; lm_head has none.
   All but lm_head then apply the activation, multiply by the gate and add the residual, both (rows, columns) or
   NULL. */
struct product {
    const float *x;
    const void *weight;
    enum dtype dtype;
    int transposed;
    const float *scales, *totals, *bias;
    float *out;
    ptrdiff_t rows, depth, columns;
    enum activation activation;
    const float *residual, *gate;
    int is_packed;
};

/* A float32 weight (depth, columns), and room for its panels: (panels, depth, panel_columns), in the last of which zeros
   follow the columns. */
struct packing {
    const float *weight;
    float *panels;
    ptrdiff_t depth, columns;
};

/* out (rows, width), which may be x: the rows of x with a mean square of 1, for layer_norm around their mean, times
   weight, plus bias. bias may be NULL; rms_norm has none. */
struct norm {
    const float *x, *weight, *bias;
    float epsilon, *out;
    ptrdiff_t rows, width;
};

/* logits (rows, vocabulary) and the targets (rows) that they predicted; word_starts (vocabulary) is 1 for tokens that
   begin a word, or NULL. out (4, rows): log-probabilities, entropies, ranks, and the log-probabilities that a word
   begins, NaN without word_starts. */
struct statistics {
    const float *logits, *word_starts;
    const int64_t *targets;
    double *out;
    ptrdiff_t rows, vocabulary;
};

/* Logits (vocabulary), and how to choose from them: divided by the temperature, 0 for the likeliest; of the top_k
   likeliest, or of all for 0; of these the fewest likeliest with the share top_p; of these, those whose score is at most
   -log_min_p below the highest; the one at a position, from 0 to 1, of their cumulative distribution. */
struct choice {
    const float *logits;
    float temperature;
    ptrdiff_t top_k;
    double top_p;
    float log_min_p;
    double position;
};

/* In place of a chosen token. */
enum { CHOICE_NOT_A_NUMBER = -1, CHOICE_ALL_BANNED = -2 };

struct choices {
    const struct choice *rows;
    int64_t *out;
    ptrdiff_t count, vocabulary;
};

/* The kernels of one instruction set. They use the threads of the pool. Those that return int return 0, or -1 if out
   of memory. */
struct kernels {
    const char *name;
    ptrdiff_t panel_columns;
    void (*pack)(struct packing *packing);
    int (*linear)(const struct product *product);
    int (*lm_head)(const struct product *product);
    int (*linear_int8)(const struct product *product);
    int (*attention)(const struct attention_shape *shape, float scale);
    void (*layer_norm)(const struct norm *norm);
    void (*rms_norm)(const struct norm *norm);
    void (*token_statistics)(const struct statistics *statistics);
    int (*choose)(const struct choices *choices);
};

extern const struct kernels kernels_generic;
#if defined(__x86_64__) && defined(__GNUC__)
extern const struct kernels kernels_avx2, kernels_avx512;

/* Return NULL where the processor, the system or the compiler lacks AMX, which needs AVX-512, or AVX-VNNI, which needs
   AVX2. */
const struct kernels *kernels_amx(void), *kernels_avxvnni(void);
#elif defined(__aarch64__) && defined(__GNUC__)
/* Likewise, for the processor or the compiler. */
const struct kernels *kernels_i8mm(void), *kernels_dotprod(void);
#endif

/* Returns the kernels of that name, or the fastest for NULL; NULL if this processor cannot run them. */
const struct kernels *kernels_named(const char *name);

void kv_append(const struct kv_update *update);

void rotate(const struct rotation *rotation);

/* Rounds a weight (depth, columns), whose elements lie depth_stride and column_stride floats apart, to int8.

   panels (panels, depth / INT8_QUAD, INT8_PANEL_COLUMNS, INT8_QUAD) are padded with zeros, which are INT8_ZERO_POINT
   there. scales and totals have one number for each padded column: the scale, NaN if an element is not finite, and the
   sum of the rounded column. */
void pack_int8(const float *weight, ptrdiff_t depth_stride, ptrdiff_t column_stride, ptrdiff_t depth, ptrdiff_t columns,
               uint8_t *panels, float *scales, float *totals);

/* Returns a checksum of some bytes. `sums` has room for one number for each of their blocks. */
uint64_t checksum(const void *data, size_t size, uint64_t *sums);
ptrdiff_t checksum_blocks(size_t size);

#endif
