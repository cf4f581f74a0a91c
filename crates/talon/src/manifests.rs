//! Manifests from files, directories and standard input: everything is read and checked before anything is used, and
//! every mistake of every file is told at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use talon_core::manifest::{self, ManifestError};
use talon_core::{AgentName, AgentSpec, Owner, Snapshot, validate};

use crate::exit::{Exit, Failure};
use crate::fleet::Fleet;
use crate::output::safe;
use crate::session::Session;

/// Where manifests come from.
#[derive(Debug, Clone, clap::Args)]
pub struct Source {
    /// A manifest, a directory of manifests (*.yaml, *.yml), or - for standard input; may be repeated
    #[arg(short, long, required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Look into directories below the one named, too
    #[arg(short = 'R', long)]
    recursive: bool,
}

impl Source {
    /// The flags that name the same source again.
    pub fn as_flags(&self) -> String {
        let mut flags: Vec<String> = self
            .file
            .iter()
            .map(|f| format!("-f {}", safe(&f.display().to_string())))
            .collect();
        if self.recursive {
            flags.push("-R".to_owned());
        }
        flags.join(" ")
    }
}

/// One agent as somebody wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Which agent.
    pub name: AgentName,
    /// Whose.
    pub owner: Owner,
    /// What it shall be.
    pub spec: AgentSpec,
    /// What looks odd, without being wrong.
    pub warnings: Vec<String>,
    source: String,
    /// Whether the manifest or a flag says whose it is.
    owner_said: bool,
}

impl Document {
    /// The agent and where it stands, for messages.
    pub fn title(&self) -> String {
        format!("agent/{} ({})", self.name, safe(&self.source))
    }
}

/// Reads and checks everything. `Rejected` with all the mistakes if there is one.
pub fn load(source: &Source, session: &Session) -> Result<Vec<Document>, Failure> {
    let mut files = Vec::new();
    for path in &source.file {
        files.extend(read(path, source.recursive)?);
    }
    parse(&files, session.global.owner.as_deref())
}

/// Whose agents are of which nobody says it: those of whoever asks.
pub async fn settle_owners(documents: &mut [Document], fleet: &dyn Fleet) -> Result<(), Failure> {
    if documents.iter().all(|d| d.owner_said) {
        return Ok(());
    }
    if let Some(own) = fleet.own().await? {
        for d in documents.iter_mut().filter(|d| !d.owner_said) {
            d.owner = own.clone();
        }
    }
    Ok(())
}

/// Prints what looks odd in the manifests.
pub fn warn(documents: &[Document], session: &Session) {
    for d in documents {
        for warning in &d.warnings {
            session.output.warn(&format!("{}: {warning}", d.title()));
        }
    }
}

fn parse(files: &[(String, Vec<u8>)], owner: Option<&str>) -> Result<Vec<Document>, Failure> {
    let mut documents: Vec<Document> = Vec::new();
    let mut mistakes: Vec<String> = Vec::new();
    let mut places: BTreeMap<AgentName, String> = BTreeMap::new();
    for (source, bytes) in files {
        let Some(text) = text_of(bytes) else {
            mistakes.push(format!(
                "{}: is not UTF-8 text: save it as UTF-8, if it is a manifest at all",
                safe(source)
            ));
            continue;
        };
        match manifest::parse_valid(&text, source) {
            Err(errors) => mistakes.extend(errors.iter().map(ManifestError::to_string)),
            Ok(manifests) => {
                for m in manifests {
                    if let Some(first) = places.insert(m.name.clone(), source.clone()) {
                        mistakes.push(format!(
                            "{}: /metadata/name: {} describes the same agent: keep one of them",
                            safe(source),
                            safe(&first)
                        ));
                    }
                    let warnings = validate::warnings(&m.spec)
                        .into_iter()
                        .map(|w| safe(&format!("{}: {}", w.pointer, w.detail)))
                        .collect();
                    documents.push(Document {
                        owner_said: owner.is_some() || m.owner != Owner::default(),
                        owner: match owner {
                            Some(owner) if m.owner == Owner::default() => Owner(owner.to_owned()),
                            _ => m.owner,
                        },
                        name: m.name,
                        spec: m.spec,
                        warnings,
                        source: source.clone(),
                    });
                }
            }
        }
    }
    if mistakes.is_empty() {
        return Ok(documents);
    }
    Err(Failure::rejected(
        format!(
            "the manifests are not valid; nothing was done:\n  {}",
            mistakes.join("\n  ")
        ),
        "correct them and try again; talon schema prints what a manifest may hold",
    ))
}

/// The text of a file; `None` if it is none. What is too long may be cut within a character, and is refused anyway.
fn text_of(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if bytes.len() > manifest::MAX_BYTES {
        return Some(String::from_utf8_lossy(bytes));
    }
    std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
}

/// The manifests behind one `-f`: `(what to call it, its bytes)`.
fn read(path: &Path, recursive: bool) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    if path == Path::new("-") {
        let text =
            read_bounded(std::io::stdin().lock()).map_err(|e| Failure::io("standard input", &e))?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    let name = path.display().to_string();
    let cannot = |e: &std::io::Error| Failure::io(&safe(&name), e);
    let metadata = std::fs::metadata(path).map_err(|e| cannot(&e))?;
    if !metadata.is_dir() {
        let file = std::fs::File::open(path).map_err(|e| cannot(&e))?;
        let text = read_bounded(file).map_err(|e| cannot(&e))?;
        return Ok(vec![(name, text)]);
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .and_then(|dir| dir.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(|e| cannot(&e))?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let is_yaml = entry.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if entry.is_dir() {
            if recursive {
                found.extend(read(&entry, true).or_else(|f| {
                    // A directory below without manifests is nothing special.
                    if f.exit == Exit::NotFound {
                        Ok(Vec::new())
                    } else {
                        Err(f)
                    }
                })?);
            }
        } else if is_yaml {
            found.extend(read(&entry, false)?);
        }
    }
    if found.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{}: no *.yaml or *.yml file in this directory", safe(&name)),
            "name a file, or add -R to look into the directories below",
        ));
    }
    Ok(found)
}

/// One byte more than allowed is read, so that the parser can say that it is too long; no more.
fn read_bounded(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(manifest::MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An agent as a manifest that can be applied again.
pub fn to_yaml(s: &Snapshot) -> Result<String, Failure> {
    if let Some(v) = s.agent.violations.first() {
        return Err(Failure::rejected(
            format!(
                "agent/{} cannot be exported: {}",
                s.agent.name,
                safe(&format!("{}: {}", v.pointer, v.detail))
            ),
            format!(
                "correct the row by SQL, or apply a whole manifest over it; talon why {}",
                s.agent.name
            ),
        ));
    }
    Ok(manifest::to_yaml(
        &s.agent.name,
        &s.agent.owner,
        &s.agent.spec,
    ))
}

/// The same as a JSON value.
pub fn to_json(s: &Snapshot) -> Result<serde_json::Value, Failure> {
    let yaml = to_yaml(s)?;
    serde_yaml::from_str(&yaml).map_err(|e| {
        Failure::new(
            Exit::Failure,
            format!("agent/{} cannot be written as JSON: {e}", s.agent.name),
            "this is a defect of talon; -o yaml works",
        )
    })
}

/// Manifests that are part of the program.
pub fn examples(texts: &[(&str, &str)]) -> Result<Vec<Document>, Failure> {
    let files: Vec<(String, Vec<u8>)> = texts
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
        .collect();
    parse(&files, None)
}
