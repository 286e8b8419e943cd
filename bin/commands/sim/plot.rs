//! A run as a picture: how many had finished when, and how fast the swarm was, against the fluid bound.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, Color as _, IntoDrawingArea as _, LineSeries, PathElement, RED, SVGBackend,
    WHITE,
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
    let mut times: Vec<f64> =
        outcome.tally.downloads.iter().filter_map(|d| d.completed).map(|at| at as f64 / 1e9).collect();
    times.sort_by(f64::total_cmp);
    let end = times.last().copied().unwrap_or(1.0).max(report.bound) * 1.05;
    let count = outcome.tally.downloads.len().max(1) as f64;

    let mut chart = ChartBuilder::on(&upper)
        .caption("completed downloads, percent", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..100.0)
        .map_err(|e| wrong(&e))?;
    chart.configure_mesh().x_desc("seconds").light_line_style(WHITE).draw().map_err(|e| wrong(&e))?;
    let mut steps = vec![(0.0, 0.0)];
    for (index, at) in times.iter().enumerate() {
        steps.push((*at, index as f64 * 100.0 / count));
        steps.push((*at, (index + 1) as f64 * 100.0 / count));
    }
    chart.draw_series(LineSeries::new(steps, BLUE.stroke_width(2))).map_err(|e| wrong(&e))?;
    let bound = vec![(report.bound, 0.0), (report.bound, 100.0)];
    chart
        .draw_series(LineSeries::new(bound, RED.stroke_width(2)))
        .map_err(|e| wrong(&e))?
        .label("fluid bound T*")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], RED));
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()
        .map_err(|e| wrong(&e))?;

    let step = TIMELINE_STEP as f64 / 1e9;
    // Bytes per step of a tenth of a second, as Mbit/s, smoothed over a second.
    let rates: Vec<f64> =
        outcome.tally.timeline.iter().map(|bytes| *bytes as f64 * 8.0 / 1e6 / step).collect();
    let smooth = rates.windows(10).map(|window| window.iter().sum::<f64>() / 10.0);
    let points: Vec<_> =
        smooth.enumerate().map(|(index, rate)| ((index as f64 + 5.0) * step, rate)).collect();
    let top = points.iter().map(|(_, rate)| *rate).fold(1.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(&lower)
        .caption("verified by all, Mbit/s", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..top)
        .map_err(|e| wrong(&e))?;
    chart.configure_mesh().x_desc("seconds").light_line_style(WHITE).draw().map_err(|e| wrong(&e))?;
    chart.draw_series(LineSeries::new(points, BLUE.stroke_width(2))).map_err(|e| wrong(&e))?;
    let bound = vec![(report.bound, 0.0), (report.bound, top)];
    chart.draw_series(LineSeries::new(bound, GREY)).map_err(|e| wrong(&e))?;
    root.present().map_err(|e| wrong(&e))
}
