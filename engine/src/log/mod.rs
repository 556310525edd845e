//! Sources of log lines, their parsing, and searching what was parsed.
