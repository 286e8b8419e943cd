//! A numbered choice: three tries, `cancel`.

use super::input::Lines;
use crate::exit::OutputFault;
use crate::ui::{self, Event, Out};

/// How often a person may answer wrongly.
const TRIES: u32 = 3;

/// One of several.
pub(super) struct Choice {
    /// What is meant by it; it can be typed as well as its number.
    pub(super) name: String,
    /// What else helps to choose.
    pub(super) about: String,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// This one.
    One(usize),
    /// None of them: the person said so.
    Cancelled,
    /// Nothing: three wrong answers, or nobody there to answer.
    Nothing,
}

/// What a person answered.
#[derive(Debug, PartialEq, Eq)]
enum Answered {
    Chose(usize),
    Cancelled,
    Wrong,
}

/// Shows the choices and asks for one.
pub(super) async fn choose(
    heading: &str,
    choices: &[Choice],
    lines: &mut Lines,
    out: &Out,
) -> Result<Chosen, OutputFault> {
    let names: Vec<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
    out.event(&Event::Choose { choices: &names })?;
    out.line(heading)?;
    let width = choices.iter().map(|choice| ui::columns(&ui::name(&choice.name))).max().unwrap_or(0);
    for (number, choice) in (1..).zip(choices) {
        let name = ui::pad(&ui::name(&choice.name), width);
        out.line(format_args!("{number:>4}  {name}  {}", choice.about))?;
    }
    let asks = if let [_] = choices {
        "1, a name, or cancel: ".to_owned()
    } else {
        format!("1-{}, a name, or cancel: ", choices.len())
    };
    for left in (0..TRIES).rev() {
        let Some(line) = lines.ask(&asks, out).await else { break };
        match answered(&line, &names) {
            Answered::Chose(index) => return Ok(Chosen::One(index)),
            Answered::Cancelled => return Ok(Chosen::Cancelled),
            Answered::Wrong => {
                let shown = ui::excerpt(line.trim());
                let tries = match left {
                    0 => String::new(),
                    1 => "; 1 try left".to_owned(),
                    _ => format!("; {left} tries left"),
                };
                out.note(format_args!("`{shown}` is none of them{tries}."));
            }
        }
    }
    Ok(Chosen::Nothing)
}

fn answered(line: &str, names: &[&str]) -> Answered {
    let word = line.trim();
    if let Some(index) = names.iter().position(|name| *name == word) {
        return Answered::Chose(index);
    }
    match word.parse::<usize>() {
        Ok(number) if (1..=names.len()).contains(&number) => Answered::Chose(number - 1),
        _ if word.eq_ignore_ascii_case("cancel") => Answered::Cancelled,
        _ => Answered::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Out;

    #[test]
    fn numbers_names_and_cancel() {
        let names = ["p1", "7", "cancel me"];
        assert_eq!(answered(" 1 ", &names), Answered::Chose(0));
        assert_eq!(answered("p1", &names), Answered::Chose(0));
        assert_eq!(answered("7", &names), Answered::Chose(1), "a name outweighs a number");
        assert_eq!(answered("3", &names), Answered::Chose(2));
        assert_eq!(answered("Cancel", &names), Answered::Cancelled);
        for wrong in ["", "0", "4", "p", "p1 p2"] {
            assert_eq!(answered(wrong, &names), Answered::Wrong, "{wrong}");
        }
    }

    #[tokio::test]
    async fn three_tries_and_no_more() {
        let choices = ["a", "b"].map(|name| Choice { name: name.to_owned(), about: String::new() });
        for (typed, chosen, left) in [
            (&["2", "x"][..], Chosen::One(1), Some("x")),
            (&["9", "nine", "a", "x"], Chosen::One(0), Some("x")),
            (&["9", "nine", "", "a"], Chosen::Nothing, Some("a")),
            (&["cancel", "a"], Chosen::Cancelled, Some("a")),
            (&["9"], Chosen::Nothing, None),
        ] {
            let mut lines = Lines::of(typed);
            let got = choose("which?", &choices, &mut lines, &Out::json()).await.unwrap();
            assert_eq!(got, chosen, "{typed:?}");
            assert_eq!(lines.next().await.as_deref(), left, "{typed:?}: what else was typed is a command");
        }
    }
}
