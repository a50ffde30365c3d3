/* Rotary positions: pairs of a head's numbers are turned by an angle that grows with the position. */

#include "kernels.h"
#include "pool.h"

static void rotate_halves(float *restrict x, const float *cosines, const float *sines, ptrdiff_t pairs)
{
    float *restrict second = x + pairs;
    for (ptrdiff_t i = 0; i < pairs; i++) {
        float a = x[i], b = second[i];
        x[i] = a * cosines[i] - b * sines[i];
        second[i] = b * cosines[i] + a * sines[i];
    }
}

static void rotate_neighbours(float *x, const float *cosines, const float *sines, ptrdiff_t pairs)
{
    for (ptrdiff_t i = 0; i < pairs; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cosines[i] - b * sines[i];
        x[2 * i + 1] = b * cosines[i] + a * sines[i];
    }
}

/* A task for each position of each batch row. */
static void rotate_position(void *context, ptrdiff_t task, int worker)
{
    const struct rotation *r = context;
    ptrdiff_t batch = task / r->time, position = task % r->time;
    const float *cosines = r->cosines + position * r->pairs, *sines = r->sines + position * r->pairs;
    (void)worker;
    for (int i = 0; i < 2; i++) {
        const struct heads *h = &r->parts[i];
        float *x = h->numbers + batch * h->stride[0] + position * h->stride[2];
        for (ptrdiff_t head = 0; head < h->heads; head++, x += h->stride[1])
            (r->neighbours ? rotate_neighbours : rotate_halves)(x, cosines, sines, r->pairs);
    }
}

void rotate(const struct rotation *rotation)
{
    struct rotation call = *rotation;
    ptrdiff_t heads = call.parts[0].heads + call.parts[1].heads;
    pool_run_unless_small(rotate_position, &call, call.batch * call.time, heads * 2 * call.pairs);
}
