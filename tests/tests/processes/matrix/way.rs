//! The ways in by which a change is made, and what each says.

use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::manifest::to_yaml;
use talon_core::{AgentName, Owner, Snapshot};
use talon_tests::postgres::Role;
use talon_tests::site::Site;
use talon_tests::stage::name;
use talon_tests::web::{Api, Browser, plain};
use tokio::task::spawn_blocking;

use super::change::{ANOTHER, Change, as_api, as_sql};

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `UPDATE agent_source`.
    Sql,
    /// `talon apply -f`.
    Apply,
    /// `PUT` of the whole agent.
    Put,
    /// A merge patch.
    Patch,
    /// The dashboard's form.
    Form,
}

/// All of them.
pub const ALL: [Way; 5] = [Way::Sql, Way::Apply, Way::Put, Way::Patch, Way::Form];

/// What a way in answered.
#[derive(Debug)]
pub struct Said {
    /// Whether the change was taken.
    pub accepted: bool,
    /// Everything that was said, as people read it.
    pub text: String,
    /// What the API pointed at.
    pub pointers: Option<Vec<String>>,
    /// The API's status.
    pub status: Option<StatusCode>,
}

impl Way {
    /// Whether this way can ask for it at all: a manifest with another name is another agent.
    pub fn can(self, change: &Change) -> bool {
        !(self == Self::Apply && change.field == "name")
    }

    /// The agent on which this way tries itself.
    pub fn agent(self, phase: &str) -> String {
        format!("{phase}-{self:?}").to_lowercase()
    }

    /// Makes the change.
    pub async fn make(
        self,
        site: &Site<'_>,
        api: &Api,
        browser: &Browser,
        row: &Snapshot,
        change: &Change,
    ) -> Result<Said> {
        let agent = &row.agent;
        let (spec, value) = change.applied(&agent.spec);
        let path = format!("/api/v1/openclaw/agents/{}", agent.name);
        let (mut to, mut owner): (AgentName, Owner) = (agent.name.clone(), agent.owner.clone());
        let mut body = json!({"spec": as_api(serde_json::to_value(&spec)?)});
        let mut patch = json!({"spec": {change.column(): as_api(value.clone())}});
        if change.is_beside_spec() {
            body[change.field] = ANOTHER.into();
            patch = json!({change.field: ANOTHER});
            match change.field {
                "name" => to = name(ANOTHER),
                _ => owner = Owner(ANOTHER.to_owned()),
            }
        }
        match self {
            Self::Sql => {
                let (column, value) = (change.column(), as_sql(&value));
                let name = &agent.name;
                let statement =
                    format!("UPDATE agent_source SET {column} = {value} WHERE name = '{name}';");
                sql(site, &statement, change).await
            }
            Self::Apply => {
                let file = format!("{}.yaml", agent.name);
                std::fs::write(site.folder().join(&file), to_yaml(&to, &owner, &spec))?;
                let mut launch = site.launch.clone();
                if let Some(database) = &site.database {
                    launch.set("TALON_DATABASE_URL", database.url(Role::Writer));
                }
                // On a thread of its own: who waits for the database must not keep others from giving it free.
                let output = spawn_blocking(move || launch.run(&["apply", "-f", &file])).await??;
                let code = output.status.code();
                ensure!(matches!(code, Some(0 | 5)), "exit {code:?}: {output:?}");
                Ok(of_command(&output))
            }
            Self::Put => {
                let request = api.ask(Method::PUT, &path).header("if-match", "*");
                answered(api, request.json(&body)).await
            }
            Self::Patch => {
                let request = api
                    .ask(Method::PATCH, &path)
                    .header("content-type", "application/merge-patch+json");
                answered(api, request.body(patch.to_string())).await
            }
            Self::Form => {
                let yaml = to_yaml(&to, &owner, &spec);
                let generation = agent.generation.to_string();
                let page = format!("/agents/{}/edit", agent.name);
                let fields = [
                    ("do", "apply"),
                    ("yaml", yaml.as_str()),
                    ("generation", generation.as_str()),
                ];
                let answer = browser.post(&page, &fields).await?;
                ensure!(
                    !answer.status.is_server_error(),
                    "{}: {}",
                    answer.status,
                    answer.text
                );
                Ok(Said {
                    accepted: answer.status == StatusCode::SEE_OTHER,
                    text: plain(&answer.text),
                    pointers: None,
                    status: None,
                })
            }
        }
    }
}

fn of_command(output: &Output) -> Said {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    Said {
        accepted: output.status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
        pointers: None,
        status: None,
    }
}

/// By the database's own client. What never changes is not granted to writers either, and PostgreSQL looks at grants before
/// it asks the rule: there, the rule speaks to those who are granted everything.
async fn sql(site: &Site<'_>, statement: &str, change: &Change) -> Result<Said> {
    let role = match change.is_beside_spec() {
        true => Role::Admin,
        false => Role::Writer,
    };
    let output = match &site.database {
        Some(database) => database.psql(role, statement),
        None => {
            let mut command = Command::new("sqlite3");
            command.args(["-bail", "-cmd", ".timeout 5000"]);
            command.arg(site.file()).arg(statement);
            let ended = spawn_blocking(move || command.output()).await?;
            ended.context("sqlite3 is needed for this test: apt-get install sqlite3")?
        }
    };
    Ok(of_command(&output))
}

async fn answered(api: &Api, request: reqwest::RequestBuilder) -> Result<Said> {
    let answer = api.send(request).await?;
    let body = answer.json();
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let accepted = match answer.status {
        StatusCode::OK => true,
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => false,
        other => bail!("{other}: {}", answer.text),
    };
    // As text: JSON escapes what it must.
    let mut said = vec![text(&body["detail"])];
    said.extend(
        errors
            .iter()
            .map(|e| format!("{} {}", text(&e["code"]), text(&e["detail"]))),
    );
    Ok(Said {
        accepted,
        text: said.join("\n"),
        pointers: Some(errors.iter().map(|e| text(&e["pointer"])).collect()),
        status: Some(answer.status),
    })
}
