//! What Cloudflare's API answered to the calls of one step: for the step's line in the log.
//!
//! The client tells a [`CallWitness`]; the executor listens around each step, in the task that makes the calls.

use std::cell::RefCell;

use talon_core::logs::CallWitness;

/// The answers to the calls of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// How many there were.
    pub calls: u32,
    /// The status of the last one.
    pub http: Option<u16>,
    /// Cloudflare's id of the last one.
    pub ray: Option<String>,
}

tokio::task_local! {
    static HEARD: RefCell<Answers>;
}

/// Hears of answers; to be given to the Cloudflare client.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepWitness;

impl CallWitness for StepWitness {
    fn answered(&self, http: u16, ray: Option<&str>) {
        // Outside of a step nobody listens.
        let _ = HEARD.try_with(|heard| {
            let mut heard = heard.borrow_mut();
            heard.calls += 1;
            heard.http = Some(http);
            heard.ray = ray.map(str::to_owned);
        });
    }
}

/// Runs `work` and hears what was answered meanwhile.
pub async fn heard<T>(work: impl Future<Output = T>) -> (T, Answers) {
    HEARD
        .scope(RefCell::default(), async {
            let done = work.await;
            (done, HEARD.with(RefCell::take))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_answer_of_a_step_is_heard_and_that_of_another_is_not() {
        StepWitness.answered(500, None);
        let (done, answers) = heard(async {
            StepWitness.answered(429, Some("1"));
            tokio::task::yield_now().await;
            StepWitness.answered(200, Some("8f1c-AMS"));
            7
        })
        .await;
        assert_eq!(done, 7);
        assert_eq!((answers.calls, answers.http), (2, Some(200)));
        assert_eq!(answers.ray.as_deref(), Some("8f1c-AMS"));
    }
}
