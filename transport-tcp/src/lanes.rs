//! Storage work in the order in which the machine wanted it, place by place.
//!
//! Workers run jobs in any order; opening, syncing and finishing one place must not overtake each other. So each place is
//! a lane: one job of it runs, the others wait behind it. Lanes of different places run side by side.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use potluck_core::peer::Place;

use crate::workers::Workers;

/// Work at one place.
pub(crate) type Job = Box<dyn FnOnce() + Send>;
type Waiting = Mutex<HashMap<Place, VecDeque<Job>>>;

/// Jobs that one worker takes at a time. Other workers take the next ones.
const JOBS_TOGETHER: usize = 64;

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
        if let Some(turn) = self.turn(place, Box::new(job)) {
            self.workers.run(|| turn.work());
        }
    }

    /// Runs many short jobs with few hand-overs, each after all earlier ones of its place.
    pub(crate) fn run_together(&self, jobs: Vec<(Place, Job)>) {
        let turns = jobs.into_iter().filter_map(|(place, job)| self.turn(place, job));
        let mut turns = turns.collect::<Vec<_>>().into_iter();
        while turns.len() > 0 {
            let some: Vec<Turn> = turns.by_ref().take(JOBS_TOGETHER).collect();
            self.workers.run(|| some.into_iter().for_each(Turn::work));
        }
    }

    /// A free lane with its first job; `None`: the lane is busy, and whoever works there does the job.
    fn turn(&self, place: Place, job: Job) -> Option<Turn> {
        let mut waiting = lock(&self.waiting);
        if let Some(lane) = waiting.get_mut(&place) {
            lane.push_back(job);
            return None;
        }
        waiting.insert(place, VecDeque::new());
        Some(Turn { job, lane: Lane { place, waiting: Arc::clone(&self.waiting) } })
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("busy", &lock(&self.waiting).len()).finish_non_exhaustive()
    }
}

/// What a worker does in one lane.
struct Turn {
    job: Job,
    lane: Lane,
}

impl Turn {
    fn work(self) {
        (self.job)();
        while let Some(job) = self.lane.next() {
            job();
        }
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
    fn jobs_that_run_together_keep_the_order_of_their_places() {
        for workers in [Workers::inline(), Workers::threads(2).unwrap()] {
            let lanes = Lanes::new(workers);
            let (tell, told) = mpsc::channel();
            let job = |number: u64| {
                let (place, tell) = (Place::Root(DownloadId(number % 100)), tell.clone());
                (place, Box::new(move || tell.send(number).unwrap()) as Job)
            };
            lanes.run_together((0..1000).map(job).collect());
            let (place, last) = job(1007);
            lanes.run(place, last);
            let numbers: Vec<u64> = told.iter().take(1001).collect();
            for place in 0..100 {
                assert!(numbers.iter().filter(|number| *number % 100 == place).is_sorted());
            }
        }
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
