/* linear_int8 and pack_int8 for Python. */

#include "py_module.h"

static Py_ssize_t pad(Py_ssize_t number, Py_ssize_t to) { return (number + to - 1) / to * to; }

static int require_packed(const Py_buffer *panels, const Py_buffer *scales, Py_ssize_t depth, Py_ssize_t columns)
{
    Py_ssize_t padded_columns = pad(columns, INT8_PANEL_COLUMNS);
    if (depth > INT8_MAX_DEPTH) {
        PyErr_Format(PyExc_ValueError, "int8 sums of %zd products, more than %d", depth, INT8_MAX_DEPTH);
        return -1;
    }
    return require_fit(depth > 0 && has_size(panels, pad(depth, INT8_QUAD), padded_columns) &&
                           length(scales) == padded_columns,
                       "panels and scales");
}

PyObject *py_linear_int8(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {0};
    (void)module;
    if (count_arguments(count, 9))
        return NULL;
    int failed = take_array(&a, arguments[0], 4, PyBUF_ND) || take_array(&a, arguments[1], 1, PyBUF_ND) ||
                 take_array(&a, arguments[2], 4, PyBUF_ND) ||
                 take_array(&a, arguments[8], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 require_fit(a.all[0].ndim > 0 && a.all[3].ndim > 0, "x and out");
    if (!failed) {
        p.depth = a.all[0].shape[a.all[0].ndim - 1];
        p.columns = a.all[3].shape[a.all[3].ndim - 1];
        p.rows = p.depth ? length(&a.all[0]) / p.depth : 0;
        p.x = a.all[0].buf, p.weight = a.all[1].buf, p.scales = a.all[2].buf, p.out = a.all[3].buf;
        failed = require_packed(&a.all[1], &a.all[2], p.depth, p.columns) ||
                 require_fit(has_size(&a.all[3], p.rows, p.columns), "x and out") ||
                 take_columns(&a, arguments[3], pad(p.columns, INT8_PANEL_COLUMNS), &p.totals) ||
                 take_columns(&a, arguments[4], p.columns, &p.bias) ||
                 take_epilogue(&a, arguments + 5, &p);
    }
    if (!failed) {
        PyThreadState *state = begin_kernel();
        failed = kernels->linear_int8(&p);
        end_kernel(state);
    }
    return return_none(&a, failed);
}

PyObject *py_pack_int8(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    (void)module;
    if (count_arguments(count, 4))
        return NULL;
    int failed = take_array(&a, arguments[0], 4, PyBUF_STRIDES) ||
                 take_array(&a, arguments[1], 1, PyBUF_ND | PyBUF_WRITABLE) ||
                 take_array(&a, arguments[2], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 take_array(&a, arguments[3], 4, PyBUF_ND | PyBUF_WRITABLE) || require_axes(&a.all[0], 2, "weight") ||
                 require_packed(&a.all[1], &a.all[2], a.all[0].shape[0], a.all[0].shape[1]) ||
                 require_fit(length(&a.all[3]) == length(&a.all[2]), "scales and totals");
    if (!failed) {
        const Py_buffer *weight = &a.all[0];
        PyThreadState *state = begin_kernel();
        pack_int8(weight->buf, weight->strides[0] / 4, weight->strides[1] / 4, weight->shape[0], weight->shape[1],
                  a.all[1].buf, a.all[2].buf, a.all[3].buf);
        end_kernel(state);
    }
    return return_none(&a, failed);
}
