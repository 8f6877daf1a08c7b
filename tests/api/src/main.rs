//! Lists the public surface of a crate, as rustdoc's JSON has it: a line for each item. `.ci/api` says why.
//!
//! Left out is what follows from the rest: auto traits and blanket implementations, and the methods in an implementation of
//! a trait, which are the trait's.

use std::collections::HashSet;
use std::error::Error;
use std::io::Write;

use public_api::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let json = std::env::args().nth(1).ok_or("rustdoc's JSON of a crate")?;
    let surface = Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()?;
    let items: Vec<String> = surface.items().map(ToString::to_string).collect();
    let modules: HashSet<&str> = items
        .iter()
        .filter_map(|item| item.strip_prefix("pub mod "))
        .collect();

    let mut lines: Vec<String> = Vec::new();
    let mut in_trait_impl = false;
    for item in &items {
        if let Some((traits, target)) = item
            .strip_prefix("impl")
            .and_then(|rest| rest.split_once(" for "))
        {
            in_trait_impl = true;
            if traits.ends_with("::StructuralPartialEq") {
                continue; // comes with `PartialEq`, and cannot be named
            }
            // One line for all that a type implements.
            if let (Some(last), Some(new)) = (lines.last_mut(), traits.strip_prefix(' '))
                && let Some(before) = last
                    .strip_suffix(&format!(" for {target}"))
                    .filter(|text| is_plain_impl(text))
            {
                *last = format!("{before} + {new} for {target}");
                continue;
            }
        } else if item.starts_with("impl") {
            in_trait_impl = false;
        } else if let Some(parent) = parent_of_fn(item) {
            if in_trait_impl && !modules.contains(parent) {
                continue;
            }
        } else if !item.starts_with("pub type ") && !item.starts_with("pub const ") {
            in_trait_impl = false;
        }
        lines.push(item.clone());
    }
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Whether this is `impl TRAIT`, without parameters of its own.
fn is_plain_impl(text: &str) -> bool {
    text.starts_with("impl ")
}

/// The path of what a function belongs to: a module or a type. `None` if the item is none.
fn parent_of_fn(item: &str) -> Option<&str> {
    let (qualifiers, rest) = item.split_once("fn ")?;
    if !qualifiers
        .split(' ')
        .all(|word| ["pub", "const", "async", "unsafe", ""].contains(&word))
    {
        return None;
    }
    let path = rest.split_once('(')?.0;
    // `a::b::f<T>` is a function of `a::b`, and `a::B<T>::f` a method.
    let name = match path.rfind(">::") {
        Some(at) => at + 1,
        None => path
            .find('<')
            .map_or(path, |generics| &path[..generics])
            .rfind("::")?,
    };
    Some(&path[..name])
}
