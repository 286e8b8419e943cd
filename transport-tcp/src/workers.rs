//! Where blocking work runs: disk, hashing, a `sendfile` on cold pages.
//!
//! One type for all of it, in two modes. `Workers::threads(n)` is `n` threads around one bounded queue.
//! [`Workers::inline`] runs every job at once on the caller's thread, for runtimes that cannot wait for threads (turmoil).
//!
//! Bound: [`JOBS_MAX`] jobs wait. When that many do, `run` performs its job on the caller's thread: the caller slows down
//! to the speed of the disk, nothing is lost, and nothing can deadlock.
//!
//! Jobs of one caller may run in any order and at the same time. A job must not wait for another job.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// Jobs that wait in the queue at most. Each job belongs to a bounded thing (an arriving chunk, an open place), so this is
/// reached only when the disk is far behind.
pub const JOBS_MAX: usize = 4096;

type Job = Box<dyn FnOnce() + Send>;

/// A handle on the threads, or on none. Cheap to clone; the threads end when the last handle is dropped and the queue is
/// empty.
#[derive(Clone, Debug)]
pub struct Workers(Option<Arc<Owner>>);

/// Dropped with the last handle: tells the threads to end.
#[derive(Debug)]
struct Owner {
    queue: Arc<Queue>,
    threads: usize,
}

#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    filled: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Workers {
    /// Starts `count` threads (at least one).
    ///
    /// # Errors
    /// The system refuses to start a thread.
    pub fn threads(count: usize) -> io::Result<Self> {
        let count = count.max(1);
        let owner = Owner { queue: Arc::default(), threads: count };
        for index in 0..count {
            let queue = Arc::clone(&owner.queue);
            thread::Builder::new().name(format!("potluck-{index}")).spawn(move || queue.work())?;
        }
        Ok(Self(Some(Arc::new(owner))))
    }

    /// No threads: every job runs at once, on the thread that asks for it.
    #[must_use]
    pub fn inline() -> Self {
        Self(None)
    }

    /// Threads that blocking work may spread over; 1 in inline mode.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.as_ref().map_or(1, |owner| owner.threads)
    }

    /// Runs a job, soon. Never waits, except by performing the job itself when the queue is full or in inline mode.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        match &self.0 {
            None => job(),
            Some(owner) => {
                if let Err(job) = owner.queue.push(Box::new(job)) {
                    job();
                }
            }
        }
    }

    /// Runs a job and hands over its result. A panic of the job continues in the caller. When the future is dropped, the
    /// job runs to its end all the same.
    pub async fn call<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        if self.0.is_none() {
            return job();
        }
        let (answer, result) = oneshot::channel();
        self.run(move || {
            let _ = answer.send(catch_unwind(AssertUnwindSafe(job)));
        });
        match result.await {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => resume_unwind(panic),
            // A queue runs all its jobs before it ends, and each job answers.
            Err(_) => unreachable!("a job ended without an answer"),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.filled.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the job back when the queue is full.
    fn push(&self, job: Job) -> Result<(), Job> {
        let mut state = self.lock();
        if state.jobs.len() >= JOBS_MAX {
            return Err(job);
        }
        state.jobs.push_back(job);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The next job; `None` when there will be no more.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job panicked; its thread goes on");
            }
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.lock().jobs.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn inline_runs_on_the_caller() {
        let caller = thread::current().id();
        let (tell, told) = mpsc::channel();
        Workers::inline().run(move || tell.send(thread::current().id()).unwrap());
        assert_eq!(told.try_recv(), Ok(caller));
    }

    #[tokio::test]
    async fn call_returns_the_result_in_both_modes() {
        for workers in [Workers::inline(), Workers::threads(2).unwrap()] {
            assert_eq!(workers.call(|| 7).await, 7);
        }
    }

    #[test]
    fn a_full_queue_makes_the_caller_work() {
        let workers = Workers::threads(1).unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let (tell, busy) = mpsc::channel();
        workers.run(move || {
            tell.send(()).unwrap();
            let _ = gate.recv();
        });
        busy.recv().unwrap();
        let (tell, ran) = mpsc::channel();
        for _ in 0..JOBS_MAX {
            let tell = tell.clone();
            workers.run(move || tell.send(thread::current().id()).unwrap());
        }
        assert!(ran.try_recv().is_err());
        let caller = thread::current().id();
        workers.run(move || tell.send(thread::current().id()).unwrap());
        assert_eq!(ran.try_recv(), Ok(caller));
        drop(open);
        // Ends when every job is done.
        assert_eq!(ran.iter().filter(|thread| *thread != caller).count(), JOBS_MAX);
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_the_thread_lives_on() {
        let workers = Workers::threads(1).unwrap();
        let other = workers.clone();
        let call = tokio::spawn(async move { other.call(|| panic!("on purpose")).await });
        assert!(call.await.unwrap_err().is_panic());
        workers.run(|| panic!("on purpose"));
        assert_eq!(workers.call(|| 1).await, 1);
    }

    #[test]
    fn queued_jobs_run_after_the_last_handle_is_gone() {
        let (tell, told) = mpsc::channel();
        let workers = Workers::threads(1).unwrap();
        for n in 0..100 {
            let tell = tell.clone();
            workers.run(move || tell.send(n).unwrap());
        }
        drop((workers, tell));
        assert_eq!(told.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}
