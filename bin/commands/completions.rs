//! `potluck completions` and `potluck man`: what shells and `man` know of potluck, made from its own definition.

use clap::CommandFactory as _;

use super::Context;
use crate::args::{CompletionsArgs, ManArgs, Potluck};
use crate::exit::{Code, Failure, OutputFault};
use crate::ui;

/// Prints what a shell is to read.
pub(crate) fn completions(args: &CompletionsArgs, ctx: &Context) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Potluck::command(), "potluck", &mut script);
    ctx.out.event(&ui::Event::Text { text: &String::from_utf8_lossy(&script) })?;
    ctx.out.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(())
}

/// Prints one page, or writes all of them.
pub(crate) fn man(args: &ManArgs, ctx: &Context) -> anyhow::Result<()> {
    let mut command = Potluck::command().disable_help_subcommand(true);
    command.build();
    if let Some(folder) = &args.out {
        let shown = ui::name(&folder.to_string_lossy());
        let written =
            std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        written.map_err(|error| {
            Failure::new(Code::Failed, format!("cannot write manual pages to {shown}: {error}"))
        })?;
        ctx.out.note(format_args!("Manual pages are in {shown}; `man {shown}/potluck.1` shows the first."));
        return Ok(());
    }
    let mut page = &command;
    for verb in &args.verb {
        page = page.find_subcommand(verb).ok_or_else(|| {
            Failure::new(Code::Usage, format!("`{}` is no verb of potluck", ui::name(&args.verb.join(" "))))
                .hint("`potluck help` lists them.")
        })?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut text).map_err(OutputFault)?;
    ctx.out.event(&ui::Event::Text { text: &String::from_utf8_lossy(&text) })?;
    ctx.out.line(String::from_utf8_lossy(&text).trim_end())?;
    Ok(())
}
