//! A Cloudflare that fails a lot, under the daemon as it is wired in the binary.

use std::time::Duration;

use anyhow::{Result, ensure};
use talon_core::status::DeploymentStatus;
use talon_simulator::{CallClass, Fault, FaultRule, SimConfig};
use talon_tests::oracle;
use talon_tests::site::{Engine, Site, line};

const AGENTS: usize = 20;
/// An upload whose answer is lost is not sent again for over a minute, and that may happen more than once.
const PATIENCE: Duration = Duration::from_secs(900);

fn rules() -> Vec<FaultRule> {
    let on = |class, fault, p| FaultRule::on_class(class, fault).probability(p);
    let error = || Fault::Status {
        status: 503,
        html: true,
        code: None,
        after_commit: false,
    };
    let lost = Fault::TimeoutAfter {
        answer_after_ms: None,
    };
    let throttle = Fault::Throttle {
        retry_after: Some(1),
    };
    vec![
        on(CallClass::Write, error(), 0.2),
        on(CallClass::Read, error(), 0.2),
        on(CallClass::Write, lost, 0.05),
        on(CallClass::Write, throttle, 0.03),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_agents_converge_through_errors_timeouts_and_throttling() -> Result<()> {
    let site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    site.sim.faults().add(rules()).map_err(anyhow::Error::msg)?;
    let daemon = site.daemon("daemon")?;
    for n in 0..AGENTS {
        site.create(&format!("agent-{n}")).await?;
    }
    let deployed = async || {
        let rows = site.rows().await?;
        for row in &rows {
            let status = row.agent.status.deployment_status;
            ensure!(
                status != DeploymentStatus::Failed,
                "a transient cause: {}",
                line(row)
            );
        }
        let is_deployed = |r: &talon_core::Snapshot| {
            r.agent.status.deployment_status == DeploymentStatus::Deployed
        };
        let open: Vec<String> = rows.iter().filter(|r| !is_deployed(r)).map(line).collect();
        Ok(if open.is_empty() {
            Ok(())
        } else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Err(open.join("; "))
        })
    };
    site.until("every agent is deployed", PATIENCE, deployed)
        .await?;
    let fired = site.sim.faults().fired();
    ensure!(fired > 20, "the faults fired {fired} times");
    site.sim.faults().clear();
    site.settled(PATIENCE).await?;
    // A second token whose creation got no answer goes with the next resync.
    let right = async || Ok(oracle::verify(&site).await.map_err(|e| format!("{e:#}")));
    let found = site.until("one of each", PATIENCE, right).await?;
    ensure!(found.live == AGENTS, "{found:?}");
    let (status, _) = daemon.terminate(PATIENCE).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}
