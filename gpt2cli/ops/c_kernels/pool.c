/* The pool of threads. See pool.h. */

#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

enum {
    /* Some 0.2 ms: longer than Python takes between two calls, and than a thread takes to wake. */
    SPINS = 8000,
    TASK_BITS = 32,
    /* A small second cache. Between two calls from Python, a core reads less. */
    READ_AHEAD_BYTES = 1 << 19,
    READ_AHEAD_LINES = 8, /* between two looks at whether there is work */
    FOLLOWER_BITS = 10,
    SMALL = 1 << 15, /* numbers */
};

/* A job is one call of pool_run. The ticket has its number in the upper half and how many of its tasks are left in the
   lower. As both change together, a thread that comes late never takes a task of a job that it has not read. */
static _Atomic uint64_t ticket;
static atomic_ptrdiff_t done;
static pool_task job;
static void *job_context;

/* What was read after a matrix the last time: a hash table by its address. */
static struct follower {
    const char *matrix, *next;
} followers[1 << FOLLOWER_BITS];
static const char *newest_matrix;
static _Atomic(const char *) expected_matrix;

/* How much of the expected matrix a thread has prefetched. */
struct reading {
    const char *matrix;
    ptrdiff_t bytes;
};

static pthread_mutex_t caller = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_came = PTHREAD_COND_INITIALIZER;
static atomic_int sleepers, wanted_workers;
static int workers;
static pthread_t handles[MAX_THREADS];

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes tasks until none is left. */
static void work(int worker)
{
    uint64_t seen = atomic_load(&ticket);
    for (;;) {
        uint64_t left = (uint32_t)seen;
        if (!left)
            return;
        if (!atomic_compare_exchange_weak(&ticket, &seen, seen - 1))
            continue;
        job(job_context, (ptrdiff_t)left - 1, worker);
        atomic_fetch_add(&done, 1);
        seen = atomic_load(&ticket);
    }
}

static int is_idle(int worker)
{
    return !(uint32_t)atomic_load(&ticket) && worker <= atomic_load(&wanted_workers);
}

/* Prefetches what is expected to be read next, until there is work. */
static void read_ahead(struct reading *reading, int worker)
{
    const char *expected = atomic_load(&expected_matrix);
    if (expected != reading->matrix)
        *reading = (struct reading){expected, 0};
    while (expected && reading->bytes < READ_AHEAD_BYTES && is_idle(worker))
        for (int line = 0; line < READ_AHEAD_LINES; line++, reading->bytes += CACHE_LINE_BYTES)
            __builtin_prefetch(expected + reading->bytes, 0, 2);
}

static void *serve(void *number)
{
    int worker = (int)(intptr_t)number;
    struct reading reading = {NULL, 0};
    while (worker <= atomic_load(&wanted_workers)) {
        /* Its share is the first, and so begins where the matrix does. */
        if (worker == 1)
            read_ahead(&reading, worker);
        for (int spin = 0; spin < SPINS && is_idle(worker); spin++)
            pause_briefly();
        if (is_idle(worker)) {
            pthread_mutex_lock(&lock);
            atomic_fetch_add(&sleepers, 1);
            while (is_idle(worker))
                pthread_cond_wait(&work_came, &lock);
            atomic_fetch_sub(&sleepers, 1);
            pthread_mutex_unlock(&lock);
        }
        work(worker);
    }
    return NULL;
}

static void wake_all(void)
{
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&work_came);
    pthread_mutex_unlock(&lock);
}

static void wait_for_caller(void) { pthread_mutex_lock(&caller); }

/* A forked child has only the thread that forked. */
static void forget_workers(void)
{
    workers = 0;
    atomic_store(&sleepers, 0);
    atomic_store(&wanted_workers, 0);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&work_came, NULL);
    pool_unlock();
}

void pool_lock(void)
{
    static int fork_is_handled;
    pthread_mutex_lock(&caller);
    if (!fork_is_handled)
        fork_is_handled = !pthread_atfork(wait_for_caller, pool_unlock, forget_workers);
}

void pool_unlock(void) { pthread_mutex_unlock(&caller); }

int pool_set_threads(int threads)
{
    int wanted = threads < 1 ? 0 : (threads < MAX_THREADS ? threads : MAX_THREADS) - 1;
    atomic_store(&wanted_workers, wanted);
    if (workers > wanted)
        wake_all();
    while (workers > wanted)
        pthread_join(handles[workers--], NULL);
    while (workers < wanted) {
        if (pthread_create(&handles[workers + 1], NULL, serve, (void *)(intptr_t)(workers + 1)))
            break;
        workers++;
    }
    atomic_store(&wanted_workers, workers);
    return workers + 1;
}

int pool_threads(void) { return workers + 1; }

static struct follower *follower_of(const char *matrix)
{
    return &followers[(uint64_t)(uintptr_t)matrix * 0x9e3779b97f4a7c15u >> (64 - FOLLOWER_BITS)];
}

void pool_will_read(const void *matrix)
{
    if (newest_matrix)
        *follower_of(newest_matrix) = (struct follower){newest_matrix, matrix};
    newest_matrix = matrix;
    const struct follower *follower = follower_of(matrix);
    atomic_store(&expected_matrix, follower->matrix == newest_matrix ? follower->next : NULL);
}

void pool_run(pool_task task, void *context, ptrdiff_t tasks)
{
    /* Nobody has as many tasks as a ticket cannot count; they would take too long. */
    if (!workers || tasks == 1 || tasks > UINT32_MAX) {
        for (ptrdiff_t i = 0; i < tasks; i++)
            task(context, i, 0);
        return;
    }
    if (tasks <= 0)
        return;
    job = task;
    job_context = context;
    atomic_store(&done, 0);
    uint64_t number = (atomic_load(&ticket) >> TASK_BITS) + 1;
    atomic_store(&ticket, number << TASK_BITS | (uint64_t)tasks);
    if (atomic_load(&sleepers))
        wake_all();
    work(0);
    for (int spin = 0; atomic_load(&done) < tasks; spin++) {
        pause_briefly();
        /* The thread with the last task may be waiting for this core. */
        if (spin > SPINS)
            sched_yield();
    }
}

struct shares {
    pool_task task;
    void *context;
    ptrdiff_t tasks, share_size;
    atomic_ptrdiff_t taken[MAX_THREADS];
};

static void take_shares(void *context, ptrdiff_t first_share, int worker)
{
    struct shares *s = context;
    (void)first_share;
    for (int i = 0, threads = pool_threads(); i < threads; i++) {
        /* The first share belongs to worker 1, which reads ahead, and the last to the caller. */
        int share = (worker + threads - 1 + i) % threads;
        ptrdiff_t first = share * s->share_size, end = first + s->share_size, task;
        end = end < s->tasks ? end : s->tasks;
        while ((task = first + atomic_fetch_add(&s->taken[share], 1)) < end)
            s->task(s->context, task, worker);
    }
}

void pool_run_in_shares(pool_task task, void *context, ptrdiff_t tasks)
{
    struct shares shares = {task, context, tasks, (tasks + workers) / (workers + 1), {0}};
    pool_run(take_shares, &shares, workers + 1);
}

void pool_run_unless_small(pool_task task, void *context, ptrdiff_t tasks, ptrdiff_t size)
{
    if (tasks * size >= SMALL)
        pool_run(task, context, tasks);
    else
        for (ptrdiff_t i = 0; i < tasks; i++)
            task(context, i, 0);
}
