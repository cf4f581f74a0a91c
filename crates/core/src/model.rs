//! Names of models: `provider/model`.

use crate::secret::{Provider, looks_like_key};

/// The longest model name that is taken, in bytes, provider and slash included.
pub const MAX_MODEL_BYTES: usize = 200;

/// A model and who serves it, as parsed from `provider/model`.
///
/// The provider has the shape of [`Provider`]; the model is everything behind the first `/` (some providers nest:
/// `openrouter/meta/llama-4`), in printable ASCII without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRef {
    /// Who serves the model; decides which key the Worker needs.
    pub provider: Provider,
    /// The model, as the provider calls it.
    pub model: String,
}

impl ModelRef {
    /// Parses `provider/model`; `None` if the text has not that shape, or looks like a key.
    pub fn parse(s: &str) -> Option<Self> {
        if s.len() > MAX_MODEL_BYTES || looks_like_key(s) {
            return None;
        }
        let (provider, model) = s.split_once('/')?;
        let provider = Provider(provider.to_owned());
        let shaped = model.split('/').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._:@+-".contains(&b))
        });
        (provider.is_well_formed() && shaped && !looks_like_key(model)).then(|| Self {
            provider,
            model: model.to_owned(),
        })
    }
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_split_at_the_first_slash() {
        let m = ModelRef::parse("anthropic/claude-sonnet-4-6").unwrap();
        assert_eq!(m.provider.0, "anthropic");
        assert_eq!(m.model, "claude-sonnet-4-6");
        assert_eq!(m.to_string(), "anthropic/claude-sonnet-4-6");
        let nested = ModelRef::parse("openrouter/meta/llama-4:free").unwrap();
        assert_eq!(nested.provider.0, "openrouter");
        assert_eq!(nested.model, "meta/llama-4:free");
    }

    #[test]
    fn what_is_not_provider_and_model_is_refused() {
        for bad in [
            "",
            "claude",
            "/claude",
            "anthropic/",
            "Anthropic/claude",
            "anthropic//claude",
            "anthropic/claude/",
            "anthropic/cla ude",
            "anthropic/claude\n",
            "9p/model",
            "anthropic/мodel",
            "sk-ant/abc",
            "openai/sk-proj-abcdef",
        ] {
            assert_eq!(ModelRef::parse(bad), None, "{bad:?}");
        }
        assert!(ModelRef::parse(&format!("a/{}", "m".repeat(198))).is_some());
        assert_eq!(ModelRef::parse(&format!("a/{}", "m".repeat(199))), None);
    }
}
