//! Just enough SVG: elements as text, with everything that comes from outside escaped.

use std::fmt::Write;

/// A drawing of a fixed size in pixels, scaled to the page's width.
pub struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    pub const fn new(width: f64, height: f64) -> Self {
        Self { body: String::new(), width, height }
    }

    /// A rectangle with words that show when it is pointed at.
    pub fn rect_titled(&mut self, class: &str, [x, y, w, h]: [f64; 4], title: &str) {
        let (w, h, title) = (w.max(0.0), h.max(0.0), escape(title));
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" rx="2"><title>{title}</title></rect>"#
        );
    }

    pub fn line(&mut self, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
        let _ = write!(self.body, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    /// Text whose `anchor` is `start`, `middle` or `end`.
    pub fn text(&mut self, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escape(text);
        let _ =
            write!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
    }

    /// A line through points, closed to an area when the class fills it.
    pub fn path(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let _ = write!(self.body, r#"<path class="{class}" d=""#);
        for (index, (x, y)) in points.into_iter().enumerate() {
            let _ = write!(self.body, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
        }
        self.body.push_str(r#""/>"#);
    }

    pub fn finish(self, label: &str) -> String {
        let (w, h, label) = (self.width, self.height, escape(label));
        format!(r#"<svg viewBox="0 0 {w:.0} {h:.0}" role="img" aria-label="{label}">{}</svg>"#, self.body)
    }
}

/// Text made safe for HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A round step that divides `range` into about `count` parts.
pub fn round_step(range: f64, count: f64) -> f64 {
    let raw = (range / count).max(1e-6);
    let power = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|&step| step >= raw).unwrap_or(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_text_is_escaped() {
        assert_eq!([round_step(100.0, 5.0), round_step(7.0, 5.0), round_step(0.9, 4.0)], [20.0, 2.0, 0.25]);
        assert_eq!(escape("<a b=\"&\">"), "&lt;a b=&quot;&amp;&quot;&gt;");
    }
}
