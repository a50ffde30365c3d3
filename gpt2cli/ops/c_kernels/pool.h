/* Threads that share the tasks of one call.

   The caller works too, and waits for tasks, never for threads: a thread that the system has not woken yet is not
   missed. On a busy machine this matters most; OpenMP's barriers would wait. */

#ifndef GPT2_POOL_H
#define GPT2_POOL_H

#include <stddef.h>

enum { MAX_THREADS = 256, CACHE_LINE_BYTES = 64 };

/* `worker` is the number of the thread, below pool_threads(). No two tasks that run at the same time share one. */
typedef void (*pool_task)(void *context, ptrdiff_t task, int worker);

/* Every other function here must be called between these two, which wait for other callers. A fork waits too, and its
   child has one thread. */
void pool_lock(void);
void pool_unlock(void);

/* Sets the number of threads, the caller included, and returns how many there are now: at least 1. */
int pool_set_threads(int threads);

int pool_threads(void);

/* Says which matrix will be read next. The pool learns what follows it, and reads that ahead the next time a thread is
   idle. */
void pool_will_read(const void *matrix);

/* Calls task(context, 0) to task(context, tasks - 1) in any order, and returns when all are done. */
void pool_run(pool_task task, void *context, ptrdiff_t tasks);

/* The same, but each thread first takes its share, a run of neighbouring tasks, in order. Then it helps the others. */
void pool_run_in_shares(pool_task task, void *context, ptrdiff_t tasks);

/* As pool_run, but the caller works alone if the tasks, of `size` numbers each, are done before a thread notices. */
void pool_run_unless_small(pool_task task, void *context, ptrdiff_t tasks, ptrdiff_t size);

#endif
