/* checksum for Python. */

#include "py_module.h"

PyObject *py_checksum(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    uint64_t *sums = NULL, sum = 0;
    (void)module;
    if (count_arguments(count, 1))
        return NULL;
    int failed = take_array(&a, arguments[0], 1, PyBUF_ND);
    if (!failed) {
        size_t size = (size_t)a.all[0].len;
        sums = PyMem_Calloc((size_t)checksum_blocks(size) + 1, sizeof *sums);
        failed = !sums;
        if (!failed) {
            PyThreadState *state = begin_kernel();
            sum = checksum(a.all[0].buf, size, sums);
            end_kernel(state);
        }
    }
    PyMem_Free(sums);
    PyObject *none = return_none(&a, failed);
    Py_XDECREF(none);
    return none ? PyLong_FromUnsignedLongLong(sum) : NULL;
}
