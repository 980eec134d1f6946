import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import sidecar.v1.Authorization.AuthorizeRequest;
import sidecar.v1.Authorization.AuthorizeResponse;
import sidecar.v1.Authorization.Effect;
import sidecar.v1.Authorization.Endpoint;
import sidecar.v1.Authorization.Estimate;
import sidecar.v1.Authorization.Outcome;
import sidecar.v1.Authorization.Principal;
import sidecar.v1.Authorization.ReleaseRequest;
import sidecar.v1.Authorization.SettleRequest;
import sidecar.v1.Authorization.SettleResponse;
import sidecar.v1.Authorization.Usage;
import sidecar.v1.AuthorizationServiceGrpc;
import sidecar.v1.AuthorizationServiceGrpc.AuthorizationServiceBlockingV2Stub;

/** Calls Mistral within a budget: asks the sidecar before, and tells it what was used. */
public final class Client {
  private static final Duration PATIENCE = Duration.ofSeconds(60);
  private static final Duration PAUSE = Duration.ofMillis(50);
  private static final Set<Status.Code> AGAIN =
      Set.of(Status.Code.UNAVAILABLE, Status.Code.DEADLINE_EXCEEDED);

  private final Flags flags;
  private final AuthorizationServiceBlockingV2Stub stub;

  private Client(Flags flags, AuthorizationServiceBlockingV2Stub stub) {
    this.flags = flags;
    this.stub = stub;
  }

  /** Runs one command, and prints its result. */
  public static void main(String... args) throws Exception {
    Flags flags = null;
    try {
      flags = Flags.read(args);
    } catch (IllegalArgumentException error) {
      System.err.println(error.getMessage());
      System.exit(2);
    }
    var channel = Grpc.newChannelBuilder(flags.text("target"), credentials(flags)).build();
    var client = new Client(flags, AuthorizationServiceGrpc.newBlockingV2Stub(channel));
    try {
      System.out.println(
          switch (flags.command()) {
            case "call" -> client.call();
            case "stream" -> client.stream();
            default -> client.many();
          });
    } catch (StatusException error) {
      System.out.println(failed(error, false));
    } finally {
      channel.shutdownNow().awaitTermination(1, TimeUnit.SECONDS);
    }
  }

  /** Makes one call to Mistral, if it may go out. */
  private JsonObject call() throws Exception {
    var decision = sidecar().authorize(request(flags.text("request-id")));
    var reasons = new JsonArray();
    decision.getReasonsList().forEach(reason -> reasons.add(reason.getCode()));
    var retryAfter = decision.getRetryAfter();
    var result = new JsonObject();
    result.addProperty("effect", decision.getEffect().name().replace("EFFECT_", ""));
    result.add("reasons", reasons);
    result.addProperty(
        "http_status", reasons.isEmpty() ? 0 : decision.getReasons(0).getHttpStatus());
    result.addProperty(
        "retry_after_seconds", retryAfter.getSeconds() + retryAfter.getNanos() / 1e9);
    var allowed = decision.getEffect() == Effect.EFFECT_ALLOW;
    var report = allowed ? complete(decision) : Optional.<SettleRequest>empty();
    var charged = SettleResponse.getDefaultInstance();
    if (report.isPresent()) {
      try {
        charged = sidecar().settle(report.get());
      } catch (StatusException error) {
        return failed(error, true);
      }
    } else if (allowed) {
      sidecar().release(ReleaseRequest.newBuilder().setHoldId(decision.getHoldId()).build());
    }
    result.addProperty("called", report.isPresent());
    result.addProperty("charged_cost_nano_usd", charged.getChargedCostNanoUsd());
    result.addProperty("charged_tokens", charged.getChargedTokens());
    result.addProperty("released", allowed && report.isEmpty());
    return result;
  }

