use answers::answer;

#[test]
fn page() {
    assert_eq!(answer("/"), "hello from Rust\n");
}

#[test]
fn others() {
    assert_eq!(answer("/x"), "no /x\n");
}
