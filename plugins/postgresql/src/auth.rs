//! Proofs of who we are: in clear, MD5 and SCRAM-SHA-256 (RFC 5802, RFC 7677;
//! PostgreSQL's documentation, "SASL Authentication").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bellwether_plugin::Request;
use bellwether_plugin::login::may_send;
use bellwether_plugin::net::{Connection, Error};
use bellwether_plugin::wire::unexpected;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::protocol::{Demand, Refusal, Start, read_message, read_start};

/// Most rounds that a server may demand; its own default is 4,096.
const MAX_ITERATIONS: u32 = 1_000_000;

const SCRAM: &str = "SCRAM-SHA-256";

type Digest = [u8; 32];

/// Who logs in.
pub struct Login<'a> {
    /// Role.
    pub user: &'a str,
    /// Its password.
    pub password: &'a str,
    /// True: send the password, or what it can be guessed from, without TLS to
    /// other machines, too.
    pub allow_plaintext: Option<bool>,
    /// Printable text that no other run uses and nobody else can foresee.
    pub nonce: String,
}

impl<'a> Login<'a> {
    /// A login of one run. The nonce is made from what differs between runs and
    /// from the password: a plugin has no random numbers.
    pub fn new(
        request: &Request,
        user: &'a str,
        password: &'a str,
        allow_plaintext: Option<bool>,
        connection: &dyn Connection,
    ) -> Self {
        let run = format!(
            "{}\0{}\0{}\0{}\0{}",
            request.check,
            request.node.name,
            request.now,
            request.attempt,
            connection.timings().total
        );
        let nonce = BASE64.encode(&hmac(password.as_bytes(), &[run.as_bytes()])[..18]);
        Login {
            user,
            password,
            allow_plaintext,
            nonce,
        }
    }
}

/// Gives the proof that is demanded and reads on to the start of the session.
/// [`Start::Login`] where the method is not known here.
pub fn log_in(
    connection: &dyn Connection,
    demand: Demand,
    login: &Login<'_>,
) -> Result<Start, Error> {
    match &demand {
        Demand::Clear => {
            may_send(connection, login.allow_plaintext)?;
            connection.write(&password_message(&[login.password.as_bytes(), b"\0"]))?;
        }
        Demand::Md5(salt) => {
            // Whoever reads along can guess passwords by the million.
            may_send(connection, login.allow_plaintext)?;
            let proof = md5_proof(login.user, login.password, salt);
            connection.write(&password_message(&[proof.as_bytes(), b"\0"]))?;
        }
        Demand::Sasl(methods) if methods.iter().any(|method| method == SCRAM) => {
            if let Some(refusal) = scram(connection, login)? {
                return Ok(Start::Refused(refusal));
            }
        }
        Demand::Sasl(_) | Demand::Other(_) => return Ok(Start::Login(demand)),
    }
    read_start(connection)
}

fn password_message(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = body.len() as u32 + 4;
    [b"p", &length.to_be_bytes()[..], &body].concat()
}

/// The answer to a demand for MD5.
pub fn md5_proof(user: &str, password: &str, salt: &[u8; 4]) -> String {
    let inner = hex(&Md5::digest(
        [password.as_bytes(), user.as_bytes()].concat(),
    ));
    let outer = Md5::digest([inner.as_bytes(), salt].concat());
    format!("md5{}", hex(&outer))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The exchange; a refusal where the server says no.
fn scram(connection: &dyn Connection, login: &Login<'_>) -> Result<Option<Refusal>, Error> {
    // The role is that of the start-up message.
    let first = format!("n=,r={}", login.nonce);
    // No channel binding.
    let message = format!("n,,{first}");
    let length = (message.len() as u32).to_be_bytes();
    connection.write(&password_message(&[
        SCRAM.as_bytes(),
        b"\0",
        &length,
        message.as_bytes(),
    ]))?;
    let server_first = match sasl(connection, 11)? {
        Ok(text) => text,
        Err(refusal) => return Ok(Some(refusal)),
    };
    let (last, signature) = client_final(
        &first,
        &login.nonce,
        &server_first,
        login.password.as_bytes(),
    )?;
    connection.write(&password_message(&[last.as_bytes()]))?;
    match sasl(connection, 12)? {
        // A server that does not know the password cannot say this.
        Ok(text) if text == format!("v={}", BASE64.encode(signature)) => Ok(None),
        Ok(text) => Err(unexpected("the server's proof (v=…)", text.as_bytes())),
        Err(refusal) => Ok(Some(refusal)),
    }
}

/// Reads a message of the exchange, 11 (continue) or 12 (final).
fn sasl(connection: &dyn Connection, wanted: u32) -> Result<Result<String, Refusal>, Error> {
    let message = read_message(connection)?;
    match (message.kind, message.body.split_first_chunk::<4>()) {
        (b'E', _) => Ok(Err(Refusal::read(&message.body))),
        (b'R', Some((kind, text))) if u32::from_be_bytes(*kind) == wanted => {
            Ok(Ok(String::from_utf8_lossy(text).into_owned()))
        }
        _ => Err(unexpected("an answer of SCRAM", &message.body)),
    }
}

/// The client's last message and the signature that the server must answer with.
pub fn client_final(
    first: &str,
    nonce: &str,
    server_first: &str,
    password: &[u8],
) -> Result<(String, Digest), Error> {
    let wrong = || unexpected("SCRAM's r=…,s=…,i=…", server_first.as_bytes());
    let field = |name: &str| {
        let found = server_first.split(',').find(|text| text.starts_with(name));
        found.map(|text| &text[name.len()..]).ok_or_else(wrong)
    };
    let server_nonce = field("r=")?;
    // The server's nonce continues ours: it answers us and nobody else.
    if !server_nonce.starts_with(nonce) || server_nonce.len() == nonce.len() {
        return Err(wrong());
    }
    let salt = BASE64.decode(field("s=")?).map_err(|_| wrong())?;
    let iterations: u32 = field("i=")?.parse().map_err(|_| wrong())?;
    if !(1..=MAX_ITERATIONS).contains(&iterations) {
        return Err(wrong());
    }
    let without_proof = format!("c=biws,r={server_nonce}");
    let transcript = format!("{first},{server_first},{without_proof}");
    let salted = salted_password(password, &salt, iterations);
    let client_key = hmac(&salted, &[b"Client Key"]);
    let stored_key = Sha256::digest(client_key);
    let client_signature = hmac(&stored_key, &[transcript.as_bytes()]);
    let mut proof = client_key;
    for (byte, mask) in proof.iter_mut().zip(client_signature) {
        *byte ^= mask;
    }
    let server_key = hmac(&salted, &[b"Server Key"]);
    let signature = hmac(&server_key, &[transcript.as_bytes()]);
    Ok((
        format!("{without_proof},p={}", BASE64.encode(proof)),
        signature,
    ))
}

/// `Hi` of RFC 5802: PBKDF2 with one block.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Digest {
    let keyed = keyed(password);
    let rounds = |parts: &[&[u8]]| -> Digest {
        let mut mac = keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut block = rounds(&[salt, &1_u32.to_be_bytes()]);
    let mut sum = block;
    for _ in 1..iterations {
        block = rounds(&[&block]);
        for (byte, other) in sum.iter_mut().zip(block) {
            *byte ^= other;
        }
    }
    sum
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        // HMAC takes keys of any length.
        Err(_) => unreachable!("a key of {} bytes", key.len()),
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut mac = keyed(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
