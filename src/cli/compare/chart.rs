//! Times against the number of receivers, drawn as SVG: a panel for each size, a line for each model, D dashed.

use plotters::prelude::*;
use swarmcast::units::ByteSize;

use super::scenario::{Found, Model};

/// One panel's size, px.
const PANEL: (u32, u32) = (360, 330);
/// What the heading and the legend need above the panels, px.
const HEAD: u32 = 64;
const FONT: &str = "sans-serif";
const GREY: RGBColor = RGBColor(90, 90, 90);
/// Of the part above the largest value that is left free: a line along the frame is hard to see.
const HEADROOM: f64 = 1.08;

/// Colours that are told apart by the colour-blind too (Okabe and Ito).
const fn colour(model: Model) -> RGBColor {
    match model {
        Model::Swarm => RGBColor(0, 114, 178),
        Model::Server => RGBColor(213, 94, 0),
        Model::Relay => RGBColor(0, 158, 115),
    }
}

/// The drawing of `found`, which has every size with every number of receivers, by size first.
///
/// # Errors
/// The drawing library's: as a rule for figures that aren't finite.
pub(super) fn svg(found: &[Found]) -> Result<String, String> {
    let mut text = String::new();
    draw(found, &mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn draw(found: &[Found], text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let Some(first) = found.first() else { return Ok(()) };
    let size = first.scenario.size;
    let columns = found.iter().take_while(|f| f.scenario.size == size).count();
    let panels: Vec<&[Found]> = found.chunks(columns).collect();
    // One panel alone is too narrow for the heading.
    let width = (PANEL.0 * panels.len() as u32).max(2 * PANEL.0);
    let root = SVGBackend::with_string(text, (width, PANEL.1 + HEAD)).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD);
    let heading = format!("Seconds until the last receiver is done; {}", first.scenario.describe_rates());
    head.draw(&Text::new(heading, (16, 12), (FONT, 15).into_font().color(&BLACK)))?;
    let mut x = 16;
    let mut legend = |name: &str, colour: RGBColor, dashed: bool| {
        for dash in 0..3 {
            let from = x + 10 * dash;
            let to = from + if dashed { 6 } else { 10 };
            head.draw(&PathElement::new(vec![(from, 46), (to, 46)], colour.stroke_width(2)))?;
        }
        let label = name.to_owned();
        head.draw(&Text::new(label, (x + 38, 39), (FONT, 14).into_font().color(&BLACK)))?;
        x += 38 + 7 * name.len() as i32 + 28;
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    for &(model, _) in &first.outcomes {
        legend(&model.label(first.scenario.spread), colour(model), false)?;
    }
    legend("D, the least possible", GREY, true)?;
    for (area, found) in body.split_evenly((1, panels.len())).iter().zip(panels) {
        panel(area, found)?;
    }
    root.present()?;
    Ok(())
}

/// One size.
fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    found: &[Found],
) -> Result<(), Box<dyn std::error::Error>>
where
    B::ErrorType: 'static,
{
    let numbers: Vec<u32> = found.iter().map(|f| f.scenario.receivers).collect();
    let [low, high] = [numbers.iter().min(), numbers.iter().max()].map(|n| f64::from(*n.unwrap_or(&1)));
    let margin = ((high - low) * 0.06).max(0.3);
    let longest = found
        .iter()
        .flat_map(|f| f.outcomes.iter().map(|(_, outcome)| outcome.last).chain([f.scenario.shortest()]))
        .fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(ByteSize(found[0].scenario.size).to_string(), (FONT, 15))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(52)
        .build_cartesian_2d(low - margin..high + margin, 0.0..longest * HEADROOM)?;
    let whole = |n: &f64| if (n - n.round()).abs() < 1e-9 { format!("{n:.0}") } else { String::new() };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.5))
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 13))
        .x_labels(((high - low) as usize + 1).clamp(2, 11))
        .x_label_formatter(&whole)
        .y_labels(6)
        .y_label_formatter(&|seconds| seconds_label(*seconds, longest))
        .x_desc("receivers")
        .y_desc("seconds")
        .draw()?;
    let points = |of: &dyn Fn(&Found) -> f64| -> Vec<(f64, f64)> {
        found.iter().map(|f| (f64::from(f.scenario.receivers), of(f))).collect()
    };
    let bound = points(&|f| f.scenario.shortest());
    chart.draw_series(DashedLineSeries::new(bound, 6, 4, GREY.stroke_width(2)))?;
    for (place, &(model, _)) in found[0].outcomes.iter().enumerate() {
        let points = points(&|f| f.outcomes[place].1.last);
        chart.draw_series(LineSeries::new(points.clone(), colour(model).stroke_width(2)))?;
        chart.draw_series(points.iter().map(|&at| Circle::new(at, 3, colour(model).filled())))?;
    }
    Ok(())
}

/// A label of the time axis, with as many digits as the axis needs.
fn seconds_label(seconds: f64, longest: f64) -> String {
    if longest < 5.0 { format!("{seconds:.1}") } else { format!("{seconds:.0}") }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Outcome, Scenario};
    use super::*;

    #[test]
    fn every_model_and_size_is_drawn() {
        let found = |size, receivers| Found {
            scenario: Scenario { size, receivers, rate: 1_000_000, source_rate: 1_000_000, spread: 3 },
            outcomes: Model::ALL
                .map(|model| (model, Outcome { first: 5.0, last: 8.0, held_back: None }))
                .to_vec(),
        };
        for all in [
            vec![found(6_000_000, 3), found(6_000_000, 10), found(9_000_000, 3), found(9_000_000, 10)],
            vec![found(6_000_000, 1)],
        ] {
            let text = svg(&all).unwrap();
            for part in ["<svg", "server-client", "relay, k = 3", "6.00 MB", "#0072B2", "</svg>"] {
                assert!(text.contains(part), "{part} isn't in:\n{text}");
            }
            assert_eq!(text.contains("9.00 MB"), all.len() > 1);
        }
    }
}
