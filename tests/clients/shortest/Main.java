import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.gson.JsonParser;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.UUID;
import sidecar.v1.Authorization.*; // generated, as is the next
import sidecar.v1.AuthorizationServiceGrpc;

class Main {
  public static void main(String[] args) throws Exception {
    var plain = InsecureChannelCredentials.create();
    var channel = Grpc.newChannelBuilder("127.0.0.1:50051", plain).build();
    var sidecar = AuthorizationServiceGrpc.newBlockingV2Stub(channel);
    var body = JsonParser.parseString("""
        {"model": "mistral-small-latest",
         "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
        """).getAsJsonObject();
    var decision = sidecar.authorize(AuthorizeRequest.newBuilder() // an exception: no call
        .setRequestId(UUID.randomUUID().toString())
        .setPrincipal(Principal.newBuilder()
            .setId("ada").setRole("developer").setWorkspace("dev-workspace"))
        .setModel("mistral-small-latest")
        .setEstimate(Estimate.newBuilder().setInputBytes(body.toString().getBytes(UTF_8).length))
        .build());
    if (decision.getEffect() != Effect.EFFECT_ALLOW) {
      for (var reason : decision.getReasonsList())
        System.out.println(reason.getHttpStatus() + " " + reason.getMessage());
      return;
    }
    body.addProperty("max_tokens", decision.getMaxOutputTokens());
    var url = URI.create(System.getenv("MISTRAL_URL") + "/v1/chat/completions");
    var post = HttpRequest.newBuilder(url)
        .header("Authorization", "Bearer " + System.getenv("MISTRAL_API_KEY"))
        .header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(body.toString())).build();
    var response = HttpClient.newHttpClient().send(post, HttpResponse.BodyHandlers.ofString());
    var report = SettleRequest.newBuilder()
        .setHoldId(decision.getHoldId()).setOutcome(Outcome.OUTCOME_FAILED);
    if (response.statusCode() == 200) {
      var answer = JsonParser.parseString(response.body()).getAsJsonObject();
      report.setUsageJson(String.valueOf(answer.get("usage")));
      report.setResponseModel(answer.get("model").getAsString());
      report.setOutcome(Outcome.OUTCOME_OK);
    } else if (response.statusCode() < 500) { // refused: no tokens; else as held
      report.setUsage(Usage.newBuilder().setInputTokens(0).setOutputTokens(0));
    }
    sidecar.settle(report.build());
    System.out.println(response.body());
  }
}
