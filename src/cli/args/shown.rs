//! Every command that help, hints, the sources and the README show is one that this program takes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

use super::Cli;

/// What stands for something else is tried as each of these: a name, a number, a key, a kind, a role, a command, nothing.
const FILLED: [&str; 7] = ["x", "1", "svc/x", "svc", "read", "get", ""];

/// The words of a command as a shell takes them, up to where it ends: a pipe, a redirection, a remark (two spaces), the
/// end of its quotation, of a sentence or a bracket.
fn words(text: &str) -> Vec<String> {
    let (mut all, mut word) = (Vec::new(), String::new());
    let mut rest = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') => quote = Some(c),
            (None, '$') if rest.peek() == Some(&'(') => {
                word.push('x');
                rest.by_ref().find(|c| *c == ')');
            }
            (None, '>') => {
                word = word.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
                break;
            }
            // `read|write`: either may be chosen.
            (None, '|') if !word.is_empty() && rest.peek().is_some_and(|c| c.is_alphanumeric()) => {
                while rest.next_if(|c| c.is_alphanumeric() || *c == '|').is_some() {}
            }
            // What may be left out is tried too.
            (None, '[' | ']') => {}
            (None, '|' | '<' | ';' | '&' | '(' | ')' | '`' | '\n') => break,
            (None, ' ') => {
                let sentence = word.len() > 1 && word.ends_with([',', ':', '.']);
                let word = std::mem::take(&mut word);
                if sentence {
                    all.push(word.trim_end_matches([',', ':', '.']).to_owned());
                    return all;
                }
                if !word.is_empty() {
                    all.push(word);
                }
                if rest.peek() == Some(&' ') {
                    return all;
                }
            }
            (None, c) => word.push(c),
        }
    }
    let word = if word.len() > 1 { word.trim_end_matches([',', ':', '.']).to_owned() } else { word };
    all.extend(Some(word).filter(|word| !word.is_empty()));
    all
}

fn parses(words: &[String]) -> bool {
    match Cli::try_parse_from(words) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion),
    }
}

/// Whether these words name a command, and nothing more: `constellation secret set`.
fn names_one(words: &[String]) -> bool {
    let program = Cli::command();
    let mut at = Some(&program);
    for word in words.iter().skip(1) {
        at = at.and_then(|command| command.find_subcommand(word));
    }
    words.len() > 1 && at.is_some()
}

/// Whether a command in running text is one; words of the sentence may follow it, flags and what is filled in may not.
fn holds(text: &str) -> bool {
    FILLED.iter().any(|filled| {
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            plain += before;
            rest = after.split_once('}').map_or("", |(_, rest)| rest);
            plain += filled;
        }
        let stands = |word: &String| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase());
        let named = |word: String| if stands(&word) && !filled.is_empty() { (*filled).to_owned() } else { word };
        let words: Vec<String> = words(&(plain + rest)).into_iter().map(named).collect();
        let prose = |word: &String| word.starts_with(|c: char| c.is_lowercase()) && word != filled;
        (2..=words.len()).rev().any(|n| {
            let (command, after) = words.split_at(n);
            after.iter().all(prose) && (parses(command) || !filled.is_empty() && names_one(command))
        })
    })
}

