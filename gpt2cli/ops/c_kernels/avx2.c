/* For x86 processors since Haswell and Zen. */

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define NAME "avx2"
#define KERNELS kernels_avx2
#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
