//! How a request wants its agent written.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::agents::wait::Goal;

/// `?dryRun=server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DryRun {
    /// Do everything, then take it back.
    Server,
}

/// `?fieldValidation=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
pub enum FieldValidation {
    /// Unknown fields are errors.
    #[default]
    Strict,
    /// Unknown fields are left out, with a `Warning` header.
    Warn,
}

/// How to write.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct WriteParams {
    /// With `server`, everything is checked and nothing is written; the answer is the plan.
    #[param(inline)]
    pub dry_run: Option<DryRun>,
    /// What unknown fields are: errors, or warnings.
    #[param(inline)]
    pub field_validation: Option<FieldValidation>,
    /// Answer only when the agent is there, needs a person, or time is up; the header `Talon-Wait` says which.
    #[param(inline)]
    pub wait: Option<Goal>,
    /// How long to wait: `60s`, `5m`. At most five minutes.
    #[param(pattern = "^[0-9]{1,4}(s|m)$", example = "60s")]
    pub timeout: Option<String>,
}
