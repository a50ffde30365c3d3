/* For 64-bit Arm processors with matrix products of bytes: since Armv8.6 and in some before, such as Neoverse V1 and
   Apple M2. It multiplies in int8; the other kernels are the generic ones. */

#include "kernels.h"

#if defined(__aarch64__) && defined(__GNUC__)
#if defined(__clang__) ? __clang_major__ >= 16 : __GNUC__ >= 10
#include "arm.h"
#include <arm_neon.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("i8mm"))), apply_to = function)
#else
#pragma GCC target("arch=armv8.2-a+i8mm")
#endif
#define ISA_LANES 4
#define ISA_HAS_DOT_PRODUCTS
#define ISA_HAS_I8MM
#include "common.inc"
#include "epilogue.inc"
#include "linear_int8.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif

const struct kernels *kernels_i8mm(void)
{
    static struct kernels with_i8mm;
    if (!with_i8mm.name && arm_has(ARM_HWCAP2, 13, "hw.optional.arm.FEAT_I8MM")) {
        with_i8mm = kernels_generic;
        with_i8mm.linear_int8 = linear_int8;
        with_i8mm.name = "i8mm";
    }
    return with_i8mm.name ? &with_i8mm : NULL;
}
#else
const struct kernels *kernels_i8mm(void) { return NULL; }
#endif
#endif
