//! The REST endpoints: one closed list with a stable name for each, and the router over it.
//!
//! Names are what fault rules and the call log speak of (`workers.upload`, `r2.bucket.delete`, …).

use http::Method;

use crate::calllog::CallClass;

/// Which permission of the caller's token an endpoint needs. Reading needs read or write, writing needs write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// Any valid token.
    Open,
    /// `Workers Scripts`.
    Workers,
    /// `Workers Tail`, or writing Workers.
    Tail,
    /// `Workers R2 Storage`.
    R2,
    /// `Account API Tokens`.
    Tokens,
}

/// One line of the table of endpoints.
pub(crate) struct Endpoint {
    pub(crate) op: Op,
    pub(crate) name: &'static str,
    pub(crate) class: CallClass,
    pub(crate) area: Area,
    method: Method,
    /// `{a}` is the account, `{}` one segment, `{*}` the rest.
    path: &'static str,
}

macro_rules! endpoints {
    ($($op:ident $name:literal $class:ident $area:ident $method:ident $path:literal;)*) => {
        /// Every REST operation the simulator knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Op { $($op),* }

        static ENDPOINTS: &[Endpoint] = &[$(Endpoint {
            op: Op::$op, name: $name, class: CallClass::$class, area: Area::$area,
            method: Method::$method, path: $path,
        }),*];
    };
}

endpoints! {
    GraphQl "graphql" Read R2 POST "graphql";
    UserGet "user.get" Read Open GET "user";
    UserTokenVerify "user.token.verify" Read Open GET "user/tokens/verify";
    MembershipsList "memberships.list" Read Open GET "memberships";
    AccountsList "accounts.list" Read Open GET "accounts";
    AccountGet "accounts.get" Read Open GET "accounts/{a}";

    TokenVerify "tokens.verify" Read Open GET "accounts/{a}/tokens/verify";
    PermissionGroups "tokens.permission_groups" Read Tokens GET "accounts/{a}/tokens/permission_groups";
    TokenList "tokens.list" Read Tokens GET "accounts/{a}/tokens";
    TokenCreate "tokens.create" Write Tokens POST "accounts/{a}/tokens";
    TokenGet "tokens.get" Read Tokens GET "accounts/{a}/tokens/{}";
    TokenDelete "tokens.delete" Write Tokens DELETE "accounts/{a}/tokens/{}";
    TokenRoll "tokens.roll" Write Tokens PUT "accounts/{a}/tokens/{}/value";

    SubdomainGet "workers.account_subdomain.get" Read Workers GET "accounts/{a}/workers/subdomain";
    SubdomainPut "workers.account_subdomain.put" Write Workers PUT "accounts/{a}/workers/subdomain";
    WorkerList "workers.list" Read Workers GET "accounts/{a}/workers/scripts";
    WorkerUpload "workers.upload" Write Workers PUT "accounts/{a}/workers/scripts/{}";
    WorkerContent "workers.content" Read Workers GET "accounts/{a}/workers/scripts/{}";
    WorkerDelete "workers.delete" Write Workers DELETE "accounts/{a}/workers/scripts/{}";
    SettingsGet "workers.settings.get" Read Workers GET "accounts/{a}/workers/scripts/{}/settings";
    SettingsPatch "workers.settings.patch" Write Workers PATCH "accounts/{a}/workers/scripts/{}/settings";
    ScriptSettingsGet "workers.script_settings.get" Read Workers GET "accounts/{a}/workers/scripts/{}/script-settings";
    ScriptSettingsPatch "workers.script_settings.patch" Write Workers PATCH "accounts/{a}/workers/scripts/{}/script-settings";
    SecretList "workers.secrets.list" Read Workers GET "accounts/{a}/workers/scripts/{}/secrets";
    SecretPut "workers.secrets.put" Write Workers PUT "accounts/{a}/workers/scripts/{}/secrets";
    SecretGet "workers.secrets.get" Read Workers GET "accounts/{a}/workers/scripts/{}/secrets/{}";
    SecretDelete "workers.secrets.delete" Write Workers DELETE "accounts/{a}/workers/scripts/{}/secrets/{}";
    SecretBulk "workers.secrets.bulk" Write Workers PATCH "accounts/{a}/workers/scripts/{}/secrets-bulk";
    RouteGet "workers.subdomain.get" Read Workers GET "accounts/{a}/workers/scripts/{}/subdomain";
    RoutePost "workers.subdomain.set" Write Workers POST "accounts/{a}/workers/scripts/{}/subdomain";
    RouteDelete "workers.subdomain.delete" Write Workers DELETE "accounts/{a}/workers/scripts/{}/subdomain";
    SchedulesGet "workers.schedules.get" Read Workers GET "accounts/{a}/workers/scripts/{}/schedules";
    SchedulesPut "workers.schedules.put" Write Workers PUT "accounts/{a}/workers/scripts/{}/schedules";
    TailCreate "workers.tails.create" Write Tail POST "accounts/{a}/workers/scripts/{}/tails";
    TailGet "workers.tails.get" Read Tail GET "accounts/{a}/workers/scripts/{}/tails";
    TailDelete "workers.tails.delete" Write Tail DELETE "accounts/{a}/workers/scripts/{}/tails/{}";
    VersionList "workers.versions.list" Read Workers GET "accounts/{a}/workers/scripts/{}/versions";
    VersionCreate "workers.versions.create" Write Workers POST "accounts/{a}/workers/scripts/{}/versions";
    VersionGet "workers.versions.get" Read Workers GET "accounts/{a}/workers/scripts/{}/versions/{}";
    DeploymentList "workers.deployments.list" Read Workers GET "accounts/{a}/workers/scripts/{}/deployments";
    DeploymentCreate "workers.deployments.create" Write Workers POST "accounts/{a}/workers/scripts/{}/deployments";
    ServiceGet "workers.services.get" Read Workers GET "accounts/{a}/workers/services/{}";
    ServiceDelete "workers.services.delete" Write Workers DELETE "accounts/{a}/workers/services/{}";
    BetaWorkerGet "workers.beta.get" Read Workers GET "accounts/{a}/workers/workers/{}";
    DurableObjectNamespaces "workers.durable_objects.list" Read Workers GET "accounts/{a}/workers/durable_objects/namespaces";
    ContainerList "containers.list" Read Open GET "accounts/{a}/containers/applications";
    KvList "kv.namespaces.list" Read Open GET "accounts/{a}/storage/kv/namespaces";

    BucketCreate "r2.bucket.create" Write R2 POST "accounts/{a}/r2/buckets";
    BucketList "r2.bucket.list" Read R2 GET "accounts/{a}/r2/buckets";
    BucketGet "r2.bucket.get" Read R2 GET "accounts/{a}/r2/buckets/{}";
    BucketDelete "r2.bucket.delete" Write R2 DELETE "accounts/{a}/r2/buckets/{}";
    ObjectList "r2.object.list" Read R2 GET "accounts/{a}/r2/buckets/{}/objects";
    ObjectBulkDelete "r2.object.bulk_delete" Write R2 DELETE "accounts/{a}/r2/buckets/{}/objects";
    ObjectGet "r2.object.get" Read R2 GET "accounts/{a}/r2/buckets/{}/objects/{*}";
    ObjectPut "r2.object.put" Write R2 PUT "accounts/{a}/r2/buckets/{}/objects/{*}";
    ObjectDelete "r2.object.delete" Write R2 DELETE "accounts/{a}/r2/buckets/{}/objects/{*}";
}

