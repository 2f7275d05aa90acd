//! Text → trees: YAML and JSON, many documents, within limits.
//!
//! Here: the parser's events made into [`Node`]s; repeated keys, anchors, merge keys, tags.
//! Not here: what the fields mean. JSON needs no second parser: it is YAML, save for the escape of
//! characters beyond 16 bits, which is joined before.
//! Invariant: work and memory are bounded by [`MOST_BYTES`], [`MOST_NODES`], [`MOST_DEPTH`] and
//! [`MOST_DOCUMENTS`], and by [`super::shape::MOST_ITEMS`] for what a short form may become; what an
//! alias repeats counts again, so that a small text cannot grow into a large one.
//! Why not `serde_yaml` for reading: it keeps no positions beyond the first error.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{
    fault::Faults,
    scalar,
    tree::{Entry, Node, Pos, Value},
};

/// Largest text, bytes. A Config may hold 1 MiB; four of the largest fit into one text.
pub(super) const MOST_BYTES: usize = 4 << 20;
/// Most nodes of a text, what aliases repeat included.
const MOST_NODES: usize = 100_000;
/// Deepest nesting; the deepest field of a Service stands at 7.
const MOST_DEPTH: usize = 48;
/// Most documents of a text; a cluster of fifty machines has far fewer objects.
pub(super) const MOST_DOCUMENTS: usize = 1000;

/// One document.
pub(super) struct Tree {
    /// Number in the text, from 1.
    pub(super) index: usize,
    /// Something in it was wrong already: nothing is to come of it.
    pub(super) faulty: bool,
    pub(super) root: Node,
}

/// Reads every document of a text. What cannot be read is skipped up to the next `---`.
pub(super) fn read(text: &[u8], faults: &mut Faults) -> Vec<Tree> {
    let start = Pos { line: 1, column: 1 };
    if text.len() > MOST_BYTES {
        faults.push(
            start,
            "",
            format!("the text has {} bytes, more than 4 MiB", text.len()),
            "split it into several files",
        );
        return Vec::new();
    }
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let good = String::from_utf8_lossy(text.get(..error.valid_up_to()).unwrap_or_default());
            faults.push(
                behind(&good),
                "",
                "the text is not UTF-8 from here on",
                "save the file as UTF-8; binary data goes base64 into a Secret's `data`",
            );
            return Vec::new();
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The parser takes a NUL for the end of the text: what stands behind it would be ignored in silence.
    if let Some((good, rest)) = text.find(is_control).and_then(|at| text.split_at_checked(at)) {
        let code = rest.chars().next().map_or(0, u32::from);
        faults.push(
            behind(good),
            "",
            format!("the control character U+{code:04X}"),
            "remove it, or write it as an escape in double quotes, like \"\\x1b\"",
        );
        return Vec::new();
    }
    let text = join_surrogates(text);
    // YAML takes all three ends of a line for one; so lines are counted in one way here and there.
    let text = if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text };
    faults.end = behind(text.trim_end());
    let mut reader = Reader { faults, trees: Vec::new(), nodes: 0, bytes: 0, index: 0 };
    let (mut rest, mut line) = (text.as_ref(), 0);
    while let Some(stopped) = reader.stream(rest, line) {
        // Goes on behind the next document marker, so that one broken document does not hide the others.
        let Some((next, skipped)) = next_document(rest, stopped.saturating_sub(line)) else { break };
        rest = next;
        line += skipped;
    }
    reader.trees
}

/// The place right behind a text. A carriage return alone ends a line too.
fn behind(text: &str) -> Pos {
    let (mut at, mut before) = (Pos { line: 1, column: 1 }, ' ');
    for c in text.chars() {
        match c {
            '\n' if before == '\r' => {}
            '\n' | '\r' => at = Pos { line: at.line + 1, column: 1 },
            _ => at.column += 1,
        }
        before = c;
    }
    at
}

/// What neither YAML nor JSON allows to stand in a text as it is.
fn is_control(c: char) -> bool {
    c < ' ' && !matches!(c, '\t' | '\n' | '\r')
}

