//! Text in columns: cells end with tabs, and stand as wide as the widest of the lines above and below that have them.
//!
//! The rule is that of Go's tabwriter, so that what kubectl aligns is aligned the same: the last cell of a line is no
//! column, and a column ends at the first line that lacks it.

/// Aligns `text`, whose cells are separated by tabs. `width_min` counts the padding.
pub(crate) fn align(text: &str, width_min: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out = Out { lines: &lines, width_min, padding, text: String::with_capacity(text.len() * 2) };
    out.format(0, lines.len(), &mut Vec::new());
    // Splitting at newlines leaves one more line than there are newlines.
    out.text.pop();
    out.text
}

struct Out<'a> {
    lines: &'a [Vec<&'a str>],
    width_min: usize,
    padding: usize,
    text: String,
}

impl Out<'_> {
    fn format(&mut self, from: usize, to: usize, widths: &mut Vec<usize>) {
        let column = widths.len();
        let has = |line: &Vec<&str>| column + 1 < line.len();
        let mut written = from;
        let mut at = from;
        while at < to {
            if !has(&self.lines[at]) {
                at += 1;
                continue;
            }
            self.write(written, at, widths);
            let start = at;
            let mut width = self.width_min;
            while at < to && has(&self.lines[at]) {
                width = width.max(self.lines[at][column].chars().count() + self.padding);
                at += 1;
            }
            widths.push(width);
            self.format(start, at, widths);
            widths.pop();
            written = at;
        }
        self.write(written, to, widths);
    }

    fn write(&mut self, from: usize, to: usize, widths: &[usize]) {
        for line in &self.lines[from..to] {
            for (place, cell) in line.iter().enumerate() {
                self.text.push_str(cell);
                if place + 1 < line.len()
                    && let Some(width) = widths.get(place)
                {
                    let fill = width.saturating_sub(cell.chars().count());
                    self.text.extend(std::iter::repeat_n(' ', fill));
                }
            }
            self.text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_neighbours_only() {
        let cases = [
            ("a\tb\nccc\td\n", "a    b\nccc  d\n"),
            // The lone line in between ends the column.
            ("a\tb\nlong line\nccc\td\n", "a  b\nlong line\nccc  d\n"),
            ("Name:\tx\nSelector:\ty\n", "Name:      x\nSelector:  y\n"),
            // A second column needs a line that has it.
            ("a\tb\tc\nddd\te\n", "a    b  c\nddd  e\n"),
            ("\tx\nab\ty", "    x\nab  y"),
            ("é\tx\nab\ty\n", "é   x\nab  y\n"),
            ("", ""),
        ];
        for (text, want) in cases {
            assert_eq!(align(text, 0, 2), want, "{text:?}");
        }
    }

    #[test]
    fn keeps_the_least_width() {
        assert_eq!(align("A\tB\nx\ty\n", 6, 3), "A     B\nx     y\n");
    }
}
