/* For x86 processors with matrix tiles: since Sapphire Rapids. Many rows in int8 are multiplied in them; all else is
   what AVX-512 offers. */

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#if defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8")
#endif
#define LANES 16
#define TILES
#include "common.inc"
#include "epilogue.inc"
#include "linear_int8.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif

/* The system keeps the tiles of a process only after it has asked for them. */
static int may_use_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18, TILE_INSTRUCTIONS = 1 << 24 | 1 << 25 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & TILE_INSTRUCTIONS) == TILE_INSTRUCTIONS &&
           !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA);
}

const struct kernels *kernels_amx(void)
{
    static struct kernels with_tiles;
    if (!with_tiles.name && may_use_tiles()) {
        with_tiles = kernels_avx512;
        with_tiles.linear_int8 = linear_int8;
        with_tiles.name = "amx";
    }
    return with_tiles.name ? &with_tiles : NULL;
}
#else
const struct kernels *kernels_amx(void) { return NULL; }
#endif
#endif
