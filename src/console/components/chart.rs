//! Charts as inline SVG. What a chart shows is also said in words, for those who do not see it.

use maud::{Markup, html};

/// Width and height of a chart in its own units; the style sheet scales it.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 48.0;

/// Shows values over time as a curve; `label` says what it shows.
pub(in crate::console) fn curve(label: &str, values: &[f64], is_bad: bool) -> Markup {
    let highest = values.iter().copied().fold(0.0_f64, f64::max);
    let step = WIDTH / count_as_f64(values.len().saturating_sub(1).max(1));
    let height =
        |value: f64| if highest > 0.0 { HEIGHT - value / highest * (HEIGHT - 4.0) } else { HEIGHT };
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| format!("{:.1},{:.1}", count_as_f64(at) * step, height(*value)))
        .collect();
    let line = points.join(" ");
    html! {
        svg.chart.bad[is_bad] viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(label) {
            @if values.len() > 1 {
                polygon.area points={ "0," (HEIGHT) " " (line) " " (WIDTH) "," (HEIGHT) } {}
                polyline.curve points=(line) {}
            }
            line.base x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
        }
    }
}

/// Shows counts over time as bars, those that failed on top of the others.
pub(in crate::console) fn bars(label: &str, values: &[(u64, u64)]) -> Markup {
    let highest =
        values.iter().map(|(good, failed)| good + failed).max().unwrap_or_default().max(1);
    let step = WIDTH / count_as_f64(values.len().max(1));
    let height = |value: u64| number_as_f64(value) / number_as_f64(highest) * (HEIGHT - 2.0);
    html! {
        svg.chart.bars viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(label) {
            @for (at, (good, failed)) in values.iter().enumerate() {
                @let x = count_as_f64(at) * step + 0.5;
                @let (good, failed) = (height(*good), height(*failed));
                rect x=(format!("{x:.1}")) width=(format!("{:.1}", step - 1.0)) y=(format!("{:.1}", HEIGHT - good)) height=(format!("{good:.1}")) {}
                rect.failed x=(format!("{x:.1}")) width=(format!("{:.1}", step - 1.0)) y=(format!("{:.1}", HEIGHT - good - failed)) height=(format!("{failed:.1}")) {}
            }
            line.base x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a chart has a few hundred points")]
fn count_as_f64(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "a height on a screen")]
fn number_as_f64(number: u64) -> f64 {
    number as f64
}
