//! The threat model names the tests that show its answers: each of them exists.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below a folder.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests/it", "tests/postgres"] {
        sources(&root.join(folder), &mut files);
    }
    files.push((
        "endless.rs".into(),
        fs::read_to_string(root.join("tests/endless.rs")).unwrap(),
    ));
    let model = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let cells = model.lines().filter_map(|line| line.split(" | ").nth(2));
    let named = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let mut count = 0;
    for test in named {
        let (modules, name) = test.rsplit_once("::").unwrap_or(("", test));
        let is_there = |(path, text): &(PathBuf, String)| {
            let mut parts = modules.split("::").filter(|part| !part.is_empty());
            let path = path.with_extension("");
            parts.all(|part| path.iter().any(|known| known == part)) && text.contains(&format!("fn {name}("))
        };
        assert!(files.iter().any(is_there), "{test}");
        count += 1;
    }
    assert!(count > 60, "{count}");
}
