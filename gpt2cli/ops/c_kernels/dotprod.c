/* For 64-bit Arm processors with dot products: since Armv8.4 and in many before, such as Neoverse N1 and Apple M1. It
   multiplies in int8; the other kernels are the generic ones. */

#include "kernels.h"

#if defined(__aarch64__) && defined(__GNUC__)
#if defined(__clang__) ? __clang_major__ >= 16 : __GNUC__ >= 10
#include "arm.h"
#include <arm_neon.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#define ISA_LANES 4
#define ISA_HAS_DOT_PRODUCTS
#include "common.inc"
#include "epilogue.inc"
#include "linear_int8.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif

const struct kernels *kernels_dotprod(void)
{
    static struct kernels with_dot_products;
    if (!with_dot_products.name && arm_has(ARM_HWCAP, 20, "hw.optional.arm.FEAT_DotProd")) {
        with_dot_products = kernels_generic;
        with_dot_products.linear_int8 = linear_int8;
        with_dot_products.name = "dotprod";
    }
    return with_dot_products.name ? &with_dot_products : NULL;
}
#else
const struct kernels *kernels_dotprod(void) { return NULL; }
#endif
#endif
