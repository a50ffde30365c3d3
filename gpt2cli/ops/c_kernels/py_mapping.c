/* watch_mapping for Python: a line for users where a mapped file has become shorter.

   The system answers a read behind the new end with SIGBUS, which Python cannot handle: its handlers run after the
   instruction that failed, and it fails again. */

#include "py_module.h"

#if defined(__unix__) || defined(__APPLE__)
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { MAPPINGS = 256 };

/* The newest ones, so that a process may map files again and again. */
static struct mapping {
    volatile uintptr_t begin, end;
    char *message;
    size_t length;
} mappings[MAPPINGS];
static size_t newest;

static void end_process(int number, siginfo_t *info, void *context)
{
    uintptr_t place = (uintptr_t)info->si_addr;
    (void)context;
    for (int i = 0; i < MAPPINGS; i++)
        if (mappings[i].begin <= place && place < mappings[i].end) {
            ssize_t written = write(STDERR_FILENO, mappings[i].message, mappings[i].length);
            (void)written;
            _exit(1);
        }
    /* Not of ours: it happens again, and ends the process as it would have. */
    signal(number, SIG_DFL);
}

static void handle_bus_errors(void)
{
    struct sigaction before, after = {.sa_sigaction = end_process, .sa_flags = SA_SIGINFO};
    sigemptyset(&after.sa_mask);
    /* A program that handles the signal itself goes on doing so. */
    if (!sigaction(SIGBUS, NULL, &before) && !(before.sa_flags & SA_SIGINFO) && before.sa_handler == SIG_DFL)
        sigaction(SIGBUS, &after, NULL);
}

static int watch(const Py_buffer *mapped, const Py_buffer *message)
{
    struct mapping *m = &mappings[newest++ % MAPPINGS];
    char *copy = PyMem_RawMalloc((size_t)message->len + 1);
    if (!copy)
        return -1;
    memcpy(copy, message->buf, (size_t)message->len);
    m->begin = m->end = 0;
    PyMem_RawFree(m->message);
    m->message = copy, m->length = (size_t)message->len;
    m->end = (uintptr_t)mapped->buf + (size_t)mapped->len;
    m->begin = (uintptr_t)mapped->buf;
    handle_bus_errors();
    return 0;
}
#else
static int watch(const Py_buffer *mapped, const Py_buffer *message)
{
    (void)mapped, (void)message;
    return 0;
}
#endif

PyObject *py_watch_mapping(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    struct arrays a = {.count = 0};
    (void)module;
    if (count_arguments(count, 2))
        return NULL;
    int failed = take_array(&a, arguments[0], 1, PyBUF_ND) || take_array(&a, arguments[1], 1, PyBUF_ND) ||
                 watch(&a.all[0], &a.all[1]);
    return return_none(&a, failed);
}
