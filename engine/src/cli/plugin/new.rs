//! `plugin new`: a project that builds anywhere, from the templates.
//!
//! A template keeps all kinds of plugin of its language together. In a file's
//! text, a line `#: KIND…` begins a part that only projects of these kinds get;
//! `#:` alone ends it.

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use rust_embed::RustEmbed;

use crate::cli::out::say;

#[derive(RustEmbed)]
#[folder = "../plugins/templates/"]
#[include = "*.sh"]
#[include = "*.md"]
#[include = "*.json"]
#[include = "*.toml"]
#[include = "*.mod"]
#[include = "*.rs"]
#[include = "*.c"]
#[include = "*.h"]
#[include = "*.cpp"]
#[include = "*.hpp"]
#[include = "*.zig"]
#[include = "*.go"]
#[include = "*.js"]
#[include = "*.ts"]
#[include = "*.py"]
#[include = "project/gitignore"]
#[exclude = ".toolchains/*"]
#[exclude = "harness/*"]
#[exclude = "*/build/*"]
#[exclude = "*/dist/*"]
#[exclude = "*/target/*"]
#[exclude = "*/node_modules/*"]
struct Templates;

#[derive(RustEmbed)]
#[folder = "../plugins/wit/"]
#[include = "*.wit"]
struct Contract;

#[derive(RustEmbed)]
#[folder = "../plugins/sdk/"]
#[include = "Cargo.toml"]
#[include = "src/*"]
struct Sdk;

#[derive(RustEmbed)]
#[folder = "../plugins/pack/"]
#[include = "Cargo.toml"]
#[include = "src/*"]
struct Pack;

/// The workspace that SDK and `pack` are members of in the repository.
const WORKSPACE: &str = include_str!("../../../../plugins/Cargo.toml");
const LOCK: &[u8] = include_bytes!("../../../../plugins/Cargo.lock");

/// A language that there is a template for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Rust,
    C,
    #[value(alias = "c++")]
    Cpp,
    Zig,
    Go,
    #[value(alias = "js")]
    Javascript,
    #[value(alias = "ts")]
    Typescript,
    #[value(alias = "py")]
    Python,
    Assemblyscript,
}

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProjectKind {
    /// Judges a node, with the network as it was granted
    Probe,
    /// Turns lines into records
    LogParser,
    /// A plain WASI program that judges what the engine fetched
    Command,
}

impl Language {
    /// The template's folder.
    fn folder(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::Zig => "zig",
            Language::Go => "go",
            Language::Javascript => "javascript",
            Language::Typescript => "typescript",
            Language::Python => "python",
            Language::Assemblyscript => "assemblyscript",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Language::Rust => "Rust",
            Language::C => "C",
            Language::Cpp => "C++",
            Language::Zig => "Zig",
            Language::Go => "Go",
            Language::Javascript => "JavaScript",
            Language::Typescript => "TypeScript",
            Language::Python => "Python",
            Language::Assemblyscript => "AssemblyScript",
        }
    }

    fn kinds(self) -> &'static [ProjectKind] {
        use ProjectKind::{Command, LogParser, Probe};
        match self {
            Language::Rust | Language::C => &[Probe, LogParser, Command],
            Language::Zig | Language::Go | Language::Assemblyscript => &[Probe, Command],
            Language::Javascript | Language::Python => &[Probe, LogParser],
            Language::Cpp | Language::Typescript => &[Probe],
        }
    }

    /// Components are made by `pack`, which is written beside the project.
    fn needs_pack(self, kind: ProjectKind) -> bool {
        match self {
            Language::Javascript | Language::Typescript | Language::Python => false,
            _ => kind != ProjectKind::Command,
        }
    }
}

impl ProjectKind {
    fn word(self) -> &'static str {
        match self {
            ProjectKind::Probe => "probe",
            ProjectKind::LogParser => "log-parser",
            ProjectKind::Command => "command",
        }
    }

    /// Whether a file of a template is of use to this kind. Parsers and commands
    /// have a folder; what stands beside it is the probe's or everybody's.
    fn takes(self, language: Language, path: &str) -> bool {
        let folder = path.split_once('/').map_or("", |(folder, _)| folder);
        match (folder, self) {
            ("log-parser", kind) => kind == ProjectKind::LogParser,
            ("command", kind) => kind == ProjectKind::Command,
            (_, ProjectKind::Probe) => true,
            // The only file of the probe's that parsers share.
            ("", ProjectKind::LogParser) if language == Language::Javascript => {
                path == "utf8.js" || path == "build.sh"
            }
            ("", _) => path == "build.sh",
            _ => false,
        }
    }
}

