//! Calls Mistral within a budget: asks the sidecar before, and tells it afterwards what was used.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt::Debug;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use pb::authorization_service_client::AuthorizationServiceClient;
use pb::{AuthorizeRequest, AuthorizeResponse, Effect, Outcome, SettleRequest, SettleResponse};

mod pb {
    tonic::include_proto!("sidecar.v1");
}

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
const AGAIN: [Code; 2] = [Code::Unavailable, Code::DeadlineExceeded];

type Sidecar = AuthorizationServiceClient<InterceptedService<Channel, Token>>;
type Fault = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let flags = Flags::read(std::env::args().skip(1)).unwrap_or_else(|message| {
        eprintln!("{message}");
        std::process::exit(2);
    });
    let sidecar = connect(&flags)?;
    let result = match flags.command.as_str() {
        "call" => call(sidecar, &flags).await,
        "stream" => within(&flags, ask_stream(sidecar, &flags)).await,
        _ => many(sidecar, &flags).await,
    };
    println!("{}", result.unwrap_or_else(|status| failed(&status, false)));
    Ok(())
}

/// Makes one call to Mistral, if it may go out.
async fn call(mut sidecar: Sidecar, flags: &Flags) -> Result<Value, Status> {
    let question = request(flags, flags.text("request-id"));
    let decision = within(flags, sidecar.authorize(question)).await?.into_inner();
    let allowed = decision.effect() == Effect::Allow;
    let report = if allowed { complete(flags, &decision).await } else { None };
    let called = report.is_some();
    let mut charged = SettleResponse::default();
    if let Some(report) = report {
        match within(flags, sidecar.settle(report)).await {
            Ok(answer) => charged = answer.into_inner(),
            Err(status) => return Ok(failed(&status, true)),
        }
    } else if allowed {
        let reason = "no connection to Mistral".to_string();
        let release = pb::ReleaseRequest { hold_id: decision.hold_id.clone(), reason };
        within(flags, sidecar.release(release)).await?;
    }
    let retry_after = decision.retry_after.unwrap_or_default();
    Ok(json!({
        "effect": if allowed { "ALLOW" } else { "DENY" },
        "reasons": decision.reasons.iter().map(|reason| &reason.code).collect::<Vec<_>>(),
        "http_status": decision.reasons.first().map_or(0, |reason| reason.http_status),
        "retry_after_seconds": retry_after.seconds as f64 + f64::from(retry_after.nanos) / 1e9,
        "called": called,
        "charged_cost_nano_usd": charged.charged_cost_nano_usd,
        "charged_tokens": charged.charged_tokens,
        "released": allowed && !called,
    }))
}

/// Calls Mistral; returns what there is to settle, or nothing where no connection came about.
async fn complete(flags: &Flags, decision: &AuthorizeResponse) -> Option<SettleRequest> {
    let hold_id = decision.hold_id.clone();
    match post(flags, decision.max_output_tokens).await {
        Ok((usage_json, response_model)) => Some(SettleRequest {
            hold_id,
            response_model,
            outcome: Outcome::Ok.into(),
            reported: Some(pb::settle_request::Reported::UsageJson(usage_json)),
        }),
        Err(error) if is_connect(error.as_ref()) => None,
        // What is unknown is spent: without a usage, a hold is charged as it was held.
        Err(_) => {
            Some(SettleRequest { hold_id, outcome: Outcome::Failed.into(), ..Default::default() })
        }
    }
}

/// Returns the usage in Mistral's response, whose whole may be too large, and its model.
async fn post(flags: &Flags, max_tokens: i64) -> Result<(String, String), Fault> {
    let body = json!({
        "model": flags.text("model"),
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "max_tokens": max_tokens,
    });
    let key = std::env::var("MISTRAL_API_KEY").unwrap_or_default();
    let mistral = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let post = mistral.post(format!("{}/v1/chat/completions", flags.text("mistral")));
    let response = post.bearer_auth(key).json(&body).send().await?.error_for_status()?;
    let completion: Value = serde_json::from_str(&response.text().await?)?;
    let model = completion["model"].as_str().unwrap_or_default().into();
    Ok((completion["usage"].to_string(), model))
}

fn is_connect(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
}