/// The rest of `text` from the first `---` that begins line number `from` or a later one, but not the
/// first (from 1), and how many lines stand before it.
fn next_document(text: &str, from: usize) -> Option<(&str, usize)> {
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---").is_some_and(|r| r.is_empty() || r.starts_with([' ', '\t', '\n', '\r']));
        if number >= from.saturating_sub(1).max(1) && marker {
            return text.get(offset..).map(|rest| (rest, number));
        }
        offset += line.len();
    }
    None
}

/// JSON writes characters beyond 16 bits as two escapes, YAML as one.
fn join_surrogates(text: &str) -> Cow<'_, str> {
    if !text.trim_start().starts_with(['{', '[']) || !(text.contains("\\ud") || text.contains("\\uD")) {
        return Cow::Borrowed(text);
    }
    let unit = |from: usize| -> Option<u32> {
        let escape = text.get(from..from + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(escape, 16).ok()
    };
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(rest) = text.get(at..).filter(|r| !r.is_empty()) {
        let Some(next) = rest.find('\\') else {
            out.push_str(rest);
            break;
        };
        out.push_str(rest.get(..next).unwrap_or_default());
        at += next;
        let joined = match (unit(at), unit(at + 6)) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
            }
            _ => None,
        };
        if let Some(joined) = joined {
            out.push(joined);
            at += 12;
        } else {
            // The escape and what it escapes, so that `\\ud83d` stays a backslash and a word.
            let length = 1 + text.get(at + 1..).and_then(|r| r.chars().next()).map_or(0, char::len_utf8);
            out.push_str(text.get(at..at + length).unwrap_or_default());
            at += length;
        }
    }
    Cow::Owned(out)
}

struct Reader<'f> {
    faults: &'f mut Faults,
    trees: Vec<Tree>,
    nodes: usize,
    bytes: usize,
    index: usize,
}

/// A list or mapping that is still open.
struct Frame {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, Pos)>,
    /// Where each key stands.
    seen: HashMap<String, Pos>,
}

/// Nothing more of this text is read.
struct Full;

