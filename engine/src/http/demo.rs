//! Only in the demo, or where mails are written to files: the mailbox, and the
//! switch that breaks what is watched.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use mail_parser::{HeaderValue, Message, MessageParser};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::commands::{Command, Commands};
use super::error::{Error, Result};
use super::extract::{Body, Operator, Viewer};
use super::objects::Items;
use super::state::Settings;

/// Mails shown.
const MAILS: usize = 200;
/// Larger files are no mails of this engine.
const MAX_MAIL: u64 = 4 << 20;

/// A mail that was written to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mail {
    /// Name of the file.
    pub id: String,
    /// When it was written, in µs.
    pub at: i64,
    pub from: String,
    pub to: String,
    pub subject: String,
    pub message_id: String,
    pub in_reply_to: Option<String>,
    pub text: String,
    /// Shown in a sandboxed frame.
    pub html: Option<String>,
}

/// Mails, newest first
///
/// 404 where mails are sent and not written to a folder.
#[utoipa::path(
    get, path = "/mailbox", tag = "demo",
    responses((status = 200, body = Items<Mail>)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn mailbox(
    _: Viewer,
    State(settings): State<Arc<Settings>>,
) -> Result<Json<Items<Mail>>> {
    let Some(folder) = settings.mailbox.clone() else {
        return Err(Error::not_found("mailbox", "smtp"));
    };
    let mails = tokio::task::spawn_blocking(move || read_folder(&folder)).await??;
    Ok(Json(Items::all(mails)))
}

fn read_folder(folder: &Path) -> std::io::Result<Vec<Mail>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // Made with the first mail.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let meta = entry.metadata()?;
        if path.extension().is_some_and(|ext| ext == "eml")
            && meta.is_file()
            && meta.len() <= MAX_MAIL
        {
            files.push((meta.modified()?, path));
        }
    }
    files.sort_by(|a, b| b.cmp(a));
    let mut mails = Vec::new();
    for (modified, path) in files.into_iter().take(MAILS) {
        // It may be gone by now.
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        let Some(message) = MessageParser::default().parse(&bytes) else {
            continue;
        };
        let at = modified
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_micros() as i64);
        let id = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        mails.push(to_mail(id, at, &message));
    }
    Ok(mails)
}

fn to_mail(id: String, at: i64, message: &Message<'_>) -> Mail {
    let mailboxes = |addresses: Option<&mail_parser::Address<'_>>| {
        let all = addresses.into_iter().flat_map(|list| list.iter());
        let texts = all.map(|one| match (one.name(), one.address()) {
            (Some(name), Some(address)) => format!("{name} <{address}>"),
            (_, address) => address.unwrap_or("").to_owned(),
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    let in_reply_to = match message.in_reply_to() {
        HeaderValue::Text(id) => Some(format!("<{id}>")),
        HeaderValue::TextList(ids) => ids.first().map(|id| format!("<{id}>")),
        _ => None,
    };
    Mail {
        id,
        at,
        from: mailboxes(message.from()),
        to: mailboxes(message.to()),
        subject: message.subject().unwrap_or("").to_owned(),
        message_id: message
            .message_id()
            .map_or(String::new(), |id| format!("<{id}>")),
        in_reply_to,
        text: message
            .body_text(0)
            .map_or(String::new(), |text| text.into_owned()),
        html: message
            .html_bodies()
            .find(|part| part.is_text_html())
            .and_then(|part| part.text_contents())
            .map(str::to_owned),
    }
}

/// The demo's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Demo {
    /// It answers with errors.
    pub broken: bool,
}

fn must_be_demo(settings: &Settings) -> Result<()> {
    if settings.demo {
        Ok(())
    } else {
        Err(Error::not_found("demo", "this is `serve`"))
    }
}

/// Whether the demo's target is broken
#[utoipa::path(
    get, path = "/demo", operation_id = "get_demo", tag = "demo",
    responses((status = 200, body = Demo)),
    extensions(("x-role" = json!("viewer"))),
)]
pub async fn get(
    _: Viewer,
    State(settings): State<Arc<Settings>>,
    State(commands): State<Commands>,
) -> Result<Json<Demo>> {
    must_be_demo(&settings)?;
    let broken = commands.ask(|reply| Command::DemoBroken { reply }).await?;
    Ok(Json(Demo { broken }))
}

/// Break or mend the demo's target
#[utoipa::path(
    post, path = "/demo", operation_id = "set_demo", tag = "demo", request_body = Demo,
    responses((status = 200, body = Demo)),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn set(
    _: Operator,
    State(settings): State<Arc<Settings>>,
    State(commands): State<Commands>,
    Body(demo): Body<Demo>,
) -> Result<Json<Demo>> {
    must_be_demo(&settings)?;
    let broken = demo.broken;
    commands
        .ask(|reply| Command::SetDemoBroken { broken, reply })
        .await?;
    Ok(Json(demo))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mail = "Message-ID: <a@x>\r\nIn-Reply-To: <b@x>\r\nFrom: Bellwether <bw@example.org>\r\n\
                    To: ops@example.org\r\nSubject: [FIRING] =?utf-8?q?gr=C3=BCn?=\r\n\
                    MIME-Version: 1.0\r\n\
                    Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\
                    Content-Type: text/plain; charset=utf-8\r\n\
                    Content-Transfer-Encoding: quoted-printable\r\n\r\ndown =E2=80=93 now\r\n--b\r\n\
                    Content-Type: text/html; charset=utf-8\r\n\r\n<p>down</p>\r\n--b--\r\n";
        std::fs::write(folder.path().join("1.eml"), mail).unwrap();
        std::fs::write(folder.path().join("x.tmp"), "half").unwrap();
        let mails = read_folder(folder.path()).unwrap();
        assert_eq!(mails.len(), 1);
        let mail = &mails[0];
        assert_eq!(mail.from, "Bellwether <bw@example.org>");
        assert_eq!(
            (mail.subject.as_str(), mail.message_id.as_str()),
            ("[FIRING] grün", "<a@x>")
        );
        assert_eq!(mail.in_reply_to.as_deref(), Some("<b@x>"));
        assert!(mail.text.starts_with("down – now"), "{:?}", mail.text);
        assert!(
            mail.html
                .as_deref()
                .is_some_and(|html| html.contains("<p>down</p>"))
        );
    }

    #[test]
    fn a_missing_folder_is_an_empty_mailbox() {
        assert_eq!(read_folder(Path::new("/nowhere/at/all")).unwrap(), []);
    }
}
