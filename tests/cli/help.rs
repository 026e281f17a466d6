//! What each command says about itself.

use crate::Project;

const COMMANDS: [&str; 16] = [
    "init", "check", "plan", "captions", "run", "losses", "report", "generate", "why", "log",
    "bless", "graph", "inspect", "doctor", "demo", "bench",
];

#[test]
fn help_texts() {
    let project = Project::new();
    let help = |args: &[&str]| project.run(args).exits(0).stdout;
    insta::assert_snapshot!("help", help(&["--help"]));
    for command in COMMANDS {
        let text = help(&[command, "--help"]);
        assert!(text.contains("Example"), "{command} shows no example");
        insta::assert_snapshot!(format!("help-{command}"), text);
    }
}

#[test]
fn no_line_of_a_help_text_is_wider_than_a_terminal() {
    let project = Project::new();
    for command in COMMANDS {
        let ran = project.run_with(&[command, "--help"], &[("COLUMNS", "80")]).exits(0);
        let widest = ran.stdout.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= 80, "{command}: {widest}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_what_is_right() {
    let project = Project::new();
    for args in
        [&["rnu"] as &[&str], &["run"], &["plan", "a", "--what"], &["plan", "a", "--set", "x"], &[]]
    {
        let ran = project.run(args).exits(2);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{args:?}");
    }
    assert!(project.run(&["pln"]).stderr.contains("plan"));
    assert_eq!(
        project.run(&["--version"]).exits(0).stdout,
        format!("fluxpipe {}\n", env!("CARGO_PKG_VERSION"))
    );
}
