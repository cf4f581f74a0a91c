//! A PostgreSQL server for tests: one for each test process, with a fresh database for each test.
//!
//! The server is Debian's (or whatever `initdb`, `postgres` and `pg_ctl` are found), started on loopback with its data,
//! socket and log in a temporary directory, under an unprivileged user when the tests run as root, because it refuses
//! root. A watchdog process holds the other end of a pipe: when this process ends, however it ends, the pipe closes, the
//! watchdog stops the server and removes the directory. With `TALON_TEST_POSTGRES_URL` (an administrator's URL) that
//! server is used instead. Databases are dropped as their tests end.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use talon_store_postgres::{MigrateOptions, PostgresStore};
use tokio::sync::OnceCell;

/// Names a server that is there already.
const URL_VARIABLE: &str = "TALON_TEST_POSTGRES_URL";

static SHARED: OnceCell<TestPostgres> = OnceCell::const_new();

/// A running server.
#[derive(Debug)]
pub struct TestPostgres {
    /// An administrator's URL without the database, ending in a slash, and what follows the database.
    base: (String, String),
    template: OnceCell<String>,
    made: AtomicU32,
    server: Option<Server>,
}

/// A role of the contract, or the administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A superuser.
    Admin,
    /// `talon_controller`
    Controller,
    /// `talon_writer`
    Writer,
    /// `talon_reader`
    Reader,
}

impl Role {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Admin => None,
            Self::Controller => Some("talon_controller"),
            Self::Writer => Some("talon_writer"),
            Self::Reader => Some("talon_reader"),
        }
    }
}

impl TestPostgres {
    /// The server of this process; started by the first caller. Panics with what to install if there is none.
    pub async fn shared() -> &'static Self {
        SHARED
            .get_or_init(|| async {
                match std::env::var(URL_VARIABLE) {
                    Ok(url) => Self::at(&url),
                    Err(_) => Self::start()
                        .await
                        .unwrap_or_else(|error| panic!("{error}")),
                }
            })
            .await
    }

    /// A server of the caller's own, stopped when dropped. For tests that read its files. Errors say what is missing.
    pub async fn start() -> Result<Self, String> {
        let server = tokio::task::spawn_blocking(Server::start)
            .await
            .map_err(|error| error.to_string())??;
        let base = (
            format!("postgres://postgres@127.0.0.1:{}/", server.port),
            String::new(),
        );
        Ok(Self {
            base,
            template: OnceCell::new(),
            made: AtomicU32::new(0),
            server: Some(server),
        })
    }

    fn at(url: &str) -> Self {
        let (url, query) = match url.split_once('?') {
            Some((url, query)) => (url, format!("?{query}")),
            None => (url, String::new()),
        };
        let scheme = url.find("://").map_or(0, |at| at + 3);
        let host_end = url[scheme..].find('/').map_or(url.len(), |at| scheme + at);
        Self {
            base: (format!("{}/", &url[..host_end]), query),
            template: OnceCell::new(),
            made: AtomicU32::new(0),
            server: None,
        }
    }

    /// A fresh database with the schema and the roles.
    pub async fn database(&self) -> TestDatabase<'_> {
        let template = self.template.get_or_init(|| self.make_template()).await;
        let database = self.make(&format!("TEMPLATE {template}")).await;
        // A database made from a template has its content and not its settings.
        PostgresStore::migrate(&database.url(Role::Admin), MigrateOptions::default())
            .await
            .expect("the settings of the new database");
        database
    }

    /// A fresh database without anything in it.
    pub async fn empty_database(&self) -> TestDatabase<'_> {
        self.make("TEMPLATE template0").await
    }

    async fn make_template(&self) -> String {
        if self.server.is_none() {
            // On somebody else's server nothing may stay behind: every database is migrated anew.
            return "template0".to_owned();
        }
        let template = self.make("TEMPLATE template0").await;
        PostgresStore::migrate(&template.url(Role::Admin), MigrateOptions::default())
            .await
            .expect("migrations run");
        let name = template.name.clone();
        // Stays for as long as the server.
        std::mem::forget(template);
        name
    }

    async fn make(&self, from: &str) -> TestDatabase<'_> {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "talon_test_{}_{n}_{}",
            std::process::id(),
            uuid::Uuid::new_v4().simple()
        );
        self.admin(&format!("CREATE DATABASE {name} {from}")).await;
        TestDatabase { server: self, name }
    }

    async fn admin(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url("postgres"))
            .await
            .expect("the server answers");
        connection
            .execute(AssertSqlSafe(sql))
            .await
            .expect("an administrator may");
        let _ = connection.close().await;
    }

    fn url(&self, database: &str) -> String {
        format!("{}{database}{}", self.base.0, self.base.1)
    }

    /// Where the server keeps its files, if it is our own.
    pub fn data_dir(&self) -> Option<&Path> {
        self.server.as_ref().map(|server| server.data.as_path())
    }

    /// The server's log, if it is our own.
    pub fn log_file(&self) -> Option<&Path> {
        self.server.as_ref().map(|server| server.log.as_path())
    }

    /// Runs one of PostgreSQL's own programs, such as `pg_dump`.
    pub fn run<I, S>(&self, program: &str, arguments: I) -> Output
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let path = match &self.server {
            Some(server) => server.programs.join(program),
            None => PathBuf::from(program),
        };
        Command::new(&path)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; {INSTALL}"))
    }
}

