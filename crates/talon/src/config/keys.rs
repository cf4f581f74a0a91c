//! The list of every configuration key, with the environment variables that set it.

/// One key of `talon.yaml`.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its path in the file.
    pub path: &'static str,
    /// Environment variables, the strongest first.
    pub env: &'static [&'static str],
    /// What kind of value it is.
    pub kind: Kind,
}

/// What kind of value a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Switch,
    /// JSON.
    Json,
    /// A reference to a secret. Its variables hold the secret itself, so that the value becomes `env:VARIABLE`.
    SecretReference,
}

const fn key(path: &'static str, env: &'static [&'static str], kind: Kind) -> Key {
    Key { path, env, kind }
}

/// Every key, in the order it is shown.
pub const KEYS: &[Key] = &[
    key("databaseUrl", &["TALON_DATABASE_URL"], Kind::Text),
    key(
        "cloudflare.accountId",
        &["TALON_CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_ACCOUNT_ID"],
        Kind::Text,
    ),
    key(
        "cloudflare.apiToken",
        &["TALON_CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_TOKEN"],
        Kind::SecretReference,
    ),
    key(
        "cloudflare.apiBase",
        &["TALON_CLOUDFLARE_API_BASE"],
        Kind::Text,
    ),
    key(
        "cloudflare.s3Endpoint",
        &["TALON_CLOUDFLARE_S3_ENDPOINT"],
        Kind::Text,
    ),
    key(
        "cloudflare.budgetCalls",
        &["TALON_CLOUDFLARE_BUDGET_CALLS"],
        Kind::Number,
    ),
    key(
        "cloudflare.frontDoor",
        &["TALON_CLOUDFLARE_FRONT_DOOR"],
        Kind::Text,
    ),
    key("listen", &["TALON_LISTEN"], Kind::Text),
    key("trustedProxies", &["TALON_TRUSTED_PROXIES"], Kind::Json),
    key("hub.embedded", &["TALON_HUB_EMBEDDED"], Kind::Switch),
    key("hub.url", &["TALON_HUB_URL"], Kind::Text),
    key(
        "http.longAnswers",
        &["TALON_HTTP_LONG_ANSWERS"],
        Kind::Number,
    ),
    key("dashboard.https", &["TALON_DASHBOARD_HTTPS"], Kind::Switch),
    key("router.url", &["TALON_ROUTER_URL"], Kind::Text),
    key(
        "router.serviceKey",
        &["TALON_ROUTER_SERVICE_KEY"],
        Kind::SecretReference,
    ),
    key("runtimeBundle", &["TALON_RUNTIME_BUNDLE"], Kind::Text),
    key("vault.address", &["TALON_VAULT_ADDRESS"], Kind::Text),
    key("vault.token", &["TALON_VAULT_TOKEN"], Kind::SecretReference),
    key("vault.namespace", &["TALON_VAULT_NAMESPACE"], Kind::Text),
    key("vault.mount", &["TALON_VAULT_MOUNT"], Kind::Text),
    key("vault.caFile", &["TALON_VAULT_CA_FILE"], Kind::Text),
    key(
        "vault.timeoutSeconds",
        &["TALON_VAULT_TIMEOUT_SECONDS"],
        Kind::Number,
    ),
    // Not TALON_SECRET_…: agents may refer to every variable of that prefix.
    key("secretScopes", &["TALON_SCOPES"], Kind::Json),
    key("installKeyFile", &["TALON_INSTALL_KEY_FILE"], Kind::Text),
    key("resyncSeconds", &["TALON_RESYNC_SECONDS"], Kind::Number),
    key("workers", &["TALON_WORKERS"], Kind::Number),
    key(
        "deadlines.leaseSeconds",
        &["TALON_DEADLINES_LEASE_SECONDS"],
        Kind::Number,
    ),
    key(
        "deadlines.requestSeconds",
        &["TALON_DEADLINES_REQUEST_SECONDS"],
        Kind::Number,
    ),
    key(
        "deadlines.settleSeconds",
        &["TALON_DEADLINES_SETTLE_SECONDS"],
        Kind::Number,
    ),
    key(
        "deadlines.listLagSeconds",
        &["TALON_DEADLINES_LIST_LAG_SECONDS"],
        Kind::Number,
    ),
    key(
        "deadlines.listSpacingSeconds",
        &["TALON_DEADLINES_LIST_SPACING_SECONDS"],
        Kind::Number,
    ),
    key(
        "deadlines.cleanupSeconds",
        &["TALON_DEADLINES_CLEANUP_SECONDS"],
        Kind::Number,
    ),
    key(
        "deadlines.failedAfterSeconds",
        &["TALON_DEADLINES_FAILED_AFTER_SECONDS"],
        Kind::Number,
    ),
    key(
        "deadlines.shutdownSeconds",
        &["TALON_DEADLINES_SHUTDOWN_SECONDS"],
        Kind::Number,
    ),
    key(
        "brake.vanishedMin",
        &["TALON_BRAKE_VANISHED_MIN"],
        Kind::Number,
    ),
    key(
        "brake.vanishedShare",
        &["TALON_BRAKE_VANISHED_SHARE"],
        Kind::Number,
    ),
    key("brake.deletions", &["TALON_BRAKE_DELETIONS"], Kind::Number),
    key(
        "brake.deletionsWindowSeconds",
        &["TALON_BRAKE_DELETIONS_WINDOW_SECONDS"],
        Kind::Number,
    ),
];

/// Variables that begin with `TALON_`, mean something, and are no keys.
pub const OTHER_VARIABLES: &[&str] = &[
    "TALON_CONFIG",
    "TALON_LOG",
    "TALON_SERVER",
    "TALON_TOKEN",
    // Of the local Cloudflare's Workers.
    "TALON_WORKERD",
    "TALON_CACHE_DIR",
];

/// The prefix that agents' own references use by default.
pub const SECRET_PREFIX: &str = "TALON_SECRET_";
