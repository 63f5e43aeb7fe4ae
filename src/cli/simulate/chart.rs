//! Who had how much when, against the bound, as an SVG picture. Nothing is run and no file is written here.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use swarmcast::simulate::{Report, Sample};

/// More receivers than this are drawn as bands.
const MOST_LINES: usize = 50;
const SIZE: (u32, u32) = (900, 540);
const FONT: &str = "sans-serif";
/// Fit for those who don't tell red from green (Okabe and Ito 2008).
const LINE: RGBColor = RGBColor(0, 114, 178);
const BOUND: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(90, 90, 90);
/// What part of the receivers had less than the lower and the upper edge of each band, %.
const BANDS: [(usize, usize, f64); 3] = [(0, 100, 0.15), (10, 90, 0.25), (25, 75, 0.40)];

/// The picture as the text of an SVG file.
pub(super) fn draw(title: &str, report: &Report) -> String {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        paint(&root, title, report).expect("a string takes all that is drawn");
        root.present().expect("a string takes all that is drawn");
    }
    svg
}

type Painted<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn paint<'a>(
    root: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    title: &str,
    report: &Report,
) -> Painted<'a> {
    root.fill(&WHITE)?;
    // A bound far beyond the run would squeeze what is to be seen.
    let end = match report.bound.is_finite() {
        true => report.ended.max(report.bound.min(2.0 * report.ended)),
        false => report.ended,
    };
    let mut chart = ChartBuilder::on(root)
        .caption(title, (FONT, 19))
        .margin(14)
        .margin_right(30)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d(0.0..end.max(1e-3) * 1.02, 0.0..104.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(GREY)
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .x_desc("time, s")
        .y_desc("of the file, %")
        .x_labels(10)
        .y_labels(11)
        .x_label_formatter(&|x| rounded(*x, end))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()?;
    let receivers = report.receivers.len();
    if receivers <= MOST_LINES {
        for receiver in 0..receivers {
            let points = report.samples.iter().filter_map(|sample| point(sample, receiver));
            let series = chart.draw_series(LineSeries::new(points, LINE.mix(0.75).stroke_width(1)))?;
            if receiver == 0 {
                let name = if receivers == 1 { "the receiver" } else { "each receiver" };
                series
                    .label(name)
                    .legend(|(x, y)| PathElement::new([(x, y), (x + 24, y)], LINE.stroke_width(2)));
            }
        }
    } else {
        for (lower, upper, opacity) in BANDS {
            let (low, high) = (percentile(report, lower), percentile(report, upper));
            let outline: Vec<(f64, f64)> = low.into_iter().chain(high.into_iter().rev()).collect();
            chart
                .draw_series([Polygon::new(outline, LINE.mix(opacity))])?
                .label(match (lower, upper) {
                    (0, 100) => "all receivers".to_owned(),
                    _ => format!("{} % of them", upper - lower),
                })
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 24, y + 5)], LINE.mix(opacity + 0.1).filled())
                });
        }
        chart
            .draw_series(LineSeries::new(percentile(report, 50), LINE.stroke_width(2)))?
            .label("the median")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 24, y)], LINE.stroke_width(2)));
    }
    let bound = bound_line(report, end);
    chart
        .draw_series(DashedLineSeries::new(bound, 7, 5, BOUND.stroke_width(2)))?
        .label("at best, all of them")
        .legend(|(x, y)| {
            // Two dashes, as on the line.
            let dash = |from| Rectangle::new([(x + from, y - 1), (x + from + 9, y + 1)], BOUND.filled());
            EmptyElement::at((0, 0)) + dash(0) + dash(15)
        });
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .margin(16)
        .legend_area_size(32)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .label_font((FONT, 14))
        .draw()?;
    if let Some(ratio) = report.ratio() {
        let style = (FONT, 15).into_font().color(&GREY).pos(Pos::new(HPos::Left, VPos::Top));
        let text = format!("last ÷ D = {ratio:.3}");
        root.draw(&Text::new(text, (84, 62), style))?;
    }
    Ok(())
}

/// What a receiver had at a time, s and %; `None` while it isn't there.
fn point(sample: &Sample, receiver: usize) -> Option<(f64, f64)> {
    let share = f64::from(sample.shares[receiver]);
    (share >= 0.0).then_some((sample.time, 100.0 * share))
}

/// What `percent` % of those who are there had less than, over time.
fn percentile(report: &Report, percent: usize) -> Vec<(f64, f64)> {
    let points = report.samples.iter().filter_map(|sample| {
        let mut shares: Vec<f32> = sample.shares.iter().copied().filter(|&share| share >= 0.0).collect();
        shares.sort_by(f32::total_cmp);
        let index = shares.len().checked_sub(1)? * percent / 100;
        Some((sample.time, 100.0 * f64::from(shares[index])))
    });
    points.collect()
}

/// The bound over time, up to the first moment at which it is all.
fn bound_line(report: &Report, end: f64) -> Vec<(f64, f64)> {
    let mut line: Vec<(f64, f64)> = Vec::new();
    for sample in &report.samples {
        // Between two samples it reaches all, at the bound itself.
        if sample.time >= report.bound {
            break;
        }
        line.push((sample.time, 100.0 * sample.bound));
    }
    if report.bound <= end {
        line.push((report.bound, 100.0));
    }
    line
}

/// A time as the axis shows it: no more digits than neighbours need to differ.
fn rounded(seconds: f64, end: f64) -> String {
    match end {
        10.0.. => format!("{seconds:.0}"),
        1.0.. => format!("{seconds:.1}"),
        _ => format!("{seconds:.3}"),
    }
}
