/* layer_norm and rms_norm for Python. */

#include "py_module.h"

/* Takes x, weight, out and epsilon. */
static int take_norm(struct arrays *a, PyObject *x, PyObject *weight, PyObject *epsilon, PyObject *out, struct norm *n)
{
    n->epsilon = (float)PyFloat_AsDouble(epsilon);
    if (PyErr_Occurred() || take_array(a, x, 4, PyBUF_ND) || take_array(a, weight, 4, PyBUF_ND) ||
        take_array(a, out, 4, PyBUF_ND | PyBUF_WRITABLE))
        return -1;
    Py_ssize_t size = length(&a->all[0]);
    n->width = length(&a->all[1]);
    n->x = a->all[0].buf, n->weight = a->all[1].buf, n->out = a->all[2].buf;
    if (require_fit(n->width > 0 && size % n->width == 0 && length(&a->all[2]) == size, "x, weight and out"))
        return -1;
    n->rows = size / n->width;
    return 0;
}

PyObject *py_layer_norm(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct norm n = {0};
    (void)module;
    if (count_arguments(count, 5))
        return NULL;
    int failed = take_norm(&a, arguments[0], arguments[1], arguments[3], arguments[4], &n) ||
                 take_columns(&a, arguments[2], n.width, &n.bias);
    if (!failed) {
        PyThreadState *state = begin_kernel();
        kernels->layer_norm(&n);
        end_kernel(state);
    }
    return return_none(&a, failed);
}

PyObject *py_rms_norm(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct norm n = {0};
    (void)module;
    if (count_arguments(count, 4))
        return NULL;
    int failed = take_norm(&a, arguments[0], arguments[1], arguments[2], arguments[3], &n);
    if (!failed) {
        PyThreadState *state = begin_kernel();
        kernels->rms_norm(&n);
        end_kernel(state);
    }
    return return_none(&a, failed);
}
