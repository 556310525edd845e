//! What one look at a value through a plugin's schema may cost.
//!
//! A schema is the plugin's own text: a few references that lead back to where
//! they stand are more work than there is time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

/// Steps of one look; a step is about a microsecond at most.
const MAX_STEPS: usize = 50_000;
/// Bytes of text that are one step.
const TEXT_STEP: usize = 16;
/// What a pattern costs beside its text, and bytes of its compiled form.
const PATTERN_STEPS: usize = 100;
const MAX_PATTERN: usize = 1 << 16;

/// Steps that are left, and patterns that were paid for.
pub(super) struct Budget<'a> {
    left: Cell<usize>,
    spent: Cell<bool>,
    patterns: RefCell<HashMap<&'a str, Option<Regex>>>,
}

impl<'a> Budget<'a> {
    pub fn new() -> Self {
        Self {
            left: Cell::new(MAX_STEPS),
            spent: Cell::new(false),
            patterns: RefCell::default(),
        }
    }

    /// Takes steps; false where there are not as many left, then and for ever.
    pub fn spend(&self, steps: usize) -> bool {
        match self.left.get().checked_sub(steps) {
            Some(left) if !self.spent.get() => {
                self.left.set(left);
                true
            }
            _ => {
                self.spent.set(true);
                false
            }
        }
    }

    /// Takes what reading or writing a text costs.
    pub fn spend_text(&self, bytes: usize) -> bool {
        self.spend(1 + bytes / TEXT_STEP)
    }

    /// Takes what compiling a pattern costs: a class of two letters may stand for
    /// thousands of characters.
    pub fn spend_pattern(&self, pattern: &str) -> bool {
        self.spend(PATTERN_STEPS + 4 * pattern.len())
    }

    /// Takes what searching a text for a pattern costs.
    pub fn spend_match(&self, text: &str) -> bool {
        self.spend(1 + text.len() / 4)
    }

    /// Ends it.
    pub fn exhaust(&self) {
        self.spent.set(true);
    }

    /// True where more was wanted than there was.
    pub fn is_spent(&self) -> bool {
        self.spent.get()
    }

    /// A pattern of the schema, compiled once; absent where it is none, or is
    /// too large.
    pub fn pattern(&self, pattern: &'a str) -> Option<Regex> {
        if let Some(known) = self.patterns.borrow().get(pattern) {
            return known.clone();
        }
        if !self.spend_pattern(pattern) {
            return None;
        }
        let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        let built = built.ok();
        self.patterns.borrow_mut().insert(pattern, built.clone());
        built
    }
}