/// A database of one test.
#[derive(Debug)]
pub struct TestDatabase<'s> {
    server: &'s TestPostgres,
    name: String,
}

impl TestDatabase<'_> {
    /// Its URL, as seen by a role.
    pub fn url(&self, role: Role) -> String {
        let url = self.server.url(&self.name);
        match (role.name(), &self.server.server) {
            (None, _) => url,
            (Some(role), Some(_)) => url.replacen("postgres@", &format!("{role}@"), 1),
            // The roles have no password there: the administrator steps down instead.
            (Some(role), None) => {
                let sign = if url.contains('?') { '&' } else { '?' };
                format!("{url}{sign}options=-c%20role%3D{role}%20-c%20search_path%3Dtalon%2Cpublic")
            }
        }
    }

    /// A store, opened by an administrator.
    pub async fn store(&self) -> PostgresStore {
        PostgresStore::open(&self.url(Role::Admin))
            .await
            .expect("the store opens")
    }

    /// A bare connection.
    pub async fn connect(&self, role: Role) -> PgConnection {
        PgConnection::connect(&self.url(role))
            .await
            .expect("the role may connect")
    }

    /// Runs statements through `psql`, as a person would.
    pub fn psql(&self, role: Role, sql: &str) -> Output {
        self.server.run(
            "psql",
            [
                "-X",
                "-v",
                "ON_ERROR_STOP=1",
                "-A",
                "-t",
                "-d",
                &self.url(role),
                "-c",
                sql,
            ],
        )
    }
}

impl Drop for TestDatabase<'_> {
    fn drop(&mut self) {
        let (url, name) = (self.server.url("postgres"), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url).await?;
                connection
                    .execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
                    .await?;
                connection.close().await
            })?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        if !matches!(dropped.join(), Ok(Ok(()))) {
            eprintln!("a test database could not be dropped");
        }
    }
}

/// What to do where there is no server.
const INSTALL: &str = "PostgreSQL is needed for this test: apt-get install postgresql (or set TALON_TEST_POSTGRES_URL to an administrator's URL)";

/// A server process and its files.
#[derive(Debug)]
struct Server {
    programs: PathBuf,
    data: PathBuf,
    log: PathBuf,
    port: u16,
    // Last, so that the directory is the watchdog's to remove.
    _watchdog: Watchdog,
}

