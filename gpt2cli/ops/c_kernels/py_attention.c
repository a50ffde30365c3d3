/* attention for Python, which also appends the new keys and values to the cache. */

#include <string.h>

#include "py_module.h"

/* Takes the shape from qkv (batch, time, 3 * heads * width). Its strides are those of queries, and of keys and values
   unless these go into a cache. */
static int shape_qkv(struct attention_shape *s, const Py_buffer *qkv, Py_ssize_t heads)
{
    if (require_fit(qkv->ndim == 3 && heads > 0 && heads <= qkv->shape[2] && qkv->shape[2] % (3 * heads) == 0,
                    "qkv and heads"))
        return -1;
    s->batch = qkv->shape[0], s->heads = heads, s->time = s->seen = qkv->shape[1], s->width = qkv->shape[2] / 3 / heads;
    ptrdiff_t strides[] = {s->time * qkv->shape[2], s->width, qkv->shape[2]};
    memcpy(s->query_stride, strides, sizeof strides);
    memcpy(s->key_stride, strides, sizeof strides);
    return 0;
}

/* Takes keys and values (batch, heads, positions, width) of the cache, `past` positions of which are filled. */
static int take_cache(struct arrays *arrays, PyObject *const *arguments, struct attention_shape *s, struct kv_update *u)
{
    const Py_buffer *keys = &arrays->all[arrays->count], *values = keys + 1;
    if (take_array(arrays, arguments[0], 4, PyBUF_STRIDES | PyBUF_WRITABLE) ||
        take_array(arrays, arguments[1], 4, PyBUF_STRIDES | PyBUF_WRITABLE) || require_axes(keys, 4, "keys") ||
        require_axes(values, 4, "values"))
        return -1;
    int fit = keys->shape[0] == s->batch && keys->shape[1] == s->heads && keys->shape[3] == s->width &&
              keys->shape[2] - s->time >= u->past && (keys->strides[3] == 4 || s->width < 2);
    for (int axis = 0; axis < 4; axis++)
        fit = fit && values->shape[axis] == keys->shape[axis] &&
              (values->strides[axis] == keys->strides[axis] || keys->shape[axis] < 2);
    for (int axis = 0; axis < 3; axis++)
        u->stride[axis] = s->key_stride[axis] = keys->strides[axis] / 4;
    u->keys = keys->buf, u->values = values->buf;
    s->seen += u->past;
    return require_fit(fit, "qkv, keys and values");
}

/* Takes out (batch, time - first, heads * width), and leaves out the queries before position `first`. */
static int take_out(struct arrays *arrays, PyObject *object, struct attention_shape *s, Py_ssize_t first)
{
    const Py_buffer *out = &arrays->all[arrays->count];
    Py_ssize_t row = s->heads * s->width;
    if (take_array(arrays, object, 4, PyBUF_ND | PyBUF_WRITABLE) ||
        require_fit(first >= 0 && first <= s->time, "qkv and first"))
        return -1;
    s->time -= first;
    ptrdiff_t strides[] = {s->time * row, s->width, row};
    memcpy(s->out_stride, strides, sizeof strides);
    return require_fit(has_size(out, s->batch * s->time, row), "qkv and out");
}

PyObject *py_attention(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct attention_shape s;
    struct kv_update u = {0};
    (void)module;
    if (count_arguments(count, 8))
        return NULL;
    Py_ssize_t heads = PyLong_AsSsize_t(arguments[1]), first = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(arguments[5]);
    u.past = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(arguments[4]);
    float scale = PyErr_Occurred() ? 0.0f : (float)PyFloat_AsDouble(arguments[6]);
    int cached = arguments[2] != Py_None;
    int failed = PyErr_Occurred() || take_array(&a, arguments[0], 4, PyBUF_ND) || shape_qkv(&s, &a.all[0], heads) ||
                 require_fit(u.past >= 0 && (cached || !u.past), "past and the cache") ||
                 (cached && take_cache(&a, arguments + 2, &s, &u)) || take_out(&a, arguments[7], &s, first);
    if (!failed) {
        ptrdiff_t row = s.heads * s.width;
        u.qkv = a.all[0].buf, u.batch = s.batch, u.heads = s.heads, u.width = s.width, u.time = s.time + first;
        const float *keys = cached ? u.keys : u.qkv + row, *values = cached ? u.values : u.qkv + 2 * row;
        PyThreadState *state = begin_kernel();
        if (cached)
            kv_append(&u);
        failed = kernels->attention(u.qkv + first * 3 * row, keys, values, scale, a.all[a.count - 1].buf, &s);
        end_kernel(state);
    }
    return return_none(&a, failed);
}
