//! A bar for each contender's median, with a dot for each turn.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::round::{Round, Series};

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 24.0;
/// Where the bars begin, to the right of the names.
const ORIGIN: f64 = 130.0;
/// How far the bars may reach; the medians stand beyond.
const REACH: f64 = 540.0;
const TITLE_HEIGHT: f64 = 64.0;
const ROUND_HEIGHT: f64 = 34.0;
const ROW_HEIGHT: f64 = 30.0;
const BAR_HEIGHT: f64 = 16.0;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2933 }
.title { font-size: 16px; font-weight: 600 }
.round { font-weight: 600 }
.quiet { fill: #616e7c }
.name, .value { dominant-baseline: central }
.name { text-anchor: end }
.value { font-variant-numeric: tabular-nums }
.bar { fill: #cbd2d9 }
.keyward { fill: #5b8def }
.dot { fill: #1f2933; fill-opacity: 0.45 }";

/// Draws the CPU time per request of all rounds on one scale.
pub fn write(rounds: &[Round], path: &Path) -> Result<()> {
    fs::write(path, draw(rounds)).with_context(|| format!("cannot write {}", path.display()))
}

fn draw(rounds: &[Round]) -> String {
    let scale = REACH / longest(rounds);
    let mut y = TITLE_HEIGHT;
    let mut body = String::new();
    for round in rounds {
        body += &text(MARGIN, y + ROUND_HEIGHT - 12.0, "round", &round.title);
        y += ROUND_HEIGHT;
        for series in &round.series {
            body += &row(series, y + ROW_HEIGHT / 2.0, scale);
            y += ROW_HEIGHT;
        }
    }
    let height = y + MARGIN;
    let title = text(MARGIN, 32.0, "title", "CPU time per request, in µs");
    let legend = "bar: median of the turns; dot: one turn; less is better";
    let legend = text(MARGIN, 52.0, "quiet", legend);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         {title}{legend}{body}</svg>\n"
    )
}

fn longest(rounds: &[Round]) -> f64 {
    let series = rounds.iter().flat_map(|round| &round.series);
    series.map(|series| series.cpu_us().max).fold(0.0, f64::max)
}

/// One contender, around the height `y`.
fn row(series: &Series, y: f64, scale: f64) -> String {
    let cpu = series.cpu_us();
    let dots = series.samples.iter().map(|sample| {
        let x = ORIGIN + sample.cpu_us * scale;
        format!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y}\" r=\"2.5\"/>\n")
    });
    let value_x = ORIGIN + cpu.max * scale + 10.0;
    [
        text(ORIGIN - 10.0, y, "name", series.name),
        bar(series.name, y, cpu.median * scale),
        dots.collect(),
        text(value_x, y, "value", &format!("{:.1}", cpu.median)),
    ]
    .concat()
}

fn bar(name: &str, y: f64, length: f64) -> String {
    let top = y - BAR_HEIGHT / 2.0;
    format!(
        "<rect class=\"bar {name}\" x=\"{ORIGIN}\" y=\"{top}\" width=\"{length:.1}\" \
         height=\"{BAR_HEIGHT}\"/>\n"
    )
}

fn text(x: f64, y: f64, class: &str, content: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y}\">{content}</text>\n")
}
