//! A real SMTP server for tests: it keeps what it is given and misbehaves on
//! demand.
//!
//! It speaks EHLO, STARTTLS, AUTH PLAIN and LOGIN, MAIL, RCPT, DATA with
//! dot-unstuffing, RSET, NOOP and QUIT, over plain TCP or implicit TLS, and can
//! go down and come back at the same port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[path = "mime.rs"]
mod mime;

pub use mime::Received;

/// How long a test waits for mails before it fails; never what it asserts.
const PATIENCE: Duration = Duration::from_secs(60);

/// A step of the conversation that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// In the middle of the mail: only `Hang` and `Close` make sense.
    InBody,
    /// After the final dot, before the mail is kept.
    Body,
    /// The mail is kept, the reply is still to come.
    Kept,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This reply instead of the usual one.
    Reply(&'static str),
    /// No reply until the fault is cleared, then the usual one.
    Hold,
    /// The connection is closed.
    Close,
}

/// The server; it stops when dropped.
pub struct SmtpServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    implicit_tls: bool,
    /// Certificate to trust, in PEM.
    pub certificate: String,
    tasks: TaskTracker,
    up: Mutex<CancellationToken>,
}

struct Shared {
    faults: Mutex<HashMap<(Stage, Option<String>), Fault>>,
    mails: watch::Sender<Vec<Received>>,
    /// Counts changes of `faults`, and commands seen.
    changed: watch::Sender<u64>,
    /// Verbs in the order of arrival.
    commands: watch::Sender<Vec<String>>,
    connections: Mutex<usize>,
    login: Option<(String, String)>,
    offer_starttls: bool,
}

/// How the server is built.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub implicit_tls: bool,
    pub offer_starttls: bool,
    /// Demands this user and password before MAIL.
    pub login: Option<(String, String)>,
}

impl SmtpServer {
    /// A plain server at a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            addr: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                faults: Mutex::default(),
                mails: watch::Sender::default(),
                changed: watch::Sender::default(),
                commands: watch::Sender::default(),
                connections: Mutex::default(),
                login: options.login,
                offer_starttls: options.offer_starttls,
            }),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            implicit_tls: options.implicit_tls,
            certificate: made.cert.pem(),
            tasks: TaskTracker::new(),
            up: Mutex::new(CancellationToken::new()),
        };
        server.listen(listener);
        server
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening and closes every connection.
    pub fn down(&self) {
        self.up.lock().cancel();
    }

    /// Listens again at the same port.
    pub async fn up(&self) {
        *self.up.lock() = CancellationToken::new();
        // The port is free as soon as the old listener was dropped.
        for _ in 0..1_000 {
            if let Ok(listener) = TcpListener::bind(self.addr).await {
                return self.listen(listener);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("cannot listen at {} again", self.addr);
    }

    /// Makes `stage` fail for everybody, or for one recipient (at RCPT).
    pub fn fail(&self, stage: Stage, recipient: Option<&str>, fault: Fault) {
        let key = (stage, recipient.map(str::to_owned));
        self.shared.faults.lock().insert(key, fault);
        self.shared.changed.send_modify(|n| *n += 1);
    }

    /// No faults any more; what was held goes on.
    pub fn heal(&self) {
        self.shared.faults.lock().clear();
        self.shared.changed.send_modify(|n| *n += 1);
    }

    /// Mails kept so far.
    pub fn mails(&self) -> Vec<Received> {
        self.shared.mails.borrow().clone()
    }

    /// Waits until at least `n` mails were kept.
    pub async fn wait_for(&self, n: usize) -> Vec<Received> {
        let mut mails = self.shared.mails.subscribe();
        let waiting = mails.wait_for(|m| m.len() >= n);
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(kept) => kept.unwrap().clone(),
            Err(_) => panic!("{n} mails expected, found {:#?}", self.mails()),
        }
    }

    /// Waits until `verb` was received at least `n` times.
    pub async fn wait_for_command(&self, verb: &str, n: usize) {
        let mut commands = self.shared.commands.subscribe();
        let seen = |c: &Vec<String>| c.iter().filter(|c| *c == verb).count();
        let waiting = commands.wait_for(|c| seen(c) >= n);
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!(
                "{n} × {verb} expected, found {:?}",
                self.shared.commands.borrow()
            );
        }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock()
    }

    fn listen(&self, listener: TcpListener) {
        let up = self.up.lock().clone();
        let (shared, acceptor) = (Arc::clone(&self.shared), self.acceptor.clone());
        let (implicit, tasks) = (self.implicit_tls, self.tasks.clone());
        self.tasks
            .spawn(up.clone().run_until_cancelled_owned(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let number = {
                        let mut connections = shared.connections.lock();
                        *connections += 1;
                        *connections
                    };
                    let session = Session {
                        shared: Arc::clone(&shared),
                        acceptor: acceptor.clone(),
                        number,
                        tls: implicit,
                        user: None,
                    };
                    let talk = async move {
                        // A broken connection is what many tests are about.
                        let _ = match implicit {
                            false => session.serve(stream).await,
                            true => match session.acceptor.accept(stream).await {
                                Ok(stream) => session.serve(stream).await,
                                Err(e) => Err(e),
                            },
                        };
                    };
                    tasks.spawn(up.clone().run_until_cancelled_owned(talk));
                }
            }));
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.down();
    }
}