/// A file to be written.
struct File {
    path: String,
    bytes: Cow<'static, [u8]>,
}

impl File {
    fn text(path: &str, text: String) -> Self {
        Self {
            path: path.to_owned(),
            bytes: Cow::Owned(text.into_bytes()),
        }
    }
}

/// `plugin new`.
pub fn new(
    language: Language,
    kind: ProjectKind,
    name: &str,
    folder: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    check_name(name)?;
    if !language.kinds().contains(&kind) {
        let known: Vec<&str> = language.kinds().iter().map(|kind| kind.word()).collect();
        bail!(
            "--kind: expected {} for {}, found {}",
            known.join(" or "),
            language.title(),
            kind.word()
        );
    }
    let folder = folder.unwrap_or_else(|| PathBuf::from(name));
    check_folder(&folder)?;
    let files = project(language, kind, name)?;
    for file in &files {
        write(&folder, file).with_context(|| {
            format!(
                "{} cannot be written: is the folder yours?",
                folder.join(&file.path).display()
            )
        })?;
    }
    let file = format!("dist/{}.wasm", kind.word());
    say!(
        "{}: a {} in {}, {} files. Next:",
        folder.display(),
        kind.word(),
        language.title(),
        files.len()
    );
    say!("  cd {}", folder.display());
    say!("  ./build.sh                     # makes {file}");
    say!("  bellwether plugin test         # runs it against tests/*.json, offline");
    say!("  bellwether plugin push {file} --name {name} --token TOKEN");
    Ok(ExitCode::SUCCESS)
}

/// The name of the plugin, of its package and of its folder.
fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        bail!(
            "expected a name of 1 to 64 lower-case letters, digits and hyphens that begins with a letter, found {name:?}"
        );
    }
    Ok(())
}

fn check_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                bail!(
                    "expected a new or empty folder, found files in {}: choose another name, or --folder",
                    folder.display()
                );
            }
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("expected a folder at {}", folder.display()))
        }
    }
}

/// All files of a project.
fn project(language: Language, kind: ProjectKind, name: &str) -> anyhow::Result<Vec<File>> {
    let mut parts = vec![kind.word()];
    if language.needs_pack(kind) {
        parts.push("pack");
    }
    let sdk = language == Language::Rust && kind != ProjectKind::Command;
    if sdk {
        parts.push("sdk");
    }
    let mut files = Vec::new();
    let prefix = format!("{}/", language.folder());
    for path in Templates::iter() {
        let Some(inner) = path.strip_prefix(&prefix) else {
            continue;
        };
        if inner == "README.md" || !kind.takes(language, inner) {
            continue;
        }
        let text = select(&template(&path)?, &parts);
        let text = own(language, kind, inner, &text, name);
        files.push(File::text(&place(language, inner), text));
    }
    if language == Language::Rust {
        files.push(locked("Cargo.lock"));
    }
    for path in
        Templates::iter().filter(|path| path.starts_with(&format!("tests/{}/", kind.word())))
    {
        let file = path.rsplit('/').next().unwrap_or(&path);
        files.push(File::text(&format!("tests/{file}"), template(&path)?));
    }
    files.push(File::text("common.sh", template("common.sh")?));
    files.push(File::text(".gitignore", template("project/gitignore")?));
    let readme = select(&template("project/README.md")?, &parts)
        .replace("{{name}}", name)
        .replace("{{language}}", language.title())
        .replace("{{file}}", &format!("{}.wasm", kind.word()))
        .replace(
            "{{needs}}",
            &needs(&template(&format!("{prefix}README.md"))?)?,
        );
    files.push(File::text("README.md", readme));
    copy::<Contract>("wit", &mut files);
    if language.needs_pack(kind) {
        let at = files.len();
        copy::<Pack>("pack", &mut files);
        stand_alone(&mut files[at..], "pack/Cargo.toml", true)?;
        files.push(locked("pack/Cargo.lock"));
    }
    if sdk {
        let at = files.len();
        copy::<Sdk>("sdk", &mut files);
        stand_alone(&mut files[at..], "sdk/Cargo.toml", false)?;
    }
    Ok(files)
}

