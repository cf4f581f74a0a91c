//! One workerd process.
//!
//! It dies with this process, however that ends: a shell that becomes workerd leaves a child behind that waits on a pipe
//! whose other end is held here alone, and kills workerd when that end is gone. (The kernel's parent-death signal is no
//! alternative: it follows the thread that started the child, and runtimes end threads at will.)

use std::io::{PipeWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::config::SOCKET_NAME;
use super::output::Output;

/// `$$` stays the shell's number in its children, and `exec` keeps it for workerd.
const LIFELINE: &str =
    r#"(read -r _ <&3 || kill -9 $$) </dev/null >/dev/null 2>&1 & exec 3<&-; exec "$@""#;

/// Why a process does not serve.
#[derive(Debug)]
pub(super) enum StartError {
    /// It could not be started at all.
    Spawn(std::io::Error),
    /// workerd looked at the Worker and ended. The output says why.
    Ended,
    /// It neither served nor ended in time.
    Slow(Duration),
}

/// A serving process. Killed when dropped.
pub(super) struct Process {
    child: Child,
    lifeline: PipeWriter,
    address: SocketAddr,
    /// Ends when the process has said its last.
    listening: JoinHandle<()>,
}

/// What workerd says on its control channel.
#[derive(Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    socket: String,
    #[serde(default)]
    port: u16,
}

impl Process {
    /// Starts workerd and waits until it serves. The configuration goes through a pipe.
    pub(super) async fn start(
        binary: &Path,
        config: Zeroizing<Vec<u8>>,
        output: &Arc<Output>,
        patience: Duration,
    ) -> Result<Self, StartError> {
        let (read_end, lifeline) = std::io::pipe().map_err(StartError::Spawn)?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", LIFELINE, "talon-workerd"])
            .arg(binary)
            .args(["serve", "--control-fd=1", "--binary", "-"])
            // Nothing of our environment is the Worker's business.
            .env_clear()
            // Ctrl-C in a terminal is for us; we end it ourselves.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
            .fd_mappings(vec![FdMapping {
                parent_fd: read_end.into(),
                child_fd: 3,
            }])
            .map_err(|e| StartError::Spawn(std::io::Error::other(e.to_string())))?;
        let mut child = command.spawn().map_err(StartError::Spawn)?;
        // It holds our end of the lifeline's reading side.
        drop(command);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(StartError::Spawn(std::io::Error::other("no pipes")));
        };
        let feed = tokio::spawn(async move {
            // A process that ends early does not read it all; its end is what counts.
            let _ = stdin.write_all(&config).await;
        });
        let listening = tokio::spawn(collect(stderr, Arc::clone(output)));
        let mut process = Self {
            child,
            lifeline,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            listening,
        };
        let mut events = BufReader::new(stdout).lines();
        let port = tokio::time::timeout(patience, async {
            while let Ok(Some(line)) = events.next_line().await {
                match serde_json::from_str::<Event>(&line) {
                    Ok(e) if e.event == "listen" && e.socket == SOCKET_NAME => return Some(e.port),
                    Ok(_) => {}
                    Err(_) => output.line(line),
                }
            }
            None
        })
        .await;
        match port {
            Ok(Some(port)) => {
                feed.abort();
                process.address.set_port(port);
                let output = Arc::clone(output);
                tokio::spawn(async move {
                    while let Ok(Some(line)) = events.next_line().await {
                        output.line(line);
                    }
                });
                Ok(process)
            }
            Ok(None) => {
                process.ended().await;
                Err(StartError::Ended)
            }
            Err(_) => {
                process.kill().await;
                Err(StartError::Slow(patience))
            }
        }
    }

    /// Where it serves.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its number, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end. May be given up and called again.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.wait().await.ok();
        // The line says that there is nothing left to kill.
        let _ = self.lifeline.write_all(b"\n");
        // Its last words; a grandchild that kept the pipe must not keep us.
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut self.listening).await;
        status
    }

    /// Ends it at once: what it was doing is cut off.
    pub(super) async fn kill(&mut self) {
        let _ = self.child.start_kill();
        self.ended().await;
    }

    /// Lets it finish what it is doing, for so long at most.
    pub(super) async fn drain(mut self, patience: Duration) {
        if let Some(pid) = self.pid().and_then(|p| i32::try_from(p).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if tokio::time::timeout(patience, self.ended()).await.is_err() {
            self.kill().await;
        }
    }
}

async fn collect(from: impl AsyncRead + Unpin, into: Arc<Output>) {
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        into.error_line(String::from_utf8_lossy(&line).into_owned());
    }
}
