//! `cargo xtask verify-cloudflare`: for the day somebody has a real account.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use talon_cloudflare::verify::{Patience, Verdict, Wanted, verify_account};
use talon_cloudflare::{Client, ClientConfig, Unlimited};
use talon_core::secret::SecretValue;
use talon_worker::Bundle;
use url::Url;

/// Arguments. The token is read from the environment: there is no flag for a secret.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The account to try on (also: TALON_CLOUDFLARE_ACCOUNT_ID)
    #[arg(long)]
    account_id: Option<String>,
    /// Another API than the real one, for example of `talon simulate`
    #[arg(long)]
    api_base: Option<Url>,
    /// Another S3 endpoint than the real one
    #[arg(long)]
    s3_endpoint: Option<Url>,
}

/// Makes one throw-away agent's worth of things, looks, removes them, and says what is not as assumed.
pub fn run(args: Args) -> Result<()> {
    let account = args
        .account_id
        .or_else(|| std::env::var("TALON_CLOUDFLARE_ACCOUNT_ID").ok());
    let account = account.context("which account? --account-id or TALON_CLOUDFLARE_ACCOUNT_ID")?;
    let token =
        std::env::var("TALON_CLOUDFLARE_API_TOKEN").context("set TALON_CLOUDFLARE_API_TOKEN")?;
    let mut config = ClientConfig::new(account, SecretValue::new(token))?;
    if let Some(base) = args.api_base {
        config.api_base = base;
    }
    config.s3_endpoint = args.s3_endpoint;
    let client = Client::new(config, Arc::new(Unlimited))?;
    let bundle = Bundle::embedded();
    let identity = "# IDENTITY.md - Who Am I?\n";
    let upload = |w: Wanted| bundle.upload(identity, w.bindings, w.tags, w.migrate);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mark = format!("{seconds:x}");
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(verify_account(&client, &upload, &mark, Patience::default()));
    let mut differing = 0;
    for (name, verdict) in &report {
        match verdict {
            Verdict::Holds => println!("holds        {name}"),
            Verdict::Differs(how) => {
                differing += 1;
                println!("DIFFERS      {name}: {how}");
            }
            Verdict::NotChecked(why) => {
                differing += 1;
                println!("not checked  {name}: {why}");
            }
        }
    }
    if differing > 0 {
        bail!(
            "{differing} of {} assumptions do not hold or could not be checked",
            report.len()
        );
    }
    Ok(())
}
