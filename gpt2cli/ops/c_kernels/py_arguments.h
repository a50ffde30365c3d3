/* The arguments of the module's functions. Arrays come by the buffer protocol. */

#ifndef GPT2_PY_ARGUMENTS_H
#define GPT2_PY_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernels.h"

enum { MAX_ARRAYS = 8 };

/* The buffers that a function holds until it returns. */
struct arrays {
    Py_buffer all[MAX_ARRAYS];
    int count;
};

/* All functions that return int return 0, or -1 with an exception set. */

int count_arguments(Py_ssize_t given, Py_ssize_t wanted);

/* Takes an array whose numbers have `size` bytes and are aligned. The flags say whether it may have gaps. */
int take_array(struct arrays *arrays, PyObject *object, Py_ssize_t size, int flags);

/* Takes a float32 array with one number for each column, or NULL for None. */
int take_columns(struct arrays *arrays, PyObject *object, Py_ssize_t columns, const float **to);

/* Takes the epilogue of a product: an activation, and a gate and a residual, each or None. */
int take_epilogue(struct arrays *arrays, PyObject *const *arguments, struct product *p);

/* Takes an array (batch, time, heads, width), or one whose axes of heads and time are exchanged. Fills in the strides
   of batch, heads and time, in floats. */
int take_heads(struct arrays *arrays, PyObject *object, int flags, int time_axis, ptrdiff_t *stride, const char *name);

int require_axes(const Py_buffer *buffer, int axes, const char *name);

/* Raises "<names> do not fit together" unless they do. */
int require_fit(int fit, const char *names);

Py_ssize_t length(const Py_buffer *buffer);

/* Returns whether a buffer has rows * columns numbers, a product that may overflow. */
int has_size(const Py_buffer *buffer, Py_ssize_t rows, Py_ssize_t columns);

/* Releases the arrays and returns None, or NULL if the function failed: with its exception, or else MemoryError. */
PyObject *return_none(struct arrays *arrays, int failed);

#endif