/// Where commands begin in a text. Without a quotation in front only known ones count: the word is also a name.
fn mentioned(text: &str) -> Vec<&str> {
    let program = Cli::command();
    let begins = text.match_indices("constellation ").filter(|(at, found)| {
        let before = text[..*at].chars().next_back();
        let next = text[at + found.len()..].split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
        let known = program.find_subcommand(next).is_some();
        let apart = before.is_none_or(|c| !c.is_alphanumeric() && !"/-_.:".contains(c));
        apart && (known || before == Some('`'))
    });
    begins.map(|(at, _)| &text[at..]).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_command_shows_examples_that_it_understands() {
    fn walk(command: &clap::Command, name: &str, seen: &mut usize) {
        for command in command.get_subcommands().filter(|c| c.get_name() != "help") {
            let name = format!("{name} {}", command.get_name());
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = after.strip_prefix("Examples:\n").unwrap_or_else(|| panic!("{name}: {after:?}"));
            let examples = examples.split("\n\n").next().unwrap_or_default();
            assert!(examples.trim().starts_with(&name), "{name} begins with an example of another: {examples}");
            for line in examples.lines() {
                let begins = line.match_indices("constellation ").filter(|(at, _)| line[..*at].ends_with(' '));
                let found: Vec<&str> = begins.map(|(at, _)| &line[at..]).collect();
                assert!(!found.is_empty(), "{name}: an example of something else: {line}");
                for text in found {
                    let words = words(text);
                    let parsed = Cli::try_parse_from(&words);
                    assert!(parsed.is_ok(), "{text}: {}", parsed.unwrap_err());
                    *seen += 1;
                }
            }
            walk(command, &name, seen);
        }
    }
    let mut seen = 0;
    walk(&Cli::command(), "constellation", &mut seen);
    assert!(seen > 80, "{seen} examples");
}

#[test]
fn every_command_that_a_message_or_a_remark_names_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in files.iter().filter(|path| !path.ends_with("cli/args/shown.rs")) {
        let mut text = String::new();
        for line in fs::read_to_string(path).unwrap().lines() {
            let line = line.trim_start();
            // Strings and remarks that go on in the next line are one text.
            let (line, joined) = match ["//! ", "/// ", "// "].iter().find_map(|mark| line.strip_prefix(mark)) {
                Some(remark) => (remark, Some(" ")),
                None => match line.strip_suffix('\\') {
                    Some(part) => (part, Some("")),
                    None => (line, None),
                },
            };
            text += line;
            text += joined.unwrap_or("\n");
        }
        let text = text.replace("\\n", "\n").replace("\\\"", "\u{1}");
        for command in mentioned(&text) {
            let whole = command.split(['"', '\n']).next().unwrap_or_default().replace('\u{1}', "\"");
            seen += 1;
            if !holds(&whole) {
                wrong.push(format!("{}: {whole}", path.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 100, "{seen} commands");
}

#[test]
fn every_command_of_the_readme_is_one() {
    let text = include_str!("../../../README.md");
    let (mut seen, mut wrong) = (0, Vec::new());
    for (i, part) in text.split("```").enumerate() {
        if i % 2 == 0 {
            let prose = part.split_whitespace().collect::<Vec<_>>().join(" ");
            let quoted = prose.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("constellation "));
            for command in quoted {
                seen += 1;
                wrong.extend((!holds(command)).then(|| command.to_owned()));
            }
        } else {
            let lines = part.lines().map(|line| line.trim_start().trim_start_matches("# "));
            for line in lines {
                let line = line.replacen("sudo target/release/", "", 1);
                let typed = |at: usize| at == 0 || line[..at].ends_with("| ") || line[..at].ends_with("&& ");
                for (at, _) in line.match_indices("constellation ").filter(|(at, _)| typed(*at)) {
                    seen += 1;
                    wrong.extend((!parses(&words(&line[at..]))).then(|| line.clone()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 30, "{seen} commands");
}

#[test]
fn a_command_ends_where_a_shell_or_a_reader_ends_it() {
    for (text, ends) in [
        ("constellation get svc -o json | jq '.x'", "constellation,get,svc,-o,json"),
        ("constellation get svc -o json 2>/dev/null", "constellation,get,svc,-o,json"),
        ("constellation ps web     goes on", "constellation,ps,web"),
        ("constellation node cordon n1 -m \"new disk\"", "constellation,node,cordon,n1,-m,new disk"),
        ("constellation x a-$(date +%F).age && y", "constellation,x,a-x.age"),
        ("constellation token create N --role read|write, then", "constellation,token,create,N,--role,read"),
        ("constellation build . -t x", "constellation,build,.,-t,x"),
        ("constellation secret set db KEY=-; or", "constellation,secret,set,db,KEY=-"),
    ] {
        assert_eq!(words(text).join(","), ends, "{text}");
    }
    assert!(holds("constellation get {} lists what there is") && holds("constellation secret set"));
    for wrong in
        ["constellation gett svc", "constellation why --slot 2", "constellation scale {}", "constellation ps --wide"]
    {
        assert!(!holds(wrong), "{wrong}");
    }
}
