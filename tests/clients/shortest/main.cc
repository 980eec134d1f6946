#include <grpcpp/grpcpp.h>
#include <httplib.h>

#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "sidecar/v1/authorization.grpc.pb.h"  // generated

namespace pb = sidecar::v1;

void Check(const grpc::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.error_message());
}

int main() {
  const auto stub = pb::AuthorizationService::NewStub(
      grpc::CreateChannel("127.0.0.1:50051", grpc::InsecureChannelCredentials()));
  nlohmann::json body = {
      {"model", "mistral-small-latest"},
      {"messages", {{{"role", "user"}, {"content", "Why is the sky blue?"}}}}};
  std::random_device random;
  pb::AuthorizeRequest request;
  request.set_request_id(std::to_string(random()) + "-" + std::to_string(random()));
  request.mutable_principal()->set_id("ada");
  request.mutable_principal()->set_role("developer");
  request.mutable_principal()->set_workspace("dev-workspace");
  request.set_model("mistral-small-latest");
  request.mutable_estimate()->set_input_bytes(body.dump().size());
  grpc::ClientContext asking, settling;
  pb::AuthorizeResponse decision;
  Check(stub->Authorize(&asking, request, &decision));  // an error: no call
  if (decision.effect() != pb::EFFECT_ALLOW) {
    for (const auto& reason : decision.reasons())
      std::cout << reason.http_status() << " " << reason.message() << "\n";
    return 0;
  }
  body["max_tokens"] = decision.max_output_tokens();
  httplib::Client mistral(std::getenv("MISTRAL_URL"));
  mistral.set_read_timeout(60);
  mistral.set_bearer_token_auth(std::getenv("MISTRAL_API_KEY"));
  const auto response = mistral.Post("/v1/chat/completions", body.dump(), "application/json");
  if (!response) throw std::runtime_error(httplib::to_string(response.error()));
  pb::SettleRequest report;
  report.set_hold_id(decision.hold_id());
  report.set_outcome(response->status == 200 ? pb::OUTCOME_OK : pb::OUTCOME_FAILED);
  if (response->status == 200) {
    const auto answer = nlohmann::json::parse(response->body);
    report.set_usage_json(answer.value("usage", nlohmann::json()).dump());
    report.set_response_model(answer.value("model", ""));
  } else if (response->status < 500) {  // refused: no tokens; else as held
    report.mutable_usage()->set_input_tokens(0);
    report.mutable_usage()->set_output_tokens(0);
  }
  pb::SettleResponse charged;
  Check(stub->Settle(&settling, report, &charged));
  std::cout << response->body << "\n";
}
