//! A picture of a terminal's screen, as SVG.

use std::fmt::Write as _;

/// Pixels of a cell, and around the screen.
const CELL: (f32, f32) = (8.4, 19.0);
const MARGIN: f32 = 16.0;
/// Pixels of the bar above the screen.
const BAR: f32 = 30.0;
const INK: &str = "#d8dee9";
const PAPER: &str = "#1d2129";

/// Draws the lines of a screen up to the last that has something on it.
pub fn svg(screen: &vt100::Screen, title: &str) -> String {
    let columns = screen.size().1.get();
    let rows = screen.contents().trim_end().lines().count() as u16;
    let (width, height) =
        (f32::from(columns) * CELL.0 + 2.0 * MARGIN, f32::from(rows) * CELL.1 + 2.0 * MARGIN + BAR);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" \
         font-size=\"14\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{PAPER}\"/>\n"
    );
    for (at, colour) in [(20, "#ff5f57"), (40, "#febc2e"), (60, "#28c840")] {
        writeln!(svg, "<circle cx=\"{at}\" cy=\"18\" r=\"6\" fill=\"{colour}\"/>").unwrap();
    }
    for row in 0..rows {
        let y = MARGIN + BAR + (f32::from(row) + 0.7) * CELL.1;
        for (column, cells, colour, text) in runs(screen, row, columns) {
            let (x, length) = (MARGIN + f32::from(column) * CELL.0, f32::from(cells) * CELL.0);
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\" textLength=\"{length:.1}\" \
                 xml:space=\"preserve\">{text}</text>"
            )
            .unwrap();
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Stretches of one colour: where each begins, its cells, its colour and its text.
fn runs(screen: &vt100::Screen, row: u16, columns: u16) -> Vec<(u16, u16, &'static str, String)> {
    let mut runs: Vec<(u16, u16, &'static str, String)> = Vec::new();
    for column in 0..columns {
        let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else {
            continue;
        };
        let text = if cell.has_contents() { cell.contents() } else { " " };
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let colour = colour(cell.fgcolor());
        match runs.last_mut() {
            Some((_, cells, of, run)) if *of == colour => {
                *cells += 1;
                run.push_str(&text);
            }
            _ => runs.push((column, 1, colour, text)),
        }
    }
    for (_, cells, _, text) in &mut runs {
        *cells -= (text.len() - text.trim_end().len()) as u16;
        text.truncate(text.trim_end().len());
    }
    runs.retain(|(.., text)| !text.is_empty());
    runs
}

fn colour(colour: vt100::Color) -> &'static str {
    match colour {
        vt100::Color::Idx(1 | 9) => "#bf616a",
        vt100::Color::Idx(2 | 10) => "#a3be8c",
        vt100::Color::Idx(3 | 11) => "#ebcb8b",
        vt100::Color::Idx(4 | 12) => "#81a1c1",
        vt100::Color::Idx(5 | 13) => "#b48ead",
        vt100::Color::Idx(6 | 14) => "#88c0d0",
        _ => INK,
    }
}
