/* For x86 processors with 512-bit vectors and VNNI: since Ice Lake and Zen 4. */

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
#define LANES 16
#define NAME "avx512"
#define KERNELS kernels_avx512
#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
