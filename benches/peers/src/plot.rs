//! Time per event against the number of filters, as an SVG on logarithmic axes.

use std::fmt::Write;

use crate::report::Report;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 50.0;

/// Dark enough for a light page and light enough for a dark one.
const COLORS: [&str; 7] =
    ["#d9480f", "#e8950c", "#2b8a3e", "#1c7ed6", "#9c36b5", "#868e96", "#0b7285"];

/// Nanoseconds at the bottom and top, in powers of ten.
const TIMES: (i32, i32) = (3, 9);

pub(crate) fn draw(report: &Report) -> String {
    let curves = report.curves();
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="13">
<title>Time per event against the number of filters</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="{LEFT}" y="18" fill="#333">time per event, one core, by number of filters (both logarithmic)</text>
"##
    );
    axes(&mut svg);
    let mut labels: Vec<(f64, &str, &str)> = Vec::new();
    for ((name, points), color) in curves.iter().zip(COLORS.iter().cycle()) {
        let at: Vec<(f64, f64)> = points.iter().map(|(n, ns)| (x(*n), y(*ns))).collect();
        let line: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (width, dash) = match name.starts_with("switchyard") {
            true => (3.5, ""),
            false if name.starts_with('V') => (1.5, r#" stroke-dasharray="5 4""#),
            false => (2.0, ""),
        };
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="{width}"{dash}/>"#,
            line.join(" ")
        );
        for (x, y) in &at {
            let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{color}"/>"#);
        }
        labels.extend(at.last().map(|(_, y)| (*y, *name, *color)));
    }
    label(&mut svg, labels);
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for power in TIMES.0..=TIMES.1 {
        let y = y(10_f64.powi(power));
        let name = ["1 us", "10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s"];
        let name = name[(power - TIMES.0) as usize];
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}" stroke="#e3e3e3"/><text x="{:.1}" y="{:.1}" text-anchor="end" fill="#555">{name}</text>"##,
            LEFT - 8.0,
            y + 4.0
        );
    }
    for (power, name) in (2..=6).zip(["100", "1,000", "10,000", "100,000", "1,000,000"]) {
        let x = x(10_f64.powi(power));
        let _ = writeln!(
            svg,
            r##"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="#e3e3e3"/><text x="{x:.1}" y="{:.1}" text-anchor="middle" fill="#555">{name}</text>"##,
            bottom + 20.0
        );
    }
    let _ = writeln!(
        svg,
        r##"<text x="{:.1}" y="{:.1}" text-anchor="middle" fill="#555">filters in one site, one event type</text>"##,
        (LEFT + right) / 2.0,
        bottom + 40.0
    );
}

/// Labels the curves at their right ends, from top to bottom without overlap.
fn label(svg: &mut String, mut labels: Vec<(f64, &str, &str)>) {
    const LINE: f64 = 17.0;
    labels.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
    let mut free = TOP;
    for (y, name, color) in labels {
        let at = y.max(free);
        free = at + LINE;
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" fill="{color}">{name}</text>"#,
            WIDTH - RIGHT + 12.0,
            at + 4.0
        );
    }
}

fn x(filters: f64) -> f64 {
    LEFT + (filters.log10() - 2.0) / 4.0 * (WIDTH - LEFT - RIGHT)
}

fn y(nanoseconds: f64) -> f64 {
    let (low, high) = (f64::from(TIMES.0), f64::from(TIMES.1));
    let share = (nanoseconds.log10().clamp(low, high) - low) / (high - low);
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
}