impl Op {
    /// The endpoint's line in the table.
    pub(crate) fn endpoint(self) -> &'static Endpoint {
        // The enum and the table are made by one macro, in one order.
        &ENDPOINTS[self as usize]
    }
}

/// The names of all operations, REST and S3, for people who write fault rules.
pub fn operation_names() -> Vec<&'static str> {
    ENDPOINTS
        .iter()
        .map(|e| e.name)
        .chain(crate::s3::S3Op::ALL.iter().map(|op| op.name()))
        .collect()
}

/// A routed request.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) op: Op,
    /// The account in the path, if the endpoint has one.
    pub(crate) account: Option<String>,
    /// What stood for `{}` and `{*}`, percent-decoded.
    pub(crate) params: Vec<String>,
}

/// Why a request has no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// Nothing at this path.
    Unknown,
    /// The path exists, with other methods.
    WrongMethod,
}

/// Finds the endpoint for a path below `/client/v4/` (no leading slash, still percent-encoded).
pub(crate) fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let mut wrong_method = false;
    for endpoint in ENDPOINTS {
        let Some((account, params)) = capture(endpoint.path, path) else {
            continue;
        };
        if endpoint.method == *method {
            return Ok(Route {
                op: endpoint.op,
                account,
                params,
            });
        }
        wrong_method = true;
    }
    Err(if wrong_method {
        NoRoute::WrongMethod
    } else {
        NoRoute::Unknown
    })
}

fn capture(pattern: &str, path: &str) -> Option<(Option<String>, Vec<String>)> {
    let (mut account, mut params) = (None, Vec::new());
    let mut rest = Some(path);
    for part in pattern.split('/') {
        let here = rest?;
        if part == "{*}" {
            return (!here.is_empty()).then(|| {
                params.push(percent_decode(here));
                (account, params)
            });
        }
        let (segment, after) = match here.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (here, None),
        };
        match part {
            "{a}" if !segment.is_empty() => account = Some(percent_decode(segment)),
            "{}" if !segment.is_empty() => params.push(percent_decode(segment)),
            literal if literal == segment => {}
            _ => return None,
        }
        rest = after;
    }
    rest.is_none().then_some((account, params))
}

/// Undoes percent-encoding; bytes that are not UTF-8 are replaced.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%')
            .then(|| bytes.get(i + 1..i + 3))
            .flatten()
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_by_method_and_path() {
        let r = route(&Method::PUT, "accounts/acc/workers/scripts/a-b").unwrap();
        assert_eq!((r.op, r.params), (Op::WorkerUpload, vec!["a-b".to_owned()]));
        let r = route(&Method::GET, "accounts/acc/r2/buckets/b/objects/x/y%20z").unwrap();
        assert_eq!(r.op, Op::ObjectGet);
        assert_eq!(r.params, ["b", "x/y z"]);
        let r = route(&Method::GET, "accounts/acc/tokens/verify").unwrap();
        assert_eq!(r.op, Op::TokenVerify);
        assert_eq!(
            route(&Method::POST, "accounts/acc/workers/scripts/a").unwrap_err(),
            NoRoute::WrongMethod
        );
        assert_eq!(route(&Method::GET, "nope").unwrap_err(), NoRoute::Unknown);
        assert_eq!(
            route(&Method::GET, "accounts/acc/workers/scripts/").unwrap_err(),
            NoRoute::Unknown
        );
    }

    #[test]
    fn the_enum_and_the_table_agree() {
        for (i, endpoint) in ENDPOINTS.iter().enumerate() {
            assert_eq!(endpoint.op as usize, i);
        }
        let mut names = operation_names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), operation_names().len());
    }
}
