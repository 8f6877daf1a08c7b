//! Signs and verifies a Powens webhook from the shell; the body comes in on standard input, byte for byte.
//!
//! ```text
//! bi_signature sign   --secret S --method POST --endpoint E --date D < body
//! bi_signature verify --secret S --method POST --endpoint E --date D --signature SIG --max-age SECONDS|none < body
//! ```
//!
//! `sign` prints the signature alone. `verify` prints `valid` and exits 0, or `invalid: <why>` and exits 1. The
//! endpoint is signed as given: a path, a path with its query, a full URL. What cannot be done at all is said on
//! standard error, with exit code 2.

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use ringback::signature::{BiSignature, HmacKey, MaxAge, Message, Refusal, Verifier};
use ringback::system::SystemClock;
use ringback::time::Clock;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bi_signature: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Outcome<ExitCode> {
    let arguments: Result<Vec<String>, _> = std::env::args_os().skip(1).map(OsString::into_string).collect();
    let mut arguments = arguments.map_err(|_| "an argument is not UTF-8")?.into_iter();
    match arguments.next().as_deref() {
        Some("sign") => sign(&Options::read(arguments, &SIGN)?),
        Some("verify") => verify(&Options::read(arguments, &VERIFY)?),
        _ => Err("the first argument must be `sign` or `verify`".into()),
    }
}

fn sign(options: &Options) -> Outcome<ExitCode> {
    let key = HmacKey::new(options.value("--secret"))?;
    let [method, endpoint, date] = ["--method", "--endpoint", "--date"].map(|name| options.value(name));
    println!(
        "{}",
        BiSignature::mac(&key, method, endpoint, date, &body()?).to_base64()
    );
    Ok(ExitCode::SUCCESS)
}

fn verify(options: &Options) -> Outcome<ExitCode> {
    let key = HmacKey::new(options.value("--secret"))?;
    let method = Method::from_bytes(options.value("--method").as_bytes())?;
    let max_age = match options.value("--max-age") {
        "none" => MaxAge::unlimited(),
        seconds => Duration::from_secs(
            seconds
                .parse()
                .map_err(|_| "--max-age takes whole seconds, or `none`")?,
        )
        .into(),
    };
    let endpoint = options.value("--endpoint");
    let verifier = Verifier::new(BiSignature::verbatim(endpoint), [key], max_age);

    let body = body()?;
    let headers = headers(options.value("--date"), options.value("--signature"));
    let verified = headers.and_then(|headers| {
        let message = Message {
            method: &method,
            target: endpoint,
            headers: &headers,
            body: &body,
        };
        verifier.verify(&message, SystemClock.now())
    });
    Ok(match verified {
        Ok(_) => {
            println!("valid");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("invalid: {why}");
            ExitCode::FAILURE
        }
    })
}

/// The headers as the webhook would carry them. A text that cannot stand in a header was never signed.
fn headers(date: &str, signature: &str) -> Result<HeaderMap, Refusal> {
    let date = HeaderValue::from_bytes(date.as_bytes()).map_err(|_| Refusal::Mismatch)?;
    let signature = HeaderValue::from_bytes(signature.as_bytes()).map_err(|_| Refusal::MalformedSignature)?;
    let mut headers = HeaderMap::new();
    headers.insert("bi-signature-date", date);
    headers.insert("bi-signature", signature);
    Ok(headers)
}

fn body() -> Outcome<Vec<u8>> {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    Ok(body)
}

const SIGN: [&str; 4] = ["--secret", "--method", "--endpoint", "--date"];
const VERIFY: [&str; 6] = [
    "--secret",
    "--method",
    "--endpoint",
    "--date",
    "--signature",
    "--max-age",
];

/// The options of one command: each of them, once.
struct Options(HashMap<&'static str, String>);

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>, names: &[&'static str]) -> Outcome<Self> {
        let mut values = HashMap::new();
        while let Some(argument) = arguments.next() {
            let known = names.iter().find(|name| **name == argument);
            let name = known.ok_or_else(|| format!("the options are {}", names.join(", ")))?;
            let value = arguments.next().ok_or(format!("{name} lacks its value"))?;
            if values.insert(*name, value).is_some() {
                return Err(format!("{name} is given twice").into());
            }
        }
        match names.iter().find(|name| !values.contains_key(*name)) {
            Some(missing) => Err(format!("{missing} is missing").into()),
            None => Ok(Self(values)),
        }
    }

    /// The value of an option that [`read`](Self::read) made sure of.
    fn value(&self, name: &str) -> &str {
        &self.0[name]
    }
}