fn template(path: &str) -> anyhow::Result<String> {
    let file = Templates::get(path).with_context(|| {
        format!("this build of bellwether lacks the template file {path}: build it anew")
    })?;
    String::from_utf8(file.data.into_owned()).with_context(|| format!("the template {path}"))
}

fn copy<T: RustEmbed>(folder: &str, files: &mut Vec<File>) {
    for path in T::iter() {
        if let Some(file) = T::get(&path) {
            files.push(File {
                path: format!("{folder}/{path}"),
                bytes: file.data,
            });
        }
    }
}

/// The versions that the templates were tested with; cargo drops what a project
/// does not use.
fn locked(path: &str) -> File {
    File {
        path: path.to_owned(),
        bytes: Cow::Borrowed(LOCK),
    }
}

/// A text without the parts of others.
fn select(text: &str, parts: &[&str]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut wanted = true;
    for line in text.split_inclusive('\n') {
        match line.trim().strip_prefix("#:") {
            Some(kinds) => {
                let mut kinds = kinds.split_whitespace().peekable();
                wanted = kinds.peek().is_none() || kinds.any(|kind| parts.contains(&kind));
            }
            None if wanted => kept.push_str(line),
            None => {}
        }
    }
    kept
}

/// Where a template's file stands in a project: a parser or command in Rust is
/// the project's only package and no member of another.
fn place(language: Language, path: &str) -> String {
    let inner = path
        .strip_prefix("log-parser/")
        .or_else(|| path.strip_prefix("command/"));
    match inner {
        Some(inner) if language == Language::Rust => inner.to_owned(),
        _ => path.to_owned(),
    }
}

/// A template's text in the project's own names.
fn own(language: Language, kind: ProjectKind, path: &str, text: &str, name: &str) -> String {
    let folder = language.folder();
    let mut text = text
        .replace("/../common.sh", "/common.sh")
        .replace(&format!("http-{folder}"), name)
        .replace(&format!("app-log-{folder}"), name);
    if language == Language::Rust && path == "build.sh" && kind == ProjectKind::Command {
        text = text.replace("-p command", &format!("-p {name}"));
    }
    if language == Language::Rust && path.ends_with("Cargo.toml") {
        text = text
            .replace("../../../sdk", "sdk")
            .replace("../../sdk", "sdk")
            .replace("name = \"command\"", &format!("name = \"{name}\""));
        text = match kind {
            ProjectKind::Probe => alone(&text),
            ProjectKind::LogParser => format!("{text}\n[workspace]\n\n{}", profile()),
            ProjectKind::Command => {
                let program = "[[bin]]\nname = \"command\"\npath = \"src/main.rs\"";
                format!("{text}\n{program}\n\n[workspace]\n\n{}", profile())
            }
        };
    }
    text
}

/// The probe's manifest without the members that it has in the template.
fn alone(manifest: &str) -> String {
    let start = manifest.find("[package]").unwrap_or(0);
    format!("[workspace]\n\n{}", &manifest[start..])
}

/// How plugins in Rust are built, as the template says.
fn profile() -> String {
    let manifest = template("rust/Cargo.toml").unwrap_or_default();
    manifest
        .find("[profile.release]")
        .map(|start| manifest[start..].to_owned())
        .unwrap_or_default()
}

/// What a language's README says is needed before the first build.
fn needs(readme: &str) -> anyhow::Result<String> {
    let start = readme
        .find("Needed before:")
        .context("this build of bellwether lacks a part of its templates")?;
    let rest = &readme[start..];
    let end = rest.find("\n\n").unwrap_or(rest.len());
    Ok(rest[..end].replace("../.toolchains", ".toolchains"))
}

