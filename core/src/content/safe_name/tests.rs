use super::*;

#[test]
fn rejects_and_never_repairs() {
    assert_eq!(SafeName::parse(".."), Err(NameFault::Dots));
    assert_eq!(SafePath::parse("a/../b"), Err(NameFault::Dots));
    assert_eq!(SafeName::parse("foo... bar").unwrap().as_str(), "foo... bar");
}
