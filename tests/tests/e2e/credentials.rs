//! What it takes for an agent's credentials to work.

use talon_core::Snapshot;
use talon_tests::stage::Stage;

/// The credentials on the Worker are the ones that are recorded and that Cloudflare accepts, and there are no others.
pub fn assert_working(stage: &Stage, agent: &Snapshot) {
    let status = &agent.agent.status;
    let worker = status.worker_name.as_deref().expect("a Worker name");
    let secret = |n: &str| {
        let value = stage.sim.secret_value(worker, n);
        value.unwrap_or_else(|| panic!("{n} is on the Worker"))
    };
    assert_eq!(
        status.auth_token_hash,
        Some(secret("SOCIETY_AI_AUTH_TOKEN").sha256_hex())
    );
    let id = status.r2_token_id.as_deref().expect("a token");
    assert_eq!(secret("R2_ACCESS_KEY_ID").expose(), id);
    let value = stage.sim.token_value(id).expect("the token is there");
    assert_eq!(secret("R2_SECRET_ACCESS_KEY").expose(), value.sha256_hex());
    assert_eq!(
        secret("ANTHROPIC_API_KEY").expose(),
        "sk-ant-canary-value-of-the-fixture"
    );
    assert_eq!(
        stage.sim.tokens().len(),
        2,
        "the controller's token and one of the agent"
    );
    assert_eq!(stage.sim.buckets().len(), 1);
    assert_eq!(stage.sim.workers().len(), 1);
}
