//! The things that happen to an agent, each ready to be gone through once, in peace or with faults.

use crate::fixture::{assert_deployed, assert_gone, deployed, new_agent, refs, settle};
use crate::stage::Stage;

/// What the world is to look like in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Deployed,
    Gone,
}

/// One history that is about to begin.
pub struct Scenario {
    pub name: &'static str,
    pub goal: Goal,
    pub stage: Stage,
}

impl Scenario {
    pub fn assert_reached(&self, stage: &mut Stage) {
        settle(stage);
        match self.goal {
            Goal::Deployed => assert_deployed(stage),
            Goal::Gone => assert_gone(stage),
        }
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let calm = deployed();
    let after = |name, goal, change: fn(&mut Stage)| {
        let mut stage = calm.clone();
        change(&mut stage);
        Scenario { name, goal, stage }
    };
    vec![
        Scenario {
            name: "create",
            goal: Goal::Deployed,
            stage: new_agent(),
        },
        after("model", Goal::Deployed, |s| {
            s.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned())
        }),
        after("key", Goal::Deployed, |s| {
            s.keys
                .insert("ANTHROPIC_API_KEY".to_owned(), Ok("another".to_owned()));
        }),
        after("provider", Goal::Deployed, |s| {
            s.edit(|spec| {
                spec.api_key_refs = refs(&[("openai", "env:TALON_SECRET_OPENAI")]);
                spec.model = "openai/gpt-6".to_owned();
            });
        }),
        after("card", Goal::Deployed, |s| {
            s.edit(|spec| spec.display_name = Some("Research".to_owned()))
        }),
        after("bundle", Goal::Deployed, |s| {
            s.world.bundle.sha256 = "c2".repeat(32)
        }),
        after("bundle and model", Goal::Deployed, |s| {
            s.world.bundle.sha256 = "c2".repeat(32);
            s.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned());
        }),
        after("worker deleted outside", Goal::Deployed, |s| {
            let name = s.names().worker;
            s.outside(|r, _| r.lose_worker(&name));
            s.resync();
        }),
        after("worker edited outside", Goal::Deployed, |s| {
            let name = s.names().worker;
            s.outside(|r, now| {
                let worker = r.workers.get_mut(&name).unwrap();
                worker.content = "export default { fetch() {} }".to_owned();
                worker.tags = Some(Vec::new());
                worker.modified_on = now;
            });
            s.resync();
        }),
        after("code edited outside", Goal::Deployed, |s| {
            let name = s.names().worker;
            s.outside(|r, now| {
                let worker = r.workers.get_mut(&name).unwrap();
                worker.content = "export default { fetch() {} }".to_owned();
                worker.modified_on = now;
            });
            s.resync();
        }),
        after("bucket deleted outside", Goal::Deployed, |s| {
            let name = s.names().bucket;
            s.outside(|r, _| r.lose_bucket(&name));
            s.resync();
        }),
        after("token deleted outside", Goal::Deployed, |s| {
            let name = s.names().token;
            s.outside(|r, _| r.tokens.retain(|t| t.name != name));
            s.resync();
        }),
        after("card removed outside", Goal::Deployed, |s| {
            s.outside(|r, _| r.card = None)
        }),
        after("all deleted outside", Goal::Deployed, |s| {
            let names = s.names();
            s.outside(|r, _| {
                r.workers.remove(&names.worker);
                r.buckets.remove(&names.bucket);
                r.tokens.retain(|t| t.name != names.token);
                r.card = None;
            });
            s.resync();
        }),
        after("delete", Goal::Gone, |s| {
            let name = s.names().bucket;
            s.outside(|r, _| r.buckets.get_mut(&name).unwrap().objects = 2500);
            s.delete();
        }),
        after("delete right after a change", Goal::Gone, |s| {
            s.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned());
            s.delete();
        }),
    ]
}
