//! Storage work in the order in which the machine wanted it, place by place.
//!
//! Workers run jobs in any order; opening, syncing and finishing one place must not overtake each other. So each place is
//! a lane: one job of it runs, the others wait behind it. Lanes of different places run side by side.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use potluck_core::peer::Place;

use crate::workers::Workers;

type Job = Box<dyn FnOnce() + Send>;
type Waiting = Mutex<HashMap<Place, VecDeque<Job>>>;

/// The lanes of a peer. With inline workers whoever comes first works for those who come meanwhile, and these go on.
#[derive(Clone)]
pub(crate) struct Lanes {
    workers: Workers,
    /// A lane is here while one of its jobs runs. The machine bounds the jobs per place.
    waiting: Arc<Waiting>,
}

impl Lanes {
    pub(crate) fn new(workers: Workers) -> Self {
        Self { workers, waiting: Arc::default() }
    }

    /// Runs a job after all earlier ones of its place.
    pub(crate) fn run(&self, place: Place, job: impl FnOnce() + Send + 'static) {
        let mut waiting = lock(&self.waiting);
        if let Some(lane) = waiting.get_mut(&place) {
            lane.push_back(Box::new(job));
            return;
        }
        waiting.insert(place, VecDeque::new());
        drop(waiting);
        let lane = Lane { place, waiting: Arc::clone(&self.waiting) };
        self.workers.run(move || {
            job();
            while let Some(job) = lane.next() {
                job();
            }
        });
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("busy", &lock(&self.waiting).len()).finish_non_exhaustive()
    }
}

/// The lane that a worker is busy with. Should a job panic, dropping it frees the lane.
struct Lane {
    place: Place,
    waiting: Arc<Waiting>,
}

impl Lane {
    /// The next job; without one the lane is given up in the same instant.
    fn next(&self) -> Option<Job> {
        let mut waiting = lock(&self.waiting);
        let job = waiting.get_mut(&self.place)?.pop_front();
        if job.is_none() {
            waiting.remove(&self.place);
        }
        job
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.waiting).remove(&self.place);
        }
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<Place, VecDeque<Job>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use potluck_core::ids::DownloadId;

    use super::*;

    #[test]
    fn jobs_of_one_place_keep_their_order_and_others_pass_them() {
        let lanes = Lanes::new(Workers::threads(2).unwrap());
        let (tell, told) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let (slow, quick) = (Place::Root(DownloadId(1)), Place::Root(DownloadId(2)));
        lanes.run(slow, move || gate.recv().unwrap());
        for number in 0..100 {
            let tell = tell.clone();
            lanes.run(slow, move || tell.send(number).unwrap());
        }
        let passed = tell.clone();
        lanes.run(quick, move || passed.send(1000).unwrap());
        assert_eq!(told.recv().unwrap(), 1000);
        open.send(()).unwrap();
        drop(tell);
        assert_eq!(told.iter().take(100).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn who_comes_while_a_lane_is_busy_leaves_its_job_there() {
        let lanes = Lanes::new(Workers::inline());
        let (tell, told) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let place = Place::Root(DownloadId(1));
        let (busy, first, name) = (lanes.clone(), tell.clone(), || std::thread::current().id());
        let worker = std::thread::spawn(move || {
            busy.run(place, move || {
                first.send(name()).unwrap();
                gate.recv().unwrap();
            });
        });
        let worker_id = told.recv().unwrap();
        lanes.run(place, move || tell.send(name()).unwrap());
        assert!(told.try_recv().is_err());
        open.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), worker_id);
        worker.join().unwrap();
    }

    #[test]
    fn inline_jobs_run_at_once() {
        let lanes = Lanes::new(Workers::inline());
        let (tell, told) = mpsc::channel();
        lanes.run(Place::Root(DownloadId(1)), move || tell.send(()).unwrap());
        told.try_recv().unwrap();
        assert!(lock(&lanes.waiting).is_empty());
    }
}
