/* The arguments of the module's functions. See py_arguments.h. */

#include "py_arguments.h"

int count_arguments(Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", given, wanted);
    return -1;
}

int take_array(struct arrays *arrays, PyObject *object, Py_ssize_t size, int flags)
{
    Py_buffer *buffer = &arrays->all[arrays->count];
    if (PyObject_GetBuffer(object, buffer, flags))
        return -1;
    arrays->count++;
    if (buffer->itemsize != size) {
        PyErr_Format(PyExc_ValueError, "an array has numbers of %zd bytes, not %zd", buffer->itemsize, size);
        return -1;
    }
    int aligned = !buffer->len || (uintptr_t)buffer->buf % (size_t)size == 0;
    for (int axis = 0; buffer->strides && axis < buffer->ndim; axis++)
        aligned = aligned && buffer->strides[axis] % size == 0;
    if (!aligned)
        PyErr_SetString(PyExc_ValueError, "an array is not aligned");
    return aligned ? 0 : -1;
}

static int take_optional(struct arrays *arrays, PyObject *object, Py_ssize_t size, const char *names, const float **to)
{
    if (object == Py_None)
        return 0;
    if (take_array(arrays, object, 4, PyBUF_ND))
        return -1;
    const Py_buffer *buffer = &arrays->all[arrays->count - 1];
    *to = buffer->buf;
    return require_fit(length(buffer) == size, names);
}

int take_columns(struct arrays *arrays, PyObject *object, Py_ssize_t columns, const float **to)
{
    return take_optional(arrays, object, columns, "the columns and an array with a number for each", to);
}

int take_epilogue(struct arrays *arrays, PyObject *const *arguments, struct product *p)
{
    long code = PyLong_AsLong(arguments[0]);
    if (PyErr_Occurred())
        return -1;
    p->activation = (enum activation)code;
    if (code < ACTIVATION_NONE || code > ACTIVATION_SILU) {
        PyErr_Format(PyExc_ValueError, "unknown activation %ld", code);
        return -1;
    }
    return take_optional(arrays, arguments[1], p->rows * p->columns, "gate and out", &p->gate) ||
                   take_optional(arrays, arguments[2], p->rows * p->columns, "residual and out", &p->residual)
               ? -1
               : 0;
}

int take_heads(struct arrays *arrays, PyObject *object, int flags, int time_axis, ptrdiff_t *stride, const char *name)
{
    const Py_buffer *buffer = &arrays->all[arrays->count];
    if (take_array(arrays, object, 4, PyBUF_STRIDES | flags) || require_axes(buffer, 4, name))
        return -1;
    stride[0] = buffer->strides[0] / 4;
    stride[1] = buffer->strides[3 - time_axis] / 4;
    stride[2] = buffer->strides[time_axis] / 4;
    return require_fit(buffer->strides[3] == 4 || buffer->shape[3] < 2, "the strides of heads");
}

int require_axes(const Py_buffer *buffer, int axes, const char *name)
{
    if (buffer->ndim == axes)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s has %d axes, not %d", name, buffer->ndim, axes);
    return -1;
}

int require_fit(int fit, const char *names)
{
    if (!fit)
        PyErr_Format(PyExc_ValueError, "%s do not fit together", names);
    return fit ? 0 : -1;
}

Py_ssize_t length(const Py_buffer *buffer) { return buffer->len / buffer->itemsize; }

int has_size(const Py_buffer *buffer, Py_ssize_t rows, Py_ssize_t columns)
{
    Py_ssize_t product;
    return !__builtin_mul_overflow(rows, columns, &product) && length(buffer) == product;
}

PyObject *return_none(struct arrays *arrays, int failed)
{
    while (arrays->count)
        PyBuffer_Release(&arrays->all[--arrays->count]);
    if (failed)
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    Py_RETURN_NONE;
}
