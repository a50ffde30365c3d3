/* A checksum that changes with every bit of an array. */

#include <string.h>

#include "kernels.h"
#include "pool.h"

enum {
    CHECKSUM_LANES = 8, /* whose multiplications overlap */
    CHECKSUM_ROW_BYTES = CHECKSUM_LANES * 8,
    CHECKSUM_BLOCK_BYTES = 1 << 20, /* of which each has its own sum, so that threads share the work */
};

/* Other words give other sums, whatever the sum before. Without the rotation, a word's last bit would reach no other
   bit. */
static uint64_t add_word(uint64_t sum, uint64_t word)
{
    sum ^= word;
    return (sum << 29 | sum >> 35) * 0x9e3779b97f4a7c15u;
}

struct checked {
    const uint8_t *data;
    size_t size;
    uint64_t *sums;
};

static void sum_block(void *context, ptrdiff_t block, int worker)
{
    struct checked *c = context;
    const uint8_t *data = c->data + block * CHECKSUM_BLOCK_BYTES;
    size_t left = c->size - (size_t)block * CHECKSUM_BLOCK_BYTES;
    uint64_t sums[CHECKSUM_LANES] = {1, 2, 3, 4, 5, 6, 7, 8}, row[CHECKSUM_LANES], sum;
    (void)worker;
    sum = left = left < CHECKSUM_BLOCK_BYTES ? left : CHECKSUM_BLOCK_BYTES;
    for (; left >= CHECKSUM_ROW_BYTES; left -= CHECKSUM_ROW_BYTES, data += CHECKSUM_ROW_BYTES) {
        memcpy(row, data, CHECKSUM_ROW_BYTES);
        for (int lane = 0; lane < CHECKSUM_LANES; lane++)
            sums[lane] = add_word(sums[lane], row[lane]);
    }
    memset(row, 0, CHECKSUM_ROW_BYTES);
    memcpy(row, data, left);
    for (int lane = 0; lane < CHECKSUM_LANES; lane++)
        sum = add_word(sum, add_word(sums[lane], row[lane]));
    c->sums[block] = sum;
}

ptrdiff_t checksum_blocks(size_t size) { return (ptrdiff_t)((size + CHECKSUM_BLOCK_BYTES - 1) / CHECKSUM_BLOCK_BYTES); }

uint64_t checksum(const void *data, size_t size, uint64_t *sums)
{
    struct checked c = {data, size, sums};
    ptrdiff_t blocks = checksum_blocks(size);
    uint64_t sum = size;
    pool_run(sum_block, &c, blocks);
    for (ptrdiff_t block = 0; block < blocks; block++)
        sum = add_word(sum, sums[block]);
    return sum;
}
