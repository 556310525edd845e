//! The sections that stand once.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::Validator;
use crate::config::grants_syntax::is_host;
use crate::config::model::{Config, SmtpDef, SmtpTls, SmtpTransport};
use crate::config::spec::{SecretSource, SmtpSpec};
use crate::plugin::signing::public_key;
use crate::plugin::{validate_argv, validate_root};

impl Validator<'_> {
    pub(super) fn global(&mut self, config: &mut Config) {
        let spec = self.spec;
        if let Some(text) = &spec.public_url {
            match public_url(text) {
                Ok(url) => config.public_url = Some(url),
                Err(message) => self.wrong("public_url", message),
            }
        }
        if let Some(smtp) = &spec.smtp {
            config.smtp = self.smtp(smtp).map(Arc::new);
        }
        self.commands();
        self.files();
        self.secrets();
        self.signing();
        self.registries();
        for (name, span) in [
            ("results", spec.retention.results),
            ("rollups", spec.retention.rollups),
            ("logs", spec.retention.logs),
            ("timeline", spec.retention.timeline),
        ] {
            if span.0.as_secs() < 60 {
                self.wrong(
                    format!("retention.{name}"),
                    format!("expected at least 1m, found {span}"),
                );
            }
        }
        self.references(
            "faults.notify",
            "contact",
            &spec.faults.notify,
            spec.contacts.iter().map(|c| c.name.as_str()),
        );
        let deny = self.networks("egress.deny", &spec.egress.deny);
        config.egress_deny = deny.into();
        self.networks("web.trusted_proxies", &spec.web.trusted_proxies);
        if spec.engine.max_in_flight == 0 {
            self.wrong("engine.max_in_flight", "expected at least 1, found 0");
        }
        if spec.engine.max_memory.0 < 1 << 20 {
            self.wrong(
                "engine.max_memory",
                format!("expected at least 1MiB, found {}", spec.engine.max_memory),
            );
        }
        if spec.engine.compile_timeout.0.as_secs() < 1 {
            self.wrong(
                "engine.compile_timeout",
                format!(
                    "expected at least 1s, found {}",
                    spec.engine.compile_timeout
                ),
            );
        }
    }

    fn signing(&mut self) {
        let signing = &self.spec.signing;
        for (i, key) in signing.keys.iter().enumerate() {
            if let Err(message) = public_key(&key.public_key) {
                self.wrong(format!("signing.keys[{i}].public_key"), message);
            }
            if signing.keys[..i].iter().any(|other| other.name == key.name) {
                let message = format!("expected a name of its own, found {:?} again", key.name);
                self.wrong(format!("signing.keys[{i}].name"), message);
            }
        }
        for (i, text) in signing.revoked.iter().enumerate() {
            let is_digest = text.strip_prefix("sha256:").is_some_and(|hex| {
                hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            });
            if !is_digest {
                let message = format!(
                    "expected sha256: and 64 lower-case hexadecimal digits, found {text:?}"
                );
                self.wrong(format!("signing.revoked[{i}]"), message);
            }
        }
    }

    fn registries(&mut self) {
        let registries = &self.spec.registries;
        for (i, registry) in registries.iter().enumerate() {
            let hosts = std::iter::once(("host".to_owned(), &registry.host)).chain(
                (registry.also.iter().enumerate()).map(|(j, host)| (format!("also[{j}]"), host)),
            );
            for (key, host) in hosts {
                let url = url::Url::parse(&format!("https://{host}/"));
                let fits = url.is_ok_and(|url| {
                    url.path() == "/" && url.username().is_empty() && url.query().is_none()
                }) && !host.contains('/');
                if !fits {
                    let message =
                        format!("expected a host such as registry.example.org, found {host:?}");
                    self.wrong(format!("registries[{i}].{key}"), message);
                }
            }
            if registries[..i]
                .iter()
                .any(|other| other.host == registry.host)
            {
                let message = format!("expected each host once, found {:?} again", registry.host);
                self.wrong(format!("registries[{i}].host"), message);
            }
            if registry.username.is_some() != registry.password.is_some() {
                let message = "expected username and password together, found one of them";
                self.wrong(format!("registries[{i}]"), message);
            }
            if let Some(password) = &registry.password {
                self.secret_source(&format!("registries[{i}].password"), password);
            }
        }
    }

    fn networks(&mut self, path: &str, texts: &[String]) -> Vec<IpNet> {
        let mut nets = Vec::with_capacity(texts.len());
        for (i, text) in texts.iter().enumerate() {
            match text
                .parse::<IpNet>()
                .ok()
                .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
            {
                Some(net) => nets.push(net),
                None => self.wrong(
                    format!("{path}[{i}]"),
                    format!("expected a network such as 10.0.0.0/8 or an address, found {text:?}"),
                ),
            }
        }
        nets
    }

    fn files(&mut self) {
        let spec = self.spec;
        for (name, folder) in &spec.files {
            let path = format!("files.{name}");
            self.key_name(&path, name);
            if let Err(message) = validate_root(folder) {
                self.wrong(&path, message);
            }
        }
    }

    fn commands(&mut self) {
        let spec = self.spec;
        for (name, argv) in &spec.commands {
            let path = format!("commands.{name}");
            self.key_name(&path, name);
            match argv.first() {
                None => self.wrong(
                    &path,
                    "expected a list of a program and its arguments, found an empty one",
                ),
                Some(program) if program.is_empty() || program.contains("{{") => {
                    self.wrong(
                        format!("{path}[0]"),
                        format!(
                            "expected a program, found {program:?}; templates are for arguments"
                        ),
                    );
                }
                Some(_) => {}
            }
            for (i, argument) in argv.iter().enumerate().skip(1) {
                if let Err(message) = validate_argv(&["program".to_owned(), argument.clone()]) {
                    self.wrong(format!("{path}[{i}]"), message);
                }
            }
        }
    }

    fn secrets(&mut self) {
        let spec = self.spec;
        for (name, source) in &spec.secrets {
            let path = format!("secrets.{name}");
            self.key_name(&path, name);
            self.secret_source(&path, source);
        }
    }

    fn secret_source(&mut self, path: &str, source: &SecretSource) {
        match source {
            SecretSource::Env(var) if var.is_empty() || var.contains(['=', '\0']) => {
                self.wrong(
                    format!("{path}.env"),
                    format!("expected the name of an environment variable, found {var:?}"),
                );
            }
            SecretSource::File(file) if file.is_empty() => {
                self.wrong(format!("{path}.file"), "expected a path, found nothing");
            }
            _ => {}
        }
    }

    fn key_name(&mut self, path: &str, name: &str) {
        if !super::is_name(name) {
            self.wrong(
                path,
                format!(
                    "expected a name of letters, digits and - _ . (at most 128), found {name:?}"
                ),
            );
        }
    }

    fn smtp(&mut self, smtp: &SmtpSpec) -> Option<SmtpDef> {
        let before = self.problems.len();
        let transport = smtp_transport(&smtp.url)
            .map_err(|m| self.wrong("smtp.url", m))
            .ok();
        let from = smtp.from.parse().map_err(|e| {
            self.wrong(
                "smtp.from",
                format!(
                    "expected a mailbox such as Name <user@example.org>, found {:?}: {}",
                    smtp.from,
                    lower(&e)
                ),
            );
        });
        if smtp.user.is_some() != smtp.password.is_some() {
            let (there, missing) = if smtp.user.is_some() {
                ("user", "password")
            } else {
                ("password", "user")
            };
            self.wrong(
                "smtp",
                format!("expected the key {missing:?} beside {there:?}, found none"),
            );
        }
        if let Some(password) = &smtp.password {
            self.secret_source("smtp.password", password);
            if let Some(SmtpTransport::Server {
                host,
                tls: SmtpTls::Offered,
                ..
            }) = &transport
                && !is_loopback(host)
            {
                self.wrong(
                    "smtp.url",
                    format!("expected smtps:// or ?tls=required where a password is sent to {host}, found {:?}", smtp.url),
                );
            }
        }
        if smtp.timeout.0.is_zero() {
            self.wrong("smtp.timeout", "expected more than 0s, found 0s");
        }
        if self.problems.len() > before {
            return None;
        }
        Some(SmtpDef {
            transport: transport?,
            from: from.ok()?,
            user: smtp.user.clone(),
            password: smtp.password.clone(),
            ca_file: smtp.ca_file.as_ref().map(PathBuf::from),
            timeout: smtp.timeout.0,
        })
    }
}

