/* The kernels as the Python module gpt2cli.ops.kernels. */

#include "py_arguments.h"

#include <string.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "kernels.h"
#include "pool.h"

static const struct kernels *kernels;

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

/* Takes what is done to the sums of a product. */
static int take_finish(struct arrays *arrays, PyObject *activation, PyObject *residual, struct product *p)
{
    long number = PyLong_AsLong(activation);
    if (PyErr_Occurred())
        return -1;
    p->activation = (enum activation)number;
    return expect(number >= NO_ACTIVATION && number <= GELU_TANH, "the activation and the kernels") ||
           take_or_none(arrays, residual, p->rows * p->columns, &p->residual);
}

static PyObject *linear(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {0};
    (void)self;
    if (count_arguments(count, 7) || take_type(given[2], &p))
        return NULL;
    int failed = take(&a, given[0], 4, PyBUF_ND) ||
                 take(&a, given[1], p.type == STORED_F32 ? 4 : 2, PyBUF_ND) || take(&a, given[3], 4, PyBUF_ND) ||
                 take(&a, given[6], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 shape_product(&p, &a.all[0], &a.all[1], 0, &a.all[3]) ||
                 expect(length(&a.all[2]) == p.columns, "weight and bias") ||
                 take_finish(&a, given[4], given[5], &p);
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

static PyObject *linear_int8(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct product p = {0};
    (void)self;
    if (count_arguments(count, 8))
        return NULL;
    int failed = take(&a, given[0], 4, PyBUF_ND) || take(&a, given[1], 1, PyBUF_ND) ||
                 take(&a, given[2], 4, PyBUF_ND) || take(&a, given[7], 4, PyBUF_ND | PyBUF_WRITABLE) ||
                 expect(a.all[0].ndim > 0 && a.all[3].ndim > 0, "x and out");
    if (!failed) {
        p.depth = a.all[0].shape[a.all[0].ndim - 1];
        p.columns = a.all[3].shape[a.all[3].ndim - 1];
        p.rows = p.depth ? length(&a.all[0]) / p.depth : 0;
        p.x = a.all[0].buf, p.weight = a.all[1].buf, p.scales = a.all[2].buf, p.out = a.all[3].buf;
        failed = expect_packed(&a.all[1], &a.all[2], p.depth, p.columns) ||
                 expect(holds(&a.all[3], p.rows, p.columns), "x and out") ||
                 take_or_none(&a, given[3], padded(p.columns, PANEL), &p.totals) ||
                 take_or_none(&a, given[4], p.columns, &p.bias) || take_finish(&a, given[5], given[6], &p);
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

/* The shape of (batch, time, 3 * heads * width), whose strides queries have, and keys and values too unless they go
   into a cache. */
static int shape_qkv(struct attention_shape *s, const Py_buffer *qkv, Py_ssize_t heads)
{
    if (expect(qkv->ndim == 3 && heads > 0 && heads <= qkv->shape[2] && qkv->shape[2] % (3 * heads) == 0, "qkv and heads"))
        return -1;
    s->batch = qkv->shape[0], s->heads = heads, s->time = s->seen = qkv->shape[1], s->width = qkv->shape[2] / 3 / heads;
    ptrdiff_t strides[] = {s->time * qkv->shape[2], s->width, qkv->shape[2]};
    memcpy(s->query_stride, strides, sizeof strides);
    memcpy(s->key_stride, strides, sizeof strides);
    return 0;
}

/* Takes keys and values (batch, heads, positions, width) of the cache, which hold `past` positions. */
static int take_cache(struct arrays *arrays, PyObject *const *given, struct attention_shape *s, struct appended *a)
{
    const Py_buffer *keys = &arrays->all[arrays->count], *values = keys + 1;
    if (take(arrays, given[0], 4, PyBUF_STRIDES | PyBUF_WRITABLE) ||
        take(arrays, given[1], 4, PyBUF_STRIDES | PyBUF_WRITABLE) ||
        expect(keys->ndim == 4 && values->ndim == 4, "the axes of keys and values"))
        return -1;
    int fits = keys->shape[0] == s->batch && keys->shape[1] == s->heads && keys->shape[3] == s->width &&
               keys->shape[2] - s->time >= a->past && (keys->strides[3] == 4 || s->width < 2);
    for (int axis = 0; axis < 4; axis++)
        fits = fits && values->shape[axis] == keys->shape[axis] &&
               (values->strides[axis] == keys->strides[axis] || keys->shape[axis] < 2);
    for (int axis = 0; axis < 3; axis++)
        a->stride[axis] = s->key_stride[axis] = keys->strides[axis] / 4;
    a->keys = keys->buf, a->values = values->buf;
    s->seen += a->past;
    return expect(fits, "qkv, keys and values");
}

/* Leaves out the queries before position `first`. */
static int take_attended(struct arrays *arrays, PyObject *object, struct attention_shape *s, Py_ssize_t first)
{
    const Py_buffer *out = &arrays->all[arrays->count];
    Py_ssize_t row = s->heads * s->width;
    if (take(arrays, object, 4, PyBUF_ND | PyBUF_WRITABLE) ||
        expect(first >= 0 && first <= s->time, "qkv and the first position"))
        return -1;
    s->time -= first;
    ptrdiff_t strides[] = {s->time * row, s->width, row};
    memcpy(s->out_stride, strides, sizeof strides);
    return expect(holds(out, s->batch * s->time, row), "qkv and out");
}

static PyObject *attention(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct attention_shape s;
    struct appended c = {0};
    (void)self;
    if (count_arguments(count, 8))
        return NULL;
    Py_ssize_t heads = PyLong_AsSsize_t(given[1]), first = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(given[5]);
    c.past = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(given[4]);
    float scale = PyErr_Occurred() ? 0.0f : (float)PyFloat_AsDouble(given[6]);
    int is_held = given[2] != Py_None;
    int failed = PyErr_Occurred() || take(&a, given[0], 4, PyBUF_ND) || shape_qkv(&s, &a.all[0], heads) ||
                 expect(c.past >= 0 && (is_held || !c.past), "the past and the cache") ||
                 (is_held && take_cache(&a, given + 2, &s, &c)) || take_attended(&a, given[7], &s, first);
    if (!failed) {
        ptrdiff_t row = s.heads * s.width;
        c.qkv = a.all[0].buf, c.batch = s.batch, c.heads = s.heads, c.width = s.width, c.time = s.time + first;
        const float *keys = is_held ? c.keys : c.qkv + row, *values = is_held ? c.values : c.qkv + 2 * row;
        PyThreadState *state = begin();
        if (is_held)
            kernels_append(&c);
        failed = kernels->attention(c.qkv + first * 3 * row, keys, values, scale, a.all[a.count - 1].buf, &s);
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
    FAST(linear, "x, weight, type, bias, gelu, residual, out"),
    FAST(head, "x, table, type, out"),
    FAST(linear_int8, "x, panels, scales, totals, bias, gelu, residual, out"),
    FAST(pack, "weight, panels, scales, totals"),
    FAST(attention, "qkv, heads, keys, values, past, first, scale, out"),
    FAST(layer_norm, "x, weight, bias, epsilon, out"),
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
