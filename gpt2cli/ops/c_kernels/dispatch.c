/* The choice of an instruction set at run time. */

#include <string.h>

#include "kernels.h"

const struct kernels *kernels_named(const char *name)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    /* Every processor with these two has F16C, a name that Clang 14 does not accept here. */
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    if (avx512 && (!name || !strcmp(name, "amx")) && kernels_amx())
        return kernels_amx();
    if (avx512 && (!name || !strcmp(name, "avx512")))
        return &kernels_avx512;
    if (avx2 && (!name || !strcmp(name, "avxvnni")) && kernels_avxvnni())
        return kernels_avxvnni();
    if (avx2 && (!name || !strcmp(name, "avx2")))
        return &kernels_avx2;
#elif defined(__aarch64__) && defined(__GNUC__)
    if ((!name || !strcmp(name, "i8mm")) && kernels_i8mm())
        return kernels_i8mm();
    if ((!name || !strcmp(name, "dotprod")) && kernels_dotprod())
        return kernels_dotprod();
#endif
    return !name || !strcmp(name, "generic") ? &kernels_generic : NULL;
}
