//! Creating an agent: from nothing, and from every subset of what an earlier life may have left.

use crate::fixture::{assert_deployed, new_agent};

#[test]
fn four_mutating_calls_and_no_read_of_its_own_make_an_agent() {
    let mut stage = new_agent();
    stage.converge();
    assert_eq!(
        stage.calls,
        [
            "create-bucket",
            "create-token",
            "upload",
            "enable-route",
            "register-card"
        ]
    );
    assert_eq!(stage.settings_reads, 0);
    assert_eq!(stage.list_reads, 1);
    assert_deployed(&mut stage);
    assert_eq!(stage.settings_reads, 0);
}
