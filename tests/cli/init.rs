//! The first minutes with the program.

use crate::Project;

#[test]
fn a_manifest_is_written_beside_the_pictures_and_never_over_another() {
    let project = Project::new();
    project.picture("mine/holiday/1.png", (8, 8), 1);
    let ran = project.run(&["init", "mine"]).exits(0);
    insta::assert_snapshot!(ran.seen());
    assert!(project.read("mine/project.toml").contains("\"holiday\""));

    project.file("mine/project.toml", "edited");
    let ran = project.run(&["init", "mine"]).exits(2);
    insta::assert_snapshot!(ran.seen());
    assert_eq!(project.read("mine/project.toml"), "edited");
}

#[test]
fn without_pictures_it_says_where_to_put_them() {
    let project = Project::new();
    insta::assert_snapshot!(project.run(&["init", "new"]).exits(0).seen());
    // Nothing but the pictures and the weights is missing: the manifest itself is right.
    let ran = project.run(&["check", "new/project.toml"]).exits(3);
    assert!(ran.stderr.contains("fluxpipe::manifest::missing_file"), "{}", ran.stderr);
}
