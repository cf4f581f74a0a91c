//! The files that pages load: embedded, named by the hash of their content, and kept by browsers for a year.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use sha2::{Digest, Sha256};

/// Where they are served.
pub const FOLDER: &str = "/ui/assets/";

struct Asset {
    stem: &'static str,
    extension: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

const ASSETS: [Asset; 4] = [
    Asset {
        stem: "talon",
        extension: "css",
        kind: "text/css; charset=utf-8",
        content: include_bytes!("../assets/talon.css"),
    },
    Asset {
        stem: "talon",
        extension: "js",
        kind: "text/javascript; charset=utf-8",
        content: include_bytes!("../assets/talon.js"),
    },
    Asset {
        stem: "stream",
        extension: "js",
        kind: "text/javascript; charset=utf-8",
        content: include_bytes!("../assets/stream.js"),
    },
    Asset {
        stem: "icon",
        extension: "svg",
        kind: "image/svg+xml",
        content: include_bytes!("../assets/icon.svg"),
    },
];

/// File names with hashes, in the order of [`ASSETS`].
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    ASSETS
        .iter()
        .map(|a| {
            let hash = hex::encode(Sha256::digest(a.content));
            format!("{}-{}.{}", a.stem, &hash[..16], a.extension)
        })
        .collect()
});

/// Addresses of the files, for pages.
#[derive(Debug, Clone, Copy)]
pub struct Addresses;

impl Addresses {
    /// The style sheet.
    pub fn css(&self) -> String {
        address(0)
    }

    /// The script of every page.
    pub fn js(&self) -> String {
        address(1)
    }

    /// The script that tabs share.
    pub fn stream(&self) -> String {
        address(2)
    }

    /// The icon.
    pub fn icon(&self) -> String {
        address(3)
    }
}

fn address(at: usize) -> String {
    format!("{FOLDER}{}", NAMES[at])
}

/// `GET /ui/assets/{file}`.
pub async fn serve(Path(file): Path<String>) -> Response {
    match NAMES.iter().position(|name| *name == file) {
        Some(at) => (
            [
                (header::CONTENT_TYPE, ASSETS[at].kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ],
            ASSETS[at].content,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