/// An error of a library as part of our sentence.
pub(super) fn lower(e: &dyn std::fmt::Display) -> String {
    let text = e.to_string();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first
            .to_lowercase()
            .chain(chars)
            .collect::<String>()
            .trim_end_matches('.')
            .to_owned(),
        None => text,
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn public_url(text: &str) -> Result<url::Url, String> {
    let wrong = |why: &str| {
        format!("expected a URL such as https://bellwether.example.org, found {text:?}{why}")
    };
    let url = url::Url::parse(text).map_err(|e| wrong(&format!(": {e}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong(", which is not http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected a URL without user and password, found one with".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(", which has a query or fragment"));
    }
    Ok(url)
}

/// Reads the `url` of `smtp:`.
///
/// # Errors
/// What was expected.
pub fn smtp_transport(text: &str) -> Result<SmtpTransport, String> {
    let forms = "smtp://host:port, smtp://host?tls=required, smtps://host or file:///folder";
    let url =
        url::Url::parse(text).map_err(|e| format!("expected {forms}, found {text:?}: {e}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected no user and password in the URL; write them as the keys user and password, the password as { env: NAME } or { file: PATH }".into());
    }
    let mut tls = match url.scheme() {
        "file" => {
            return url
                .to_file_path()
                .map(SmtpTransport::Folder)
                .map_err(|()| format!("expected a folder as file:///folder, found {text:?}"));
        }
        "smtp" => SmtpTls::Offered,
        "smtps" => SmtpTls::Wrapped,
        other => return Err(format!("expected {forms}, found the scheme {other:?}")),
    };
    for (key, value) in url.query_pairs() {
        match (&*key, &*value, tls) {
            ("tls", "required", SmtpTls::Offered | SmtpTls::Required) => tls = SmtpTls::Required,
            ("tls", "required", SmtpTls::Wrapped) => {}
            _ => {
                return Err(format!(
                    "expected no query but tls=required, found {key}={value}"
                ));
            }
        }
    }
    if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
        return Err(format!("expected {forms}, found the path {:?}", url.path()));
    }
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    if !is_host(&host) && host.parse::<IpAddr>().is_err() {
        return Err(format!(
            "expected a mail server's name in {forms}, found {host:?}"
        ));
    }
    let port = url.port().unwrap_or(match tls {
        SmtpTls::Offered => 25,
        SmtpTls::Required => 587,
        SmtpTls::Wrapped => 465,
    });
    Ok(SmtpTransport::Server { host, port, tls })
}
