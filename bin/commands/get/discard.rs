//! `potluck get WHAT --discard`: removes what interrupted downloads of WHAT left, and nothing else.

use super::job::storage_failure;
use super::plan::Place;
use crate::args::GetArgs;
use crate::commands::Context;
use crate::exit::{Code, Failure};
use crate::ui;

pub(super) fn run(args: &GetArgs, ctx: &Context) -> anyhow::Result<()> {
    let place = Place::of(&args.out)?;
    for what in &args.what {
        let parts = place.parts(what);
        if parts.is_empty() {
            return Err(Failure::new(
                Code::NotFound,
                format!("no interrupted download of `{what}` is there"),
            )
            .into());
        }
        for part in parts {
            let path = part.path.to_string_lossy().into_owned();
            part.discard().map_err(|fault| storage_failure(fault, &ui::name(&path)))?;
            ctx.out.event(&ui::Event::Discarded { path: &path, id: part.key.id })?;
            ctx.out.line(format_args!("removed {}", ui::name(&path)))?;
        }
    }
    Ok(())
}
