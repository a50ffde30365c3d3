/* attention for Python, which also appends the new keys and values to the cache. */

#include "py_module.h"

/* Takes keys and values, which have the same shape and lie alike. */
static int take_keys(struct arrays *arrays, PyObject *const *arguments, int flags, int time_axis, ptrdiff_t *stride)
{
    const Py_buffer *keys = &arrays->all[arrays->count], *values = keys + 1;
    ptrdiff_t value_stride[3];
    if (take_heads(arrays, arguments[0], flags, time_axis, stride, "keys") ||
        take_heads(arrays, arguments[1], flags, time_axis, value_stride, "values"))
        return -1;
    int fit = 1;
    for (int axis = 0; axis < 4; axis++)
        fit = fit && values->shape[axis] == keys->shape[axis] &&
              (values->strides[axis] == keys->strides[axis] || keys->shape[axis] < 2);
    return require_fit(fit, "keys and values");
}

/* Takes queries, keys and values. */
static int take_new(struct arrays *arrays, PyObject *const *arguments, struct attention_shape *s)
{
    const Py_buffer *queries = &arrays->all[0], *keys = queries + 1;
    if (take_heads(arrays, arguments[0], 0, 1, s->query_stride, "queries") ||
        take_keys(arrays, arguments + 1, 0, 1, s->key_stride))
        return -1;
    s->batch = queries->shape[0], s->time = s->seen = queries->shape[1], s->heads = queries->shape[2];
    s->width = queries->shape[3], s->kv_heads = keys->shape[2];
    return require_fit(keys->shape[0] == s->batch && keys->shape[1] == s->time && keys->shape[3] == s->width &&
                           s->width > 0 && s->kv_heads > 0 && s->heads > 0 && s->heads % s->kv_heads == 0,
                       "queries and keys");
}

/* Takes a cache, `past` positions of which are filled, and puts it in place of the new keys and values. */
static int take_cache(struct arrays *arrays, PyObject *const *arguments, struct attention_shape *s, struct kv_update *u)
{
    const Py_buffer *keys = &arrays->all[arrays->count], *values = keys + 1;
    *u = (struct kv_update){arrays->all[1].buf, arrays->all[2].buf, .batch = s->batch, .heads = s->kv_heads,
                            .time = s->time, .width = s->width, .past = u->past};
    for (int axis = 0; axis < 3; axis++)
        u->new_stride[axis] = s->key_stride[axis];
    if (take_keys(arrays, arguments, PyBUF_WRITABLE, 2, u->stride))
        return -1;
    for (int axis = 0; axis < 3; axis++)
        s->key_stride[axis] = u->stride[axis];
    u->keys = keys->buf, u->values = values->buf;
    s->seen += u->past;
    return require_fit(keys->shape[0] == s->batch && keys->shape[1] == s->kv_heads && keys->shape[3] == s->width &&
                           keys->shape[2] - s->time >= u->past,
                       "keys and the cache");
}

/* Takes out (batch, time - first, heads * width), and leaves out the queries before position `first`. */
static int take_out(struct arrays *arrays, PyObject *object, struct attention_shape *s, Py_ssize_t first)
{
    const Py_buffer *out = &arrays->all[arrays->count];
    Py_ssize_t row = s->heads * s->width;
    if (take_array(arrays, object, 4, PyBUF_ND | PyBUF_WRITABLE) ||
        require_fit(first >= 0 && first <= s->time, "queries and first"))
        return -1;
    s->time -= first;
    s->out_stride[0] = s->time * row, s->out_stride[1] = s->width, s->out_stride[2] = row;
    return require_fit(has_size(out, s->batch * s->time, row), "queries and out");
}

PyObject *py_attention(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    struct attention_shape s;
    struct kv_update u = {0};
    (void)module;
    if (count_arguments(count, 10))
        return NULL;
    Py_ssize_t past = PyLong_AsSsize_t(arguments[5]), first = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(arguments[6]);
    float scale = PyErr_Occurred() ? 0.0f : (float)PyFloat_AsDouble(arguments[7]);
    s.window = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(arguments[8]);
    u.past = past;
    int cached = arguments[3] != Py_None;
    int failed = PyErr_Occurred() || take_new(&a, arguments, &s) || require_fit(s.window >= 0, "queries and window") ||
                 require_fit(past >= 0 && (cached || !past), "past and the cache") ||
                 (cached && take_cache(&a, arguments + 3, &s, &u)) || take_out(&a, arguments[9], &s, first);
    if (!failed) {
        const float *queries = (const float *)a.all[0].buf + first * s.query_stride[2];
        const float *keys = cached ? u.keys : a.all[1].buf, *values = cached ? u.values : a.all[2].buf;
        PyThreadState *state = begin_kernel();
        if (cached)
            kv_append(&u);
        failed = kernels->attention(queries, keys, values, scale, a.all[a.count - 1].buf, &s);
        end_kernel(state);
    }
    return return_none(&a, failed);
}
