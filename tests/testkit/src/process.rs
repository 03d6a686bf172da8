//! Owned child processes: none outlives its owner, and none is lost sight of.
//!
//! A child runs in a process group of its own (Ctrl-C at the terminal reaches only the parent, which
//! decides), writes to a log file, and is killed and reaped when its [`Process`] is dropped. It also dies
//! if the parent is killed outright: it is started through `setpriv --pdeathsig KILL` of util-linux where
//! that is installed; [`orphan_guard`] tells.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::error::{Doing as _, Error, Result};
use crate::tools;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);
/// The most that freezing takes.
const STOPS: Duration = Duration::from_secs(5);
/// How much of a log an error shows.
const LAST_LINES: usize = 15;

/// What to run, and where its words go.
#[derive(Debug, Clone)]
pub struct Spec {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    forgotten: Option<&'static str>,
    log: PathBuf,
    piped: bool,
}

impl Spec {
    /// A program by its path; `log` receives its standard output and error, appended.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            forgotten: None,
            log: log.into(),
            piped: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable, over the parent's.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Hides the parent's variables that begin so; those set by [`Spec::env`] stay.
    #[must_use]
    pub fn forget_env(mut self, prefix: &'static str) -> Self {
        self.forgotten = Some(prefix);
        self
    }

    /// Gives the child a standard input that [`Process::stdin`] writes to.
    #[must_use]
    pub fn piped(mut self) -> Self {
        self.piped = true;
        self
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it, and waits until it has written `words`. For a server that says when it serves this is
    /// surer than knocking on its port, where another may answer.
    pub async fn spawn_until(self, words: &str, deadline: Duration) -> Result<Process> {
        let log = self.log.clone();
        let before = log.metadata().map_or(0, |data| data.len());
        let mut process = self.spawn()?;
        let probe = || async { log_after(&log, before).contains(words) };
        process
            .wait_until(&format!("saying `{words}`"), deadline, probe)
            .await?;
        Ok(process)
    }

    /// Starts it.
    pub fn spawn(self) -> Result<Process> {
        let mut command = match orphan_guard() {
            None => Command::new(&self.program),
            Some(guard) => {
                let mut command = Command::new(guard);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
        };
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .doing(|| format!("open the log {}", self.log.display()))?;
        let same = log.try_clone().doing(|| "share the log".to_owned())?;
        if let Some(prefix) = self.forgotten {
            let begins = |name: &OsString| name.as_encoded_bytes().starts_with(prefix.as_bytes());
            for (name, _) in env::vars_os().filter(|(name, _)| begins(name)) {
                command.env_remove(name);
            }
        }
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(if self.piped { Stdio::piped() } else { Stdio::null() })
            .stdout(log)
            .stderr(same);
        let child = spawn_by_keeper(command).doing(|| format!("start {}", self.program.display()))?;
        Ok(Process {
            name: self.name,
            child,
            log: self.log,
            ended: None,
        })
    }
}

/// The `setpriv` that ties children to this process's life; `None`: where this process is killed with
/// SIGKILL, its servers stay behind.
#[must_use]
pub fn orphan_guard() -> Option<&'static Path> {
    static GUARD: OnceLock<Option<PathBuf>> = OnceLock::new();
    GUARD
        .get_or_init(|| tools::on_path("setpriv").filter(|_| cfg!(target_os = "linux")))
        .as_deref()
}

/// The kernel sends the death signal when the *thread* that started the child ends, and test threads end
/// early: so one thread that lives as long as the process starts them all.
fn spawn_by_keeper(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::SyncSender<io::Result<Child>>);
    static KEEPER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // Nobody waits for the answer only if the caller has gone; the child is then dropped too.
                if let Err(mpsc::SendError(Ok(mut orphan))) = reply.send(command.spawn()) {
                    drop(orphan.kill().and_then(|()| orphan.wait()));
                }
            }
        });
        orders
    });
    let (reply, answer) = mpsc::sync_channel(1);
    let gone = || io::Error::other("the thread that starts processes is gone");
    keeper.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// A running child. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines it wrote.
    #[must_use]
    pub fn last_lines(&self) -> String {
        last_lines(&self.log, LAST_LINES)
    }

    /// Takes its standard input ([`Spec::piped`]); dropping that closes it.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .doing(|| format!("look after {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Fails with its last lines if it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(Error::Exited {
                name: self.name.clone(),
                status,
                log: self.last_lines(),
            }),
        }
    }

    /// Waits until `probe` says yes. Fails at once if the process ends, and after `deadline` otherwise;
    /// a probe that hangs is given up with the deadline.
    pub async fn wait_until<F: Future<Output = bool>>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut probe: impl FnMut() -> F,
    ) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < deadline {
            self.check()?;
            let left = deadline.saturating_sub(start.elapsed());
            if tokio::time::timeout(left, probe()).await == Ok(true) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        self.check()?;
        Err(Error::Late {
            name: self.name.clone(),
            what: what.to_owned(),
            waited: deadline,
            log: self.last_lines(),
        })
    }

    /// Waits until it ends by itself.
    pub async fn wait_ended(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() >= deadline {
                return Err(Error::Late {
                    name: self.name.clone(),
                    what: "ended".to_owned(),
                    waited: deadline,
                    log: self.last_lines(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end (SIGTERM) and waits; after `deadline` it is killed, and that is what the status says.
    pub async fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        self.signal(Signal::CONT)?;
        match self.wait_ended(deadline).await {
            Err(Error::Late { .. }) => self.kill9(),
            ended => ended,
        }
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::KILL)?;
        let status = self.child.wait().doing(|| format!("wait for {}", self.name))?;
        self.ended = Some(status);
        Ok(status)
    }

    /// Freezes it (SIGSTOP): its sockets stay open and nothing answers. Returns when its last thread has
    /// stopped, which is a moment after the signal.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let child = WaitId::Pid(Pid::from_child(&self.child));
        let start = Instant::now();
        while start.elapsed() < STOPS {
            self.check()?;
            let stopped = waitid(child.clone(), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)
                .map_err(io::Error::from)
                .doing(|| format!("wait for {} to freeze", self.name))?;
            if stopped.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(Error::Other(format!("{} did not freeze", self.name)))
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends SIGTERM and returns at once.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        // Unreaped, the id is still this child's; reaped, it may be someone else's.
        if self.ended()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(io::Error::from)
            .doing(|| format!("send {signal:?} to {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill9() {
            eprintln!("could not end {} (process {}): {error}", self.name, self.pid());
        }
    }
}

/// Whether a status says SIGKILL.
#[must_use]
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// What a log holds from a position on.
#[must_use]
pub fn log_after(path: &Path, position: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(position))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// The end of a text file, without reading the whole of it.
#[must_use]
pub fn last_lines(path: &Path, count: usize) -> String {
    const MOST: i64 = 64 * 1024;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        if file.seek(SeekFrom::End(-MOST)).is_err() {
            file.rewind()?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("(no log: {error})"));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests;