  /** Calls Mistral; returns what there is to settle, or nothing where no connection came about. */
  private Optional<SettleRequest> complete(AuthorizeResponse decision) throws InterruptedException {
    var message = new JsonObject();
    message.addProperty("role", "user");
    message.addProperty("content", "Why is the sky blue?");
    var messages = new JsonArray();
    messages.add(message);
    var body = new JsonObject();
    body.addProperty("model", flags.text("model"));
    body.add("messages", messages);
    body.addProperty("max_tokens", decision.getMaxOutputTokens());
    var post =
        HttpRequest.newBuilder(URI.create(flags.text("mistral") + "/v1/chat/completions"))
            .header("Authorization", "Bearer " + System.getenv("MISTRAL_API_KEY"))
            .header("Content-Type", "application/json")
            .timeout(Duration.ofMinutes(1))
            .POST(HttpRequest.BodyPublishers.ofString(body.toString()))
            .build();
    var report = SettleRequest.newBuilder().setHoldId(decision.getHoldId());
    try {
      var response = HttpClient.newHttpClient().send(post, HttpResponse.BodyHandlers.ofString());
      if (response.statusCode() == 200) {
        var completion = JsonParser.parseString(response.body()).getAsJsonObject();
        report
            .setOutcome(Outcome.OUTCOME_OK)
            .setUsageJson(String.valueOf(completion.get("usage"))) // the whole may be too large
            .setResponseModel(completion.get("model").getAsString());
        return Optional.of(report.build());
      }
    } catch (ConnectException error) {
      return Optional.empty();
    } catch (IOException error) {
      System.err.println(error);
    }
    // What is unknown is spent: without a usage, a hold is charged as it was held.
    return Optional.of(report.setOutcome(Outcome.OUTCOME_FAILED).build());
  }

  /** Asks for many calls on one stream, a bounded number of them at once. */
  private JsonObject stream() throws Exception {
    var unanswered = new HashSet<String>();
    int sent = 0, mostInFlight = 0, answered = 0, allowed = 0, unmatched = 0;
    var stream = sidecar().authorizeStream();
    while (answered < flags.number("count")) {
      while (sent < flags.number("count") && unanswered.size() < flags.number("in-flight")) {
        var requestId = flags.text("request-id") + "-" + sent++;
        unanswered.add(requestId);
        stream.write(request(requestId));
      }
      mostInFlight = Math.max(mostInFlight, unanswered.size());
      var answer = stream.read();
      if (answer == null) {
        break;
      } else if (unanswered.remove(answer.getRequestId())) {
        answered++;
        allowed += answer.getEffect() == Effect.EFFECT_ALLOW ? 1 : 0;
      } else {
        unmatched++;
      }
    }
    stream.halfClose();
    var result = new JsonObject();
    result.addProperty("answered", answered);
    result.addProperty("allowed", allowed);
    result.addProperty("denied", answered - allowed);
    result.addProperty("unmatched", unmatched);
    result.addProperty("most_in_flight", mostInFlight);
    return result;
  }

  /** Authorizes and settles many calls, whatever happens to the sidecar meanwhile. */
  private JsonObject many() throws Exception {
    var retries = new AtomicInteger();
    var calls = new ArrayList<Callable<Optional<SettleResponse>>>();
    for (int number = 0; number < flags.number("count"); number++) {
      var request = request(flags.text("request-id") + "-" + number);
      calls.add(() -> authorizeAndSettle(request, retries));
    }
    var pool = Executors.newFixedThreadPool((int) flags.number("in-flight"));
    long settled = 0, cost = 0;
    try {
      for (Future<Optional<SettleResponse>> end : pool.invokeAll(calls)) {
        settled += end.get().isPresent() ? 1 : 0;
        cost += end.get().map(SettleResponse::getChargedCostNanoUsd).orElse(0L);
      }
    } finally {
      pool.shutdown();
    }
    var result = new JsonObject();
    result.addProperty("allowed", settled);
    result.addProperty("denied", calls.size() - settled);
    result.addProperty("settled", settled);
    result.addProperty("retries", retries.get());
    result.addProperty("charged_cost_nano_usd", cost);
    return result;
  }

  private Optional<SettleResponse> authorizeAndSettle(
      AuthorizeRequest request, AtomicInteger retries) throws Exception {
    var giveUp = Instant.now().plus(PATIENCE);
    // The same request_id and hold_id each time: what was decided is not decided twice.
    var decision = patiently(() -> sidecar().authorize(request), giveUp, retries);
    if (decision.getEffect() != Effect.EFFECT_ALLOW) {
      return Optional.empty();
    }
    var usage =
        Usage.newBuilder()
            .setInputTokens(flags.number("input-tokens"))
            .setOutputTokens(flags.number("max-tokens"));
    var report =
        SettleRequest.newBuilder()
            .setHoldId(decision.getHoldId())
            .setUsage(usage)
            .setOutcome(Outcome.OUTCOME_OK)
            .build();
    return Optional.of(patiently(() -> sidecar().settle(report), giveUp, retries));
  }