impl Server {
    fn start() -> Result<Self, String> {
        let programs = programs().ok_or(INSTALL)?;
        let user = unprivileged_user()?;
        let dir = tempfile::Builder::new()
            .prefix("talon-postgres-")
            .tempdir_in(place())
            .map_err(|error| error.to_string())?
            .keep();
        if let Some(user) = &user {
            done(Command::new("chown").arg(user).arg(&dir))?;
        }
        let data = dir.join("data");
        let log = dir.join("server.log");
        let watchdog = Watchdog::start(&user, &programs, &data, &dir)?;
        done(
            as_user(&user, &programs.join("initdb"))
                .args([
                    "--auth=trust",
                    "--username=postgres",
                    "--encoding=UTF8",
                    "--no-locale",
                    "--no-sync",
                    "-D",
                ])
                .arg(&data)
                .current_dir(&dir),
        )?;
        let mut last = String::new();
        for _ in 0..5 {
            let port = free_port()?;
            let settings = format!(
                "-h 127.0.0.1 -p {port} -k {} -c fsync=off -c max_connections=300 -c max_wal_size=256MB",
                dir.display()
            );
            let started = done(
                as_user(&user, &programs.join("pg_ctl"))
                    .args(["start", "--wait", "--silent", "-D"])
                    .arg(&data)
                    .arg("-l")
                    .arg(&log)
                    .arg("-o")
                    .arg(settings)
                    .current_dir(&dir),
            );
            match started {
                Ok(()) => {
                    return Ok(Self {
                        programs,
                        data,
                        log,
                        port,
                        _watchdog: watchdog,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(format!("the PostgreSQL server does not start: {last}"))
    }
}

/// Outlives this process by as long as it takes to stop the server and to remove its files.
#[derive(Debug)]
struct Watchdog(Child);

impl Watchdog {
    fn start(
        user: &Option<String>,
        programs: &Path,
        data: &Path,
        dir: &Path,
    ) -> Result<Self, String> {
        let stop = as_user(user, &programs.join("pg_ctl"));
        let script = r#"dir=$1; shift; read -r _; "$@" >/dev/null 2>&1; rm -rf "$dir""#;
        Command::new("sh")
            .args(["-c", script, "talon-postgres-watchdog"])
            .arg(dir)
            .arg(stop.get_program())
            .args(stop.get_args())
            .args(["stop", "--mode=immediate", "--wait", "-D"])
            .arg(data)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not ended by the Ctrl-C that ends the tests.
            .process_group(0)
            .spawn()
            .map(Self)
            .map_err(|error| format!("the watchdog does not start: {error}"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The directory of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<(u32, PathBuf)> = debian
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    let path = std::env::var_os("PATH").unwrap_or_default();
    versions
        .into_iter()
        .map(|(_, dir)| dir)
        .chain(std::env::split_paths(&path))
        .find(|dir| {
            ["initdb", "postgres", "pg_ctl"]
                .iter()
                .all(|program| dir.join(program).is_file())
        })
}

/// Who runs the server: nobody else, unless this is root.
fn unprivileged_user() -> Result<Option<String>, String> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id")
            .args(arguments)
            .output()
            .map_err(|error| format!("id: {error}"))?;
        Ok::<_, String>(
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        )
    };
    if id(&["-u"])?.as_deref() != Some("0") {
        return Ok(None);
    }
    for user in ["postgres", "nobody"] {
        if id(&["-u", user])?.is_some() {
            return Ok(Some(user.to_owned()));
        }
    }
    Err("the server refuses root, and there is neither a user postgres nor nobody".to_owned())
}

fn as_user(user: &Option<String>, program: &Path) -> Command {
    let Some(user) = user else {
        return Command::new(program);
    };
    let group = if user == "nobody" { "nogroup" } else { user };
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", user, "--regid", group, "--clear-groups", "--"])
        .arg(program);
    command
}

/// Where the server's files go: memory if there is plenty, which makes the tests twice as fast; else the usual place.
fn place() -> PathBuf {
    const MEMORY: &str = "/dev/shm";
    const PLENTY_MIB: u64 = 2048;
    let free: Option<u64> = Command::new("df")
        .args(["--output=avail", "--block-size=1M", MEMORY])
        .stderr(Stdio::null())
        .output()
        .ok()
        .and_then(|output| {
            String::from_utf8(output.stdout)
                .ok()?
                .lines()
                .last()?
                .trim()
                .parse()
                .ok()
        });
    match free {
        Some(mib) if mib >= PLENTY_MIB => PathBuf::from(MEMORY),
        Some(_) | None => std::env::temp_dir(),
    }
}

fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    Ok(listener
        .local_addr()
        .map_err(|error| error.to_string())?
        .port())
}

fn done(command: &mut Command) -> Result<(), String> {
    // Not piped: a server started by the command would keep the pipe open.
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", command.get_program().display()))
    }
}
