//! Whole peers and trackers over TCP on loopback, in one process.

mod support;

use potluck_core::Machine;
use potluck_core::content::Kind;
use potluck_core::effects::Effects;
use potluck_core::peer::{Answer, PeerConfig, PeerEffect, PeerEvent, PeerInput, Question, WaitReason};
use potluck_core::wire::tracker::Matching;
use potluck_transport_tcp::record::{read_recording, recorded_machine};
use potluck_transport_tcp::{Event, Events, Peer, PeerOptions, Shared, StartError, ask_tracker};
use support::*;

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn share_search_and_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = tracker().await;
    let (ada, mut ada_events) = peer("ada", Some(&tracker)).await;
    for (seed, length) in [0, 1, 1023, 256 * 1024, 256 * 1024 + 1, 5 * MIB + 7].into_iter().enumerate() {
        let content = bytes(seed as u64, length);
        let path = write(folder.path(), &format!("shared/{length}.bin"), &content);
        let shared = ada.share(&path).await.unwrap();
        assert_eq!(shared.key.id.to_string(), blake3::hash(&content).to_string());
    }
    assert_eq!(ada.ask(Question::Synced).await, Answer::Done);
    wait_for(&mut ada_events, |event| matches!(event, Event::Peer(PeerEvent::Joined { .. })).then_some(()))
        .await;

    let question =
        Question::Contents { matching: Matching::Substring(".BIN".into()), members: false, limit: 100 };
    let Answer::Contents(rows) = ask_tracker(tracker.listen_addr(), question).await.unwrap() else {
        panic!("no rows");
    };
    assert_eq!(rows.len(), 6);
    let (bob, mut bob_events) = peer("bob", Some(&tracker)).await;
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    for row in rows {
        let download = bob.fetch(into_folder(row.key, row.kind, &row.name, &out)).await;
        completed(&mut bob_events, download).await;
        let there = std::fs::read(out.join(&row.name)).unwrap();
        assert_eq!(blake3::hash(&there).to_string(), row.key.id.to_string());
        assert_eq!(bob.final_path(download), Some(out.join(&row.name)));
        let status = bob.status(download).await.unwrap();
        assert_eq!((status.bytes, status.total), (row.key.length, row.key.length));
    }
    assert_eq!(bob.peer_name(ada.id()).await, "ada");
    bob.leave().await;
    ada.leave().await;
    tracker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_comes_whole_without_a_tracker_and_is_served_on() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("tree");
    for number in 0..200_usize {
        write(&root, &format!("deep/{}/file {number}", number % 7), &bytes(number as u64, number * 13));
    }
    write(&root, "large", &bytes(1000, 3 * MIB));
    std::fs::create_dir(root.join("empty")).unwrap();
    let (ada, _ada_events) = peer("ada", None).await;
    let shared = ada.share(&root).await.unwrap();
    assert_eq!((shared.kind, shared.files), (Kind::Folder, 201));

    let mut from = ada.listen_addr();
    let mut peers = vec![ada];
    for name in ["bob", "cleo"] {
        let (peer, mut events) = peer(name, None).await;
        let out = home.path().join(name);
        std::fs::create_dir(&out).unwrap();
        let mut fetch = what(&shared, &out);
        fetch.peers.push(from);
        let download = peer.fetch(fetch).await;
        completed(&mut events, download).await;
        for number in 0..200_usize {
            let path = out.join(format!("tree/deep/{}/file {number}", number % 7));
            assert!(std::fs::read(path).unwrap() == bytes(number as u64, number * 13));
        }
        assert!(out.join("tree/empty").is_dir());
        // The next one fetches from this one alone.
        from = peer.listen_addr();
        peers.pop().unwrap().leave().await;
        peers.push(peer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_four_holders_at_once_and_one_of_them_leaves() {
    let home = tempfile::tempdir().unwrap();
    let tracker = tracker().await;
    let content = bytes(7, 64 * MIB);
    let path = write(home.path(), "content", &content);
    let mut holders = Vec::new();
    for name in ["ada", "bob", "cleo", "dan"] {
        let (holder, events) = peer(name, Some(&tracker)).await;
        let shared = holder.share(&path).await.unwrap();
        assert_eq!(holder.ask(Question::Synced).await, Answer::Done);
        holders.push((holder, events, shared));
    }
    let (eve, mut events) = peer("eve", Some(&tracker)).await;
    let out = home.path().join("out/");
    std::fs::create_dir(&out).unwrap();
    let download = eve.fetch(what(&holders[0].2, &out)).await;
    wait_for(&mut events, |event| {
        matches!(event, Event::Peer(PeerEvent::PieceVerified { .. })).then_some(())
    })
    .await;
    let (leaver, ..) = holders.remove(0);
    drop(leaver);
    completed(&mut events, download).await;
    assert!(std::fs::read(out.join("content")).unwrap() == content);
    let status = eve.status(download).await.unwrap();
    let delivered: u64 = status.holders.iter().map(|holder| holder.bytes).sum();
    assert_eq!(delivered, content.len() as u64);
    assert!(status.holders.iter().filter(|holder| holder.bytes > 0).count() >= 2, "{status:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_is_hashed_and_offered_anew() {
    let home = tempfile::tempdir().unwrap();
    let path = write(home.path(), "content", &bytes(1, 3 * MIB));
    let (ada, mut ada_events) = peer("ada", None).await;
    let before = ada.share(&path).await.unwrap();
    let changed = bytes(2, 2 * MIB);
    std::fs::write(&path, &changed).unwrap();

    let (bob, mut bob_events) = peer("bob", None).await;
    let out = home.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let mut fetch = what(&before, &out);
    fetch.peers.push(ada.listen_addr());
    let download = bob.fetch(fetch).await;
    let reason = wait_for(&mut bob_events, |event| {
        let Event::Peer(PeerEvent::Waiting { reason, .. }) = event else { return None };
        Some(*reason)
    });
    assert!(matches!(reason.await, WaitReason::NoHolder | WaitReason::MissingPieces));
    let after = wait_for(&mut ada_events, |event| {
        let Event::Shared(shared) = event else { return None };
        Some(shared.clone()).filter(|shared| shared.key != before.key)
    })
    .await;
    assert_eq!(after.key.id.to_string(), blake3::hash(&changed).to_string());
    bob.stop(download).await;
    let mut fetch = what(&after, &out);
    fetch.peers.push(ada.listen_addr());
    let download = bob.fetch(fetch).await;
    completed(&mut bob_events, download).await;
    assert!(std::fs::read(out.join("content")).unwrap() == changed);
}

/// The next thing that is offered anew, or why it is not.
async fn offered_anew(events: &mut Events) -> Result<Shared, String> {
    wait_for(events, |event| {
        if let Event::ShareLost { why, .. } = event {
            return Some(Err(why.clone()));
        }
        let Event::Shared(shared) = event else { return None };
        Some(Ok(shared.clone()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_though_nobody_asks() {
    let home = tempfile::tempdir().unwrap();
    let (ada, mut events) = peer("ada", None).await;
    let path = write(home.path(), "content", b"first");
    let before = ada.share(&path).await.unwrap();
    assert_eq!(offered_anew(&mut events).await.as_ref(), Ok(&before));
    ada.look_after_shares();

    std::fs::write(&path, b"second").unwrap();
    let after = offered_anew(&mut events).await.unwrap();
    assert_eq!(after.key.id.to_string(), blake3::hash(b"second").to_string());
    assert!(ada.open(before.key).is_none());

    // Somebody writes for a while: what it came to is offered in the end.
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            for _ in 0..60 {
                let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
                std::io::Write::write_all(&mut file, b"more").unwrap();
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    });
    let whole = b"second".len() + 60 * b"more".len();
    while offered_anew(&mut events).await.unwrap().bytes != whole as u64 {}
    writer.join().unwrap();

    std::fs::remove_file(&path).unwrap();
    assert!(offered_anew(&mut events).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_into_a_shared_folder_and_goes_is_seen() {
    let home = tempfile::tempdir().unwrap();
    let (ada, mut events) = peer("ada", None).await;
    write(home.path(), "folder/one", b"one");
    let folder = home.path().join("folder");
    let mut before = ada.share(&folder).await.unwrap();
    assert_eq!(offered_anew(&mut events).await.as_ref(), Ok(&before));
    ada.look_after_shares();
    let two = folder.join("two");
    let changes: [(&dyn Fn(), u64); 2] =
        [(&|| std::fs::write(&two, b"two").unwrap(), 2), (&|| std::fs::remove_file(&two).unwrap(), 1)];
    for (change, files) in changes {
        change();
        let after = offered_anew(&mut events).await.unwrap();
        assert_eq!(after.files, files);
        assert!(after.key != before.key && ada.open(before.key).is_none() && ada.open(after.key).is_some());
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_became_a_link_is_not_offered_as_what_it_leads_to() {
    let home = tempfile::tempdir().unwrap();
    let (ada, mut events) = peer("ada", None).await;
    let secret = write(home.path(), "elsewhere/file", b"secret");
    let path = write(home.path(), "shared/folder/file", b"content");
    let folder = home.path().join("shared");
    ada.look_after_shares();
    for (shared, swapped) in [(&path, path.as_path()), (&path, path.parent().unwrap())] {
        ada.share(shared).await.unwrap();
        assert_eq!(offered_anew(&mut events).await.unwrap().bytes, 7);
        let away = folder.join("away");
        std::fs::rename(swapped, &away).unwrap();
        let leads_to = if swapped == path { &secret } else { secret.parent().unwrap() };
        std::os::unix::fs::symlink(leads_to, swapped).unwrap();
        let why = offered_anew(&mut events).await.unwrap_err();
        assert!(why.contains("symbolic link"), "{why}");
        // Whoever shares it by hand means what it leads to.
        assert_eq!(ada.share(shared).await.unwrap().bytes, 6);
        assert_eq!(offered_anew(&mut events).await.unwrap().bytes, 6);
        ada.unshare_path(shared).await;
        std::fs::remove_file(swapped).unwrap();
        std::fs::rename(&away, swapped).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_a_clear_error() {
    let (ada, _events) = peer("ada", None).await;
    let mut taken = options("bob", None);
    taken.listen = ada.listen_addr();
    let error = Peer::start(taken).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }));
    assert!(error.to_string().starts_with(&format!("cannot listen at {}: ", ada.listen_addr())), "{error}");
}

/// After leaving no task is left behind and the port is free; the other handles answer without waiting.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_ends_everything() {
    let tracker = tracker().await;
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (ada, mut events) = peer("ada", Some(&tracker)).await;
    wait_for(&mut events, |event| matches!(event, Event::Peer(PeerEvent::Joined { .. })).then_some(())).await;
    let (addr, other) = (ada.listen_addr(), ada.clone());
    ada.leave().await;
    wait_for(&mut events, |event| (*event == Event::Peer(PeerEvent::Left)).then_some(())).await;
    assert_eq!(other.ask(Question::Peers).await, Answer::Unreachable);
    assert_eq!(other.status(potluck_core::ids::DownloadId(1)).await, None);
    drop(std::net::TcpListener::bind(addr).unwrap());
    // The tracker's side of the link ends a moment later.
    for _ in 0..1000 {
        if tokio::runtime::Handle::current().metrics().num_alive_tasks() <= before {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("tasks are left");
}

/// What was recorded of a real download, told again to a fresh machine, makes it say the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_replays() {
    let home = tempfile::tempdir().unwrap();
    let tracker = tracker().await;
    let content = bytes(3, 10 * MIB);
    let path = write(home.path(), "content", &content);
    let (ada, _ada_events) = peer("ada", Some(&tracker)).await;
    let shared = ada.share(&path).await.unwrap();
    assert_eq!(ada.ask(Question::Synced).await, Answer::Done);
    let record = home.path().join("recording");
    let options = PeerOptions { record: Some(record.clone()), ..options("bob", Some(&tracker)) };
    let (bob, mut events) = Peer::start(options).await.unwrap();
    let out = home.path().join("out/");
    std::fs::create_dir(&out).unwrap();
    let download = bob.fetch(what(&shared, &out)).await;
    let mut told = Vec::new();
    while told.last() != Some(&PeerEvent::Completed { download }) {
        if let Some(Event::Peer(event)) = tokio::time::timeout(PATIENCE, events.next()).await.unwrap() {
            told.push(event);
        }
    }
    bob.leave().await;
    while let Some(event) = events.next().await {
        if let Event::Peer(event) = event {
            told.push(event);
        }
    }

    assert_eq!(recorded_machine(&record).unwrap(), "peer");
    let recording = read_recording::<PeerConfig, PeerInput>(&record, "peer").unwrap();
    assert!(!recording.cut_off);
    let mut machine = potluck_core::peer::Peer::new(recording.config);
    let (mut effects, mut said) = (Effects::new(), Vec::new());
    for (now, input) in recording.inputs {
        machine.handle(now, input, &mut effects);
        said.extend(effects.drain().filter_map(|effect| {
            let PeerEffect::Report(event) = effect else { return None };
            Some(event)
        }));
    }
    assert_eq!(said, told);
}
