/* Threads that share the tasks of one call.

   The caller works too, and waits for tasks, never for threads: one that the system has not yet woken is
   not missed. On a machine with other work this matters more than all else; OpenMP's barriers wait. */

#ifndef GPT2_POOL_H
#define GPT2_POOL_H

#include <stddef.h>

enum { MOST_THREADS = 256 };

/* `worker` is below the number of threads, and no two tasks at a time have the same. */
typedef void (*pool_task)(void *context, ptrdiff_t task, int worker);

/* Wait until no other thread is between these two, where all else here is called. A fork waits too, and its
   child has one thread. */
void pool_lock(void);
void pool_unlock(void);

/* Use `threads` threads, the caller among them, and return how many there are now: at least 1. */
int pool_set_threads(int threads);

int pool_threads(void);

/* Tell which matrix is about to be read. What follows it is learned, and the next time read while threads are idle. */
void pool_read(const void *matrix);

/* Call task(context, 0) to task(context, tasks - 1), in any order, and return when all are done. */
void pool_run(pool_task task, void *context, ptrdiff_t tasks);

/* The same, but each thread has neighbouring tasks for itself, which it takes in order; then it helps others. */
void pool_run_in_shares(pool_task task, void *context, ptrdiff_t tasks);

/* As `pool_run`, but by the caller alone if all tasks together, of `each` numbers, are done before another has noticed. */
void pool_run_unless_small(pool_task task, void *context, ptrdiff_t tasks, ptrdiff_t each);

#endif
