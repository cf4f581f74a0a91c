use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn ids_survive_their_text_form(id: u128, install: [u8; 10], ms in 0u64..(1 << 48), chance: u128) {
        let agent = AgentId(uuid::Uuid::from_u128(id));
        prop_assert_eq!(agent.to_string().parse::<AgentId>().unwrap(), agent);
        let install = InstallId::from_random(install);
        prop_assert_eq!(InstallId::parse(install.as_str()), Some(install.clone()));
        prop_assert_eq!(install.short().len(), 6);
        let tried = TryId::new(ms, chance);
        prop_assert_eq!(TryId::parse(tried.as_str()), Some(tried));
    }

    #[test]
    fn later_tries_sort_later(ms in 0u64..(1 << 47), a: u128, b: u128) {
        prop_assert!(TryId::new(ms, a) < TryId::new(ms + 1, b));
    }

    #[test]
    fn other_text_is_no_id(s in any::<String>()) {
        prop_assume!(!s.is_ascii() || s.len() < 16);
        prop_assert_eq!(InstallId::parse(&s), None);
        prop_assert_eq!(TryId::parse(&s), None);
    }
}
