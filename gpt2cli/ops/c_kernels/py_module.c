/* The Python module gpt2cli.ops.kernels: its table of functions, and those that are about the module as a whole. */

#include "py_module.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "pool.h"

const struct kernels *kernels;

PyThreadState *begin_kernel(void)
{
    PyThreadState *state = PyEval_SaveThread();
    pool_lock();
    return state;
}

void end_kernel(PyThreadState *state)
{
    pool_unlock();
    PyEval_RestoreThread(state);
}

static PyObject *py_set_threads(PyObject *module, PyObject *number)
{
    long wanted = PyLong_AsLong(number);
    (void)module;
    if (wanted == -1 && PyErr_Occurred())
        return NULL;
    PyThreadState *state = begin_kernel();
    int count = pool_set_threads(wanted < 1 ? 1 : wanted < MAX_THREADS ? (int)wanted : MAX_THREADS);
    end_kernel(state);
    return PyLong_FromLong(count);
}

static PyObject *py_threads(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyThreadState *state = begin_kernel();
    int count = pool_threads();
    end_kernel(state);
    return PyLong_FromLong(count);
}

static PyObject *py_use(PyObject *module, PyObject *name)
{
    const char *wanted = name == Py_None ? NULL : PyUnicode_AsUTF8(name);
    (void)module;
    if (PyErr_Occurred())
        return NULL;
    const struct kernels *found = kernels_named(wanted);
    if (!found)
        return PyErr_Format(PyExc_ValueError, "this processor cannot run the kernels '%s'", wanted);
    PyThreadState *state = begin_kernel();
    kernels = found;
    end_kernel(state);
    return PyUnicode_FromString(found->name);
}

static PyObject *py_panel_columns(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromSsize_t(kernels->panel_columns);
}

#define FAST(name, arguments)                                                                             \
    {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, #name "(" arguments ")"}

static PyMethodDef methods[] = {
    FAST(linear, "x, weight, dtype, bias, activation, gate, residual, out"),
    FAST(linear_packed, "x, panels, bias, activation, gate, residual, out"),
    FAST(pack, "weight, panels"),
    FAST(lm_head, "x, table, dtype, out"),
    FAST(linear_int8, "x, panels, scales, totals, bias, activation, gate, residual, out"),
    FAST(pack_int8, "weight, panels, scales, totals"),
    FAST(attention, "queries, keys, values, cached_keys, cached_values, spans, first, scale, window, out"),
    FAST(rotate, "queries, keys, cosines, sines, neighbours"),
    FAST(layer_norm, "x, weight, bias, epsilon, out"),
    FAST(rms_norm, "x, weight, epsilon, out"),
    FAST(checksum, "bytes"),
    FAST(watch_mapping, "mapped, message"),
    FAST(token_statistics, "logits, targets, word_starts, out"),
    FAST(choose, "rows, filters, out"),
    {"set_threads", py_set_threads, METH_O, "set_threads(count) -> count"},
    {"threads", py_threads, METH_NOARGS, "threads() -> count"},
    {"panel_columns", py_panel_columns, METH_NOARGS, "panel_columns() -> columns"},
    {"use", py_use, METH_O, "use(name) -> name"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "kernels", .m_doc = "A decoder's operations in compiled C.", .m_size = -1,
    .m_methods = methods,
};

/* Activations come and go in the same sizes. If free() returned their memory to the system, a long prompt would spend
   a tenth of its time on getting the pages again. */
static void keep_freed_memory(void)
{
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 128 << 20);
#endif
}

PyMODINIT_FUNC PyInit_kernels(void)
{
    keep_freed_memory();
    kernels = kernels_named(NULL);
    PyObject *module = PyModule_Create(&definition);
    if (module && (PyModule_AddIntMacro(module, INT8_PANEL_COLUMNS) || PyModule_AddIntMacro(module, INT8_QUAD) ||
                   PyModule_AddIntMacro(module, INT8_MAX_DEPTH))) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