impl Reader<'_> {
    /// Reads documents until the end (none) or until a line that cannot be read. `before`: lines before.
    fn stream(&mut self, text: &str, before: usize) -> Option<usize> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            match event {
                Ok((Event::DocumentStart(_), span)) => {
                    let faults = self.faults.count();
                    self.index += 1;
                    self.faults.document = self.index;
                    if self.index > MOST_DOCUMENTS {
                        let message = format!("more than {MOST_DOCUMENTS} documents");
                        self.faults.push(position(span, before), "", message, "split the text into several files");
                        return None;
                    }
                    match self.document(&mut parser, text, before) {
                        Ok(Some(root)) => {
                            let faulty = self.faults.count() != faults;
                            self.trees.push(Tree { index: self.index, faulty, root });
                        }
                        Ok(None) => {}
                        Err(Stop::Unreadable(line)) => return Some(line),
                        Err(Stop::Full) => return None,
                    }
                }
                Ok((Event::StreamEnd, _)) => return None,
                Ok(_) => {}
                Err(error) => {
                    self.index += 1;
                    self.faults.document = self.index;
                    return Some(self.unreadable(&error, text, before));
                }
            }
        }
        None
    }

    /// Reports it, and says in which line to go on looking for the next document.
    fn unreadable(&mut self, error: &saphyr_parser::ScanError, text: &str, before: usize) -> usize {
        let found = Pos { line: error.marker().line(), column: error.marker().col() + 1 };
        // For a tab the parser points to what stands before it.
        let tab = if error.info().contains("tab") { indenting_tab(text, found.line) } else { None };
        let at = tab.unwrap_or(found);
        let (message, fix) = explain(error.info());
        self.faults.push(Pos { line: at.line + before, ..at }, "", message, fix);
        // Within the line of a marker, that document is the broken one; at its begin, the one before.
        let line = if found.column > 1 { found.line + 1 } else { found.line };
        line + before
    }

    fn document<'i>(
        &mut self,
        parser: &mut Parser<'i, StrInput<'i>>,
        text: &str,
        before: usize,
    ) -> Result<Option<Node>, Stop> {
        let mut stack: Vec<Frame> = Vec::new();
        let mut anchors: HashMap<usize, Node> = HashMap::new();
        let mut root = None;
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => return Err(Stop::Unreadable(self.unreadable(&error, text, before))),
            };
            let at = position(span, before);
            let done = match event {
                Event::DocumentEnd | Event::StreamEnd => break,
                Event::Scalar(scalar, style, anchor, tag) => {
                    self.room(1, scalar.len(), at)?;
                    let node = self.scalar(&scalar, style, tag.as_deref(), at);
                    Some((node, anchor))
                }
                Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) if stack.len() >= MOST_DEPTH => {
                    let _ = (anchor, tag);
                    self.faults.push(at, "", format!("nested deeper than {MOST_DEPTH} levels"), "flatten the document");
                    return Err(Stop::Full);
                }
                Event::SequenceStart(anchor, tag) => {
                    self.room(1, 0, at)?;
                    self.check_tag(tag.as_deref(), &["seq"], at);
                    stack.push(Frame::new(Node::list(at, Vec::new()), anchor));
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    self.room(1, 0, at)?;
                    self.check_tag(tag.as_deref(), &["map"], at);
                    stack.push(Frame::new(Node::map(at, Vec::new()), anchor));
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => stack.pop().map(|mut frame| {
                    merge(&mut frame.node, self.faults);
                    (frame.node, frame.anchor)
                }),
                Event::Alias(anchor) => Some((self.alias(anchors.get(&anchor), at)?, 0)),
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => None,
            };
            let Some((node, anchor)) = done else { continue };
            if anchor != 0 {
                let (nodes, bytes) = weight(&node);
                self.room(nodes, bytes, at)?;
                anchors.insert(anchor, node.clone());
            }
            match stack.last_mut() {
                None => root = Some(node),
                Some(frame) => frame.take(node, self.faults),
            }
        }
        Ok(root.filter(|node: &Node| !node.is_null()))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Pos) -> Node {
        let plain = style == ScalarStyle::Plain;
        let value = match tag.filter(|t| t.is_yaml_core_schema()).map(|t| t.suffix.as_str()) {
            Some("str") => Value::Text(text.into()),
            Some("int" | "float" | "bool" | "null") => scalar::resolve(text),
            _ if plain && tag.is_none() => scalar::resolve(text),
            _ => {
                self.check_tag(tag, &[], at);
                Value::Text(text.into())
            }
        };
        Node { plain: plain && tag.is_none(), ..Node::new(at, value) }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, known: &[&str], at: Pos) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && known.contains(&tag.suffix.as_str()))
        {
            let name = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
            self.faults.push(at, "", format!("the tag {name} has no meaning here"), "remove the tag");
        }
    }

    fn alias(&mut self, target: Option<&Node>, at: Pos) -> Result<Node, Stop> {
        let Some(target) = target else {
            self.faults.push(at, "", "the alias stands inside its own anchor", "write the value out");
            return Ok(Node::new(at, Value::Null));
        };
        let (nodes, bytes) = weight(target);
        self.room(nodes, bytes, at)?;
        Ok(target.clone())
    }

    fn room(&mut self, nodes: usize, bytes: usize, at: Pos) -> Result<(), Full> {
        self.nodes += nodes;
        self.bytes += bytes;
        // Twice the text: once as written, once as what aliases repeat.
        if self.nodes <= MOST_NODES && self.bytes <= 2 * MOST_BYTES {
            return Ok(());
        }
        self.faults.push(
            at,
            "",
            format!("more than {MOST_NODES} values, or aliases that repeat too much"),
            "split the text, or write out what the aliases repeat",
        );
        Err(Full)
    }
}

enum Stop {
    Unreadable(usize),
    Full,
}
impl From<Full> for Stop {
    fn from(Full: Full) -> Self {
        Self::Full
    }
}

impl Frame {
    fn new(node: Node, anchor: usize) -> Self {
        Self { node, anchor, key: None, seen: HashMap::new() }
    }

