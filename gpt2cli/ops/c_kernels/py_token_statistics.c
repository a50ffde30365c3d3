/* token_statistics for Python. */

#include "py_module.h"

PyObject *py_token_statistics(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct statistics s = {0};
    (void)module;
    if (count_arguments(count, 4))
        return NULL;
    int failed = take_array(&a, arguments[0], 4, PyBUF_ND) || take_array(&a, arguments[1], 8, PyBUF_ND) ||
                 take_array(&a, arguments[3], 8, PyBUF_ND | PyBUF_WRITABLE) || require_axes(&a.all[0], 2, "logits");
    if (!failed) {
        s.logits = a.all[0].buf, s.targets = a.all[1].buf, s.out = a.all[2].buf;
        s.rows = a.all[0].shape[0], s.vocabulary = a.all[0].shape[1];
        failed = require_fit(length(&a.all[1]) == s.rows && has_size(&a.all[2], 4, s.rows),
                             "logits, targets and out") ||
                 take_columns(&a, arguments[2], s.vocabulary, &s.word_starts);
        for (Py_ssize_t row = 0; !failed && row < s.rows; row++)
            failed = require_fit(s.targets[row] >= 0 && s.targets[row] < s.vocabulary, "targets and the vocabulary");
    }
    if (!failed) {
        PyThreadState *state = begin_kernel();
        kernels->token_statistics(&s);
        end_kernel(state);
    }
    return return_none(&a, failed);
}
