//! The agents' runtime that gets deployed: the one that is named, else the one that the binary carries, else one that is
//! built from its sources on first use.

use std::path::PathBuf;

use talon_worker::workshop::{self, BuildError};
use talon_worker::{Bundle, BundleError};

use crate::exit::{Exit, Failure};

/// The word that asks for the placeholder.
const PLACEHOLDER: &str = "placeholder";

/// Which runtime is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The binary's own, built if need be.
    Usual,
    /// The built bundle in this folder.
    Folder(PathBuf),
    /// None: what is uploaded has the final bindings, and no agent ever answers.
    Placeholder,
}

impl Wanted {
    /// As the setting says it.
    pub fn parse(setting: Option<&str>) -> Self {
        match setting {
            None => Self::Usual,
            Some(PLACEHOLDER) => Self::Placeholder,
            Some(folder) => Self::Folder(folder.into()),
        }
    }

    /// The same without building anything; `None`: it would have to be built.
    pub fn at_hand(&self) -> Result<Option<Bundle>, Failure> {
        match self {
            Self::Placeholder => Ok(Some(Bundle::placeholder())),
            Self::Folder(folder) => workshop::obtain(Some(folder), &mut |_| ())
                .map(Some)
                .map_err(|e| unobtainable(&e)),
            Self::Usual => {
                let carried = Bundle::embedded();
                if !carried.is_placeholder() {
                    return Ok(Some(carried));
                }
                let shop = workshop::Workshop::usual().map_err(|e| unobtainable(&e))?;
                Ok(shop.find())
            }
        }
    }

    /// Gets it. `say` is given lines for people while something takes long. May take a minute the first time, and is not
    /// cut short when dropped.
    pub async fn obtain(self, say: impl Fn(&str) + Send + 'static) -> Result<Bundle, Failure> {
        let folder = match self {
            Self::Placeholder => return Ok(Bundle::placeholder()),
            Self::Folder(folder) => Some(folder),
            Self::Usual => None,
        };
        let got = tokio::task::spawn_blocking(move || {
            workshop::obtain(folder.as_deref(), &mut |line| say(line))
        });
        match got.await {
            Ok(got) => got.map_err(|e| unobtainable(&e)),
            Err(error) => Err(Failure::new(
                Exit::Failure,
                format!("getting the agent runtime died: {error}"),
                "this is a defect of talon; name a built bundle with --runtime-bundle meanwhile",
            )),
        }
    }
}

/// A build that failed, with what to do.
pub fn unobtainable(error: &BuildError) -> Failure {
    let next = match error {
        BuildError::Tools(_) => {
            "install node and npm and start again, use a released talon (it carries the runtime), or build the bundle on \
             another machine and name its folder with --runtime-bundle (runtimeBundle, TALON_RUNTIME_BUNDLE)"
        }
        BuildError::Step { .. } => {
            "check that npm reaches its registry and try again, or name a bundle that was built elsewhere with --runtime-bundle"
        }
        BuildError::Bundle(BundleError::Unreadable { .. }) => {
            "name the folder of a built bundle (it holds manifest.json and worker.js); without --runtime-bundle talon builds its own"
        }
        BuildError::Bundle(BundleError::Manifest(_) | BundleError::Changed { .. }) => {
            "build the bundle again and do not edit it; without --runtime-bundle talon builds its own"
        }
        BuildError::Files { .. } => {
            "make the folder writable, or set XDG_CACHE_HOME to one that is; --runtime-bundle needs no such folder"
        }
    };
    Failure::new(
        Exit::Failure,
        format!("there is no agent runtime to deploy: {error}"),
        next,
    )
}

/// A bundle in words: what it is and which one exactly.
pub fn shown(bundle: &Bundle) -> String {
    let manifest = &bundle.manifest;
    format!(
        "{} (sha256 {})",
        crate::output::safe(&manifest.engine),
        crate::view::short_hash(&manifest.sha256)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_folder_or_the_word_placeholder() {
        assert_eq!(Wanted::parse(None), Wanted::Usual);
        assert_eq!(Wanted::parse(Some("placeholder")), Wanted::Placeholder);
        assert_eq!(
            Wanted::parse(Some("./placeholder")),
            Wanted::Folder("./placeholder".into())
        );
    }

    #[tokio::test]
    async fn a_folder_without_a_bundle_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = Wanted::Folder(folder.path().to_owned());
        let failure = wanted.obtain(|_| ()).await.expect_err("nothing is there");
        assert!(failure.message.contains("manifest.json"), "{failure}");
        assert!(failure.next.contains("worker.js"), "{failure}");
    }
}
