//! Whether a local Cloudflare runs what it is given, and what it is given.

use std::path::PathBuf;
use std::sync::Arc;

use talon_simulator::{NoRunner, Runner, WorkerdOptions, WorkerdRunner};
use talon_worker::Bundle;

use crate::exit::Failure;
use crate::output::Output;
use crate::runtime::Wanted;

/// The agents' runtime, and what runs it.
pub struct Workers {
    /// What is deployed.
    pub bundle: Bundle,
    /// What runs it.
    pub runner: Arc<dyn Runner>,
    /// Whether agents will answer; if not, why.
    pub runs: Result<(), String>,
}

impl Workers {
    /// Gets runtime and workerd, both at once, and tells people on standard error when that takes long. Where they cannot be
    /// got, a placeholder is deployed and nothing runs, so that everything else still works; a bundle that was named and is
    /// none is an error. Durable Objects are kept in `state`; `None`: in a temporary directory.
    pub async fn prepare(
        wanted: Wanted,
        state: Option<PathBuf>,
        output: &Output,
    ) -> Result<Self, Failure> {
        if wanted == Wanted::Placeholder {
            return Ok(Self::nothing("a placeholder is deployed, as was asked for"));
        }
        let named = matches!(wanted, Wanted::Folder(_));
        let said = output.clone();
        let runner = runner(state, output)?;
        let (bundle, workerd) = tokio::join!(
            wanted.obtain(move |line| said.progress(line)),
            runner.prepare()
        );
        let bundle = match bundle {
            Ok(bundle) => bundle,
            Err(failure) if named => return Err(failure),
            Err(failure) => {
                output.warn(&format!("no Worker will run: {failure}"));
                return Ok(Self::nothing(failure.message));
            }
        };
        match workerd {
            Ok(_) => Ok(Self {
                bundle,
                runner: Arc::new(runner),
                runs: Ok(()),
            }),
            Err(why) => {
                output.warn(&format!(
                    "no Worker will run: there is no workerd: {why}\nnext: install npm, or name a workerd with TALON_WORKERD"
                ));
                Ok(Self {
                    bundle,
                    ..Self::nothing(why)
                })
            }
        }
    }

    fn nothing(why: impl Into<String>) -> Self {
        Self {
            bundle: Bundle::placeholder(),
            runner: Arc::new(NoRunner),
            runs: Err(why.into()),
        }
    }
}

/// What runs Workers in workerd; nothing is fetched yet. Durable Objects are kept as [`Workers::prepare`] says.
pub fn runner(state: Option<PathBuf>, output: &Output) -> Result<WorkerdRunner, Failure> {
    let said = output.clone();
    WorkerdRunner::new(WorkerdOptions {
        state_dir: state,
        announce: Arc::new(move |line: &str| said.progress(line)),
        ..WorkerdOptions::default()
    })
    .map_err(|e| Failure::io("no place for Durable Objects", &e))
}
