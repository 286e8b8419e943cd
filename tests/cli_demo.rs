//! The README's first command, in small.

mod support;

use rustix::process::Signal;
use support::processes::{Net, number, sources, until};

/// The processes that the demonstration started, by its temporary folder in their environment.
fn children_of(net: &Net) -> usize {
    let mark = format!("XDG_CACHE_HOME={}", net.dir.path().join("tmp").display());
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let environments = processes.filter_map(|process| std::fs::read(process.path().join("environ")).ok());
    environments.filter(|env| String::from_utf8_lossy(env).contains(&mark)).count()
}

#[test]
fn the_demonstration_works_and_leaves_nothing() {
    let net = Net::without_tracker();
    let temp = net.path("tmp/x").parent().unwrap().to_owned();
    let mut command = net.bare(&["--json", "demo", "--size", "48"]);
    command.env("TMPDIR", &temp);
    let ran = support::processes::Node::start("demo", command).ran();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let done = ran.one("done");
    assert_eq!(number(done, "bytes"), 48 << 20);
    assert!(sources(done).len() > 1, "several holders delivered");
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "cleaned up");
    assert_eq!(children_of(&net), 0);
}

#[test]
fn an_interrupted_demonstration_leaves_nothing() {
    let net = Net::without_tracker();
    let temp = net.path("tmp/x").parent().unwrap().to_owned();
    for signal in [Signal::INT, Signal::KILL] {
        let mut command = net.bare(&["--json", "demo", "--size", "256"]);
        command.env("TMPDIR", &temp);
        let mut demo = support::processes::Node::start("demo", command);
        until("children run", || children_of(&net) >= 3);
        demo.signal(signal);
        let code = demo.wait().code();
        assert_eq!(code, (signal == Signal::INT).then_some(130));
        // Even after SIGKILL nothing is left running: the children notice that their parent is gone.
        until("no child is left", || children_of(&net) == 0);
        assert!(signal == Signal::KILL || std::fs::read_dir(&temp).unwrap().count() == 0, "cleaned up");
    }
}

#[test]
fn what_cannot_be_shared_is_told_once_and_before_anything_is_started() {
    let net = Net::without_tracker();
    std::fs::create_dir(net.path("folder")).unwrap();
    for (file, why) in [("nosuch", "No such file"), ("folder", "takes a file")] {
        let ran = net.typed(&["demo", file]);
        assert_eq!(ran.code, Some(1));
        assert!(ran.stdout.is_empty() && ran.stderr.lines().count() == 1, "{}{}", ran.stdout, ran.stderr);
        assert!(
            ran.stderr.contains(&format!("cannot share {file}")) && ran.stderr.contains(why),
            "{}",
            ran.stderr
        );
    }
}
