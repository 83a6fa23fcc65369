//! The description of a chunk's types -> classes with their fields, and how to read or skip values of them.

use crate::ingest::jfr::Error;
use crate::ingest::jfr::reader::{Reader, Text};
use std::collections::HashMap;

/// Types nest a few levels; what refers to itself does not end.
const MAX_DEPTH: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Classes {
    by_id: HashMap<i64, Class>,
}

#[derive(Debug, Default)]
pub(super) struct Class {
    pub name: String,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    pub class: i64,
    /// The value is the key of a constant.
    is_constant: bool,
    is_array: bool,
}

/// What a field held, where somebody wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(i64),
    Text(Text),
}

#[derive(Default)]
struct Element {
    name: String,
    attributes: HashMap<String, String>,
}

/// Chunks describe a few hundred classes.
const MAX_ELEMENTS: usize = 200_000;
/// Names that matter are short, and every element may name the same long text.
const MAX_NAME_BYTES: usize = 256;

impl Classes {
    /// `reader` stands after the event's size and type.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Classes, Error> {
        // Start, duration and id.
        for _ in 0..3 {
            reader.long()?;
        }
        let mut strings = Vec::new();
        for _ in 0..reader.count()? {
            strings.push(match reader.text()? {
                Text::Inline(text) => cut(text, MAX_NAME_BYTES),
                Text::Null | Text::Constant(_) => String::new(),
            });
        }
        let mut classes = Classes::default();
        let mut open: Vec<(Element, usize)> = Vec::new();
        let mut class = None;
        let mut n_elements: usize = 0;
        loop {
            n_elements = n_elements.saturating_add(1);
            if n_elements > MAX_ELEMENTS || open.len() > 64 {
                return Err(Error::TooLong);
            }
            let (element, n_children) = element(reader, &strings)?;
            match element.name.as_str() {
                "class" => class = classes.add(&element),
                "field" => classes.add_field(class, &element),
                _ => {}
            }
            open.push((element, n_children));
            while open.last().is_some_and(|(_, n_left)| *n_left == 0) {
                open.pop();
            }
            match open.last_mut() {
                Some((_, n_left)) => *n_left = n_left.saturating_sub(1),
                None => return Ok(classes),
            }
        }
    }

    fn add(&mut self, element: &Element) -> Option<i64> {
        let id = element.attributes.get("id")?.parse().ok()?;
        let name = element.attributes.get("name").cloned().unwrap_or_default();
        self.by_id.insert(id, Class { name, fields: Vec::new() });
        Some(id)
    }

    fn add_field(&mut self, class: Option<i64>, element: &Element) {
        let attribute = |name: &str| element.attributes.get(name).map(String::as_str);
        let field = Field {
            name: attribute("name").unwrap_or_default().to_owned(),
            class: attribute("class").and_then(|id| id.parse().ok()).unwrap_or_default(),
            is_constant: attribute("constantPool") == Some("true"),
            is_array: attribute("dimension").is_some_and(|dimension| dimension != "0"),
        };
        if let Some(class) = class.and_then(|id| self.by_id.get_mut(&id)) {
            class.fields.push(field);
        }
    }

    pub(super) fn get(&self, id: i64) -> Option<&Class> {
        self.by_id.get(&id)
    }

    /// Reads one value of a class; `seen` is told of the fields that hold numbers, keys or texts.
    pub(super) fn object(
        &self,
        reader: &mut Reader<'_>,
        class: &Class,
        mut seen: impl FnMut(&str, Value),
    ) -> Result<(), Error> {
        for field in &class.fields {
            if field.is_array {
                self.skip(reader, field, 0)?;
            } else if let Some(value) = self.value(reader, field)? {
                seen(&field.name, value);
            }
        }
        Ok(())
    }

    /// Reads the items of an array field.
    pub(super) fn each(
        &self,
        reader: &mut Reader<'_>,
        field: &Field,
        mut item: impl FnMut(&mut Reader<'_>, &Class) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let class = self.get(field.class).ok_or(Error::UnknownType(field.class))?;
        for _ in 0..reader.count()? {
            reader.burn()?;
            item(reader, class)?;
        }
        Ok(())
    }

    /// A field that is no array: its value, or nothing where it is a structure, which is skipped.
    fn value(&self, reader: &mut Reader<'_>, field: &Field) -> Result<Option<Value>, Error> {
        reader.burn()?;
        if field.is_constant {
            return reader.long().map(|key| Some(Value::Number(key)));
        }
        let class = self.get(field.class).ok_or(Error::UnknownType(field.class))?;
        Ok(Some(match class.name.as_str() {
            "boolean" | "byte" => Value::Number(i64::from(reader.u8()?)),
            "char" | "short" | "int" | "long" => Value::Number(reader.long()?),
            "java.lang.String" => Value::Text(reader.text()?),
            _ => {
                self.skip_one(reader, field, 0)?;
                return Ok(None);
            }
        }))
    }

    pub(super) fn skip(
        &self,
        reader: &mut Reader<'_>,
        field: &Field,
        depth: usize,
    ) -> Result<(), Error> {
        if !field.is_array {
            return self.skip_one(reader, field, depth);
        }
        for _ in 0..reader.count()? {
            self.skip_one(reader, field, depth)?;
        }
        Ok(())
    }

    fn skip_one(&self, reader: &mut Reader<'_>, field: &Field, depth: usize) -> Result<(), Error> {
        reader.burn()?;
        if field.is_constant {
            return reader.long().map(|_| ());
        }
        let class = self.get(field.class).ok_or(Error::UnknownType(field.class))?;
        self.skip_class(reader, class, depth)
    }

    pub(super) fn skip_class(
        &self,
        reader: &mut Reader<'_>,
        class: &Class,
        depth: usize,
    ) -> Result<(), Error> {
        match class.name.as_str() {
            "boolean" | "byte" => reader.u8().map(|_| ()),
            "char" | "short" | "int" | "long" => reader.long().map(|_| ()),
            "float" => reader.take(4).map(|_| ()),
            "double" => reader.take(8).map(|_| ()),
            "java.lang.String" => reader.text().map(|_| ()),
            _ if depth >= MAX_DEPTH => Err(Error::TooLong),
            _ => class
                .fields
                .iter()
                .try_for_each(|field| self.skip(reader, field, depth.saturating_add(1))),
        }
    }
}

impl Field {
    pub(super) fn is_array(&self) -> bool {
        self.is_array
    }
}

pub(super) fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

/// An element of the description, and how many follow inside it.
fn element(reader: &mut Reader<'_>, strings: &[String]) -> Result<(Element, usize), Error> {
    reader.burn()?;
    let string = |reader: &mut Reader<'_>| -> Result<String, Error> {
        let index = usize::try_from(reader.long()?).ok().ok_or(Error::String)?;
        strings.get(index).cloned().ok_or(Error::String)
    };
    let mut element = Element { name: string(reader)?, ..Element::default() };
    for _ in 0..reader.count()? {
        reader.burn()?;
        let (key, value) = (string(reader)?, string(reader)?);
        // Long texts belong to what nobody here looks at.
        if matches!(key.as_str(), "id" | "name" | "class" | "constantPool" | "dimension") {
            element.attributes.insert(key, value);
        }
    }
    Ok((element, reader.count()?))
}
