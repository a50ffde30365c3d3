/* linear, its packed weights, and lm_head for Python. */

#include "py_module.h"

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

/* Takes x, a weight, which may have any strides, and out. */
static int take_arrays(struct arrays *a, PyObject *const *arguments, PyObject *out, struct product *p)
{
    const Py_buffer *x = &a->all[0], *weight = &a->all[1];
    if (take_dtype(arguments[2], p) || take_array(a, arguments[0], 4, PyBUF_ND) ||
        take_array(a, arguments[1], p->dtype == DTYPE_F32 ? 4 : 2, PyBUF_STRIDES) ||
        take_array(a, out, 4, PyBUF_ND | PyBUF_WRITABLE) || require_axes(weight, 2, "weight"))
        return -1;
    p->x = x->buf, p->weight = weight->buf, p->out = a->all[2].buf;
    return 0;
}

static int shape_product(struct product *p, const struct arrays *a, Py_ssize_t depth, Py_ssize_t columns)
{
    Py_ssize_t size = length(&a->all[0]);
    p->depth = depth, p->columns = columns, p->rows = depth ? size / depth : 0;
    return require_fit(depth > 0 && size == p->rows * depth && has_size(&a->all[2], p->rows, columns),
                       "x, weight and out");
}

/* Returns whether numbers along the `inner` axis lie side by side, and the others behind them, without gaps. */
static int lies_along(const Py_buffer *weight, int inner)
{
    Py_ssize_t count = weight->shape[inner];
    return (count < 2 || weight->strides[inner] == weight->itemsize) &&
           (weight->shape[1 - inner] < 2 || weight->strides[1 - inner] == count * weight->itemsize);
}

PyObject *py_linear(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {0};
    const Py_buffer *weight = &a.all[1];
    (void)module;
    if (count_arguments(count, 8))
        return NULL;
    int failed = take_arrays(&a, arguments, arguments[7], &p) ||
                 shape_product(&p, &a, weight->shape[0], weight->shape[1]) ||
                 require_fit(lies_along(weight, 0) || lies_along(weight, 1), "the strides of weight") ||
                 take_columns(&a, arguments[3], p.columns, &p.bias) || take_epilogue(&a, arguments + 4, &p);
    if (!failed) {
        p.transposed = lies_along(weight, 0);
        PyThreadState *state = begin_kernel();
        failed = kernels->linear(&p);
        end_kernel(state);
    }
    return return_none(&a, failed);
}

PyObject *py_lm_head(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {.transposed = 1};
    const Py_buffer *table = &a.all[1];
    (void)module;
    if (count_arguments(count, 4))
        return NULL;
    int failed = take_arrays(&a, arguments, arguments[3], &p) ||
                 shape_product(&p, &a, table->shape[1], table->shape[0]) ||
                 require_fit(lies_along(table, 1), "the strides of table");
    if (!failed) {
        PyThreadState *state = begin_kernel();
        failed = kernels->lm_head(&p);
        end_kernel(state);
    }
    return return_none(&a, failed);
}

/* Returns whether panels have the shape (panels, depth, panel_columns) for so many columns. */
static int are_panels(const Py_buffer *panels, Py_ssize_t depth, Py_ssize_t columns)
{
    Py_ssize_t width = kernels->panel_columns;
    return depth > 0 && panels->shape[0] == (columns + width - 1) / width && panels->shape[1] == depth &&
           panels->shape[2] == width;
}

PyObject *py_pack(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    const Py_buffer *weight = &a.all[0], *panels = &a.all[1];
    (void)module;
    if (count_arguments(count, 2))
        return NULL;
    int failed = take_array(&a, arguments[0], 4, PyBUF_ND) ||
                 take_array(&a, arguments[1], 4, PyBUF_ND | PyBUF_WRITABLE) || require_axes(weight, 2, "weight") ||
                 require_axes(panels, 3, "panels") ||
                 require_fit(are_panels(panels, weight->shape[0], weight->shape[1]), "weight and panels");
    if (!failed) {
        struct packing packing = {weight->buf, panels->buf, weight->shape[0], weight->shape[1]};
        PyThreadState *state = begin_kernel();
        kernels->pack(&packing);
        end_kernel(state);
    }
    return return_none(&a, failed);
}

PyObject *py_linear_packed(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {.is_packed = 1};
    const Py_buffer *panels = &a.all[1], *out = &a.all[2];
    (void)module;
    if (count_arguments(count, 7))
        return NULL;
    int failed = take_array(&a, arguments[0], 4, PyBUF_ND) || take_array(&a, arguments[1], 4, PyBUF_ND) ||
                 take_array(&a, arguments[6], 4, PyBUF_ND | PyBUF_WRITABLE) || require_axes(panels, 3, "panels") ||
                 require_fit(out->ndim > 0, "x and out");
    if (!failed) {
        Py_ssize_t depth = panels->shape[1], columns = out->shape[out->ndim - 1];
        p.x = a.all[0].buf, p.weight = panels->buf, p.out = out->buf;
        failed = require_fit(are_panels(panels, depth, columns), "panels and out") ||
                 shape_product(&p, &a, depth, columns) || take_columns(&a, arguments[2], columns, &p.bias) ||
                 take_epilogue(&a, arguments + 3, &p);
    }
    if (!failed) {
        PyThreadState *state = begin_kernel();
        failed = kernels->linear(&p);
        end_kernel(state);
    }
    return return_none(&a, failed);
}
