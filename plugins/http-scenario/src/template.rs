//! `${name}` in texts. Another syntax than that of the engine's templates
//! (`{{ … }}`), which are filled in before the plugin runs.

use std::collections::BTreeMap;

use serde_json::Value;

/// Values by name.
pub type Variables = BTreeMap<String, String>;

/// Where a text goes, which says how values are written in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// Percent-encoded, but for `${raw:name}`.
    Url,
    /// As they are.
    Plain,
}

/// Fills in a text. The error is the name of a variable that is not there.
pub fn fill(text: &str, place: Place, variables: &Variables) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('$') {
            out.push('$');
            rest = behind;
            continue;
        }
        let inner = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let Some((name, behind)) = inner else {
            out.push('$');
            continue;
        };
        let (raw, name) = match name.strip_prefix("raw:") {
            Some(name) => (true, name),
            None => (false, name),
        };
        let value = variables.get(name).ok_or_else(|| name.to_owned())?;
        if place == Place::Url && !raw {
            percent_encode(value, &mut out);
        } else {
            out.push_str(value);
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// Fills in the texts of a JSON value, not its keys.
pub fn fill_json(value: &Value, variables: &Variables) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(fill(text, Place::Plain, variables)?),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| fill_json(item, variables))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| Ok((key.clone(), fill_json(value, variables)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => other.clone(),
    })
}

/// A form, encoded.
pub fn fill_form(form: &BTreeMap<String, String>, variables: &Variables) -> Result<String, String> {
    let mut out = String::new();
    for (name, value) in form {
        if !out.is_empty() {
            out.push('&');
        }
        percent_encode(name, &mut out);
        out.push('=');
        percent_encode(&fill(value, Place::Plain, variables)?, &mut out);
    }
    Ok(out)
}

/// Everything but the unreserved characters of RFC 3986.
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// True for a name that `${name}` can hold.
pub fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit())
}
