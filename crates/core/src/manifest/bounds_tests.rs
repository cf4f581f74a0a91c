use proptest::prelude::*;

use super::*;

/// The depth that the light reading sees, at most.
fn seen(text: &str) -> usize {
    let mut scan = Scan::default();
    for line in text.lines() {
        scan.line(line);
    }
    scan.deepest
}

#[test]
fn brackets_of_texts_and_comments_do_not_count() {
    for text in [
        "a: x [[[",
        "a: it's [[[\nb: it's [[[",
        "# [[[",
        "a: b # [[[",
        "a: \"[[[ \\\" [[[\"",
        "a: '[[[ '' [[['",
        "a: \"[[[\n  [[[\"",
        "a: |\n  [[[\n\n   [[[\nb: c",
        "a:\n  - b: >-\n      [[[\n",
        "- |2\n   [[[\n",
        "- - a: |+ # why\n      [[[\n",
        "x y: |\n  [[[\n",
        "a: !t |\n  [[[\n",
        "a: |\n    [[[\n  \n    [[[\n",
        "a: '[[['\nb: 'it''s [[['",
        "a: \"\\\"[[[\"",
    ] {
        assert_eq!(seen(text), 0, "{text}");
    }
}

#[test]
fn real_brackets_count() {
    for (text, depth) in [
        ("a: [b, {c: [d]}]", 3),
        ("a: |\n  x\nb: [[1]]", 2),
        ("- [\n[\n[", 3),
        ("a: [x'y, [z]]", 2),
        ("a: ['[', [b]]", 2),
        ("a: !t [&x [b]]", 2),
        ("a: [b # [[[\n, [c]]", 2),
        ("a: [x#y, [z]]", 2),
        ("a: [|, [b]]", 2),
        ("a: [b] # [[[", 1),
        ("a: [b]\nc: '[[['", 1),
        ("a: ['b', '[[[']", 1),
        ("a: {b: '[[['}", 1),
        ("{\"a\":'[[['}", 1),
        ("a: [[b], [c]]", 2),
        // An empty block text, and the next key beside the one it belongs to.
        ("- a: |\n  b: [[c]]", 2),
        ("- - a: |\n    b: [[c]]", 2),
        ("? a: |\n  b: [[c]]", 2),
    ] {
        assert_eq!(seen(text), depth, "{text}");
    }
}

#[test]
fn few_brackets_are_never_refused_and_many_only_if_deep() {
    assert_eq!(check(&"[".repeat(FEW_BRACKETS)), Ok(()));
    assert_eq!(check(&"[]\n".repeat(5000)), Ok(()));
    let refusal = check(&"[\n".repeat(FEW_BRACKETS + 1)).unwrap_err();
    assert_eq!(refusal.line, Some(MAX_DEPTH + 1));
}

fn real_depth(v: &serde_yaml::Value) -> usize {
    match v {
        serde_yaml::Value::Sequence(l) => 1 + l.iter().map(real_depth).max().unwrap_or(0),
        serde_yaml::Value::Mapping(m) => 1 + m.values().map(real_depth).max().unwrap_or(0),
        _ => 0,
    }
}

proptest! {
    /// Flow documents around every kind of text: the depth is never taken for less than it is.
    #[test]
    fn depth_is_not_underestimated(
        texts in proptest::collection::vec("[a-z '\"#:|>!&-]{0,12}", 1..6),
        depth in 1usize..20,
    ) {
        let opening: String = (0..depth)
            .map(|i| format!("[{}, ", serde_json::to_string(&texts[i % texts.len()]).unwrap()))
            .collect();
        let block: String = texts
            .iter()
            .enumerate()
            .map(|(i, t)| serde_yaml::to_string(&serde_json::json!({ format!("k{i}"): format!("{t}\n[") })).unwrap())
            .collect();
        let text = format!("{block}z: {opening}{}\n", "]".repeat(depth));
        let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        prop_assert_eq!(real_depth(&value), depth + 1);
        prop_assert!(seen(&text) >= depth, "{}", text);
    }

    #[test]
    fn any_text_is_read_in_one_go(s in any::<String>()) {
        seen(&s);
        let _ = check(&s.repeat(20));
    }
}
