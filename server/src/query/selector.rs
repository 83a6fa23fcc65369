//! `{service_name="api", pod=~"api-.*"}` -> matchers.

use regex::Regex;

/// Longer selectors are no one's.
const MAX_BYTES: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("label selector '{text}' cannot be read at byte {at}: {what}")]
    Syntax { text: String, at: usize, what: &'static str },
    #[error("regular expression '{regex}' is wrong: {cause}")]
    Regex { regex: String, cause: String },
    #[error("label selector is longer than {MAX_BYTES} bytes")]
    TooLong,
}

/// All of them must match.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

#[derive(Debug, Clone)]
struct Matcher {
    name: String,
    is_negated: bool,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Prefix(String),
    Regex(Regex),
}

impl Selector {
    pub fn parse(text: &str) -> Result<Selector, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::TooLong);
        }
        let mut parser = Parser { text, at: 0 };
        let matchers = parser.selector()?;
        Ok(Selector { matchers })
    }

    /// Narrows to one value of a label.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Selector {
        self.matchers.push(Matcher {
            name: name.to_owned(),
            is_negated: false,
            value: Value::Text(value.to_owned()),
        });
        self
    }

    /// The labels that are looked at.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.matchers.iter().map(|matcher| matcher.name.as_str())
    }

    /// Narrows to values of a label that begin so.
    #[must_use]
    pub fn and_begins_with(mut self, name: &str, prefix: &str) -> Selector {
        self.matchers.push(Matcher {
            name: name.to_owned(),
            is_negated: false,
            value: Value::Prefix(prefix.to_owned()),
        });
        self
    }

    /// `label` gives a label's value; an absent label is an empty one.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| {
            let have = label(&matcher.name).unwrap_or_default();
            let is_equal = match &matcher.value {
                Value::Text(text) => text == have,
                Value::Prefix(prefix) => have.starts_with(prefix),
                Value::Regex(regex) => regex.is_match(have),
            };
            is_equal != matcher.is_negated
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Vec<Matcher>, Error> {
        self.expect("{", "it begins with {")?;
        let mut matchers = Vec::new();
        while !self.accept("}") {
            matchers.push(self.matcher()?);
            if !self.accept(",") {
                self.expect("}", "a , or } is missing")?;
                break;
            }
        }
        self.skip_space();
        if self.rest().is_empty() {
            Ok(matchers)
        } else {
            Err(self.error("something follows the }"))
        }
    }

    fn matcher(&mut self) -> Result<Matcher, Error> {
        let name = self.name()?;
        let (is_negated, is_regex) = match () {
            () if self.accept("=~") => (false, true),
            () if self.accept("!~") => (true, true),
            () if self.accept("!=") => (true, false),
            () if self.accept("=") => (false, false),
            () => return Err(self.error("one of = != =~ !~ is missing")),
        };
        let text = self.quoted()?;
        let value = if is_regex { Value::Regex(anchored(&text)?) } else { Value::Text(text) };
        Ok(Matcher { name, is_negated, value })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn accept(&mut self, token: &str) -> bool {
        self.skip_space();
        let is_there = self.rest().starts_with(token);
        if is_there {
            self.at += token.len();
        }
        is_there
    }

    fn expect(&mut self, token: &str, what: &'static str) -> Result<(), Error> {
        if self.accept(token) { Ok(()) } else { Err(self.error(what)) }
    }

    fn error(&self, what: &'static str) -> Error {
        Error::Syntax { text: self.text.to_owned(), at: self.at, what }
    }

    /// Plain, with dots for the labels of OpenTelemetry, or quoted.
    fn name(&mut self) -> Result<String, Error> {
        self.skip_space();
        if self.rest().starts_with(['"', '\'']) {
            return self.quoted();
        }
        let rest = self.rest();
        let len = rest
            .find(|char: char| !(char.is_alphanumeric() || "_.".contains(char)))
            .unwrap_or(rest.len());
        let name = &rest[..len];
        if name.is_empty() || name.starts_with(|char: char| char.is_ascii_digit()) {
            return Err(self.error("a label name is missing"));
        }
        self.at += len;
        Ok(name.to_owned())
    }

    fn quoted(&mut self) -> Result<String, Error> {
        self.skip_space();
        let quote = self.rest().chars().next().filter(|char| "\"'`".contains(*char));
        let Some(quote) = quote else { return Err(self.error("a quoted value is missing")) };
        let mut value = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((index, char)) = chars.next() {
            if char == quote {
                self.at += index + 1;
                return Ok(value);
            }
            if char != '\\' || quote == '`' {
                value.push(char);
                continue;
            }
            match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, escaped @ ('\\' | '"' | '\''))) => value.push(escaped),
                _ => {
                    return Err(
                        self.error("an escape in a value is unknown; write \\\\ for a backslash")
                    );
                }
            }
        }
        Err(self.error("a value has no closing quote"))
    }
}

fn anchored(regex: &str) -> Result<Regex, Error> {
    Regex::new(&format!("^(?s:{regex})$"))
        .map_err(|err| Error::Regex { regex: regex.to_owned(), cause: err.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &'static str)]) -> bool {
        let find =
            |name: &str| labels.iter().find(|(have, _)| *have == name).map(|(_, value)| *value);
        Selector::parse(selector).expect(selector).matches(find)
    }

    #[test]
    fn matchers_match_as_promql_has_it() {
        let labels = [("a", "x"), ("b", "y.z"), ("c.d", "line\n2")];
        for yes in [
            "{}",
            " { } ",
            r#"{a="x"}"#,
            r#"{a="x",}"#,
            r"{ a = 'x' , b=`y.z` }",
            r#"{a=~"x|y"}"#,
            r#"{b=~"y\\.z"}"#,
            r#"{b!~"y"}"#,
            r#"{absent=""}"#,
            r#"{absent!="x"}"#,
            r#"{absent=~".*"}"#,
            r#"{c.d=~"line.2"}"#,
            r#"{"c.d"="line\n2"}"#,
        ] {
            assert!(matches(yes, &labels), "{yes}");
        }
        for no in [
            r#"{a="y"}"#,
            r#"{a=~"x."}"#,
            r#"{b=~"y"}"#,
            r#"{a!="x"}"#,
            r#"{a="x",b="y"}"#,
            r#"{absent=~".+"}"#,
        ] {
            assert!(!matches(no, &labels), "{no}");
        }
    }

    #[test]
    fn wrong_selectors_say_where() {
        for wrong in [
            "",
            "x",
            "{",
            "{a}",
            "{a=}",
            "{a=x}",
            r#"{a="x}"#,
            r#"{a="x"}}"#,
            r#"{a=~"("}"#,
            r#"{1="x"}"#,
            r#"{a="x" b="y"}"#,
            r#"{a="\q"}"#,
        ] {
            Selector::parse(wrong).expect_err(wrong);
        }
        let text = Selector::parse(r#"{a="x" b="y"}"#).unwrap_err().to_string();
        assert_eq!(
            text,
            r#"label selector '{a="x" b="y"}' cannot be read at byte 7: a , or } is missing"#
        );
        assert!(matches!(Selector::parse(&"{".repeat(100_000)), Err(Error::TooLong)));
    }
}