/// Asks for many calls on one stream, a bounded number of them at once.
async fn ask_stream(mut sidecar: Sidecar, flags: &Flags) -> Result<Value, Status> {
    let places = flags.number("in-flight");
    let mut ids =
        (0..flags.number::<u64>("count")).map(|n| format!("{}-{n}", flags.text("request-id")));
    let (questions, received) = mpsc::channel(places);
    let mut unanswered = HashSet::new();
    let mut ask = |unanswered: &mut HashSet<String>| {
        if let Some(request_id) = ids.next() {
            // There is room: no more can be in the channel than are unanswered.
            let _ = questions.try_send(request(flags, &request_id));
            unanswered.insert(request_id);
        }
        unanswered.len()
    };
    // All places are taken before the first answer, for a server may send no headers before it.
    let mut most_in_flight = (0..places).map(|_| ask(&mut unanswered)).max().unwrap_or(0);
    let (mut allowed, mut denied, mut unmatched) = (0, 0, 0);
    let mut answers = sidecar.authorize_stream(ReceiverStream::new(received)).await?.into_inner();
    while !unanswered.is_empty() {
        let Some(answer) = answers.message().await? else {
            break;
        };
        if !unanswered.remove(&answer.request_id) {
            unmatched += 1;
            continue;
        }
        *(if answer.effect() == Effect::Allow { &mut allowed } else { &mut denied }) += 1;
        most_in_flight = most_in_flight.max(ask(&mut unanswered));
    }
    Ok(json!({
        "answered": allowed + denied,
        "allowed": allowed,
        "denied": denied,
        "unmatched": unmatched,
        "most_in_flight": most_in_flight,
    }))
}

/// Authorizes and settles many calls, whatever happens to the sidecar meanwhile.
async fn many(sidecar: Sidecar, flags: &Flags) -> Result<Value, Status> {
    let retries = AtomicU64::new(0);
    let ends: Vec<_> = stream::iter(0..flags.number::<u64>("count"))
        .map(|number| authorize_and_settle(&sidecar, flags, number, &retries))
        .buffer_unordered(flags.number("in-flight"))
        .try_collect()
        .await?;
    let settled: Vec<_> = ends.iter().flatten().collect();
    Ok(json!({
        "allowed": settled.len(),
        "denied": ends.len() - settled.len(),
        "settled": settled.len(),
        "retries": retries.into_inner(),
        "charged_cost_nano_usd": settled.iter().map(|end| end.charged_cost_nano_usd).sum::<i64>(),
    }))
}

async fn authorize_and_settle(
    sidecar: &Sidecar,
    flags: &Flags,
    number: u64,
    retries: &AtomicU64,
) -> Result<Option<SettleResponse>, Status> {
    let give_up = Instant::now() + PATIENCE;
    // The same request_id and hold_id each time: what was decided is not decided twice.
    let question = request(flags, &format!("{}-{number}", flags.text("request-id")));
    let authorize = async || within(flags, sidecar.clone().authorize(question.clone())).await;
    let decision = patiently(authorize, give_up, retries).await?.into_inner();
    if decision.effect() != Effect::Allow {
        return Ok(None);
    }
    let report = SettleRequest {
        hold_id: decision.hold_id,
        outcome: Outcome::Ok.into(),
        reported: Some(pb::settle_request::Reported::Usage(pb::Usage {
            input_tokens: Some(flags.number("input-tokens")),
            output_tokens: Some(flags.number("max-tokens")),
            ..Default::default()
        })),
        ..Default::default()
    };
    let settle = async || within(flags, sidecar.clone().settle(report.clone())).await;
    Ok(Some(patiently(settle, give_up, retries).await?.into_inner()))
}

