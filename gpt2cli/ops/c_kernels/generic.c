/* For every processor: only what the compiler may always use. */

#define ISA_LANES 4
#define ISA_NAME "generic"
#define ISA_KERNELS kernels_generic
#include "kernels.inc"
