// Calls Mistral within a budget: asks the sidecar before, and tells it afterwards what was used.
#include <grpcpp/grpcpp.h>
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <future>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "sidecar/v1/authorization.grpc.pb.h"

namespace {

namespace pb = sidecar::v1;
using nlohmann::json;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kPatience = 60s;
constexpr auto kPause = 50ms;

// The names of gRPC's status codes, by number.
constexpr const char* kCodes[] = {
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};

// An RPC that failed.
struct Failed : std::runtime_error {
  explicit Failed(const grpc::Status& status)
      : std::runtime_error(status.error_message()), code(status.error_code()) {}

  json Result(bool called) const { return {{"error", kCodes[code]}, {"called", called}}; }

  bool MayPass() const {
    return code == grpc::StatusCode::UNAVAILABLE || code == grpc::StatusCode::DEADLINE_EXCEEDED;
  }

  grpc::StatusCode code;
};

std::string Read(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) throw std::runtime_error("cannot read " + file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// The command line.
class Flags {
 public:
  // Throws std::invalid_argument where it is wrong.
  explicit Flags(const std::vector<std::string>& args) {
    if (args.empty() || !std::set<std::string>{"call", "stream", "many"}.contains(args[0]))
      throw std::invalid_argument("usage: call|stream|many --flag value …");
    command = args[0];
    for (size_t at = 1; at < args.size(); at += 2) {
      const auto name = args[at].starts_with("--") ? args[at].substr(2) : "";
      const bool number = numbers_.contains(name);
      if (at + 1 == args.size() || !(number || texts_.contains(name)))
        throw std::invalid_argument("not a flag with a value: " + args[at]);
      if (number)
        numbers_[name] = std::stod(args[at + 1]);
      else
        texts_[name] = args[at + 1];
    }
    if (Text("target").empty()) throw std::invalid_argument("--target is missing");
    if (!Text("token").empty() && Text("ca").empty())
      throw std::invalid_argument("--token needs --ca: a token goes over TLS alone");
  }

  const std::string& Text(const std::string& name) const { return texts_.at(name); }
  double Number(const std::string& name) const { return numbers_.at(name); }

  std::string command;

 private:
  std::map<std::string, std::string> texts_ = {
      {"target", ""}, {"mistral", ""}, {"ca", ""},  {"token", ""}, {"user", ""},
      {"workspace", ""}, {"role", ""}, {"key", ""}, {"model", ""}, {"request-id", ""}};
  std::map<std::string, double> numbers_ = {{"input-tokens", 100}, {"max-tokens", 100},
                                            {"count", 1}, {"in-flight", 4},
                                            {"deadline-seconds", 5}};
};

// Who calls. The file is read anew for each RPC: tokens are replaced.
class Token : public grpc::MetadataCredentialsPlugin {
 public:
  explicit Token(std::string file) : file_(std::move(file)) {}

  grpc::Status GetMetadata(grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
                           std::multimap<grpc::string, grpc::string>* metadata) override {
    auto token = Read(file_);
    token.erase(token.find_last_not_of(" \r\n") + 1);
    metadata->emplace("authorization", "Bearer " + token);
    return grpc::Status::OK;
  }

 private:
  std::string file_;
};

class Client {
 public:
  explicit Client(const Flags& flags) : flags_(flags) {
    grpc::ChannelArguments arguments;
    // A sidecar that restarts is found again soon; gRPC would wait for up to two minutes.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    auto credentials = grpc::InsecureChannelCredentials();
    if (const auto& ca = flags.Text("ca"); !ca.empty())
      credentials = grpc::SslCredentials({.pem_root_certs = Read(ca)});
    if (const auto& token = flags.Text("token"); !token.empty())
      credentials = grpc::CompositeChannelCredentials(
          credentials, grpc::MetadataCredentialsFromPlugin(std::make_unique<Token>(token)));
    stub_ = pb::AuthorizationService::NewStub(
        grpc::CreateCustomChannel(flags.Text("target"), credentials, arguments));
  }

  // Makes one call to Mistral, if it may go out.
  json Call() {
    const auto decision = Ask(&Stub::Authorize, Request(flags_.Text("request-id")));
    const bool allowed = decision.effect() == pb::EFFECT_ALLOW;
    const auto report = allowed ? Complete(decision) : std::nullopt;
    pb::SettleResponse charged;
    if (report) {
      try {
        charged = Ask(&Stub::Settle, *report);
      } catch (const Failed& failed) {
        return failed.Result(true);
      }
    } else if (allowed) {
      pb::ReleaseRequest release;
      release.set_hold_id(decision.hold_id());
      release.set_reason("no connection to Mistral");
      Ask(&Stub::Release, release);
    }
    auto reasons = json::array();
    for (const auto& reason : decision.reasons()) reasons.push_back(reason.code());
    const auto& retry_after = decision.retry_after();
    return {
        {"effect", allowed ? "ALLOW" : "DENY"},
        {"reasons", reasons},
        {"http_status", reasons.empty() ? 0 : decision.reasons(0).http_status()},
        {"retry_after_seconds", retry_after.seconds() + retry_after.nanos() / 1e9},
        {"called", report.has_value()},
        {"charged_cost_nano_usd", charged.charged_cost_nano_usd()},
        {"charged_tokens", charged.charged_tokens()},
        {"released", allowed && !report},
    };
  }

  // Asks for many calls on one stream, a bounded number of them at once.
  json Stream() {
    const int count = flags_.Number("count");
    const size_t places = flags_.Number("in-flight");
    int sent = 0, allowed = 0, denied = 0, unmatched = 0;
    size_t most_in_flight = 0;
    std::set<std::string> unanswered;
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    const auto stream = stub_->AuthorizeStream(&context);
    const auto fill = [&] {
      for (; sent < count && unanswered.size() < places; ++sent) {
        unanswered.insert(RequestId(sent));
        stream->Write(Request(RequestId(sent)));
      }
      most_in_flight = std::max(most_in_flight, unanswered.size());
    };
    pb::AuthorizeResponse answer;
    for (fill(); !unanswered.empty() && stream->Read(&answer); fill()) {
      if (unanswered.erase(answer.request_id()) == 0)
        ++unmatched;
      else
        ++(answer.effect() == pb::EFFECT_ALLOW ? allowed : denied);
    }
    stream->WritesDone();
    if (const auto status = stream->Finish(); !status.ok()) throw Failed(status);
    return {{"answered", allowed + denied},
            {"allowed", allowed},
            {"denied", denied},
            {"unmatched", unmatched},
            {"most_in_flight", most_in_flight}};
  }

  // Authorizes and settles many calls, whatever happens to the sidecar meanwhile.
  json Many() {
    const int count = flags_.Number("count");
    std::atomic<int> next = 0, settled = 0, denied = 0, retries = 0;
    std::atomic<int64_t> cost = 0;
    const auto work = [&] {
      for (int number; (number = next++) < count;) {
        if (const auto charged = AuthorizeAndSettle(number, retries)) {
          ++settled;
          cost += charged->charged_cost_nano_usd();
        } else {
          ++denied;
        }
      }
    };
    std::vector<std::future<void>> workers;
    for (int worker = 0; worker < flags_.Number("in-flight"); ++worker)
      workers.push_back(std::async(std::launch::async, work));
    for (auto& worker : workers) worker.get();
    return {{"allowed", settled.load()},
            {"denied", denied.load()},
            {"settled", settled.load()},
            {"retries", retries.load()},
            {"charged_cost_nano_usd", cost.load()}};
  }

 private:
  using Stub = pb::AuthorizationService::Stub;

  template <typename Question, typename Answer>
  using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Question&, Answer*);

  // Throws Failed.
  template <typename Question, typename Answer>
  Answer Ask(Method<Question, Answer> method, const Question& question, bool wait = false) {
    grpc::ClientContext context;
    context.set_wait_for_ready(wait);
    context.set_deadline(Deadline());
    Answer answer;
    const auto status = (stub_.get()->*method)(&context, question, &answer);
    if (!status.ok()) throw Failed(status);
    return answer;
  }

  template <typename Question, typename Answer>
  Answer AskPatiently(Method<Question, Answer> method, const Question& question,
                      steady_clock::time_point give_up, std::atomic<int>& retries) {
    for (;; std::this_thread::sleep_for(kPause), ++retries) {
      try {
        // While calls wait, they look after the connection; else gRPC does, every 5 seconds.
        return Ask(method, question, true);
      } catch (const Failed& failed) {
        if (!failed.MayPass() || steady_clock::now() > give_up) throw;
      }
    }
  }

  std::optional<pb::SettleResponse> AuthorizeAndSettle(int number, std::atomic<int>& retries) {
    const auto give_up = steady_clock::now() + kPatience;
    // The same request_id and hold_id each time: what was decided is not decided twice.
    const auto decision =
        AskPatiently(&Stub::Authorize, Request(RequestId(number)), give_up, retries);
    if (decision.effect() != pb::EFFECT_ALLOW) return std::nullopt;
    pb::SettleRequest report;
    report.set_hold_id(decision.hold_id());
    report.mutable_usage()->set_input_tokens(flags_.Number("input-tokens"));
    report.mutable_usage()->set_output_tokens(flags_.Number("max-tokens"));
    report.set_outcome(pb::OUTCOME_OK);
    return AskPatiently(&Stub::Settle, report, give_up, retries);
  }

  // Calls Mistral; returns what there is to settle, or nothing where no connection came about.
  std::optional<pb::SettleRequest> Complete(const pb::AuthorizeResponse& decision) const {
    const json body = {
        {"model", flags_.Text("model")},
        {"messages", {{{"role", "user"}, {"content", "Why is the sky blue?"}}}},
        {"max_tokens", decision.max_output_tokens()},
    };
    const char* key = std::getenv("MISTRAL_API_KEY");
    httplib::Client mistral(flags_.Text("mistral"));
    mistral.set_read_timeout(kPatience);
    mistral.set_bearer_token_auth(key == nullptr ? "" : key);
    const auto response =
        mistral.Post("/v1/chat/completions", body.dump(), "application/json");
    if (response.error() == httplib::Error::Connection) return std::nullopt;
    pb::SettleRequest report;
    report.set_hold_id(decision.hold_id());
    // What is unknown is spent: without a usage, a hold is charged as it was held.
    report.set_outcome(pb::OUTCOME_FAILED);
    if (response && response->status == 200) {
      const json completion = json::parse(response->body);
      report.set_usage_json(completion.value("usage", json()).dump());  // the whole may be too large
      report.set_response_model(completion.value("model", ""));
      report.set_outcome(pb::OUTCOME_OK);
    }
    return report;
  }

  pb::AuthorizeRequest Request(const std::string& request_id) const {
    pb::AuthorizeRequest request;
    request.set_request_id(request_id);
    auto& principal = *request.mutable_principal();
    principal.set_id(flags_.Text("user"));
    principal.set_role(flags_.Text("role"));
    principal.set_workspace(flags_.Text("workspace"));
    principal.set_key_id(flags_.Text("key"));
    request.set_model(flags_.Text("model"));
    request.set_endpoint(pb::ENDPOINT_CHAT);
    request.mutable_estimate()->set_input_tokens(flags_.Number("input-tokens"));
    request.mutable_estimate()->set_max_output_tokens(flags_.Number("max-tokens"));
    return request;
  }

  std::string RequestId(int number) const {
    return flags_.Text("request-id") + "-" + std::to_string(number);
  }

  std::chrono::system_clock::time_point Deadline() const {
    const std::chrono::duration<double> time(flags_.Number("deadline-seconds"));
    return std::chrono::system_clock::now() +
           std::chrono::duration_cast<std::chrono::system_clock::duration>(time);
  }

  const Flags flags_;
  std::unique_ptr<Stub> stub_;
};

json Run(const Flags& flags) {
  Client client(flags);
  try {
    if (flags.command == "call") return client.Call();
    if (flags.command == "stream") return client.Stream();
    return client.Many();
  } catch (const Failed& failed) {
    return failed.Result(false);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::cout << Run(Flags({argv + 1, argv + argc})) << std::endl;
  } catch (const std::invalid_argument& wrong) {
    std::cerr << wrong.what() << std::endl;
    return 2;
  } catch (const std::exception& fault) {
    std::cerr << fault.what() << std::endl;
    return 1;
  }
}
