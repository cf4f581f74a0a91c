//! A `talon` that stays: its output line by line, and what its processes leave behind.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use talon_tests::process::binary;

/// The binary in a folder, with what it needs to find npm and its caches, and nothing else of this process's environment.
/// It begins a session of its own, by which everything that it starts can be told.
pub fn talon(folder: &Path) -> Command {
    let mut command = Command::new("setsid");
    command
        .arg(binary().expect("the binary"))
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null());
    for name in [
        "PATH",
        "HOME",
        "XDG_CACHE_HOME",
        "TALON_CACHE_DIR",
        "TALON_WORKERD",
    ] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A `talon` under way. Killed when dropped.
pub struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    /// Starts it; its standard error goes into a file.
    pub fn start(command: &mut Command, errors: &Path) -> Self {
        let errors = std::fs::File::create(errors).expect("a file");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("setsid and the binary");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Self {
            child,
            out,
            said: String::new(),
        }
    }

    /// Reads up to a line that contains `sign`, and gives that line.
    pub fn says(&mut self, sign: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).expect("a line");
            self.said.push_str(&line);
            assert_ne!(read, 0, "it never said {sign}: {}", self.said);
            if line.contains(sign) {
                return line;
            }
        }
    }

    /// Its session: the processes that it started carry the same number.
    pub fn session(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and waits for the end: the exit code, and all that it said.
    pub fn end_with(mut self, signal: Signal) -> (Option<i32>, String) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id"));
        kill(pid, signal).expect("a signal");
        self.end()
    }

    /// Waits for the end.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("its output");
        self.said.push_str(&rest);
        let code = self.child.wait().expect("its end").code();
        (code, std::mem::take(&mut self.said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes of a session, by what they run.
pub fn processes_of(session: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        // One that ends meanwhile is none.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The name, in parentheses, may hold anything; behind it: state, parent, group, session.
        let Some((head, tail)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = tail.split_whitespace();
        let (state, of) = (fields.next(), fields.nth(2));
        if state != Some("Z") && of == Some(session.to_string().as_str()) {
            found.push(head.to_owned());
        }
    }
    found
}

/// What is in a folder.
pub fn entries(folder: &Path) -> Vec<OsString> {
    let read = std::fs::read_dir(folder).expect("the folder");
    read.flatten().map(|entry| entry.file_name()).collect()
}

/// A `talon dev` with a second terminal.
pub struct Dev {
    folder: tempfile::TempDir,
    running: Option<Running>,
    database: String,
    server: String,
}

impl Dev {
    /// Starts it, with more of the environment.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let temporary = folder.path().join("tmp");
        std::fs::create_dir(&temporary).expect("a folder");
        let mut command = talon(folder.path());
        command
            .arg("dev")
            .env("TMPDIR", &temporary)
            .envs(environment.iter().copied());
        let mut running = Running::start(&mut command, &folder.path().join("dev.err"));
        let value = |line: String| line.split_once('=').expect("a value").1.trim().to_owned();
        let database = value(running.says("export TALON_DATABASE_URL="));
        let server = value(running.says("export TALON_SERVER="));
        running.says("Ctrl-C ends it");
        Self {
            folder,
            running: Some(running),
            database,
            server,
        }
    }

    /// The folder that both terminals are in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it keeps its own temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// What it wrote to standard error.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("dev.err")).expect("its errors")
    }

    /// A command in the second terminal.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = talon(self.folder.path());
        command
            .args(arguments)
            .env("TALON_DATABASE_URL", &self.database)
            .env("TALON_SERVER", &self.server);
        command
    }

    /// Runs a command in the second terminal, which must end with this code.
    #[track_caller]
    pub fn talon(&self, arguments: &[&str], code: i32) -> Ran {
        Ran::of(self.command(arguments).output().expect("the binary")).ends(code)
    }

    /// The document that a command prints with `-o json`, which must be as its published schema says.
    #[track_caller]
    pub fn document(&self, arguments: &[&str], schema: &str) -> serde_json::Value {
        let document = self.talon(&[arguments, &["-o", "json"]].concat(), 0).json();
        self.fits(schema, &document);
        document
    }

    /// Checks a document against the published schema of this name.
    #[track_caller]
    pub fn fits(&self, schema: &str, document: &serde_json::Value) {
        let published = self.talon(&["schema", "output", schema], 0).json();
        let validator = jsonschema::validator_for(&published).expect("a schema");
        let errors: Vec<String> = validator
            .iter_errors(document)
            .map(|e| format!("{}: {e}", e.instance_path))
            .collect();
        assert!(errors.is_empty(), "{schema}: {errors:#?} in {document:#}");
    }

    /// Asserts that a command prints the same document by way of the daemon and of the database, times aside. What the
    /// controller changes between two looks is looked at again.
    #[track_caller]
    pub fn same_both_ways(&self, arguments: &[&str], schema: &str) {
        let by_database = [arguments, &["--database-url", &self.database]].concat();
        for _ in 0..20 {
            let before = timeless(self.document(&by_database, schema));
            let by_server = timeless(self.document(arguments, schema));
            if before == by_server {
                return;
            }
            let after = timeless(self.document(&by_database, schema));
            assert_ne!(before, after, "by way of the daemon it is {by_server:#}");
        }
        panic!("{arguments:?} never stood still");
    }

    /// Ends it with a signal; everything is gone then. Gives the exit code.
    pub fn end_with(mut self, signal: Signal) -> Option<i32> {
        let running = self.running.take().expect("it runs");
        let session = running.session();
        let (code, _) = running.end_with(signal);
        gone(session);
        assert_eq!(entries(&self.temporary()), Vec::<OsString>::new());
        code
    }
}

/// A document without times, which differ from one look to the next.
fn timeless(document: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match document {
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(&text).is_ok() => "TIME".into(),
        Value::String(text) => match text.split_once(" ago") {
            Some((head, tail)) => {
                let head = head.rsplit_once(' ').map_or("", |(head, _)| head);
                format!("{head} AGE ago{tail}").into()
            }
            None => Value::String(text),
        },
        Value::Array(list) => list.into_iter().map(timeless).collect(),
        Value::Object(object) => object
            .into_iter()
            .map(|(key, value)| (key, timeless(value)))
            .collect(),
        other => other,
    }
}

/// Fails unless no process of a session is left, or is just ending.
#[track_caller]
pub fn gone(session: u32) {
    let mut left = processes_of(session);
    // Whoever is killed with its parent needs a moment.
    for _ in 0..200 {
        if left.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
        left = processes_of(session);
    }
    panic!("these are left behind: {left:?}");
}

/// What a command gave.
#[derive(Debug)]
pub struct Ran {
    code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Asserts the code, and the next step that every error ends with.
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        let failed = self.err.contains("error: ");
        assert!(!failed || self.err.contains("\nnext: "), "{}", self.err);
        self
    }

    /// Standard output as exactly one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}
