/* The arguments of the module's functions: arrays come by the buffer protocol. */

#ifndef GPT2_ARGUMENTS_H
#define GPT2_ARGUMENTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

enum { MOST_ARRAYS = 7 };

struct arrays {
    Py_buffer all[MOST_ARRAYS];
    int count;
};

static void release(struct arrays *arrays)
{
    while (arrays->count)
        PyBuffer_Release(&arrays->all[--arrays->count]);
}

/* Returns 0 where the object's numbers have `size` bytes and are aligned, without gaps if the flags ask that. */
static int take(struct arrays *arrays, PyObject *object, Py_ssize_t size, int flags)
{
    Py_buffer *buffer = &arrays->all[arrays->count];
    if (PyObject_GetBuffer(object, buffer, flags))
        return -1;
    arrays->count++;
    if (buffer->itemsize != size) {
        PyErr_Format(PyExc_ValueError, "numbers of %zd bytes, not %zd", buffer->itemsize, size);
        return -1;
    }
    int aligned = !buffer->len || (uintptr_t)buffer->buf % (size_t)size == 0;
    for (int axis = 0; buffer->strides && axis < buffer->ndim; axis++)
        aligned = aligned && buffer->strides[axis] % size == 0;
    if (!aligned)
        PyErr_SetString(PyExc_ValueError, "numbers that are not aligned");
    return aligned ? 0 : -1;
}

static int expect(int holds, const char *what)
{
    if (!holds)
        PyErr_Format(PyExc_ValueError, "%s do not fit together", what);
    return holds ? 0 : -1;
}

static PyObject *finish(struct arrays *arrays, int failed)
{
    release(arrays);
    if (failed)
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    Py_RETURN_NONE;
}

static int count_arguments(Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", given, wanted);
    return -1;
}

static Py_ssize_t length(const Py_buffer *buffer) { return buffer->len / buffer->itemsize; }

/* The product may be larger than any number, where the buffer is of another shape. */
static int holds(const Py_buffer *buffer, Py_ssize_t rows, Py_ssize_t columns)
{
    Py_ssize_t product;
    return !__builtin_mul_overflow(rows, columns, &product) && length(buffer) == product;
}

/* Takes an array of `size` floats, or NULL for None. */
static int take_or_none(struct arrays *arrays, PyObject *object, Py_ssize_t size, const float **to)
{
    if (object == Py_None)
        return 0;
    if (take(arrays, object, 4, PyBUF_ND))
        return -1;
    const Py_buffer *buffer = &arrays->all[arrays->count - 1];
    *to = buffer->buf;
    return expect(length(buffer) == size, "the columns and what there is for each");
}

#endif
