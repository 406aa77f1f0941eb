//! [`Launcher`]: the thread that all processes of a run come from.
//!
//! Linux ties two things to a thread rather than to its process: the namespaces in which its
//! children are born, and whose end kills a child that asked for that (`PR_SET_PDEATHSIG`). A thread
//! of its own therefore keeps the tests' threads out of the namespaces, and the children alive for
//! as long as the run and not a moment longer.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does what it is handed. Dropping it ends it, and with it its children.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// None only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Launcher {
    /// Starts the thread.
    pub(crate) fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name("launcher".to_owned())
            .spawn(move || queue.into_iter().for_each(|job| job()))
            .unwrap();
        Self {
            jobs: Some(jobs),
            thread: Some(thread),
        }
    }

    /// Does something on the thread and returns what came out.
    ///
    /// # Panics
    /// When it panicked, now or before.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = mpsc::channel();
        let job = Box::new(move || drop(answer.send(work())));
        self.jobs
            .as_ref()
            .and_then(|jobs| jobs.send(job).ok())
            .expect("the launcher has ended");
        answered.recv().expect("the launcher panicked")
    }

    /// Starts a process from the thread.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub(crate) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.run(move || command.spawn())
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It has panicked, which its caller has heard of.
            let _ = thread.join();
        }
    }
}
