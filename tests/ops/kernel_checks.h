/* Checks of each kernel, on arrays of exactly their size, so that a sanitizer sees every access beyond them. */

#ifndef KERNEL_CHECKS_H
#define KERNEL_CHECKS_H

#include "kernels.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* The kernels to check, and how many numbers were checked. A wrong number ends the program. */
extern const struct kernels *kernels;
extern long checks;

/* Returns memory of that size, or ends the program. */
void *exactly(size_t bytes);

void try_products(enum dtype dtype, ptrdiff_t rows, ptrdiff_t depth, ptrdiff_t columns);
void try_int8(ptrdiff_t rows, ptrdiff_t depth, ptrdiff_t columns, int has_bias, int in_8_bits);
void try_attention(ptrdiff_t time, ptrdiff_t seen, ptrdiff_t width, ptrdiff_t window);
void try_rotate(ptrdiff_t time, ptrdiff_t heads, ptrdiff_t width, ptrdiff_t pairs, int neighbours);
void try_layer_norm(ptrdiff_t rows, ptrdiff_t width);
void try_epilogue(ptrdiff_t count);
void try_statistics(ptrdiff_t rows, ptrdiff_t count, int has_starts);
void try_choose(ptrdiff_t rows, ptrdiff_t count);
void try_special_numbers(void);
void try_empty(void);

#endif
