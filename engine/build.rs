//! Makes the folder of the web UI exist, so that the engine compiles before the
//! UI was built.

use std::path::Path;

const PLACEHOLDER: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <title>Bellwether</title>\n<h1>The web UI is not in this build</h1>\n\
    <p>Run <code>make build</code>, which builds the UI and then the engine. The API works: see \
    <a href=\"/api/openapi.json\">/api/openapi.json</a>.</p>\n</html>\n";

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=../web/dist");
    println!("cargo::rerun-if-changed=../migrations");
    let dist = Path::new("../web/dist");
    if !dist.join("index.html").exists() {
        std::fs::create_dir_all(dist)?;
        std::fs::write(dist.join("index.html"), PLACEHOLDER)?;
    }
    // Without first-party plugins the engine has none; `make build` builds them
    // first.
    println!("cargo::rerun-if-changed=../plugins/dist");
    std::fs::create_dir_all("../plugins/dist")?;
    // What `plugin new` writes. A new file in a folder makes the macro that
    // embeds them look again.
    for folder in ["wit", "sdk/src", "pack/src"] {
        println!("cargo::rerun-if-changed=../plugins/{folder}");
    }
    watch_templates(Path::new("../plugins/templates"))
}

/// Watches the sources of the templates, and none of what is built from them.
fn watch_templates(folder: &Path) -> std::io::Result<()> {
    const MADE: [&str; 5] = [".toolchains", "build", "dist", "node_modules", "target"];
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if MADE.iter().any(|made| entry.file_name() == *made) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            watch_templates(&entry.path())?;
        } else {
            println!("cargo::rerun-if-changed={}", entry.path().display());
        }
    }
    Ok(())
}
