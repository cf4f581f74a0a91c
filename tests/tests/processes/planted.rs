//! The search that finds nothing is worth something if it finds what is there: a hundred values, written in every way, put
//! where things of Talon's are: in files, in SQLite's pages and write-ahead log, in rows that were deleted, in PostgreSQL's
//! files, log and dump.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};
use talon_tests::canary::{Canaries, written};
use talon_tests::postgres::{Role, TestDatabase, TestPostgres};

const MANY: usize = 100;

/// A place of which a searcher that looks in the wrong way knows nothing.
#[derive(Debug, Clone, Copy)]
enum Place {
    File,
    WriteAheadLog,
    LongRow,
    DeletedRow,
    Blob,
    PostgresRow,
    PostgresDeletedRow,
    PostgresLog,
}

const PLACES: [Place; 8] = [
    Place::File,
    Place::WriteAheadLog,
    Place::LongRow,
    Place::DeletedRow,
    Place::Blob,
    Place::PostgresRow,
    Place::PostgresDeletedRow,
    Place::PostgresLog,
];

fn noise(dice: &mut StdRng, most: usize) -> String {
    let length = dice.random_range(0..most);
    let letter = |d: &mut StdRng| char::from(b"ghijklmnopqrstuvwxyz"[d.random_range(0..20)]);
    (0..length).map(|_| letter(dice)).collect()
}

/// As a literal of either SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// SQLite: one database whose log is not written back, one whose is, and one that is emptied.
struct Files {
    logged: SqliteConnection,
    settled: SqliteConnection,
    emptied: SqliteConnection,
}

impl Files {
    async fn open(folder: &Path) -> Result<Self> {
        let open = async |name: &str| -> Result<SqliteConnection> {
            let url = format!("sqlite://{}?mode=rwc", folder.join(name).display());
            let mut connection = SqliteConnection::connect(&url).await?;
            connection.execute("PRAGMA journal_mode = WAL").await?;
            connection.execute("PRAGMA wal_autocheckpoint = 0").await?;
            connection
                .execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, blob BLOB)")
                .await?;
            Ok(connection)
        };
        Ok(Self {
            logged: open("logged.db").await?,
            settled: open("settled.db").await?,
            emptied: open("emptied.db").await?,
        })
    }
}

async fn plant(
    n: usize,
    text: &str,
    folder: &Path,
    files: &mut Files,
    database: &TestDatabase<'_>,
) -> Result<()> {
    let value = literal(text);
    let to = |table: &str| format!("INSERT INTO {table} (id, text) VALUES ({n}, {value});");
    let by_psql = |sql: String| {
        let output = database.psql(Role::Admin, &sql);
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    };
    match PLACES[n % PLACES.len()] {
        Place::File => {
            let below = folder.join(format!("a/{n}"));
            std::fs::create_dir_all(&below)?;
            std::fs::write(below.join("file.log"), text)?;
        }
        Place::WriteAheadLog => {
            files.logged.execute(AssertSqlSafe(to("t"))).await?;
        }
        Place::LongRow => {
            files.settled.execute(AssertSqlSafe(to("t"))).await?;
        }
        Place::DeletedRow => {
            files.emptied.execute(AssertSqlSafe(to("t"))).await?;
        }
        Place::Blob => {
            let hex = hex::encode(text);
            let blob = format!("INSERT INTO t (id, blob) VALUES ({n}, x'{hex}')");
            files.settled.execute(AssertSqlSafe(blob)).await?;
        }
        Place::PostgresRow => by_psql(to("public.t"))?,
        Place::PostgresDeletedRow => {
            by_psql(format!(
                "{} DELETE FROM public.t WHERE id = {n};",
                to("public.t")
            ))?;
        }
        Place::PostgresLog => by_psql(format!(
            "DO $outer$ BEGIN RAISE WARNING '%', {value}; END $outer$;"
        ))?,
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_a_hundred_planted_values_are_found() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = TestPostgres::start().await.map_err(anyhow::Error::msg)?;
    let database = server.database().await;
    // What is long is compressed: nothing can be found in it, and Talon's keys would not be that long.
    let made = database.psql(
        Role::Admin,
        "CREATE TABLE public.t (id int, text text); ALTER TABLE public.t ALTER text SET STORAGE EXTERNAL;",
    );
    ensure!(made.status.success(), "{made:?}");
    let mut files = Files::open(folder.path()).await?;
    let mut canaries = Canaries::default();
    let dice = &mut StdRng::seed_from_u64(4);
    for n in 0..MANY {
        let value = format!(
            "sk-{:016x}-\"é\\/+&{:016x}",
            dice.random::<u64>(),
            dice.random::<u64>()
        );
        canaries.add(&n.to_string(), &value);
        let how = dice.random_range(0..9);
        // Whatever stands beside it in the encoded text, and wherever the pages end.
        let inner = format!("{}{value}{}", noise(dice, 5), noise(dice, 5));
        let around = match PLACES[n % PLACES.len()] {
            Place::PostgresLog => 200,
            Place::PostgresRow | Place::PostgresDeletedRow => 6_000,
            _ => 20_000,
        };
        let text = format!(
            "{} {} {}",
            noise(dice, around),
            written(&inner, how),
            noise(dice, around)
        );
        plant(n, &text, folder.path(), &mut files, &database).await?;
    }
    for connection in [&mut files.settled, &mut files.emptied] {
        connection
            .execute("PRAGMA wal_checkpoint(TRUNCATE)")
            .await?;
    }
    // What was written back is freed, not wiped.
    files.emptied.execute("DELETE FROM t").await?;
    files
        .emptied
        .execute("PRAGMA wal_checkpoint(TRUNCATE)")
        .await?;
    let checkpoint = database.psql(Role::Admin, "CHECKPOINT;");
    ensure!(checkpoint.status.success(), "{checkpoint:?}");

    let mut found = canaries.below(folder.path(), &[]);
    ensure!(
        found.iter().any(|f| f.contains("logged.db-wal")),
        "the write-ahead log was not read"
    );
    found.extend(canaries.below(server.data_dir().context("a server of our own")?, &[]));
    ensure!(
        found.iter().any(|f| f.contains("pg_wal")),
        "PostgreSQL's log of writes was not read"
    );
    found.extend(canaries.below(server.log_file().context("a server of our own")?, &[]));
    let dump = server.run("pg_dump", ["-d", &database.url(Role::Admin)]);
    let dumped: BTreeSet<usize> = numbers(canaries.within(&dump.stdout).iter()).collect();
    let rows = (0..MANY).filter(|n| matches!(PLACES[n % PLACES.len()], Place::PostgresRow));
    ensure!(
        rows.clone().all(|n| dumped.contains(&n)),
        "the dump: {dumped:?}"
    );
    let found: BTreeSet<usize> = numbers(found.iter()).collect();
    let missed: Vec<_> = (0..MANY)
        .filter(|n| !found.contains(n))
        .map(|n| (n, PLACES[n % PLACES.len()]))
        .collect();
    ensure!(
        missed.is_empty(),
        "{} of {MANY} found, not {missed:?}",
        found.len()
    );
    Ok(())
}

/// Which values these findings are of.
fn numbers<T: AsRef<str>>(found: impl Iterator<Item = T>) -> impl Iterator<Item = usize> {
    found.filter_map(|f| {
        let label = f.as_ref().split(" (").next()?;
        label.rsplit(": ").next()?.parse().ok()
    })
}
