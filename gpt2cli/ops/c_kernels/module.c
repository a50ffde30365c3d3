/* The kernels as the Python module gpt2cli.ops.kernels; arrays come by the buffer protocol. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "kernels.h"
#include "pool.h"

enum { MOST_ARRAYS = 6 };

static const struct kernels *kernels;

struct arrays {
    Py_buffer all[MOST_ARRAYS];
    int count;
};

static void release(struct arrays *arrays)
{
    while (arrays->count)
        PyBuffer_Release(&arrays->all[--arrays->count]);
}

/* Returns 0 where the object's numbers have `size` bytes and are aligned, without gaps if the flags ask that. */
static int take(struct arrays *arrays, PyObject *object, Py_ssize_t size, int flags)
{
    Py_buffer *buffer = &arrays->all[arrays->count];
    if (PyObject_GetBuffer(object, buffer, flags))
        return -1;
    arrays->count++;
    if (buffer->itemsize != size) {
        PyErr_Format(PyExc_ValueError, "numbers of %zd bytes, not %zd", buffer->itemsize, size);
        return -1;
    }
    int aligned = !buffer->len || (uintptr_t)buffer->buf % (size_t)size == 0;
    for (int axis = 0; buffer->strides && axis < buffer->ndim; axis++)
        aligned = aligned && buffer->strides[axis] % size == 0;
    if (!aligned)
        PyErr_SetString(PyExc_ValueError, "numbers that are not aligned");
    return aligned ? 0 : -1;
}

static int expect(int holds, const char *what)
{
    if (!holds)
        PyErr_Format(PyExc_ValueError, "%s do not fit together", what);
    return holds ? 0 : -1;
}

/* Python's other threads run meanwhile, but the pool has one caller at a time. */
static PyThreadState *begin(void)
{
    PyThreadState *state = PyEval_SaveThread();
    pool_lock();
    return state;
}

static void end(PyThreadState *state)
{
    pool_unlock();
    PyEval_RestoreThread(state);
}

static PyObject *finish(struct arrays *arrays, int failed)
{
    release(arrays);
    if (failed)
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    Py_RETURN_NONE;
}

static int count_arguments(Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", given, wanted);
    return -1;
}

static Py_ssize_t length(const Py_buffer *buffer) { return buffer->len / buffer->itemsize; }

/* The product may be larger than any number, where the buffer is of another shape. */
static int holds(const Py_buffer *buffer, Py_ssize_t rows, Py_ssize_t columns)
{
    Py_ssize_t product;
    return !__builtin_mul_overflow(rows, columns, &product) && length(buffer) == product;
}

/* Fills in the product of x and out, with a weight of (depth, columns) or (columns, depth). */
static int shape_product(struct product *p, const Py_buffer *x, const Py_buffer *weight, int transposed,
                         const Py_buffer *out)
{
    if (expect(weight->ndim == 2, "the axes of the weight"))
        return -1;
    p->depth = weight->shape[transposed ? 1 : 0];
    p->columns = weight->shape[transposed ? 0 : 1];
    p->rows = p->depth ? length(x) / p->depth : 0;
    p->x = x->buf;
    p->weight = weight->buf;
    p->out = out->buf;
    return expect(p->depth > 0 && length(x) == p->rows * p->depth && holds(out, p->rows, p->columns),
                  "x, weight and out");
}

static int take_type(PyObject *number, struct product *p)
{
    long type = PyLong_AsLong(number);
    if (PyErr_Occurred())
        return -1;
    p->type = (enum stored)type;
    return expect(type >= STORED_F32 && type <= STORED_BF16, "the type and the kernels");
}

