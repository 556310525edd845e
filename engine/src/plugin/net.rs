//! `net` as a run sees it: grants parsed once, secrets filled in, denials noted.

use std::sync::Arc;

use tokio::time::Instant;

use super::bindings::bellwether::plugin::net::{
    DnsQuery, DnsResponse, Error, Host, HttpRequest, HttpResponse, IcmpRequest, IcmpResponse,
    Phase, UdpRequest, UdpResponse,
};
use super::grants::NetGrants;
use super::net_http::{Client, MAX_BODY, header};
use super::replay::{DnsExchange, Exchange, HttpExchange, IcmpExchange, Replay, UdpExchange};
use super::run::{Progress, RunData};

impl RunData {
    /// The run's net grants, parsed when first needed.
    pub(super) fn net_grants(&mut self) -> Arc<NetGrants> {
        let node = self.node.as_ref().map(|node| node.address.as_str());
        let grants = &self.grants.net;
        Arc::clone(
            self.net
                .get_or_insert_with(|| Arc::new(NetGrants::new(grants, node))),
        )
    }

    /// The recording that answers in the place of the network, if so.
    pub(super) fn played(&self) -> Option<&Replay> {
        self.replay.as_ref().filter(|replay| replay.plays())
    }

    /// Keeps an exchange where a recording is made; its number.
    pub(super) fn keep(&self, exchange: impl FnOnce() -> Exchange) -> Option<usize> {
        self.replay.as_ref()?.keep(exchange)
    }

    /// Writes a denial into the run's log.
    pub(super) fn note_denial(&mut self, error: Option<&Error>) {
        if let Some(Error::Denied(what)) = error {
            self.log.push("warning", &format!("denied: {what}"));
        }
    }

    /// Bytes of the target without the secrets that were sent to it.
    pub(super) fn redacted(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.redactor.is_empty() {
            bytes
        } else {
            self.redactor.bytes(&bytes).into_owned()
        }
    }

    async fn secret_header(
        &mut self,
        name: &str,
        prefix: &str,
        secret: &str,
    ) -> Result<(http::HeaderName, http::HeaderValue), Error> {
        if !self.grants.secrets.iter().any(|granted| granted == secret) {
            return Err(Error::Denied(format!(
                "secrets {secret} is not granted; a grant would be secrets: [{secret}]"
            )));
        }
        let value = self.secret(secret).await.map_err(Error::Invalid)?;
        // The error must not show the value, so the text is made here.
        let (name, mut value) =
            header(name, &format!("{prefix}{value}")).map_err(|error| match error {
                Error::Invalid(text) if text.contains("characters") => Error::Invalid(format!(
                    "the secret {secret} has characters that headers cannot carry"
                )),
                error => error,
            })?;
        value.set_sensitive(true);
        Ok((name, value))
    }

    async fn request(
        &mut self,
        request: &HttpRequest,
        progress: &Progress,
    ) -> Result<HttpResponse, Error> {
        let mut secrets = Vec::with_capacity(request.secret_headers.len());
        for wanted in &request.secret_headers {
            secrets.push(
                self.secret_header(&wanted.name, &wanted.prefix, &wanted.secret)
                    .await?,
            );
        }
        let client = Client {
            egress: self.shared.egress(),
            tls: Arc::clone(&self.shared.tls),
            grants: self.net_grants(),
            guests: self.shared.guests.clone(),
            until: Instant::now() + self.waits.timeout,
            read_only: self.dry_run,
            secrets,
            most_body: MAX_BODY,
        };
        let mut response = client.run(request, progress).await?;
        if !self.redactor.is_empty() {
            response.body = self.redacted(response.body);
            response.url = self.redactor.text(response.url);
            for header in &mut response.headers {
                header.value = self.redactor.text(std::mem::take(&mut header.value));
            }
        }
        Ok(response)
    }
}

impl Host for RunData {
    async fn http(
        &mut self,
        request: HttpRequest,
    ) -> wasmtime::Result<Result<HttpResponse, Error>> {
        let (progress, waits) = (Progress::new(Phase::Resolve), self.waits);
        let result = match self.played() {
            Some(replay) => replay.http(&request)?,
            None => {
                let asking = self.request(&request, &progress);
                waits.on_target(&progress, asking).await?
            }
        };
        self.keep(|| Exchange::Http(HttpExchange::of(&request, &result)));
        self.note_denial(result.as_ref().err());
        Ok(result)
    }

    async fn udp(&mut self, request: UdpRequest) -> wasmtime::Result<Result<UdpResponse, Error>> {
        let now = self.shared.clock.now().micros();
        let result = match self.played() {
            Some(replay) => replay.udp(&request, now)?,
            None => self.serve_udp(&request).await?,
        };
        self.keep(|| Exchange::Udp(UdpExchange::of(&request, &result)));
        Ok(result)
    }

    async fn dns(&mut self, query: DnsQuery) -> wasmtime::Result<Result<DnsResponse, Error>> {
        let result = match self.played() {
            Some(replay) => replay.dns(&query)?,
            None => self.serve_dns(&query).await?,
        };
        self.keep(|| Exchange::Dns(DnsExchange::of(&query, &result)));
        Ok(result)
    }

    async fn icmp(
        &mut self,
        request: IcmpRequest,
    ) -> wasmtime::Result<Result<IcmpResponse, Error>> {
        let result = match self.played() {
            Some(replay) => replay.icmp(&request)?,
            None => self.serve_icmp(&request).await?,
        };
        self.keep(|| Exchange::Icmp(IcmpExchange::of(&request, &result)));
        Ok(result)
    }
}
