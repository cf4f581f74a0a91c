//! Turning text into vectors: the interface to an embedding model.

use async_trait::async_trait;
use talon_store::search::VectorModel;

/// Why there is no vector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The model cannot be reached, or not now.
    #[error("the embedding model is not available: {0}")]
    Unavailable(String),
}

/// An embedding model. Texts that mean the same get vectors that point the same way.
#[async_trait]
pub trait Embedder: Send + Sync + 'static {
    /// Which model it is. Whatever changes its vectors changes this.
    fn model(&self) -> &VectorModel;

    /// A vector of length 1 for each text, in order; all zeros for a text in which the model knows nothing.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError>;
}
