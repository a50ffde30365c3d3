/* rotate for Python. */

#include "py_module.h"

PyObject *py_rotate(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct rotation r = {0};
    const Py_buffer *queries = &a.all[0], *keys = &a.all[1], *cosines = &a.all[2], *sines = &a.all[3];
    (void)module;
    if (count_arguments(count, 5))
        return NULL;
    r.neighbours = PyObject_IsTrue(arguments[4]);
    int failed = r.neighbours < 0 ||
                 take_heads(&a, arguments[0], PyBUF_WRITABLE, 1, r.parts[0].stride, "queries") ||
                 take_heads(&a, arguments[1], PyBUF_WRITABLE, 1, r.parts[1].stride, "keys") ||
                 take_array(&a, arguments[2], 4, PyBUF_ND) || take_array(&a, arguments[3], 4, PyBUF_ND) ||
                 require_axes(cosines, 2, "cosines") || require_axes(sines, 2, "sines");
    if (!failed) {
        r.batch = queries->shape[0], r.time = queries->shape[1], r.pairs = cosines->shape[1];
        r.parts[0].numbers = queries->buf, r.parts[0].heads = queries->shape[2];
        r.parts[1].numbers = keys->buf, r.parts[1].heads = keys->shape[2];
        r.cosines = cosines->buf, r.sines = sines->buf;
        failed = require_fit(keys->shape[0] == r.batch && keys->shape[1] == r.time &&
                                 keys->shape[3] == queries->shape[3],
                             "queries and keys") ||
                 require_fit(cosines->shape[0] == r.time && sines->shape[0] == r.time && sines->shape[1] == r.pairs &&
                                 r.pairs <= queries->shape[3] / 2,
                             "queries, cosines and sines");
    }
    if (!failed) {
        PyThreadState *state = begin_kernel();
        rotate(&r);
        end_kernel(state);
    }
    return return_none(&a, failed);
}
