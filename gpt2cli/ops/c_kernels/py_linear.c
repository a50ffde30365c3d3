/* linear and lm_head for Python. */

#include "py_module.h"

/* Fills in x, a weight of (depth, columns), or of (columns, depth) if transposed, and out. */
static int shape_product(struct product *p, const Py_buffer *x, const Py_buffer *weight, int transposed,
                         const Py_buffer *out)
{
    if (require_axes(weight, 2, "weight"))
        return -1;
    p->depth = weight->shape[transposed ? 1 : 0];
    p->columns = weight->shape[transposed ? 0 : 1];
    p->rows = p->depth ? length(x) / p->depth : 0;
    p->x = x->buf;
    p->weight = weight->buf;
    p->out = out->buf;
    return require_fit(p->depth > 0 && length(x) == p->rows * p->depth && has_size(out, p->rows, p->columns),
                       "x, weight and out");
}

static int take_dtype(PyObject *code, struct product *p)
{
    long dtype = PyLong_AsLong(code);
    if (PyErr_Occurred())
        return -1;
    p->dtype = (enum dtype)dtype;
    if (dtype >= DTYPE_F32 && dtype <= DTYPE_BF16)
        return 0;
    PyErr_Format(PyExc_ValueError, "unknown dtype %ld", dtype);
    return -1;
}

PyObject *py_linear(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {0};
    (void)module;
    if (count_arguments(count, 8) || take_dtype(arguments[2], &p))
        return NULL;
    int failed = take_array(&a, arguments[0], 4, PyBUF_ND) ||
                 take_array(&a, arguments[1], p.dtype == DTYPE_F32 ? 4 : 2, PyBUF_ND) ||
                 take_array(&a, arguments[7], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 shape_product(&p, &a.all[0], &a.all[1], 0, &a.all[2]) ||
                 take_columns(&a, arguments[3], p.columns, &p.bias) || take_epilogue(&a, arguments + 4, &p);
    if (!failed) {
        PyThreadState *state = begin_kernel();
        failed = kernels->linear(&p);
        end_kernel(state);
    }
    return return_none(&a, failed);
}

PyObject *py_lm_head(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {0};
    (void)module;
    if (count_arguments(count, 4) || take_dtype(arguments[2], &p))
        return NULL;
    int failed = take_array(&a, arguments[0], 4, PyBUF_ND) ||
                 take_array(&a, arguments[1], p.dtype == DTYPE_F32 ? 4 : 2, PyBUF_ND) ||
                 take_array(&a, arguments[3], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 shape_product(&p, &a.all[0], &a.all[1], 1, &a.all[2]);
    if (!failed) {
        PyThreadState *state = begin_kernel();
        kernels->lm_head(&p);
        end_kernel(state);
    }
    return return_none(&a, failed);
}
