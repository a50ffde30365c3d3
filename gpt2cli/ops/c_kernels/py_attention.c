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

/* Attention and what is appended first. */
struct call {
    struct arrays arrays;
    struct attention_shape shape;
    struct kv_update update;
    /* Of the queries, keys, values and out, whose batch rows lie this far apart. */
    ptrdiff_t batch, time, query_batch_stride, key_batch_stride;
    struct attention_row *rows;
    struct kv_row *kv_rows;
};

/* Takes queries, keys and values. */
static int take_new(struct call *call, PyObject *const *arguments)
{
    struct attention_shape *s = &call->shape;
    const Py_buffer *queries = &call->arrays.all[0], *keys = queries + 1;
    ptrdiff_t query_stride[3], key_stride[3];
    if (take_heads(&call->arrays, arguments[0], 0, 1, query_stride, "queries") ||
        take_keys(&call->arrays, arguments + 1, 0, 1, key_stride))
        return -1;
    call->batch = queries->shape[0], call->time = queries->shape[1];
    call->query_batch_stride = query_stride[0], call->key_batch_stride = key_stride[0];
    s->heads = queries->shape[2], s->width = queries->shape[3], s->kv_heads = keys->shape[2];
    for (int axis = 0; axis < 2; axis++) {
        s->query_stride[axis] = query_stride[axis + 1];
        s->key_stride[axis] = key_stride[axis + 1];
    }
    return require_fit(keys->shape[0] == call->batch && keys->shape[1] == call->time && keys->shape[3] == s->width &&
                           s->width > 0 && s->kv_heads > 0 && s->heads > 0 && s->heads % s->kv_heads == 0,
                       "queries and keys");
}

/* Takes a cache (heads, positions, width). */
static int take_cache(struct call *call, PyObject *const *arguments)
{
    struct attention_shape *s = &call->shape;
    const Py_buffer *keys = &call->arrays.all[call->arrays.count], *values = keys + 1;
    if (take_array(&call->arrays, arguments[0], 4, PyBUF_STRIDES | PyBUF_WRITABLE) ||
        take_array(&call->arrays, arguments[1], 4, PyBUF_STRIDES | PyBUF_WRITABLE) ||
        require_axes(keys, 3, "keys") || require_axes(values, 3, "values"))
        return -1;
    int fit = keys->shape[0] == s->kv_heads && keys->shape[2] == s->width &&
              (keys->strides[2] == 4 || keys->shape[2] < 2);
    for (int axis = 0; axis < 3; axis++)
        fit = fit && values->shape[axis] == keys->shape[axis] &&
              (values->strides[axis] == keys->strides[axis] || keys->shape[axis] < 2);
    call->update = (struct kv_update){.heads = s->kv_heads, .width = s->width};
    for (int axis = 0; axis < 2; axis++) {
        call->update.new_stride[axis] = s->key_stride[axis];
        call->update.stride[axis] = s->key_stride[axis] = keys->strides[axis] / 4;
    }
    return require_fit(fit, "keys and the cache");
}

