//! A deployed version as a workerd configuration.
//!
//! The numbers below are places in the structs of `workerd.capnp`; Cap'n Proto never moves a field, so they hold for
//! every later workerd.
#![allow(clippy::disallowed_methods)] // Secrets are written into the configuration, which goes through a pipe.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::capnp::{Message, Shape, Struct};
use crate::runner::{Deployed, RunBinding, RunModule};

const CONFIG: Shape = (1, 6);
const SOCKET: Shape = (1, 5);
const SERVICE: Shape = (1, 2);
const DESIGNATOR: Shape = (1, 3);
const WORKER: Shape = (1, 13);
const MODULE: Shape = (1, 3);
const BINDING: Shape = (1, 6);
const NAMESPACE: Shape = (1, 3);
const NAMESPACE_DESIGNATOR: Shape = (0, 2);
const EXTERNAL: Shape = (1, 4);
const NETWORK: Shape = (0, 3);
const DISK: Shape = (1, 1);
const HTTP: Shape = (1, 5);
const HEADER: Shape = (0, 2);
const TLS: Shape = (1, 3);

/// Union numbers of `Service`.
mod service {
    pub(super) const WORKER: u16 = 1;
    pub(super) const NETWORK: u16 = 2;
    pub(super) const EXTERNAL: u16 = 3;
    pub(super) const DISK: u16 = 4;
}

/// Union numbers of `Worker.Binding`.
mod binding {
    pub(super) const TEXT: u16 = 2;
    pub(super) const JSON: u16 = 4;
    pub(super) const DURABLE_OBJECT_NAMESPACE: u16 = 8;
    pub(super) const R2_BUCKET: u16 = 10;
}

/// The socket's name, which workerd repeats when it listens.
pub(super) const SOCKET_NAME: &str = "http";
/// The Worker's name, which workerd repeats in messages about it.
pub(super) const SERVICE_NAME: &str = "worker";
/// The header that says how the client came: the front door speaks plain HTTP for `https` addresses.
pub(crate) const PROTO_HEADER: &str = "x-forwarded-proto";

/// Where Durable Objects keep what they have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Storage<'a> {
    /// In a directory, which must exist.
    Disk(&'a Path),
    /// Nowhere: for trying whether a Worker starts.
    Memory,
}

/// The service behind a Worker's R2 bindings.
pub(super) struct R2<'a> {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Name of the header that says which bucket.
    pub(super) header: &'static str,
    /// The header's value for a binding; `None` if its bucket cannot be reached.
    pub(super) value: &'a dyn Fn(&RunBinding) -> Option<String>,
}

/// Writes the configuration of one process that runs one Worker.
pub(super) fn write(
    worker: &str,
    version: &Deployed,
    storage: Storage<'_>,
    r2: Option<&R2<'_>>,
) -> Zeroizing<Vec<u8>> {
    let buckets: Vec<(&RunBinding, String)> = r2
        .iter()
        .flat_map(|r2| {
            let all = version.bindings.iter().filter(|b| b.kind == "r2_bucket");
            all.filter_map(|b| Some((b, (r2.value)(b)?)))
        })
        .collect();
    let (mut m, config) = Message::new(CONFIG, expected_size(version));
    let disk = match storage {
        Storage::Disk(path) => Some(path),
        Storage::Memory => None,
    };
    let count = 2 + usize::from(disk.is_some()) + buckets.len();
    let mut services = m.list(config, 0, count, SERVICE).into_iter();
    let mut next = |m: &mut Message, name: &str, kind: u16, shape: Shape| {
        services.next().map(|service| {
            m.text(service, 0, name);
            m.number(service, 0, kind);
            m.child(service, 1, shape)
        })
    };
    if let Some(network) = next(&mut m, "net", service::NETWORK, NETWORK) {
        // The Hub, model stand-ins and S3 of a local set-up live on this machine.
        m.texts(network, 0, ["public", "private", "local"].into_iter());
        let tls = m.child(network, 2, TLS);
        m.bit(tls, 1);
    }
    if let Some(path) = disk
        && let Some(disk) = next(&mut m, "disk", service::DISK, DISK)
    {
        m.text(disk, 0, &path.to_string_lossy());
        m.bit(disk, 0);
    }
    if let Some(r2) = r2 {
        for (binding, value) in &buckets {
            let name = format!("r2-{}", binding.name);
            if let Some(external) = next(&mut m, &name, service::EXTERNAL, EXTERNAL) {
                m.text(external, 0, &r2.address.to_string());
                let http = m.child(external, 1, HTTP);
                for header in m.list(http, 2, 1, HEADER) {
                    m.text(header, 0, r2.header);
                    m.text(header, 1, value);
                }
            }
        }
    }
    if let Some(into) = next(&mut m, SERVICE_NAME, service::WORKER, WORKER) {
        let names: Vec<&str> = buckets.iter().map(|(b, _)| b.name.as_str()).collect();
        write_worker(&mut m, into, worker, version, disk.is_some(), &names);
    }
    for socket in m.list(config, 1, 1, SOCKET) {
        m.text(socket, 0, SOCKET_NAME);
        m.text(socket, 1, "127.0.0.1:0");
        let http = m.child(socket, 2, HTTP);
        m.text(http, 0, PROTO_HEADER);
        let target = m.child(socket, 4, DESIGNATOR);
        m.text(target, 0, SERVICE_NAME);
    }
    m.finish()
}

/// No smaller than the message will be, so that it never moves in memory.
fn expected_size(version: &Deployed) -> usize {
    let modules: usize = version
        .modules
        .iter()
        .map(|m| m.body.len() + m.name.len() + 64)
        .sum();
    let bindings: usize = version
        .bindings
        .iter()
        .map(|b| {
            let fields: usize = b.fields.values().map(|v| v.to_string().len()).sum();
            let secret = b.secret.as_ref().map_or(0, |s| s.expose().len());
            fields + secret + 4 * b.name.len() + 512
        })
        .sum();
    modules + bindings + version.classes.len() * 512 + 4096
}

