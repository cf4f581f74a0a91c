//! A local Cloudflare over HTTP: REST API v4, R2's S3 endpoint and, if a [`Runner`] is given, Workers that run behind a
//! workers.dev of their own; stateful, in the real envelope with the real codes, with seeded faults and a log of every
//! call.
//!
//! - `world` is the account as a pure machine; `rest`, `s3` and `r2_binding` are the protocols over it.
//! - `workerd` runs uploaded code ([`WorkerdRunner`]); `front_door` is workers.dev. Without a runner (the default),
//!   uploads are only kept.
//! - `faults` and `calllog` stand between the protocols and HTTP; `admin` steers them over HTTP, [`SimHandle`] in process.
//! - Secrets are kept in memory only and cannot be read over any endpoint.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! use talon_simulator::{Fault, FaultRule, SimConfig, Simulator};
//!
//! let cloud = Simulator::start(SimConfig::default()).await?;
//! println!("REST at {}, S3 at {}", cloud.api_base(), cloud.s3_endpoint());
//! let rule = FaultRule::on("workers.upload", Fault::ResetAfter).times(1);
//! cloud.faults().add(vec![rule]).map_err(std::io::Error::other)?;
//! // … talk to it …
//! assert_eq!(cloud.faults().fired(), 1);
//! cloud.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod calllog;
mod config;
mod connection;
mod faults;
mod front_door;
mod handle;
mod inspect;
mod multipart;
mod operation;
mod quota;
mod r2_binding;
mod reply;
mod rest;
mod runner;
mod s3;
mod server;
mod shared;
mod tails;
mod workerd;
mod world;

pub use calllog::{CallClass, CallRecord};
pub use config::{DEV_ACCOUNT_ID, DEV_API_TOKEN, Quota, SimConfig, SystemClock};
pub use faults::{Fault, FaultRule, Match, RuleReport};
pub use handle::{Faults, SimHandle, Simulator};
pub use inspect::{BindingView, BucketView, StateView, TokenView, WorkerView};
pub use operation::operation_names;
pub use runner::{
    Complaint, Deployed, Host, NoRunner, NotRunning, Reached, RunBinding, RunClass, RunModule,
    Runner,
};
pub use workerd::{Announce, WorkerdOptions, WorkerdRunner};
pub use world::conditions::{Conditions, ConditionsFired};
pub use world::outside::WorkerEdit;
