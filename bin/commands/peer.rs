//! `potluck peer`: a peer that shares a folder and runs until it is interrupted.

use super::Context;
use super::share::{self, Failing};
use crate::args::{PeerArgs, ShareArgs};
use crate::exit::{Code, Failure};
use crate::ui;

pub(crate) async fn run(args: PeerArgs, ctx: &Context) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir).map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("cannot create {}: {error}", ui::name(&args.dir.to_string_lossy())),
        )
    })?;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&args.dir)? {
        let path = entry?.path();
        if !is_hidden(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    share::run_with(ShareArgs { paths, label: None, once: false, serve: args.serve }, Failing::IsTold, ctx)
        .await
}

/// Part files, and what else people keep out of sight.
fn is_hidden(path: &std::path::Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