static PyObject *linear(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {0};
    (void)self;
    if (count_arguments(count, 5) || take_type(given[2], &p))
        return NULL;
    int failed = take(&a, given[0], 4, PyBUF_ND) ||
                 take(&a, given[1], p.type == STORED_F32 ? 4 : 2, PyBUF_ND) || take(&a, given[3], 4, PyBUF_ND) ||
                 take(&a, given[4], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 shape_product(&p, &a.all[0], &a.all[1], 0, &a.all[3]) ||
                 expect(length(&a.all[2]) == p.columns, "weight and bias");
    if (!failed) {
        p.bias = a.all[2].buf;
        PyThreadState *state = begin();
        failed = kernels->linear(&p);
        end(state);
    }
    return finish(&a, failed);
}

static PyObject *head(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {0};
    (void)self;
    if (count_arguments(count, 4) || take_type(given[2], &p))
        return NULL;
    int failed = take(&a, given[0], 4, PyBUF_ND) ||
                 take(&a, given[1], p.type == STORED_F32 ? 4 : 2, PyBUF_ND) ||
                 take(&a, given[3], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 shape_product(&p, &a.all[0], &a.all[1], 1, &a.all[2]);
    if (!failed) {
        PyThreadState *state = begin();
        kernels->head(&p);
        end(state);
    }
    return finish(&a, failed);
}

static Py_ssize_t padded(Py_ssize_t number, Py_ssize_t step) { return (number + step - 1) / step * step; }

static int expect_packed(const Py_buffer *panels, const Py_buffer *scales, Py_ssize_t depth, Py_ssize_t columns)
{
    Py_ssize_t all = padded(columns, PANEL);
    if (depth > MOST_INT8_DEPTH) {
        PyErr_Format(PyExc_ValueError, "int8 sums of %zd products, more than %d", depth, MOST_INT8_DEPTH);
        return -1;
    }
    return expect(depth > 0 && holds(panels, padded(depth, 4), all) && length(scales) == all,
                  "panels and scales");
}

/* Takes an array of `size` floats, or NULL for None. */
static int take_or_none(struct arrays *arrays, PyObject *object, Py_ssize_t size, const float **to)
{
    if (object == Py_None)
        return 0;
    if (take(arrays, object, 4, PyBUF_ND))
        return -1;
    const Py_buffer *buffer = &arrays->all[arrays->count - 1];
    *to = buffer->buf;
    return expect(length(buffer) == size, "the columns and what there is for each");
}

static PyObject *linear_int8(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {0};
    (void)self;
    if (count_arguments(count, 6))
        return NULL;
    int failed = take(&a, given[0], 4, PyBUF_ND) || take(&a, given[1], 1, PyBUF_ND) ||
                 take(&a, given[2], 4, PyBUF_ND) || take(&a, given[5], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 expect(a.all[0].ndim > 0 && a.all[3].ndim > 0, "x and out");
    if (!failed) {
        p.depth = a.all[0].shape[a.all[0].ndim - 1];
        p.columns = a.all[3].shape[a.all[3].ndim - 1];
        p.rows = p.depth ? length(&a.all[0]) / p.depth : 0;
        p.x = a.all[0].buf, p.weight = a.all[1].buf, p.scales = a.all[2].buf, p.out = a.all[3].buf;
        failed = expect_packed(&a.all[1], &a.all[2], p.depth, p.columns) ||
                 expect(holds(&a.all[3], p.rows, p.columns), "x and out") ||
                 take_or_none(&a, given[3], padded(p.columns, PANEL), &p.totals) ||
                 take_or_none(&a, given[4], p.columns, &p.bias);
    }
    if (!failed) {
        PyThreadState *state = begin();
        failed = kernels->linear_int8(&p);
        end(state);
    }
    return finish(&a, failed);
}

static PyObject *pack(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    (void)self;
    if (count_arguments(count, 4))
        return NULL;
    int failed = take(&a, given[0], 4, PyBUF_STRIDES) || take(&a, given[1], 1, PyBUF_ND | PyBUF_WRITABLE) ||
                 take(&a, given[2], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 take(&a, given[3], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 expect(a.all[0].ndim == 2, "the axes of the weight") ||
                 expect_packed(&a.all[1], &a.all[2], a.all[0].shape[0], a.all[0].shape[1]) ||
                 expect(length(&a.all[3]) == length(&a.all[2]), "scales and totals");
    if (!failed) {
        const Py_buffer *weight = &a.all[0];
        PyThreadState *state = begin();
        kernels_pack(weight->buf, weight->strides[0] / 4, weight->strides[1] / 4, weight->shape[0],
                     weight->shape[1], a.all[1].buf, a.all[2].buf, a.all[3].buf);
        end(state);
    }
    return finish(&a, failed);
}

static void take_strides(ptrdiff_t to[3], const Py_buffer *from)
{
    for (int axis = 0; axis < 3; axis++)
        to[axis] = from->strides[axis] / 4;
}

static int shape_attention(struct attention_shape *s, const Py_buffer *all)
{
    for (int i = 0; i < 4; i++)
        if (expect(all[i].ndim == 4 && (all[i].strides[3] == 4 || all[i].shape[3] < 2),
                   "the axes of queries, keys, values and out"))
            return -1;
    const Py_ssize_t *q = all[0].shape, *k = all[1].shape;
    s->batch = q[0], s->heads = q[1], s->time = q[2], s->seen = k[2], s->width = q[3];
    int fits = k[0] == q[0] && k[1] == q[1] && k[3] == q[3] && k[2] >= q[2];
    for (int axis = 0; axis < 4; axis++)
        fits = fits && all[2].shape[axis] == k[axis] && all[3].shape[axis] == q[axis] &&
               (all[2].strides[axis] == all[1].strides[axis] || k[axis] < 2);
    take_strides(s->query_stride, &all[0]);
    take_strides(s->key_stride, &all[1]);
    take_strides(s->out_stride, &all[3]);
    return expect(fits, "queries, keys, values and out");
}

static PyObject *attention(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct attention_shape shape;
    (void)self;
    if (count_arguments(count, 5))
        return NULL;
    float scale = (float)PyFloat_AsDouble(given[3]);
    int failed = PyErr_Occurred() || take(&a, given[0], 4, PyBUF_STRIDES) ||
                 take(&a, given[1], 4, PyBUF_STRIDES) || take(&a, given[2], 4, PyBUF_STRIDES) ||
                 take(&a, given[4], 4, PyBUF_STRIDES | PyBUF_WRITABLE) || shape_attention(&shape, a.all);
    if (!failed) {
        PyThreadState *state = begin();
        failed = kernels->attention(a.all[0].buf, a.all[1].buf, a.all[2].buf, scale, a.all[3].buf, &shape);
        end(state);
    }
    return finish(&a, failed);
}

static PyObject *layer_norm(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    (void)self;
    if (count_arguments(count, 5))
        return NULL;
    float epsilon = (float)PyFloat_AsDouble(given[3]);
    int failed = PyErr_Occurred() || take(&a, given[0], 4, PyBUF_ND) || take(&a, given[1], 4, PyBUF_ND) ||
                 take(&a, given[2], 4, PyBUF_ND) || take(&a, given[4], 4, PyBUF_ND | PyBUF_WRITABLE);
    if (!failed) {
        Py_ssize_t width = length(&a.all[1]), all = length(&a.all[0]);
        failed = expect(width > 0 && length(&a.all[2]) == width && all % width == 0 && length(&a.all[3]) == all,
                        "x, weight, bias and out");
        if (!failed) {
            PyThreadState *state = begin();
            kernels->layer_norm(a.all[0].buf, a.all[1].buf, a.all[2].buf, epsilon, a.all[3].buf, all / width, width);
            end(state);
        }
    }
    return finish(&a, failed);
}

static PyObject *gelu_tanh(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    (void)self;
    if (count_arguments(count, 2))
        return NULL;
    int failed = take(&a, given[0], 4, PyBUF_ND) || take(&a, given[1], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 expect(a.all[0].len == a.all[1].len, "x and out");
    if (!failed) {
        PyThreadState *state = begin();
        kernels->gelu_tanh(a.all[0].buf, a.all[1].buf, length(&a.all[0]));
        end(state);
    }
    return finish(&a, failed);
}

static PyObject *token_statistics(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct statistics s = {0};
    (void)self;
    if (count_arguments(count, 4))
        return NULL;
    int failed = take(&a, given[0], 4, PyBUF_ND) || take(&a, given[1], 8, PyBUF_ND) ||
                 take(&a, given[3], 8, PyBUF_ND | PyBUF_WRITABLE) || expect(a.all[0].ndim == 2, "the axes of logits");
    if (!failed) {
        s.logits = a.all[0].buf, s.targets = a.all[1].buf, s.out = a.all[2].buf;
        s.rows = a.all[0].shape[0], s.count = a.all[0].shape[1];
        failed = expect(length(&a.all[1]) == s.rows && holds(&a.all[2], 4, s.rows), "logits, targets and out") ||
                 take_or_none(&a, given[2], s.count, &s.word_starts);
        for (Py_ssize_t row = 0; !failed && row < s.rows; row++)
            failed = expect(s.targets[row] >= 0 && s.targets[row] < s.count, "targets and the vocabulary");
    }
    if (!failed) {
        PyThreadState *state = begin();
        kernels->token_statistics(&s);
        end(state);
    }
    return finish(&a, failed);
}

static PyObject *set_threads(PyObject *self, PyObject *number)
{
    long wanted = PyLong_AsLong(number);
    (void)self;
    if (wanted == -1 && PyErr_Occurred())
        return NULL;
    PyThreadState *state = begin();
    int count = pool_set_threads(wanted < 1 ? 1 : wanted < MOST_THREADS ? (int)wanted : MOST_THREADS);
    end(state);
    return PyLong_FromLong(count);
}

static PyObject *threads(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    PyThreadState *state = begin();
    int count = pool_threads();
    end(state);
    return PyLong_FromLong(count);
}

static PyObject *use(PyObject *self, PyObject *name)
{
    const char *wanted = name == Py_None ? NULL : PyUnicode_AsUTF8(name);
    (void)self;
    if (PyErr_Occurred())
        return NULL;
    const struct kernels *found = kernels_named(wanted);
    if (!found)
        return PyErr_Format(PyExc_ValueError, "this processor has no %s", wanted);
    PyThreadState *state = begin();
    kernels = found;
    end(state);
    return PyUnicode_FromString(found->name);
}

#define FAST(name, arguments)                                                                             \
    {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, #name "(" arguments ")"}

static PyMethodDef methods[] = {
    FAST(linear, "x, weight, type, bias, out"),
    FAST(head, "x, table, type, out"),
    FAST(linear_int8, "x, panels, scales, totals, bias, out"),
    FAST(pack, "weight, panels, scales, totals"),
    FAST(attention, "queries, keys, values, scale, out"),
    FAST(layer_norm, "x, weight, bias, epsilon, out"),
    FAST(gelu_tanh, "x, out"),
    FAST(token_statistics, "logits, targets, word_starts, out"),
    {"set_threads", set_threads, METH_O, "set_threads(count) -> count"},
    {"threads", threads, METH_NOARGS, "threads() -> count"},
    {"use", use, METH_O, "use(name) -> name"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "kernels", .m_doc = "Compiled arithmetic for GPT-2.", .m_size = -1,
    .m_methods = methods,
};

/* Activations come and go in the same sizes. Where their memory goes back to the system, a tenth of the
   time for a long prompt is spent on getting its pages again. */
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
    if (module && PyModule_AddIntMacro(module, PANEL)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
