//! A run as a picture: how many had finished when, and how fast the swarm was, against the fluid bound.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::{
    BLUE, ChartBuilder, Color as _, IntoDrawingArea as _, LineSeries, RED, SVGBackend, WHITE,
};
use plotters::style::RGBColor;
use potluck_sim::{Outcome, Report, TIMELINE_STEP};

const SIZE: (u32, u32) = (900, 600);
const GREY: RGBColor = RGBColor(120, 120, 120);

pub(super) fn draw(path: &Path, report: &Report, outcome: &Outcome) -> anyhow::Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    let wrong = |error: &dyn std::fmt::Display| anyhow!("{error}");
    root.fill(&WHITE).map_err(|e| wrong(&e))?;
    let (upper, lower) = root.split_vertically(SIZE.1 / 2);
    let downloads = &outcome.tally.downloads;
    let mut times: Vec<f64> =
        downloads.iter().filter_map(|d| d.completed).map(|at| at as f64 / 1e9).collect();
    times.sort_by(f64::total_cmp);
    let rates = rates(&outcome.tally.timeline);
    let last = [times.last().copied(), rates.last().map(|(at, _)| *at), report.bound];
    let end = last.into_iter().flatten().fold(0.1, f64::max) * 1.05;

    // The caption says which line is which: a curve may go anywhere, and a legend would cover it somewhere.
    let mut chart = ChartBuilder::on(&upper)
        .caption("completed downloads, percent (red: the fluid bound T*)", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..105.0)
        .map_err(|e| wrong(&e))?;
    chart.configure_mesh().x_desc("seconds").light_line_style(WHITE).draw().map_err(|e| wrong(&e))?;
    let completed = completed(&times, downloads.len(), end);
    chart.draw_series(LineSeries::new(completed, BLUE.stroke_width(2))).map_err(|e| wrong(&e))?;
    if let Some(bound) = report.bound {
        chart
            .draw_series(LineSeries::new(vec![(bound, 0.0), (bound, 105.0)], RED.stroke_width(2)))
            .map_err(|e| wrong(&e))?;
    }

    let top = rates.iter().map(|(_, rate)| *rate).fold(1.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(&lower)
        .caption("verified by all, Mbit/s", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..top)
        .map_err(|e| wrong(&e))?;
    chart.configure_mesh().x_desc("seconds").light_line_style(WHITE).draw().map_err(|e| wrong(&e))?;
    chart.draw_series(LineSeries::new(rates, BLUE.stroke_width(2))).map_err(|e| wrong(&e))?;
    if let Some(bound) = report.bound {
        chart.draw_series(LineSeries::new(vec![(bound, 0.0), (bound, top)], GREY)).map_err(|e| wrong(&e))?;
    }
    root.present().map_err(|e| wrong(&e))
}

/// How many percent of so many downloads were completed when, up to `end`.
fn completed(times: &[f64], of: usize, end: f64) -> Vec<(f64, f64)> {
    let percent = |count: usize| count as f64 * 100.0 / of.max(1) as f64;
    let mut steps = vec![(0.0, 0.0)];
    for (index, at) in times.iter().enumerate() {
        steps.push((*at, percent(index)));
        steps.push((*at, percent(index + 1)));
    }
    steps.push((end, percent(times.len())));
    steps
}

/// Bytes per step as Mbit/s over time, from 0 to 0: each is the mean of the second around it, or of what there is of it.
fn rates(timeline: &[u64]) -> Vec<(f64, f64)> {
    let step = TIMELINE_STEP as f64 / 1e9;
    let half = (0.5 / step).round() as usize;
    let mut points = vec![(0.0, 0.0)];
    for index in 0..timeline.len() {
        let window = &timeline[index.saturating_sub(half)..(index + half).min(timeline.len())];
        let bytes: u64 = window.iter().sum();
        let rate = bytes as f64 * 8.0 / 1e6 / (step * window.len() as f64);
        points.push(((index as f64 + 0.5) * step, rate));
    }
    points.push((timeline.len() as f64 * step, 0.0));
    points
}

#[cfg(test)]
mod tests {
    use super::{completed, rates};

    #[test]
    fn a_short_run_has_a_curve_from_its_beginning_to_its_end() {
        let points = rates(&[1_000_000, 3_000_000]);
        assert_eq!(points, [(0.0, 0.0), (0.05, 160.0), (0.15000000000000002, 160.0), (0.2, 0.0)]);
        assert_eq!(rates(&[]), [(0.0, 0.0), (0.0, 0.0)]);
    }

    #[test]
    fn the_curve_of_completions_goes_on_to_the_end() {
        let steps = completed(&[2.0], 2, 4.0);
        assert_eq!(steps, [(0.0, 0.0), (2.0, 0.0), (2.0, 50.0), (4.0, 50.0)]);
    }
}
