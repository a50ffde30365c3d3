/* What a 64-bit Arm processor has. */

#ifndef GPT2_ARM_H
#define GPT2_ARM_H

#include <stddef.h>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif

/* Lists of features that Linux passes to each program, by their numbers in its headers. */
enum arm_list { ARM_HWCAP = 16, ARM_HWCAP2 = 26 };

/* Returns whether the processor has a feature, a bit of one of Linux's lists and a name that macOS knows. */
static int arm_has(enum arm_list list, int bit, const char *name)
{
#if defined(__APPLE__)
    int has = 0;
    size_t size = sizeof has;
    (void)list, (void)bit;
    return !sysctlbyname(name, &has, &size, NULL, 0) && has;
#elif defined(__linux__)
    (void)name;
    return getauxval(list) >> bit & 1;
#else
    return (void)list, (void)bit, (void)name, 0;
#endif
}

#endif
