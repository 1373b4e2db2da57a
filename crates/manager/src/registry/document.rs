//! Between the TOML document and definitions. What is not known here stays in the document as it
//! is.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::{Map, Value as Json};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::{
    definition::{Definition, DefinitionError, KEYS},
    name::{Name, NameError},
};

/// The version that is written, and the newest that is understood.
const VERSION: i64 = 1;

/// What is wrong with a registry.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("it is not UTF-8")]
    NotText,

    #[error("it is not TOML")]
    Syntax { source: Box<toml_edit::TomlError> },

    #[error("it has no `version = 1`")]
    NoVersion,

    #[error("its version is {version}, newer than 1")]
    Newer { version: i64 },

    #[error("`{key}` is not a table")]
    NotTable { key: String },

    #[error("it names a daemon wrongly")]
    Name { source: NameError },

    #[error("`{name}` is there twice, with other capitals")]
    Twice { name: Name },

    #[error("`[daemon.{name}]` is wrong")]
    Entry { name: Name, source: DefinitionError },
}

/// A registry as text: what stands before the daemons, and a text for each of them. So a change
/// costs the parsing and printing of one entry, however many there are.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    head: Arc<str>,
    pub(crate) entries: BTreeMap<Name, Entry>,
}

/// One `[daemon.NAME]`, with all that stands in it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) definition: Arc<Definition>,
    text: Arc<str>,
}

impl Default for Document {
    /// A registry without daemons.
    fn default() -> Self {
        Self { head: format!("version = {VERSION}\n").into(), entries: BTreeMap::new() }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        self.entries.values().try_for_each(|it| {
            let gap = if it.text.starts_with('\n') { "" } else { "\n" };
            write!(f, "{gap}{}", it.text)
        })
    }
}

impl Document {
    /// Reads it, and all daemons in it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let text = str::from_utf8(bytes).map_err(|_| Problem::NotText)?;
        let mut document = toml(text)?;
        match document.get("version").and_then(Item::as_integer) {
            Some(VERSION) => {}
            Some(version) if version > VERSION => return Err(Problem::Newer { version }),
            _ => return Err(Problem::NoVersion),
        }
        let daemons =
            document.remove("daemon").map_or_else(|| Ok(Table::new()), |it| table("daemon", it))?;
        let mut entries = BTreeMap::new();
        for (key, item) in daemons {
            let name = Name::new(&key).map_err(|source| Problem::Name { source })?;
            let entry = Entry::read(&name, table(&key, item)?)?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(Problem::Twice { name });
            }
        }
        Ok(Self { head: document.to_string().into(), entries })
    }
}

impl Entry {
    fn read(name: &Name, table: Table) -> Result<Self, Problem> {
        let definition = Definition::from_json(&known(&table))
            .map_err(|source| Problem::Entry { name: name.clone(), source })?;
        Ok(Self { definition: Arc::new(definition), text: print(name, table) })
    }

    /// The entry that says what `definition` says; what else `old` says stays.
    pub(super) fn new(name: &Name, definition: Arc<Definition>, old: Option<&Self>) -> Self {
        let mut table = old.and_then(|it| reparse(&it.text)).unwrap_or_default();
        tell(&mut table, &definition);
        Self { definition, text: print(name, table) }
    }
}

fn toml(text: &str) -> Result<DocumentMut, Problem> {
    text.parse().map_err(|it| Problem::Syntax { source: Box::new(it) })
}

fn table(key: &str, item: Item) -> Result<Table, Problem> {
    item.into_table().map_err(|_| Problem::NotTable { key: key.to_owned() })
}

/// The one table in the text of an entry.
fn reparse(text: &str) -> Option<Table> {
    let daemons = toml(text).ok()?.remove("daemon")?.into_table().ok()?;
    daemons.into_iter().next()?.1.into_table().ok()
}

fn print(name: &Name, mut table: Table) -> Arc<str> {
    table.set_dotted(false);
    table.set_implicit(false);
    let mut daemons = Table::new();
    // Without a line `[daemon]` of its own.
    daemons.set_implicit(true);
    daemons.insert(name.as_str(), Item::Table(table));
    let mut document = DocumentMut::new();
    document.insert("daemon", Item::Table(daemons));
    document.to_string().into()
}

fn known(table: &Table) -> Map<String, Json> {
    let known = table.iter().filter(|(key, _)| KEYS.contains(key));
    known.map(|(key, item)| (key.to_owned(), to_json(item))).collect()
}

/// Makes `table` say what `definition` says. What already says it is not touched.
fn tell(table: &mut Table, definition: &Definition) {
    let told: BTreeMap<_, _> = definition.told().into_iter().collect();
    for key in KEYS.iter().copied().filter(|it| !told.contains_key(it)) {
        table.remove(key);
    }
    for (key, value) in definition.told() {
        match table.get_mut(key) {
            Some(item) if to_json(item) == value => {}
            Some(item) => put(item, to_toml(&value)),
            None => drop(table.insert(key, Item::Value(to_toml(&value)))),
        }
    }
}

/// Replaces a value but not the comment behind it.
fn put(item: &mut Item, mut value: Value) {
    if let Some(old) = item.as_value() {
        *value.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(value);
}

fn to_json(item: &Item) -> Json {
    match item {
        Item::Value(value) => value_to_json(value),
        Item::Table(table) => table_to_json(table),
        Item::ArrayOfTables(array) => array.iter().map(|it| table_to_json(it)).collect(),
        Item::None => Json::Null,
    }
}

fn table_to_json(table: &dyn TableLike) -> Json {
    table.iter().map(|(key, item)| (key.to_owned(), to_json(item))).collect()
}

fn value_to_json(value: &Value) -> Json {
    match value {
        Value::String(it) => it.value().as_str().into(),
        Value::Integer(it) => (*it.value()).into(),
        Value::Float(it) => (*it.value()).into(),
        Value::Boolean(it) => (*it.value()).into(),
        Value::Datetime(it) => it.value().to_string().into(),
        Value::Array(it) => it.iter().map(value_to_json).collect(),
        Value::InlineTable(it) => table_to_json(it),
    }
}

/// Definitions hold no fractions, no nulls and no number beyond 63 bits.
fn to_toml(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(""),
        Json::Bool(it) => Value::from(*it),
        Json::Number(it) => Value::from(it.as_i64().unwrap_or(i64::MAX)),
        Json::String(it) => Value::from(it.as_str()),
        Json::Array(it) => Value::Array(it.iter().map(to_toml).collect::<Array>()),
        Json::Object(it) => {
            let members = it.iter().map(|(key, value)| (key.as_str(), to_toml(value)));
            Value::InlineTable(members.collect::<InlineTable>())
        }
    }
}
