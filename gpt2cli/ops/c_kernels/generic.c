/* For any processor: the instructions that the compiler may always use. */

#define LANES 4
#define NAME "generic"
#define KERNELS kernels_generic
#include "kernels.inc"