struct Session {
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    number: usize,
    tls: bool,
    user: Option<String>,
}

/// What a fault leaves to be done.
enum Verdict {
    Usual,
    Instead(&'static str),
    Close,
}

impl Session {
    async fn meet(&self, stage: Stage, recipient: Option<&str>) -> Verdict {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let fault = {
                let faults = self.shared.faults.lock();
                let own = recipient.and_then(|r| faults.get(&(stage, Some(r.to_owned()))));
                own.or_else(|| faults.get(&(stage, None))).cloned()
            };
            match fault {
                None => return Verdict::Usual,
                Some(Fault::Reply(text)) => return Verdict::Instead(text),
                Some(Fault::Close) => return Verdict::Close,
                Some(Fault::Hold) => {
                    if changed.changed().await.is_err() {
                        return Verdict::Close;
                    }
                }
            }
        }
    }

    async fn serve<S>(mut self, stream: S) -> std::io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stream = BufReader::new(stream);
        if !self
            .answer(&mut stream, Stage::Greeting, "220 test ready")
            .await?
        {
            return Ok(());
        }
        if self.talk(&mut stream).await? {
            let tls = self.acceptor.accept(stream.into_inner()).await?;
            self.tls = true;
            self.talk(&mut BufReader::new(tls)).await?;
        }
        Ok(())
    }

    /// Sends the usual reply or what a fault makes of it; false closes.
    async fn answer<S>(&self, s: &mut BufReader<S>, at: Stage, usual: &str) -> std::io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let text = match self.meet(at, None).await {
            Verdict::Close => return Ok(false),
            Verdict::Usual => usual,
            Verdict::Instead(text) => text,
        };
        reply(s, text).await?;
        Ok(true)
    }

    /// Serves commands; true where TLS is to start.
    async fn talk<S>(&mut self, s: &mut BufReader<S>) -> std::io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut from, mut to) = (None::<String>, Vec::<String>::new());
        while let Some(line) = read_line(s).await? {
            let verb = line
                .split([' ', ':'])
                .next()
                .unwrap_or("")
                .to_ascii_uppercase();
            self.shared.commands.send_modify(|c| c.push(verb.clone()));
            let open = match verb.as_str() {
                "EHLO" | "HELO" => {
                    let starttls = match self.shared.offer_starttls && !self.tls {
                        true => "250-STARTTLS\r\n",
                        false => "",
                    };
                    let auth = match self.shared.login {
                        Some(_) => "250-AUTH PLAIN LOGIN\r\n",
                        None => "",
                    };
                    let text =
                        format!("250-test\r\n{starttls}{auth}250-8BITMIME\r\n250 PIPELINING");
                    self.answer(s, Stage::Ehlo, &text).await?
                }
                "STARTTLS" => match self.meet(Stage::StartTls, None).await {
                    Verdict::Close => false,
                    Verdict::Instead(text) => reply(s, text).await.map(|()| true)?,
                    Verdict::Usual => {
                        reply(s, "220 go ahead").await?;
                        return Ok(true);
                    }
                },
                "AUTH" => match self.meet(Stage::Auth, None).await {
                    Verdict::Close => false,
                    Verdict::Instead(text) => reply(s, text).await.map(|()| true)?,
                    Verdict::Usual => self.login(s, &line).await.map(|()| true)?,
                },
                "MAIL" if self.shared.login.is_some() && self.user.is_none() => {
                    reply(s, "530 5.7.0 authentication required").await?;
                    true
                }
                "MAIL" => {
                    from = Some(address(&line));
                    to.clear();
                    self.answer(s, Stage::Mail, "250 2.1.0 ok").await?
                }
                "RCPT" => {
                    let recipient = address(&line);
                    match self.meet(Stage::Rcpt, Some(&recipient)).await {
                        Verdict::Close => false,
                        Verdict::Instead(text) => reply(s, text).await.map(|()| true)?,
                        Verdict::Usual => {
                            to.push(recipient);
                            reply(s, "250 2.1.5 ok").await.map(|()| true)?
                        }
                    }
                }
                "DATA" if to.is_empty() => reply(s, "503 no recipient").await.map(|()| true)?,
                "DATA" => match self.meet(Stage::Data, None).await {
                    Verdict::Close => false,
                    Verdict::Instead(text) => reply(s, text).await.map(|()| true)?,
                    Verdict::Usual => {
                        let from = from.take().unwrap_or_default();
                        self.data(s, from, std::mem::take(&mut to)).await?
                    }
                },
                "RSET" => {
                    (from, to) = (None, Vec::new());
                    reply(s, "250 2.0.0 reset").await.map(|()| true)?
                }
                "NOOP" => reply(s, "250 2.0.0 ok").await.map(|()| true)?,
                "QUIT" => {
                    reply(s, "221 2.0.0 bye").await?;
                    false
                }
                _ => reply(s, "500 5.5.2 unknown command").await.map(|()| true)?,
            };
            if !open {
                break;
            }
        }
        Ok(false)
    }

    async fn data<S>(
        &self,
        s: &mut BufReader<S>,
        from: String,
        to: Vec<String>,
    ) -> std::io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        reply(s, "354 end with a dot").await?;
        let mut raw = String::new();
        loop {
            if matches!(self.meet(Stage::InBody, None).await, Verdict::Close) {
                return Ok(false);
            }
            match read_line(s).await? {
                None => return Ok(false),
                Some(line) if line == "." => break,
                Some(line) => {
                    raw.push_str(line.strip_prefix('.').unwrap_or(&line));
                    raw.push_str("\r\n");
                }
            }
        }
        match self.meet(Stage::Body, None).await {
            Verdict::Close => return Ok(false),
            Verdict::Instead(text) => return reply(s, text).await.map(|()| true),
            Verdict::Usual => {}
        }
        let mail = Received {
            from,
            to,
            raw,
            tls: self.tls,
            user: self.user.clone(),
            connection: self.number,
        };
        let mut number = 0;
        self.shared.mails.send_modify(|mails| {
            mails.push(mail);
            number = mails.len();
        });
        self.answer(s, Stage::Kept, &format!("250 2.0.0 kept as {number}"))
            .await
    }

    async fn login<S>(&mut self, s: &mut BufReader<S>, line: &str) -> std::io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let decode = |text: &str| {
            let bytes = BASE64.decode(text.trim()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let words: Vec<&str> = line.split(' ').collect();
        let given = match words.get(1).map(|m| m.to_ascii_uppercase()).as_deref() {
            Some("PLAIN") => {
                let response = match words.get(2) {
                    Some(initial) => decode(initial),
                    None => {
                        reply(s, "334 ").await?;
                        decode(&read_line(s).await?.unwrap_or_default())
                    }
                };
                let mut fields = response.split('\0').skip(1).map(str::to_owned);
                fields.next().zip(fields.next())
            }
            Some("LOGIN") => {
                reply(s, "334 VXNlcm5hbWU6").await?;
                let user = decode(&read_line(s).await?.unwrap_or_default());
                reply(s, "334 UGFzc3dvcmQ6").await?;
                let password = decode(&read_line(s).await?.unwrap_or_default());
                Some((user, password))
            }
            _ => None,
        };
        if given.is_some() && given == self.shared.login {
            self.user = given.map(|g| g.0);
            return reply(s, "235 2.7.0 welcome").await;
        }
        reply(s, "535 5.7.8 wrong user or password").await
    }
}

async fn reply<S>(s: &mut BufReader<S>, text: &str) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    s.get_mut()
        .write_all(format!("{text}\r\n").as_bytes())
        .await?;
    s.get_mut().flush().await
}

async fn read_line<S: AsyncRead + Unpin>(s: &mut BufReader<S>) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if s.read_until(b'\n', &mut bytes).await? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// What stands between the angle brackets.
fn address(line: &str) -> String {
    let inside = line.split('<').nth(1).and_then(|l| l.split('>').next());
    inside.unwrap_or_default().to_owned()
}