    fn take(&mut self, child: Node, faults: &mut Faults) {
        match &mut self.node.value {
            Value::List(items) => items.push(child),
            Value::Map(entries) => match self.key.take() {
                Some((key, at)) => entries.push(Entry { key, at, value: child }),
                None => {
                    let at = child.at;
                    let key = match &child.value {
                        Value::Null => String::from("null"),
                        _ => child.raw().map(str::to_owned).unwrap_or_else(|| {
                            faults.push(
                                at,
                                "",
                                format!("a key is {}", child.kind()),
                                "a key is a single word; quote it if it has special characters",
                            );
                            String::new()
                        }),
                    };
                    if let Some(first) = self.seen.insert(key.clone(), at).filter(|_| key != "<<") {
                        faults.push(
                            at,
                            &key,
                            format!("the key stands twice: in line {} and in line {}", first.line, at.line),
                            "remove one of the two",
                        );
                    }
                    self.key = Some((key, at));
                }
            },
            _ => {}
        }
    }
}

/// `<<: *base` and `<<: [*a, *b]`: fields that the mapping has itself win, then the first of the list.
fn merge(node: &mut Node, faults: &mut Faults) {
    let Value::Map(entries) = &mut node.value else { return };
    if !entries.iter().any(|e| e.key == "<<") {
        return;
    }
    let (merged, mut own): (Vec<Entry>, Vec<Entry>) = std::mem::take(entries).into_iter().partition(|e| e.key == "<<");
    let mut known: std::collections::HashSet<String> = own.iter().map(|e| e.key.clone()).collect();
    for entry in merged {
        let (at, sources) = (
            entry.at,
            match entry.value {
                Node { value: Value::List(items), .. } => items,
                single => vec![single],
            },
        );
        for source in sources {
            match source.value {
                Value::Map(fields) => own.extend(fields.into_iter().filter(|f| known.insert(f.key.clone()))),
                _ => faults.push(at, "<<", "a merge key takes a mapping", "write `<<: *name` of an anchored mapping"),
            }
        }
    }
    *entries = own;
}

/// The first tab that indents a line, from line `from` on.
fn indenting_tab(text: &str, from: usize) -> Option<Pos> {
    let lines = text.lines().enumerate().skip(from.saturating_sub(1));
    let mut tabs = lines.filter_map(|(number, line)| {
        let column = line.find('\t').filter(|at| line.get(..*at).is_some_and(|l| l.trim().is_empty()))?;
        Some(Pos { line: number + 1, column: column + 1 })
    });
    tabs.next()
}

/// Nodes and bytes of a tree.
fn weight(node: &Node) -> (usize, usize) {
    let add = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
    let own = (1, node.raw().map_or(0, str::len));
    match &node.value {
        Value::List(items) => items.iter().map(weight).fold(own, add),
        Value::Map(entries) => entries.iter().map(|e| add(weight(&e.value), (1, e.key.len()))).fold(own, add),
        _ => own,
    }
}

fn position(span: Span, before: usize) -> Pos {
    Pos { line: span.start.line() + before, column: span.start.col() + 1 }
}

/// The parser's words, in ours, with what to do.
fn explain(info: &str) -> (String, &'static str) {
    let fix = match info {
        i if i.contains("tab") => "indent with spaces, never with tabs",
        i if i.contains("mapping values are not allowed") => {
            "check the indentation of this line and the one above; a value that contains `: ` needs quotes"
        }
        i if i.contains("did not find expected key")
            || i.contains("invalid indentation")
            || i.contains("simple key") =>
        {
            "check the indentation: fields of one mapping stand in the same column, and each is `name: value`"
        }
        i if i.contains("'-' indicator") || i.contains("block sequence entries") => {
            "check the indentation: the `-` of one list stand in the same column"
        }
        i if i.contains("quoted scalar") => {
            "close the quote in the same value; in double quotes a backslash is written twice"
        }
        i if i.contains("flow mapping") || i.contains("flow sequence") || i.contains("flow construct") => {
            "close the bracket, and put commas between the items"
        }
        i if i.contains("unknown anchor") => {
            "define the anchor (`&name`) before the alias (`*name`), in the same document"
        }
        i if i.contains("recursion limit") => "flatten the document",
        i if i.contains("directive") => "remove the line that begins with %",
        i if i.contains("block scalar") => "indent every line of the text further than the field that holds it",
        i if i.contains("document") => "put `---` between documents, on a line of its own",
        _ => "check the line; a value with special characters needs quotes",
    };
    (format!("not readable as YAML: {info}"), fix)
}