async fn patiently<T>(
    ask: impl AsyncFn() -> Result<T, Status>,
    give_up: Instant,
    retries: &AtomicU64,
) -> Result<T, Status> {
    loop {
        match ask().await {
            Err(status) if AGAIN.contains(&status.code()) && Instant::now() < give_up => {
                retries.fetch_add(1, Ordering::Relaxed);
                sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Bounds an RPC, and names its failures as gRPC does: for tonic, one that is late was CANCELLED,
/// and one whose connection broke UNKNOWN, with a source.
async fn within<T>(
    flags: &Flags,
    rpc: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match timeout(Duration::from_secs_f64(flags.number("deadline-seconds")), rpc).await {
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        Ok(Err(status)) if status.source().is_some() => Err(Status::unavailable(status.message())),
        Ok(answer) => answer,
    }
}

fn request(flags: &Flags, request_id: &str) -> AuthorizeRequest {
    AuthorizeRequest {
        request_id: request_id.into(),
        principal: Some(pb::Principal {
            id: flags.text("user").into(),
            role: flags.text("role").into(),
            workspace: flags.text("workspace").into(),
            key_id: flags.text("key").into(),
            ..Default::default()
        }),
        model: flags.text("model").into(),
        endpoint: pb::Endpoint::Chat.into(),
        estimate: Some(pb::Estimate {
            input: Some(pb::estimate::Input::InputTokens(flags.number("input-tokens"))),
            max_output_tokens: flags.number("max-tokens"),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn failed(status: &Status, called: bool) -> Value {
    let mut name = String::new();
    for letter in format!("{:?}", status.code()).chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    json!({"error": name, "called": called})
}

/// Connects when the first RPC does, and anew after a connection broke.
fn connect(flags: &Flags) -> Result<Sidecar, Fault> {
    let target = flags.text("target");
    let ca = flags.values.get("ca").map(std::fs::read).transpose()?;
    let channel = match ca {
        Some(ca) => Endpoint::from_shared(format!("https://{target}"))?
            .tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)))?,
        None if target.starts_with("unix:") => Endpoint::from_shared(target.to_string())?,
        None => Endpoint::from_shared(format!("http://{target}"))?,
    };
    let token = Token(flags.values.get("token").map(PathBuf::from));
    Ok(AuthorizationServiceClient::with_interceptor(channel.connect_lazy(), token))
}

/// Who calls, if that is to be proven. The file is read anew for each RPC: tokens are replaced.
#[derive(Clone)]
struct Token(Option<PathBuf>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(file) = &self.0 {
            let unreadable = |_| Status::unauthenticated("the token cannot be read");
            let token = std::fs::read_to_string(file).map_err(unreadable)?;
            let value = format!("Bearer {}", token.trim()).parse();
            let value = value.map_err(|_| Status::unauthenticated("the token is no header"))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// The command line.
struct Flags {
    command: String,
    values: HashMap<String, String>,
}

impl Flags {
    const COMMANDS: [&str; 3] = ["call", "stream", "many"];
    #[rustfmt::skip]
    const TEXTS: [&str; 10] = [
        "target", "mistral", "ca", "token", "user", "workspace", "role", "key", "model",
        "request-id",
    ];
    const NUMBERS: [(&str, &str); 5] = [
        ("input-tokens", "100"),
        ("max-tokens", "100"),
        ("count", "1"),
        ("in-flight", "4"),
        ("deadline-seconds", "5"),
    ];

    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let command = args.next().filter(|command| Self::COMMANDS.contains(&command.as_str()));
        let command = command.ok_or("usage: call|stream|many --flag value …")?;
        let mut values: HashMap<_, _> =
            Self::NUMBERS.map(|(name, value)| (name.to_string(), value.to_string())).into();
        while let Some(flag) = args.next() {
            let value = args.next().ok_or(format!("{flag} has no value"))?;
            let name = flag.strip_prefix("--").unwrap_or_default();
            if Self::NUMBERS.iter().any(|(number, _)| *number == name) {
                value.parse::<f64>().map_err(|error| format!("{flag}: {error}"))?;
            } else if !Self::TEXTS.contains(&name) {
                return Err(format!("{flag} is no flag"));
            }
            values.insert(name.to_string(), value);
        }
        match (values.get("target"), values.get("token"), values.get("ca")) {
            (None, ..) => Err("--target is missing".into()),
            (_, Some(_), None) => Err("--token needs --ca: a token goes over TLS alone".into()),
            _ => Ok(Self { command, values }),
        }
    }

    fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    fn number<T: FromStr<Err: Debug>>(&self, name: &str) -> T {
        self.text(name).parse().expect("a number")
    }
}
