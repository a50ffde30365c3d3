/* For x86 processors with AVX-VNNI and without AVX-512: since Alder Lake. It multiplies in int8; the other kernels are
   those of AVX2. */

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#include <cpuid.h>
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c,avxvnni")
#endif
#define ISA_LANES 8
#define ISA_HAS_AVX_VNNI
#include "common.inc"
#include "epilogue.inc"
#include "linear_int8.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif

const struct kernels *kernels_avxvnni(void)
{
    enum { CPUID_AVX_VNNI = 1 << 4 };
    static struct kernels with_vnni;
    unsigned a, b, c, d;
    if (!with_vnni.name && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & CPUID_AVX_VNNI) {
        with_vnni = kernels_avx2;
        with_vnni.linear_int8 = linear_int8;
        with_vnni.name = "avxvnni";
    }
    return with_vnni.name ? &with_vnni : NULL;
}
#else
const struct kernels *kernels_avxvnni(void) { return NULL; }
#endif
#endif
