//! A network namespace for a test: a thread that has one of its own and works in it until it is dropped.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// How long a connection may take that is expected to work, or is waited for to fail.
const CONNECT: Duration = Duration::from_secs(2);

/// A namespace and the thread that holds it.
pub struct Sandbox {
    /// The thread's id, which serves as a process id in `/proc`.
    pub pid: u32,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sandbox {
    pub fn new() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests make network namespaces and need root");
            ready.send(nix::unistd::gettid().as_raw()).expect("the test waits");
            while let Ok(job) = todo.recv() {
                job();
            }
        });
        let pid = u32::try_from(started.recv().expect("a namespace")).expect("a thread id");
        Self { pid, jobs: Some(jobs), thread: Some(thread) }
    }

    /// Runs work inside and waits for it.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job: Job = Box::new(move || drop(done.send(work())));
        self.jobs.as_ref().expect("the sandbox lives").send(job).expect("its thread lives");
        result.recv().expect("the work ends without a panic")
    }

    /// Answers every connection to a port, by either family, with `name` and the address it came from.
    pub fn serve(&self, name: &'static str, port: u16) {
        self.run(move || {
            let listener = TcpListener::bind(("::", port)).expect("a free port");
            // A thread begins in the namespace of the one that makes it. It ends with the test's process.
            std::thread::spawn(move || {
                while let Ok((mut stream, from)) = listener.accept() {
                    let _ = write!(stream, "{name} {}", from.ip().to_canonical());
                }
            });
        });
    }

    /// What the server at an address answers, or why it does not.
    pub fn ask(&self, address: IpAddr, port: u16) -> Result<String, String> {
        self.run(move || ask(address, port))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks from the namespace of the calling thread.
pub fn ask(address: IpAddr, port: u16) -> Result<String, String> {
    let mut answer = String::new();
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT).map_err(|it| it.to_string())?;
    stream.set_read_timeout(Some(CONNECT)).map_err(|it| it.to_string())?;
    stream.read_to_string(&mut answer).map_err(|it| it.to_string())?;
    Ok(answer)
}

/// Runs a program in the calling thread's namespace; it must succeed. Returns what it wrote.
pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("a shell");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
