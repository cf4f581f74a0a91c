//! [`StaticModel`]: the embedding model that comes with Talon. A vector for each piece of a word, distilled from
//! all-MiniLM-L6-v2 as `model/distil.py` does it (which also tells how the committed file came to be); the vector of a text is
//! the sum of its pieces', of length 1. No network, no framework, a few microseconds for a text.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use talon_store::search::VectorModel;

use crate::embed::{EmbedError, Embedder};
use crate::wordpiece::Pieces;

/// See `model/distil.py` for its form.
static FILE: &[u8] = include_bytes!("../model/static.bin");

/// A table of vectors.
pub struct StaticModel {
    model: VectorModel,
    pieces: Pieces,
    scales: Vec<f32>,
    rows: &'static [u8],
}

impl StaticModel {
    /// The one that is built in; read at the first call.
    pub fn built_in() -> Arc<Self> {
        static MODEL: OnceLock<Arc<StaticModel>> = OnceLock::new();
        // Cannot happen: the file is part of the program, and a test reads it.
        let read =
            || Self::read(FILE).unwrap_or_else(|| unreachable!("the built-in model is whole"));
        MODEL.get_or_init(|| Arc::new(read())).clone()
    }

    fn read(file: &'static [u8]) -> Option<Self> {
        let (header, rest) = file.strip_prefix(b"TALONVEC")?.split_at_checked(16)?;
        let (numbers, _) = header.as_chunks::<4>();
        let mut numbers = numbers.iter().map(|n| u32::from_le_bytes(*n) as usize);
        let (id, count, dimensions, text) = (
            numbers.next()?,
            numbers.next()?,
            numbers.next()?,
            numbers.next()?,
        );
        let (id, rest) = rest.split_at_checked(id)?;
        let (lines, rest) = rest.split_at_checked(text)?;
        let (scales, rows) = rest.split_at_checked(count * 4)?;
        let (scales, _) = scales.as_chunks::<4>();
        let lines = std::str::from_utf8(lines).ok()?;
        let whole = lines.split('\n').count() == count && rows.len() == count * dimensions;
        whole.then(|| Self {
            model: VectorModel {
                id: String::from_utf8_lossy(id).into_owned(),
                dimensions,
            },
            pieces: Pieces::new(lines),
            scales: scales.iter().map(|s| f32::from_le_bytes(*s)).collect(),
            rows,
        })
    }

    /// The vector of a text: of length 1, or all zeros if it holds no known piece.
    pub fn vector(&self, text: &str) -> Vec<f32> {
        let dimensions = self.model.dimensions;
        let mut sum = vec![0.0_f32; dimensions];
        for row in self.pieces.rows(text) {
            let row = row as usize;
            let scale = self.scales[row];
            let numbers = &self.rows[row * dimensions..(row + 1) * dimensions];
            for (sum, number) in sum.iter_mut().zip(numbers) {
                *sum += scale * f32::from(number.cast_signed());
            }
        }
        let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 {
            sum.iter_mut().for_each(|x| *x /= length);
        }
        sum
    }
}

#[async_trait]
impl Embedder for StaticModel {
    fn model(&self) -> &VectorModel {
        &self.model
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(texts.iter().map(|text| self.vector(text)).collect())
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::rank::cosine;

    #[test]
    fn the_id_names_the_content() {
        let id = &StaticModel::built_in().model.id;
        let content = &FILE[24 + id.len()..];
        let digest = hex::encode(Sha256::digest(content));
        assert_eq!(id.rsplit('-').next(), Some(&digest[..12]));
    }

    #[test]
    fn a_file_that_is_not_whole_is_no_model() {
        assert!(StaticModel::read(&FILE[..FILE.len() - 1]).is_none());
        assert!(StaticModel::read(&FILE[1..]).is_none());
        assert!(StaticModel::read(b"TALONVEC").is_none());
    }

    #[test]
    fn vectors_have_length_one_and_mean_what_the_text_means() {
        let model = StaticModel::built_in();
        let vector = |text| model.vector(text);
        let length = |v: &[f32]| cosine(v, v).sqrt();
        assert!((length(&vector("Find academic papers")) - 1.0).abs() < 1e-5);
        assert_eq!(length(&vector("")), 0.0);
        assert_eq!(length(&vector("日本語")), 0.0);
        let near = cosine(
            &vector("find academic papers"),
            &vector("search scientific articles"),
        );
        let far = cosine(
            &vector("find academic papers"),
            &vector("bake a chocolate cake"),
        );
        assert!(near > 0.5 && far < 0.2, "{near} {far}");
    }
}