  private static <T> T patiently(Callable<T> ask, Instant giveUp, AtomicInteger retries)
      throws Exception {
    while (true) {
      try {
        return ask.call();
      } catch (StatusException error) {
        if (!AGAIN.contains(error.getStatus().getCode()) || Instant.now().isAfter(giveUp)) {
          throw error;
        }
      }
      retries.incrementAndGet();
      Thread.sleep(PAUSE.toMillis());
    }
  }

  private AuthorizationServiceBlockingV2Stub sidecar() {
    var millis = (long) (Double.parseDouble(flags.text("deadline-seconds")) * 1000);
    return stub.withDeadlineAfter(millis, TimeUnit.MILLISECONDS);
  }

  private AuthorizeRequest request(String requestId) {
    return AuthorizeRequest.newBuilder()
        .setRequestId(requestId)
        .setPrincipal(
            Principal.newBuilder()
                .setId(flags.text("user"))
                .setRole(flags.text("role"))
                .setWorkspace(flags.text("workspace"))
                .setKeyId(flags.text("key")))
        .setModel(flags.text("model"))
        .setEndpoint(Endpoint.ENDPOINT_CHAT)
        .setEstimate(
            Estimate.newBuilder()
                .setInputTokens(flags.number("input-tokens"))
                .setMaxOutputTokens(flags.number("max-tokens")))
        .build();
  }

  private static ChannelCredentials credentials(Flags flags) throws IOException {
    if (flags.text("ca").isEmpty()) {
      return InsecureChannelCredentials.create();
    }
    var tls = TlsChannelCredentials.newBuilder().trustManager(new File(flags.text("ca"))).build();
    return flags.text("token").isEmpty()
        ? tls
        : CompositeChannelCredentials.create(tls, new Token(Path.of(flags.text("token"))));
  }

  private static JsonObject failed(StatusException error, boolean called) {
    var result = new JsonObject();
    result.addProperty("error", error.getStatus().getCode().name());
    result.addProperty("called", called);
    return result;
  }

  /** Who calls. The file is read anew for each call: tokens are replaced. */
  private static final class Token extends CallCredentials {
    private static final Metadata.Key<String> AUTHORIZATION =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private final Path file;

    private Token(Path file) {
      this.file = file;
    }

    @Override
    public void applyRequestMetadata(RequestInfo info, Executor executor, MetadataApplier applier) {
      try {
        var headers = new Metadata();
        headers.put(AUTHORIZATION, "Bearer " + Files.readString(file).strip());
        applier.apply(headers);
      } catch (IOException error) {
        applier.fail(Status.UNAUTHENTICATED.withCause(error));
      }
    }
  }

  /** The command line. */
  private record Flags(String command, Map<String, String> values) {
    private static final Set<String> COMMANDS = Set.of("call", "stream", "many");
    private static final Set<String> TEXTS =
        Set.of("target", "mistral", "ca", "token", "user", "workspace", "role", "key", "model",
            "request-id");
    private static final Map<String, String> NUMBERS =
        Map.of("input-tokens", "100", "max-tokens", "100", "count", "1", "in-flight", "4",
            "deadline-seconds", "5");

    /** Throws IllegalArgumentException where it is wrong. */
    static Flags read(String... args) {
      if (args.length == 0 || !COMMANDS.contains(args[0])) {
        throw new IllegalArgumentException("usage: call|stream|many --flag value …");
      }
      var values = new HashMap<>(NUMBERS);
      for (int at = 1; at < args.length; at += 2) {
        var name = args[at].startsWith("--") ? args[at].substring(2) : "";
        if (at + 1 == args.length || !TEXTS.contains(name) && !NUMBERS.containsKey(name)) {
          throw new IllegalArgumentException("not a flag with a value: " + args[at]);
        }
        if (NUMBERS.containsKey(name)) {
          Double.parseDouble(args[at + 1]);
        }
        values.put(name, args[at + 1]);
      }
      if (!values.containsKey("target")) {
        throw new IllegalArgumentException("--target is missing");
      }
      if (values.containsKey("token") && !values.containsKey("ca")) {
        throw new IllegalArgumentException("--token needs --ca: a token goes over TLS alone");
      }
      return new Flags(args[0], values);
    }

    String text(String name) {
      return values.getOrDefault(name, "");
    }

    long number(String name) {
      return Long.parseLong(text(name));
    }
  }
}
