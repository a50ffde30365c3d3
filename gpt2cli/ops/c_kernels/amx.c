/* For x86 processors with AMX: since Sapphire Rapids. It multiplies many rows in int8; the other kernels are those of
   AVX-512. */

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
#define ISA_LANES 16
#define ISA_HAS_AMX
#include "common.inc"
#include "epilogue.inc"
#include "linear_int8.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif

/* Linux lets a process use the tile registers only after it has asked for them. */
static int may_use_amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18, CPUID_AMX_TILE_AND_INT8 = 1 << 24 | 1 << 25 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & CPUID_AMX_TILE_AND_INT8) == CPUID_AMX_TILE_AND_INT8 &&
           !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
}

const struct kernels *kernels_amx(void)
{
    static struct kernels with_amx;
    if (!with_amx.name && may_use_amx()) {
        with_amx = kernels_avx512;
        with_amx.linear_int8 = linear_int8;
        with_amx.name = "amx";
    }
    return with_amx.name ? &with_amx : NULL;
}
#else
const struct kernels *kernels_amx(void) { return NULL; }
#endif
#endif
