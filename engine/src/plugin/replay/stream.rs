//! A recorded conversation in the place of a connection.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Replay;
use super::convert::shown;
use super::words::{Bytes, CertificateWords, Step, TcpExchange, TlsWords};
use crate::plugin::bindings::bellwether::plugin::net::{Certificate, Error, Timings, TlsInfo};

/// A peer that says what it once said.
#[derive(Debug)]
pub(in super::super) struct Played {
    replay: Replay,
    /// The call, for texts.
    name: String,
    recorded: TcpExchange,
    steps: Arc<Mutex<VecDeque<Step>>>,
    certificate: Option<CertificateWords>,
    tls_info: Option<TlsWords>,
}

impl Played {
    pub(super) fn new(
        replay: Replay,
        name: String,
        mut recorded: TcpExchange,
        steps: Arc<Mutex<VecDeque<Step>>>,
    ) -> Self {
        Self {
            replay,
            name,
            certificate: recorded.certificate.take(),
            tls_info: recorded.tls_info.take(),
            recorded,
            steps,
        }
    }

    pub fn peer(&self) -> String {
        self.recorded.peer.clone()
    }

    pub fn timings(&self) -> Timings {
        (&self.recorded.timings).into()
    }

    pub fn certificate(&self) -> Option<Certificate> {
        self.certificate.as_ref().map(Into::into)
    }

    pub fn tls_info(&self) -> Option<TlsInfo> {
        self.tls_info.as_ref().map(Into::into)
    }

    /// What the recorded upgrade gave.
    pub fn start_tls(&mut self) -> Result<(), Error> {
        let next = self.steps.lock().pop_front();
        match next {
            Some(Step::StartTls(tls)) => {
                let tls = *tls;
                if let Some(error) = &tls.error {
                    return Err(error.into());
                }
                self.certificate = tls.certificate;
                self.tls_info = tls.tls_info;
                Ok(())
            }
            other => Err(Error::Closed(self.blame("TLS begins", other.as_ref()))),
        }
    }

    fn blame(&self, found: &str, expected: Option<&Step>) -> String {
        let expected = match expected {
            None => "nothing further".to_owned(),
            Some(Step::Send(bytes)) => {
                format!(
                    "that the plugin sends {}",
                    shown(&bytes.decode().unwrap_or_default())
                )
            }
            Some(Step::Receive(bytes)) => {
                format!(
                    "that it reads {}",
                    shown(&bytes.decode().unwrap_or_default())
                )
            }
            Some(Step::StartTls(_)) => "that TLS begins".to_owned(),
            Some(Step::Error(_)) => "an error".to_owned(),
        };
        let text = format!("{}: found that {found}, recorded was {expected}", self.name);
        self.replay.blame(text.clone());
        text
    }

    /// Takes what is sent off the recording.
    fn sent(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut steps = self.steps.lock();
            // The peer may say something first that nobody has read yet.
            let Some(at) = steps.iter().position(|step| matches!(step, Step::Send(_))) else {
                let next = steps.front().cloned();
                drop(steps);
                return Err(self.wrong(data, next));
            };
            let expected = match &steps[at] {
                Step::Send(bytes) => bytes.decode().unwrap_or_default(),
                _ => Vec::new(),
            };
            let count = data.len().min(expected.len());
            if data[..count] != expected[..count] {
                let next = steps.get(at).cloned();
                drop(steps);
                return Err(self.wrong(data, next));
            }
            if count == expected.len() {
                steps.remove(at);
            } else if let Some(step) = steps.get_mut(at) {
                *step = Step::Send(Bytes::of(&expected[count..]));
            }
            data = &data[count..];
        }
        Ok(())
    }

    fn wrong(&self, data: &[u8], next: Option<Step>) -> io::Error {
        let found = format!("the plugin sends {}", shown(data));
        let text = self.blame(&found, next.as_ref());
        io::Error::other(Error::Closed(text))
    }
}

impl AsyncRead for Played {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut steps = self.steps.lock();
        match steps.front().cloned() {
            None => {}
            Some(Step::Receive(bytes)) => {
                let bytes = bytes.decode().unwrap_or_default();
                let count = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes[..count]);
                steps.pop_front();
                if count < bytes.len() {
                    steps.push_front(Step::Receive(Bytes::of(&bytes[count..])));
                }
            }
            Some(Step::Error(error)) => {
                return Poll::Ready(Err(io::Error::other(Error::from(&error))));
            }
            Some(next @ (Step::Send(_) | Step::StartTls(_))) => {
                drop(steps);
                let text = self.blame("the plugin reads", Some(&next));
                return Poll::Ready(Err(io::Error::other(Error::Closed(text))));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Played {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.sent(data).map(|()| data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
