use pb::authorization_service_client::AuthorizationServiceClient;
use pb::{estimate::Input, settle_request::Reported, *};
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};

mod pb {
    tonic::include_proto!("sidecar.v1"); // generated
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sidecar = AuthorizationServiceClient::connect("http://127.0.0.1:50051").await?;
    let mut body = json!({
        "model": "mistral-small-latest",
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    });
    let question = AuthorizeRequest {
        request_id: format!("{:x}", RandomState::new().hash_one("a random number")),
        principal: Some(Principal {
            id: "ada".into(),
            role: "developer".into(),
            workspace: "dev-workspace".into(),
            ..Default::default()
        }),
        model: "mistral-small-latest".into(),
        estimate: Some(Estimate {
            input: Some(Input::InputBytes(body.to_string().len() as i64)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let decision = sidecar.authorize(question).await?.into_inner(); // an error: no call
    if decision.effect() != Effect::Allow {
        for reason in decision.reasons {
            println!("{} {}", reason.http_status, reason.message);
        }
        return Ok(());
    }
    body["max_tokens"] = decision.max_output_tokens.into();
    let response = reqwest::Client::new()
        .post(std::env::var("MISTRAL_URL")? + "/v1/chat/completions")
        .bearer_auth(std::env::var("MISTRAL_API_KEY")?)
        .json(&body)
        .send()
        .await?;
    let status = response.status();
    let text = response.text().await?;
    let mut report = SettleRequest { hold_id: decision.hold_id, ..Default::default() };
    report.set_outcome(Outcome::Failed);
    if status.is_success() {
        let answer: Value = serde_json::from_str(&text)?;
        report.reported = Some(Reported::UsageJson(answer["usage"].to_string()));
        report.response_model = answer["model"].as_str().unwrap_or_default().into();
        report.set_outcome(Outcome::Ok);
    } else if status.is_client_error() { // refused: no tokens; else as held
        let none = Usage { input_tokens: Some(0), output_tokens: Some(0), ..Default::default() };
        report.reported = Some(Reported::Usage(none));
    }
    sidecar.settle(report).await?;
    println!("{text}");
    Ok(())
}
