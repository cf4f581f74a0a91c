//! Who may use this API, and what was done with it.

mod asked;
mod audit;
mod keys;
mod token;
mod tokens;
mod whoami;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;

pub use token::{TOKEN_PREFIX, is_well_formed, new_api_key, new_token};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(whoami::whoami))
        .routes(routes!(audit::list))
}
