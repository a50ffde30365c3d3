/* choose for Python. */

#include "py_module.h"

enum { FILTERS = 5 };

/* Takes a row of logits, which has the length of those before it. */
static int take_row(PyObject *object, Py_buffer *row, Py_ssize_t *vocabulary)
{
    if (PyObject_GetBuffer(object, row, PyBUF_ND))
        return -1;
    if (*vocabulary < 0)
        *vocabulary = row->ndim == 1 ? row->shape[0] : 0;
    if (!require_fit(row->itemsize == 4 && row->ndim == 1 && row->shape[0] == *vocabulary && *vocabulary > 0 &&
                         (uintptr_t)row->buf % 4 == 0,
                     "rows of logits"))
        return 0;
    PyBuffer_Release(row);
    return -1;
}

/* Chooses from rows that are held meanwhile. */
static int choose(struct arrays *a, PyObject *const *rows, Py_buffer *held, struct choice *choices, Py_ssize_t count)
{
    const double *filter = a->all[0].buf;
    Py_ssize_t vocabulary = -1, taken = 0;
    int failed = 0;
    for (; taken < count && !failed; taken += !failed, filter += FILTERS) {
        failed = take_row(rows[taken], &held[taken], &vocabulary);
        if (!failed)
            choices[taken] = (struct choice){held[taken].buf, (float)filter[0], (ptrdiff_t)filter[1], filter[2],
                                             (float)filter[3], filter[4]};
    }
    if (!failed && count) {
        PyThreadState *state = begin_kernel();
        failed = kernels->choose(&(struct choices){choices, a->all[1].buf, count, vocabulary});
        end_kernel(state);
    }
    while (taken)
        PyBuffer_Release(&held[--taken]);
    return failed;
}

PyObject *py_choose(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    (void)module;
    if (count_arguments(count, 3))
        return NULL;
    PyObject *rows = PySequence_Fast(arguments[0], "rows must be a sequence");
    if (!rows)
        return NULL;
    Py_ssize_t length_of_rows = PySequence_Fast_GET_SIZE(rows);
    int failed = take_array(&a, arguments[1], 8, PyBUF_ND) ||
                 take_array(&a, arguments[2], 8, PyBUF_ND | PyBUF_WRITABLE) ||
                 require_fit(has_size(&a.all[0], length_of_rows, FILTERS) && length(&a.all[1]) == length_of_rows,
                             "rows, filters and out");
    if (!failed) {
        Py_buffer *held = PyMem_New(Py_buffer, (size_t)length_of_rows + 1);
        struct choice *choices = PyMem_New(struct choice, (size_t)length_of_rows + 1);
        failed = !held || !choices || choose(&a, PySequence_Fast_ITEMS(rows), held, choices, length_of_rows);
        PyMem_Free(held);
        PyMem_Free(choices);
    }
    Py_DECREF(rows);
    return return_none(&a, failed);
}
