/* layer_norm for Python. */

#include "py_module.h"

PyObject *py_layer_norm(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    (void)module;
    if (count_arguments(count, 5))
        return NULL;
    float epsilon = (float)PyFloat_AsDouble(arguments[3]);
    int failed = PyErr_Occurred() || take_array(&a, arguments[0], 4, PyBUF_ND) ||
                 take_array(&a, arguments[1], 4, PyBUF_ND) || take_array(&a, arguments[2], 4, PyBUF_ND) ||
                 take_array(&a, arguments[4], 4, PyBUF_ND | PyBUF_WRITABLE);
    if (!failed) {
        Py_ssize_t width = length(&a.all[1]), size = length(&a.all[0]);
        failed = require_fit(width > 0 && length(&a.all[2]) == width && size % width == 0 && length(&a.all[3]) == size,
                             "x, weight, bias and out");
        if (!failed) {
            PyThreadState *state = begin_kernel();
            kernels->layer_norm(a.all[0].buf, a.all[1].buf, a.all[2].buf, epsilon, a.all[3].buf, size / width, width);
            end_kernel(state);
        }
    }
    return return_none(&a, failed);
}