fn write_worker(
    m: &mut Message,
    into: Struct,
    worker: &str,
    version: &Deployed,
    on_disk: bool,
    buckets: &[&str],
) {
    write_code(m, into, version);
    m.text(into, 1, &version.compatibility_date);
    m.texts(
        into,
        2,
        version.compatibility_flags.iter().map(String::as_str),
    );
    let bound: Vec<(&RunBinding, Bound<'_>)> = version
        .bindings
        .iter()
        .filter_map(|b| Some((b, bound(worker, version, b, buckets)?)))
        .collect();
    let slots = m.list(into, 3, bound.len(), BINDING);
    for (slot, (binding, how)) in slots.into_iter().zip(&bound) {
        write_binding(m, slot, binding, how);
    }
    let outbound = m.child(into, 4, DESIGNATOR);
    m.text(outbound, 0, "net");
    let slots = m.list(into, 5, version.classes.len(), NAMESPACE);
    for (slot, (name, class)) in slots.into_iter().zip(&version.classes) {
        m.text(slot, 0, name);
        m.text(slot, 1, &class.namespace_id);
        if class.sqlite {
            m.bit(slot, 17);
        }
    }
    if on_disk {
        m.number(into, 1, 2);
        m.text(into, 8, "disk");
    } else {
        m.number(into, 1, 1);
    }
}

/// Whether the entry is in module syntax.
fn has_modules(version: &Deployed) -> bool {
    let main = version
        .modules
        .iter()
        .find(|m| m.name == version.main_module);
    main.is_none_or(|m| essence(&m.content_type) != "application/javascript")
}

fn write_code(m: &mut Message, into: Struct, version: &Deployed) {
    let main = version
        .modules
        .iter()
        .find(|m| m.name == version.main_module);
    if let Some(main) = main.filter(|_| !has_modules(version)) {
        m.number(into, 0, 1);
        m.text(into, 0, &String::from_utf8_lossy(&main.body));
        return;
    }
    // The first one is the entry.
    let others = version
        .modules
        .iter()
        .filter(|m| m.name != version.main_module);
    let known: Vec<(&RunModule, u16)> = main
        .into_iter()
        .chain(others)
        .filter_map(|m| Some((m, module_kind(&m.content_type)?)))
        .collect();
    let slots = m.list(into, 0, known.len(), MODULE);
    for (slot, (module, kind)) in slots.into_iter().zip(known) {
        m.text(slot, 0, module_name(&module.name));
        m.number(slot, 0, kind);
        match kind {
            3 | 4 => m.data(slot, 1, &module.body),
            _ => m.text(slot, 1, &String::from_utf8_lossy(&module.body)),
        }
    }
}

/// Wrangler uploads some as `./name`; workerd takes names without the dot and resolves imports of both kinds.
fn module_name(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name)
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Union number of `Worker.Module`; `None` for parts that are no module, such as source maps.
fn module_kind(content_type: &str) -> Option<u16> {
    match essence(content_type) {
        "application/javascript+module" => Some(0),
        "application/javascript" => Some(1),
        "text/plain" => Some(2),
        "application/octet-stream" => Some(3),
        "application/wasm" => Some(4),
        "application/json" => Some(5),
        "text/x-python" => Some(7),
        _ => None,
    }
}

/// How a binding reaches the Worker.
enum Bound<'a> {
    Text(&'a str),
    Json(String),
    Bucket,
    Objects(&'a str),
}

/// `None` for what is not simulated: the Worker then finds nothing under the name.
fn bound<'a>(
    worker: &str,
    version: &'a Deployed,
    binding: &'a RunBinding,
    buckets: &[&str],
) -> Option<Bound<'a>> {
    let field = |name: &str| binding.fields.get(name).and_then(Value::as_str);
    match binding.kind.as_str() {
        "plain_text" => field("text").map(Bound::Text),
        "secret_text" => binding.secret.as_ref().map(|s| Bound::Text(s.expose())),
        "json" => binding
            .fields
            .get("json")
            .map(|v| Bound::Json(v.to_string())),
        "version_metadata" => Some(Bound::Json(
            json!({"id": version.version_id, "tag": "", "timestamp": ""}).to_string(),
        )),
        "r2_bucket" => buckets
            .contains(&binding.name.as_str())
            .then_some(Bound::Bucket),
        "durable_object_namespace" => {
            let elsewhere = field("script_name").is_some_and(|s| s != worker);
            field("class_name")
                .filter(|class| !elsewhere && version.classes.contains_key(*class))
                .map(Bound::Objects)
        }
        _ => None,
    }
}

fn write_binding(m: &mut Message, slot: Struct, from: &RunBinding, how: &Bound<'_>) {
    m.text(slot, 0, &from.name);
    match how {
        Bound::Text(text) => {
            m.number(slot, 0, binding::TEXT);
            m.text(slot, 1, text);
        }
        Bound::Json(json) => {
            m.number(slot, 0, binding::JSON);
            m.text(slot, 1, json);
        }
        Bound::Bucket => {
            m.number(slot, 0, binding::R2_BUCKET);
            let service = m.child(slot, 1, DESIGNATOR);
            m.text(service, 0, &format!("r2-{}", from.name));
        }
        Bound::Objects(class) => {
            m.number(slot, 0, binding::DURABLE_OBJECT_NAMESPACE);
            let target = m.child(slot, 1, NAMESPACE_DESIGNATOR);
            m.text(target, 0, class);
        }
    }
}
