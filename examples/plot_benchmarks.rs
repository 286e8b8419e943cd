//! The pictures of `docs/benchmarks.md`, from the figures in `docs/benchmarks.csv`.
//!
//! Run: `cargo run --example plot_benchmarks`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use plotters::prelude::{
    Color as _, IntoDrawingArea as _, IntoFont as _, PathElement, Rectangle, SVGBackend, Text, WHITE,
};
use plotters::style::RGBColor;

const WIDTH: u32 = 760;
const BAR: i32 = 20;
const LABEL: i32 = 300;
const POTLUCK: RGBColor = RGBColor(196, 84, 40);
const OTHER: RGBColor = RGBColor(150, 150, 150);
const BLACK: RGBColor = RGBColor(40, 40, 40);

/// Scenarios that are drawn together, with what stands before each candidate's name.
const LOOPBACK: [(&str, &str); 5] = [
    ("B", "1 holder, tmpfs"),
    ("B disk", "1 holder, disk"),
    ("C", "4 holders"),
    ("CK", "4 holders, 2 killed"),
    ("CZ", "4 holders, 2 fall silent"),
];
const SWARMS: [(&str, &str); 4] = [
    ("D", "8 downloaders"),
    ("D 16", "16 downloaders"),
    ("D slow", "8, 3 of them at 20 Mbit/s"),
    ("D seed", "8, the holder at 400 Mbit/s"),
];

fn main() -> anyhow::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let text = std::fs::read_to_string(docs.join("benchmarks.csv"))?;
    // scenario, candidate -> seconds, or seconds over the bound where there is one.
    let mut runs: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [scenario, candidate, seconds, bound, ..] = cells[..] else {
            anyhow::bail!("not a row of figures: {line}");
        };
        let seconds: f64 = seconds.parse().with_context(|| line.to_owned())?;
        let figure = if bound.is_empty() { seconds } else { seconds / bound.parse::<f64>()? };
        runs.entry((scenario, candidate)).or_default().push(figure);
    }
    let medians: BTreeMap<(&str, &str), f64> = runs.into_iter().map(|(key, v)| (key, median(v))).collect();
    draw(&docs.join("benchmarks-loopback.svg"), "2 GiB over loopback, seconds", &LOOPBACK, &medians)?;
    draw(&docs.join("benchmarks-swarm.svg"), "128 MiB to a crowd, times the fluid bound", &SWARMS, &medians)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A bar for each candidate of each scenario, as long as its figure.
fn draw(
    path: &Path,
    title: &str,
    scenarios: &[(&str, &str)],
    medians: &BTreeMap<(&str, &str), f64>,
) -> anyhow::Result<()> {
    let mut bars = Vec::new();
    for (scenario, words) in scenarios {
        let mut of: Vec<_> = medians.iter().filter(|((s, _), _)| s == scenario).collect();
        of.sort_by(|a, b| a.1.total_cmp(b.1));
        bars.extend(of.into_iter().map(|((_, candidate), figure)| (*words, *candidate, *figure)));
    }
    let most = bars.iter().map(|(.., figure)| *figure).fold(1.0, f64::max);
    let height = 44 + bars.len() as i32 * (BAR + 6);
    let root = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(title, (12, 12), ("sans-serif", 18).into_font().color(&BLACK)))?;
    let style = ("sans-serif", 14).into_font().color(&BLACK);
    let unit = (WIDTH as i32 - LABEL - 70) as f64 / most;
    let mut before = "";
    for (row, (words, candidate, figure)) in bars.into_iter().enumerate() {
        let top = 40 + row as i32 * (BAR + 6);
        if words != before {
            root.draw(&PathElement::new([(12, top - 3), (WIDTH as i32 - 12, top - 3)], OTHER.mix(0.5)))?;
            root.draw(&Text::new(words, (12, top + 4), style.clone()))?;
            before = words;
        }
        let end = LABEL + (figure * unit) as i32;
        let colour = if candidate == "potluck" { POTLUCK } else { OTHER };
        root.draw(&Text::new(candidate, (LABEL - 95, top + 4), style.clone()))?;
        root.draw(&Rectangle::new([(LABEL, top), (end, top + BAR)], colour.filled()))?;
        root.draw(&Text::new(format!("{figure:.2}"), (end + 6, top + 4), style.clone()))?;
    }
    root.present()?;
    Ok(())
}