/// Gives a package what it inherits from its workspace in the repository.
fn stand_alone(files: &mut [File], path: &str, workspace: bool) -> anyhow::Result<()> {
    let file = files
        .iter_mut()
        .find(|file| file.path == path)
        .with_context(|| format!("this build of bellwether lacks {path}: build it anew"))?;
    let manifest = std::str::from_utf8(&file.bytes)?;
    let mut text = String::new();
    for line in manifest.lines() {
        match line.strip_suffix(".workspace = true") {
            Some(key) => {
                let value = WORKSPACE
                    .lines()
                    .find(|line| {
                        line.strip_prefix(key)
                            .is_some_and(|rest| rest.starts_with(" ="))
                    })
                    .with_context(|| format!("{path}: the workspace has no {key}"))?;
                text.push_str(value);
            }
            None if line == "[lints]" || line == "workspace = true" => continue,
            None => text.push_str(line),
        }
        text.push('\n');
    }
    if workspace {
        text.push_str("\n[workspace]\n");
    }
    file.bytes = Cow::Owned(text.into_bytes());
    Ok(())
}

fn write(folder: &Path, file: &File) -> std::io::Result<()> {
    let path = folder.join(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, &file.bytes)?;
    if file.path == "build.sh" {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = (Language, ProjectKind)> {
        let languages = Language::value_variants().iter();
        languages.flat_map(|language| language.kinds().iter().map(|kind| (*language, *kind)))
    }

    #[test]
    fn every_project_is_whole_and_speaks_of_itself() {
        for (language, kind) in all() {
            let files = project(language, kind, "my-plugin").unwrap();
            let text = |path: &str| {
                let file = files.iter().find(|file| file.path == path);
                let file = file.unwrap_or_else(|| panic!("{language:?} {kind:?} lacks {path}"));
                String::from_utf8(file.bytes.to_vec()).unwrap()
            };
            let build = text("build.sh");
            assert!(build.contains("/common.sh\""), "{build}");
            assert!(!build.contains("#:") && !build.contains("/../"), "{build}");
            for other in ["probe", "log-parser", "command"] {
                let makes = build.contains(&format!("dist/{other}.wasm"))
                    || build.contains(&format!("component {other} "));
                assert_eq!(
                    makes,
                    other == kind.word(),
                    "{language:?} {kind:?}:\n{build}"
                );
            }
            assert_eq!(
                build.contains("pack "),
                language.needs_pack(kind),
                "{build}"
            );
            let readme = text("README.md");
            assert!(readme.contains("Needed before:"), "{readme}");
            assert!(
                !readme.contains("{{name}}") && !readme.contains("#:"),
                "{readme}"
            );
            text("common.sh");
            text("wit/types.wit");
            assert!(files.iter().any(|file| file.path.starts_with("tests/")));
            let named = files.iter().any(|file| {
                !file.path.ends_with(".md")
                    && String::from_utf8_lossy(&file.bytes).contains("my-plugin")
            });
            assert!(
                named || kind == ProjectKind::Command,
                "{language:?} {kind:?}"
            );
            for file in &files {
                let text = String::from_utf8_lossy(&file.bytes);
                let template = format!("http-{}", language.folder());
                assert!(!text.contains(&format!("\"{template}\"")), "{}", file.path);
                for waste in ["dist/", "target/", "node_modules/", ".toolchains/"] {
                    assert!(!file.path.starts_with(waste), "{}", file.path);
                }
            }
        }
    }

    #[test]
    fn packages_inherit_nothing() {
        let files = project(Language::Rust, ProjectKind::Probe, "my-plugin").unwrap();
        for path in ["sdk/Cargo.toml", "pack/Cargo.toml", "Cargo.toml"] {
            let file = files.iter().find(|file| file.path == path).unwrap();
            let text = String::from_utf8_lossy(&file.bytes);
            assert!(!text.contains("workspace = true"), "{path}: {text}");
            assert!(text.contains("edition = \"2024\""), "{path}: {text}");
            assert!(!text.contains(".."), "{path}: {text}");
        }
    }

    #[test]
    fn parts_are_chosen() {
        let text = "a\n#: x y\nb\n  #: z\nc\n#:\nd\n";
        assert_eq!(select(text, &["y"]), "a\nb\nd\n");
        assert_eq!(select(text, &["z"]), "a\nc\nd\n");
        assert_eq!(select(text, &[]), "a\nd\n");
    }

    #[test]
    fn names_fit_everywhere() {
        for good in ["a", "my-probe-2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "2fast", "-x", "x-", "Probe", "a_b", "a/b", "..", "ü"] {
            let error = check_name(bad).unwrap_err().to_string();
            assert!(error.contains("expected a name"), "{error}");
        }
        assert!(check_name(&"x".repeat(65)).is_err());
    }
}