static int allocate_rows(struct call *call, ptrdiff_t count)
{
    call->shape.count = call->update.count = count;
    call->rows = PyMem_New(struct attention_row, (size_t)count + 1);
    call->kv_rows = PyMem_New(struct kv_row, (size_t)count + 1);
    if (call->rows && call->kv_rows)
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* Takes the spans (rows, 4) of rows side by side: where a row begins in the cache, how many positions it has there, how
   many are new, and how many of these need no output. Fills in all but where the outputs go, and adds up these. */
static int take_spans(struct call *call, PyObject *object, ptrdiff_t *outputs)
{
    struct attention_shape *s = &call->shape;
    struct arrays *a = &call->arrays;
    const Py_buffer *spans = &a->all[a->count], *cached = spans - 2;
    if (take_array(a, object, 8, PyBUF_ND) || require_axes(spans, 2, "spans") ||
        require_fit(spans->shape[1] == 4 && call->batch == 1, "queries and spans") ||
        allocate_rows(call, spans->shape[0]))
        return -1;
    const int64_t *span = spans->buf;
    const float *queries = a->all[0].buf, *new_keys = a->all[1].buf, *new_values = a->all[2].buf;
    float *keys = cached[0].buf, *values = cached[1].buf;
    ptrdiff_t at = 0;
    for (ptrdiff_t row = 0; row < s->count; row++, span += 4) {
        int64_t begin = span[0], past = span[1], time = span[2], skipped = span[3], positions = cached->shape[1];
        if (require_fit(begin >= 0 && past >= 0 && time >= 0 && skipped >= 0 && begin <= positions &&
                            past <= positions - begin && time <= positions - begin - past && skipped <= time &&
                            time <= call->time - at,
                        "spans and the cache"))
            return -1;
        ptrdiff_t cached_row = begin * s->key_stride[1], end = cached_row + past * s->key_stride[1];
        ptrdiff_t from = at * call->update.new_stride[1];
        call->kv_rows[row] = (struct kv_row){new_keys + from, new_values + from, keys + end, values + end, time};
        call->rows[row] = (struct attention_row){queries + (at + skipped) * s->query_stride[1], keys + cached_row,
                                                 values + cached_row, NULL, time - skipped, past + time};
        at += time, *outputs += time - skipped;
    }
    return require_fit(at == call->time, "queries and spans");
}

/* Makes a row of each batch row, without the queries before position `first`. */
static int take_batch(struct call *call, Py_ssize_t first, ptrdiff_t *outputs)
{
    const Py_buffer *all = call->arrays.all;
    if (require_fit(first >= 0 && first <= call->time, "queries and first") || allocate_rows(call, call->batch))
        return -1;
    for (ptrdiff_t row = 0; row < call->batch; row++) {
        ptrdiff_t query = row * call->query_batch_stride + first * call->shape.query_stride[1];
        ptrdiff_t key = row * call->key_batch_stride;
        call->rows[row] =
            (struct attention_row){(const float *)all[0].buf + query, (const float *)all[1].buf + key,
                                   (const float *)all[2].buf + key, NULL, call->time - first, call->time};
        *outputs += call->time - first;
    }
    return 0;
}

/* Takes out (outputs, heads * width). */
static int take_out(struct call *call, PyObject *object, ptrdiff_t outputs)
{
    struct attention_shape *s = &call->shape;
    const Py_buffer *out = &call->arrays.all[call->arrays.count];
    ptrdiff_t width = s->heads * s->width;
    if (take_array(&call->arrays, object, 4, PyBUF_ND | PyBUF_WRITABLE) ||
        require_fit(has_size(out, outputs, width), "queries and out"))
        return -1;
    s->out_stride[0] = s->width, s->out_stride[1] = width;
    float *to = out->buf;
    for (ptrdiff_t row = 0; row < s->count; to += call->rows[row++].time * width)
        call->rows[row].out = to;
    return 0;
}

PyObject *py_attention(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct call call = {.arrays = {.count = 0}};
    ptrdiff_t outputs = 0;
    (void)module;
    if (count_arguments(count, 10))
        return NULL;
    int cached = arguments[3] != Py_None;
    Py_ssize_t first = PyLong_AsSsize_t(arguments[6]);
    float scale = PyErr_Occurred() ? 0.0f : (float)PyFloat_AsDouble(arguments[7]);
    call.shape.window = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(arguments[8]);
    int failed = PyErr_Occurred() || take_new(&call, arguments) ||
                 require_fit(call.shape.window >= 0, "queries and window") ||
                 require_fit(cached || arguments[5] == Py_None, "spans and the cache") ||
                 (cached ? take_cache(&call, arguments + 3) || take_spans(&call, arguments[5], &outputs)
                         : take_batch(&call, first, &outputs)) ||
                 take_out(&call, arguments[9], outputs);
    if (!failed) {
        call.shape.rows = call.rows, call.update.rows = call.kv_rows;
        PyThreadState *state = begin_kernel();
        if (cached)
            kv_append(&call.update);
        failed = kernels->attention(&call.shape, scale);
        end_kernel(state);
    }
    PyMem_Free(call.rows);
    PyMem_Free(call.kv_rows);
    return return_none(&call.arrays, failed);
}
