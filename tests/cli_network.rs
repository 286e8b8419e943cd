//! Two machines, as far as their network tells: two network namespaces with a cable between them.

#![expect(clippy::print_stderr, reason = "says why it did not run")]

mod support;

use std::process::Command;

use support::processes::{Net, b3sum};

/// Exit code of the script where the system allows no namespaces (or has no `ip`).
const NOT_ALLOWED: i32 = 77;

/// Tracker and sharer run on 10.77.0.1 and listen everywhere; 10.77.0.2 fetches by ticket without a tracker, then by name.
const SCRIPT: &str = r#"
set -u
potluck=$1 file=$2 dir=$3
allowed() { "$@" || exit 77; }
command -v ip >/dev/null && command -v nsenter >/dev/null || exit 77
allowed ip link set lo up
here=$(readlink /proc/self/ns/net)
unshare -n sleep 1000 & other=$!
trap 'kill $(jobs -p) 2>/dev/null' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$here" ]; do kill -0 $other || exit 77; done
there() { nsenter -t $other -n -- "$@"; }
allowed ip link add cable type veth peer name cable2
allowed ip link set cable2 netns $other
allowed ip addr add 10.77.0.1/24 dev cable
allowed ip link set cable up
allowed there ip addr add 10.77.0.2/24 dev cable2
allowed there ip link set cable2 up
allowed there ip link set lo up

mkfifo tracked shared
"$potluck" tracker --listen 0.0.0.0:0 --json > tracked 2> /dev/null &
read -r listening < tracked
tracker=$(sed 's/.*"addr":"\([^"]*\)".*/\1/' <<< "$listening")
# The sharer reaches its tracker at loopback, as people do who run both on one machine.
"$potluck" share "$file" --tracker "127.0.0.1:${tracker##*:}" --as far > shared 2> /dev/null &
read -r ticket < shared
echo "tracker $tracker"
echo "ticket $ticket"
there "$potluck" get "$(sed 's/&tracker=[^&]*//' <<< "$ticket")" --tracker 10.77.0.2:9 --out "$dir/by-ticket/" || exit 1
there "$potluck" get "$ticket" --out "$dir/by-whole-ticket/" || exit 1
there "$potluck" get "$(basename "$file")" --tracker "$tracker" --out "$dir/by-name/" || exit 1
there "$potluck" holders "$(basename "$file")" --tracker "$tracker" --json || exit 1
"#;

#[test]
fn two_hosts_share_and_no_loopback_address_is_handed_out() {
    let net = Net::without_tracker();
    let file = net.file("src/f.bin", 5 << 20, 1);
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "bash", "-c", SCRIPT, "script"])
        .arg(env!("CARGO_BIN_EXE_potluck"))
        .args([&file, &net.dir.path().to_owned()])
        .current_dir(net.dir.path())
        .env("XDG_CACHE_HOME", net.dir.path())
        .env_remove("POTLUCK_TRACKER")
        .env("POTLUCK_CONFIG", "")
        .output();
    let Ok(output) = output else {
        return eprintln!("not run: there is no `unshare`");
    };
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(NOT_ALLOWED) || told.starts_with("unshare:") {
        return eprintln!("not run: this system allows no network namespaces here: {told}");
    }
    assert!(output.status.success(), "{told}");
    for folder in ["by-ticket", "by-whole-ticket", "by-name"] {
        assert_eq!(b3sum(&net.got(folder, "f.bin")), b3sum(&file), "{folder}");
    }
    assert!(told.contains("tracker 10.77.0.1:"), "{told}");
    assert!(told.contains("tracker=10.77.0.1") && told.contains("peer=10.77.0.1"), "{told}");
    assert!(!told.contains("127.0.0.1"), "{told}");
}
