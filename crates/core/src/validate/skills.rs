//! What skills may look like.

use std::collections::BTreeSet;

use super::{Check, MAX_SKILLS};
use crate::spec::{PricingModel, Skill};
use crate::text::is_blank;

const MAX_NAME: usize = 100;
const MAX_DESCRIPTION: usize = 2_000;
const MAX_TAGS: usize = 20;
const MAX_TAG: usize = 50;
const MAX_EXAMPLES: usize = 20;
const MAX_EXAMPLE: usize = 500;
/// Far above any price meant; catches a slipped decimal point and keeps sums exact.
const MAX_PRICE_USD: f64 = 10_000.0;

pub(super) fn check(c: &mut Check, skills: &[Skill]) {
    if skills.len() > MAX_SKILLS {
        c.add(
            "/spec/skills",
            format!("has more than {MAX_SKILLS} skills: remove some"),
        );
    }
    let mut seen = BTreeSet::new();
    for (i, skill) in skills.iter().enumerate() {
        let at = format!("/spec/skills/{i}");
        id(c, &at, skill, seen.insert(skill.id.as_str()));
        required(c, &format!("{at}/name"), &skill.name);
        c.line(&format!("{at}/name"), non_blank(&skill.name), MAX_NAME);
        required(c, &format!("{at}/description"), &skill.description);
        c.text(
            &format!("{at}/description"),
            Some(&skill.description),
            MAX_DESCRIPTION,
        );
        price(c, &at, skill);
        list(c, &format!("{at}/tags"), &skill.tags, MAX_TAGS, MAX_TAG);
        list(
            c,
            &format!("{at}/examples"),
            &skill.examples,
            MAX_EXAMPLES,
            MAX_EXAMPLE,
        );
    }
}

fn non_blank(s: &str) -> Option<&str> {
    (!is_blank(s)).then_some(s)
}

fn required(c: &mut Check, pointer: &str, s: &str) {
    if is_blank(s) {
        c.add(pointer, "is required: write a few words");
    }
}

fn id(c: &mut Check, at: &str, skill: &Skill, is_new: bool) {
    let id = skill.id.as_bytes();
    let shaped = (1..=63).contains(&id.len())
        && id[0].is_ascii_alphanumeric()
        && id
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
    if !shaped {
        c.add(
            format!("{at}/id"),
            "must have 1 to 63 letters, digits, '.', '_' or '-', and start with a letter or digit",
        );
    } else if !is_new {
        c.add(
            format!("{at}/id"),
            "is the id of an earlier skill too: give each skill its own",
        );
    }
}

fn price(c: &mut Check, at: &str, skill: &Skill) {
    let at = format!("{at}/priceUsd");
    match (skill.pricing_model, skill.price_usd) {
        (PricingModel::PerRequest, None) => c.add(
            at,
            "is required with pricingModel per_request: write a price in US dollars",
        ),
        (_, Some(p)) if !p.is_finite() || p.is_sign_negative() && p != 0.0 || p > MAX_PRICE_USD => {
            c.add(
                at,
                format!("must be a number from 0 to {MAX_PRICE_USD}, in US dollars"),
            );
        }
        (PricingModel::Free, Some(p)) if p > 0.0 => c.add(
            at,
            "has no effect on a free skill: set pricingModel to per_request, or leave the price out",
        ),
        (PricingModel::Free | PricingModel::PerRequest, _) => {}
    }
}

fn list(c: &mut Check, pointer: &str, items: &[String], max: usize, max_chars: usize) {
    if items.len() > max {
        c.add(pointer, format!("has more than {max} entries: remove some"));
    }
    for (i, item) in items.iter().enumerate() {
        c.line(&format!("{pointer}/{i}"), Some(item), max_chars);
    }
}
