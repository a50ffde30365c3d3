/* The functions of the Python module gpt2cli.ops.kernels, each with the arguments that kernels.pyi names. */

#ifndef GPT2_PY_MODULE_H
#define GPT2_PY_MODULE_H

#include "py_arguments.h"

/* The kernels in use. They run only between begin_kernel and end_kernel. */
extern const struct kernels *kernels;

/* Lets Python's other threads run meanwhile, and waits for the pool, which has one caller at a time. */
PyThreadState *begin_kernel(void);
void end_kernel(PyThreadState *state);

typedef PyObject *py_function(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

py_function py_linear, py_linear_packed, py_pack, py_lm_head, py_linear_int8, py_pack_int8, py_attention,
    py_layer_norm, py_rms_norm, py_rotate, py_checksum, py_watch_mapping, py_token_statistics, py_choose;

#endif
