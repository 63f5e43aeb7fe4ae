//! How one node stood with each of its peers, over time, as an SVG picture. Nothing is run and no file is written here.
//!
//! A row is a peer. Its upper line is what the node gives it, filled in the colour of its standing at the node; its lower line is what it
//! gives the node, filled grey where the peer says that it chokes the node.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use swarmcast::pclient::choker::Standing;
use swarmcast::simulate::{Moment, Watched, WatchedPeer};
use swarmcast::units::ByteSize;

const WIDTH: u32 = 1_000;
const ROW: u32 = 64;
const TOP: u32 = 76;
const BOTTOM: u32 = 46;
const LEFT: i32 = 132;
const RIGHT: i32 = 24;
const FONT: &str = "sans-serif";
const GREY: RGBColor = RGBColor(90, 90, 90);
/// Fit for those who don't tell red from green (Okabe and Ito 2008).
const MERIT: RGBColor = RGBColor(0, 114, 178);
const TRIAL: RGBColor = RGBColor(230, 159, 0);
const ROOM: RGBColor = RGBColor(86, 180, 233);
const CHOKED: RGBColor = RGBColor(190, 190, 190);
const FREELOADS: RGBColor = RGBColor(213, 94, 0);
const GETS: RGBColor = RGBColor(0, 158, 115);
const LEGEND: [(&str, RGBColor); 6] = [
    ("gives most", MERIT),
    ("on trial", TRIAL),
    ("room for all", ROOM),
    ("choked", CHOKED),
    ("gives nothing", FREELOADS),
    ("what it gives", GETS),
];

type Painted<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// The picture as the text of an SVG file; the run took `ended` s.
pub(super) fn draw(title: &str, watched: &Watched, ended: f64) -> String {
    let mut svg = String::new();
    {
        let size = (WIDTH, TOP + ROW * watched.peers.len().max(1) as u32 + BOTTOM);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        paint(&root, title, watched, ended.max(1e-3)).expect("a string takes all that is drawn");
        root.present().expect("a string takes all that is drawn");
    }
    svg
}

fn paint<'a>(
    root: &DrawingArea<SVGBackend<'a>, Shift>,
    title: &str,
    watched: &Watched,
    ended: f64,
) -> Painted<'a> {
    root.fill(&WHITE)?;
    let text = |size: u32, h, v| (FONT, size).into_font().color(&BLACK).pos(Pos::new(h, v));
    let middle = WIDTH as i32 / 2;
    root.draw(&Text::new(title.to_owned(), (middle, 12), text(19, HPos::Center, VPos::Top)))?;
    let mut x = LEFT;
    for (name, colour) in LEGEND {
        root.draw(&Rectangle::new([(x, 46), (x + 16, 58)], colour.filled()))?;
        root.draw(&Text::new(name, (x + 22, 52), text(14, HPos::Left, VPos::Center)))?;
        x += 44 + 8 * name.len() as i32;
    }
    let rates = |rate: fn(&Moment) -> f64| {
        watched.peers.iter().flat_map(|peer| &peer.moments).map(rate).fold(1.0, f64::max)
    };
    let most = rates(|moment| moment.status.upload_rate).max(rates(|moment| moment.status.download_rate));
    for (row, peer) in watched.peers.iter().enumerate() {
        paint_row(root, TOP as i32 + ROW as i32 * row as i32, peer, most, ended)?;
    }
    paint_axis(root, TOP as i32 + ROW as i32 * watched.peers.len() as i32, most, ended)
}

/// Where a time is, from the left.
fn place(time: f64, ended: f64) -> i32 {
    LEFT + (f64::from(WIDTH as i32 - LEFT - RIGHT) * (time / ended).min(1.0)) as i32
}

fn paint_row<'a>(
    root: &DrawingArea<SVGBackend<'a>, Shift>,
    top: i32,
    peer: &WatchedPeer,
    most: f64,
    ended: f64,
) -> Painted<'a> {
    let half = ROW as i32 / 2 - 4;
    let (zero, right) = (top + half, WIDTH as i32 - RIGHT);
    let style = (FONT, 15).into_font().color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
    root.draw(&Text::new(peer.name.clone(), (LEFT - 10, zero), style))?;
    for (moment, next) in peer.moments.iter().zip(peer.moments.iter().skip(1)) {
        let (from, to) = (place(moment.time, ended), place(next.time, ended));
        let height = |rate: f64| (f64::from(half) * (rate / most).min(1.0)) as i32;
        let status = &moment.status;
        let given = match status.standing {
            Standing::Merit => MERIT,
            Standing::Trial => TRIAL,
            Standing::Room => ROOM,
            Standing::Outdone => CHOKED,
            Standing::Freeloads => FREELOADS,
        };
        // At least a line, so that its standing is to be seen where nothing flows.
        let up = height(status.upload_rate).max(2);
        root.draw(&Rectangle::new([(from, zero - up), (to, zero)], given.filled()))?;
        let down = height(status.download_rate).max(2);
        let got = if status.chokes_us { CHOKED } else { GETS };
        root.draw(&Rectangle::new([(from, zero + 1), (to, zero + 1 + down)], got.filled()))?;
    }
    root.draw(&PathElement::new([(LEFT, zero), (right, zero)], GREY.mix(0.5)))
}

fn paint_axis<'a>(root: &DrawingArea<SVGBackend<'a>, Shift>, top: i32, most: f64, ended: f64) -> Painted<'a> {
    let style = |h| (FONT, 14).into_font().color(&GREY).pos(Pos::new(h, VPos::Top));
    for part in 0..=5 {
        let time = ended * f64::from(part) / 5.0;
        let x = place(time, ended);
        root.draw(&PathElement::new([(x, TOP as i32 - 6), (x, top + 4)], BLACK.mix(0.12)))?;
        root.draw(&Text::new(format!("{time:.1} s"), (x, top + 8), style(HPos::Center)))?;
    }
    let scale = format!("highest: {}/s", ByteSize(most as u64));
    root.draw(&Text::new(scale, (LEFT, top + 26), style(HPos::Left)))
}
