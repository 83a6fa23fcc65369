//! The constants of a chunk -> the stacks, methods, names and states that events refer to.

use crate::ingest::jfr::Error;
use crate::ingest::jfr::metadata::{Class, Classes, Value, cut};
use crate::ingest::jfr::reader::{Reader, Text};
use std::collections::HashMap;

/// Of a class or a method.
const MAX_NAME_BYTES: usize = 4 << 10;

#[derive(Default)]
pub(super) struct Constants {
    /// Leaf first.
    stacks: HashMap<i64, Vec<Frame>>,
    methods: HashMap<i64, Method>,
    /// The keys of the names of classes.
    class_names: HashMap<i64, i64>,
    symbols: HashMap<i64, String>,
    strings: HashMap<i64, String>,
    states: HashMap<i64, String>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Frame {
    pub method: i64,
    pub line: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Method {
    class: i64,
    name: i64,
}

impl Constants {
    /// `reader` stands after the event's size and type; gives the distance of the event with more constants, 0 for none.
    pub(super) fn read(
        &mut self,
        reader: &mut Reader<'_>,
        classes: &Classes,
    ) -> Result<i64, Error> {
        reader.long()?;
        reader.long()?;
        let delta = reader.long()?;
        reader.u8()?;
        for _ in 0..reader.count()? {
            reader.burn()?;
            let id = reader.long()?;
            let class = classes.get(id).ok_or(Error::UnknownType(id))?;
            for _ in 0..reader.count()? {
                reader.burn()?;
                let key = reader.long()?;
                self.constant(reader, classes, class, key)?;
            }
        }
        Ok(delta)
    }

    fn constant(
        &mut self,
        reader: &mut Reader<'_>,
        classes: &Classes,
        class: &Class,
        key: i64,
    ) -> Result<(), Error> {
        match class.name.as_str() {
            "jdk.types.StackTrace" => {
                let frames = stack(reader, classes, class)?;
                self.stacks.insert(key, frames);
            }
            "jdk.types.Method" => {
                let mut method = Method::default();
                classes.object(reader, class, |name, value| match (name, value) {
                    ("type", Value::Number(key)) => method.class = key,
                    ("name", Value::Number(key)) => method.name = key,
                    _ => {}
                })?;
                self.methods.insert(key, method);
            }
            "java.lang.Class" => {
                let mut symbol = 0;
                classes.object(reader, class, |name, value| {
                    if let ("name", Value::Number(key)) = (name, value) {
                        symbol = key;
                    }
                })?;
                self.class_names.insert(key, symbol);
            }
            "jdk.types.Symbol" => {
                let text = text_of(reader, classes, class, "string")?;
                self.symbols.insert(key, text);
            }
            "jdk.types.ThreadState" => {
                let text = text_of(reader, classes, class, "name")?;
                self.states.insert(key, text);
            }
            "java.lang.String" => {
                if let Text::Inline(text) = reader.text()? {
                    self.strings.insert(key, cut(text, MAX_NAME_BYTES));
                }
            }
            _ => classes.skip_class(reader, class, 0)?,
        }
        Ok(())
    }

    pub(super) fn stack(&self, key: i64) -> Option<&[Frame]> {
        self.stacks.get(&key).map(Vec::as_slice)
    }

    pub(super) fn state(&self, key: i64) -> &str {
        self.states.get(&key).map_or("", String::as_str)
    }

    pub(super) fn text<'a>(&'a self, text: &'a Text) -> &'a str {
        match text {
            Text::Null => "",
            Text::Inline(text) => text,
            Text::Constant(key) => self.strings.get(key).map_or("", String::as_str),
        }
    }

    /// `java/lang/Thread.run`, or the name alone where there is no class, as of native functions.
    pub(super) fn name(&self, frame: Frame) -> String {
        let symbol = |key: i64| self.symbols.get(&key).map_or("", String::as_str);
        let Some(method) = self.methods.get(&frame.method) else { return "[unknown]".to_owned() };
        let class = self.class_names.get(&method.class).map_or("", |name| symbol(*name));
        match (class, symbol(method.name)) {
            ("", "") => "[unknown]".to_owned(),
            ("", name) => name.to_owned(),
            (class, "") => class.to_owned(),
            (class, name) => format!("{class}.{name}"),
        }
    }
}

fn stack(reader: &mut Reader<'_>, classes: &Classes, class: &Class) -> Result<Vec<Frame>, Error> {
    let mut frames = Vec::new();
    for field in &class.fields {
        if field.name != "frames" || !field.is_array() {
            classes.skip(reader, field, 0)?;
            continue;
        }
        classes.each(reader, field, |reader, class| {
            let mut frame = Frame::default();
            classes.object(reader, class, |name, value| match (name, value) {
                ("method", Value::Number(key)) => frame.method = key,
                ("lineNumber", Value::Number(line)) => frame.line = line,
                _ => {}
            })?;
            frames.push(frame);
            Ok(())
        })?;
    }
    Ok(frames)
}

fn text_of(
    reader: &mut Reader<'_>,
    classes: &Classes,
    class: &Class,
    wanted: &str,
) -> Result<String, Error> {
    let mut found = String::new();
    classes.object(reader, class, |name, value| {
        if let (true, Value::Text(Text::Inline(text))) = (name == wanted, value) {
            found = cut(text, MAX_NAME_BYTES);
        }
    })?;
    Ok(found)
}
