/** Calls Mistral within a budget: asks the sidecar before, and tells it afterwards what was used. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { ProtoGrpcType } from "./generated/authorization.js";
import type { AuthorizationServiceClient } from "./generated/sidecar/v1/AuthorizationService.js";
import type { AuthorizeRequest } from "./generated/sidecar/v1/AuthorizeRequest.js";
import type { AuthorizeResponse__Output as AuthorizeResponse } from "./generated/sidecar/v1/AuthorizeResponse.js";
import type { ReleaseRequest } from "./generated/sidecar/v1/ReleaseRequest.js";
import type { ReleaseResponse__Output as ReleaseResponse } from "./generated/sidecar/v1/ReleaseResponse.js";
import type { SettleRequest } from "./generated/sidecar/v1/SettleRequest.js";
import type { SettleResponse__Output as SettleResponse } from "./generated/sidecar/v1/SettleResponse.js";

const PATIENCE_MS = 60_000;
const PAUSE_MS = 50;
const PROTO = fileURLToPath(new URL("authorization.proto", import.meta.url));
// As numbers, nano-USD are exact up to nine million USD.
const LOADED = loadSync(PROTO, { longs: Number, enums: String, defaults: true, arrays: true });
const { AuthorizationService } = (grpc.loadPackageDefinition(LOADED) as unknown as ProtoGrpcType)
  .sidecar.v1;
const OPTIONS = {
  // A sidecar that restarts is found again soon; gRPC would wait for up to two minutes.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
};

type Flags = ReturnType<typeof readFlags>;
type Rest<Response> = [grpc.Metadata, grpc.CallOptions, grpc.requestCallback<Response>];

/** The service, with a promise for each answer. */
class Sidecar {
  readonly #client: AuthorizationServiceClient;

  constructor(private readonly flags: Flags) {
    const credentials = flags.ca
      ? grpc.credentials.createSsl(readFileSync(flags.ca))
      : grpc.credentials.createInsecure();
    this.#client = new AuthorizationService(flags.target, credentials, OPTIONS);
  }

  authorize(request: AuthorizeRequest): Promise<AuthorizeResponse> {
    return this.#ask((...rest) => this.#client.authorize(request, ...rest));
  }

  settle(request: SettleRequest): Promise<SettleResponse> {
    return this.#ask((...rest) => this.#client.settle(request, ...rest));
  }

  release(request: ReleaseRequest): Promise<ReleaseResponse> {
    return this.#ask((...rest) => this.#client.release(request, ...rest));
  }

  authorizeStream() {
    return this.#client.authorizeStream(this.#proof(), this.#options());
  }

  close() {
    this.#client.close();
  }

  #ask<Response>(rpc: (...rest: Rest<Response>) => unknown): Promise<Response> {
    return new Promise((resolve, reject) => {
      rpc(this.#proof(), this.#options(), (error, response) =>
        error ? reject(error) : resolve(response!),
      );
    });
  }

  #options() {
    return { deadline: Date.now() + this.flags.deadlineSeconds * 1000 };
  }

  /** Who calls. The file is read anew: tokens are replaced. */
  #proof(): grpc.Metadata {
    const metadata = new grpc.Metadata();
    if (this.flags.token) {
      metadata.set("authorization", `Bearer ${readFileSync(this.flags.token, "utf8").trim()}`);
    }
    return metadata;
  }
}

/** Make one call to Mistral, if it may go out. */
async function call(sidecar: Sidecar, flags: Flags): Promise<object> {
  const decision = await sidecar.authorize(question(flags, flags.requestId));
  const result = {
    effect: decision.effect.replace("EFFECT_", ""),
    reasons: decision.reasons.map((reason) => reason.code),
    http_status: decision.reasons[0]?.httpStatus ?? 0,
    retry_after_seconds: seconds(decision.retryAfter),
    called: false,
    charged_cost_nano_usd: 0,
    charged_tokens: 0,
    released: false,
  };
  if (decision.effect !== "EFFECT_ALLOW") return result;
  const report = await complete(flags, decision);
  if (report === null) {
    await sidecar.release({ holdId: decision.holdId, reason: "no connection to Mistral" });
    return { ...result, released: true };
  }
  try {
    const settled = await sidecar.settle(report);
    result.charged_cost_nano_usd = settled.chargedCostNanoUsd;
    result.charged_tokens = settled.chargedTokens;
    return { ...result, called: true };
  } catch (error) {
    return { error: statusName(error), called: true };
  }
}

/** Call Mistral; return what there is to settle, or null where no connection came about. */
async function complete(flags: Flags, decision: AuthorizeResponse): Promise<SettleRequest | null> {
  // What is unknown is spent: without a usage, a hold is charged as it was held.
  const unknown: SettleRequest = { holdId: decision.holdId, outcome: "OUTCOME_FAILED" };
  try {
    const response = await fetch(`${flags.mistral}/v1/chat/completions`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${process.env["MISTRAL_API_KEY"] ?? ""}`,
        "content-type": "application/json",
      },
      body: JSON.stringify({
        model: flags.model,
        messages: [{ role: "user", content: "Why is the sky blue?" }],
        max_tokens: decision.maxOutputTokens,
      }),
      signal: AbortSignal.timeout(60_000),
    });
    if (!response.ok) return unknown;
    const { model, usage } = (await response.json()) as { model: string; usage?: object };
    const usageJson = JSON.stringify(usage ?? null); // the whole may be too large
    return { holdId: decision.holdId, usageJson, responseModel: model, outcome: "OUTCOME_OK" };
  } catch (error) {
    const { cause } = error as { cause?: { code?: string } };
    return cause?.code === "ECONNREFUSED" ? null : unknown;
  }
}

/** Ask for many calls on one stream, a bounded number of them at once. */
async function stream(sidecar: Sidecar, flags: Flags): Promise<object> {
  const result = { answered: 0, allowed: 0, denied: 0, unmatched: 0, most_in_flight: 0 };
  const unanswered = new Set<string>();
  const answers = sidecar.authorizeStream();
  let asked = 0;
  const ask = () => {
    while (asked < flags.count && unanswered.size < flags.inFlight) {
      const requestId = `${flags.requestId}-${asked++}`;
      unanswered.add(requestId);
      answers.write(question(flags, requestId));
      if (asked === flags.count) answers.end();
    }
    result.most_in_flight = Math.max(result.most_in_flight, unanswered.size);
  };
  ask();
  for await (const answer of answers as AsyncIterable<AuthorizeResponse>) {
    if (!unanswered.delete(answer.requestId)) {
      result.unmatched++;
      continue;
    }
    result.answered++;
    result[answer.effect === "EFFECT_ALLOW" ? "allowed" : "denied"]++;
    ask();
  }
  return result;
}

/** Authorize and settle many calls, whatever happens to the sidecar meanwhile. */
async function many(sidecar: Sidecar, flags: Flags): Promise<object> {
  const result = { allowed: 0, denied: 0, settled: 0, retries: 0, charged_cost_nano_usd: 0 };
  const one = async (requestId: string) => {
    const giveUp = Date.now() + PATIENCE_MS;
    const patiently = async <Response>(ask: () => Promise<Response>): Promise<Response> => {
      for (;;) {
        try {
          return await ask();
        } catch (error) {
          const again = ["UNAVAILABLE", "DEADLINE_EXCEEDED"].includes(statusName(error));
          if (!again || Date.now() > giveUp) throw error;
        }
        result.retries++;
        await sleep(PAUSE_MS);
      }
    };
    // The same request_id and hold_id each time: what was decided is not decided twice.
    const { effect, holdId } = await patiently(() => sidecar.authorize(question(flags, requestId)));
    if (effect !== "EFFECT_ALLOW") {
      result.denied++;
      return;
    }
    result.allowed++;
    const usage = { inputTokens: flags.inputTokens, outputTokens: flags.maxTokens };
    const settled = await patiently(() => sidecar.settle({ holdId, usage, outcome: "OUTCOME_OK" }));
    result.settled++;
    result.charged_cost_nano_usd += settled.chargedCostNanoUsd;
  };
  let next = 0;
  const worker = async () => {
    while (next < flags.count) await one(`${flags.requestId}-${next++}`);
  };
  await Promise.all(Array.from({ length: flags.inFlight }, worker));
  return result;
}

function question(flags: Flags, requestId: string): AuthorizeRequest {
  return {
    requestId,
    principal: { id: flags.user, role: flags.role, workspace: flags.workspace, keyId: flags.key },
    model: flags.model,
    endpoint: "ENDPOINT_CHAT",
    estimate: { inputTokens: flags.inputTokens, maxOutputTokens: flags.maxTokens },
  };
}

function seconds(duration: AuthorizeResponse["retryAfter"]): number {
  return duration ? duration.seconds + duration.nanos / 1e9 : 0;
}

/** gRPC's name of an error's status; throws what is no error of gRPC. */
function statusName(error: unknown): string {
  const name = grpc.status[(error as grpc.ServiceError).code];
  if (name === undefined) throw error;
  return name;
}

function readFlags(args: string[]) {
  const text = { type: "string", default: "" } as const;
  const number = (value: string) => ({ type: "string", default: value }) as const;
  const { values } = parseArgs({
    args,
    options: {
      target: text, mistral: text, ca: text, token: text, user: text, workspace: text,
      role: text, key: text, model: text, "request-id": text,
      "input-tokens": number("100"), "max-tokens": number("100"), count: number("1"),
      "in-flight": number("4"), "deadline-seconds": number("5"),
    },
  });
  const flags = {
    ...values,
    requestId: values["request-id"],
    inputTokens: Number(values["input-tokens"]),
    maxTokens: Number(values["max-tokens"]),
    count: Number(values.count),
    inFlight: Number(values["in-flight"]),
    deadlineSeconds: Number(values["deadline-seconds"]),
  };
  if (Object.values(flags).some(Number.isNaN)) throw new TypeError("not a number");
  if (!flags.target) throw new TypeError("--target is needed");
  if (flags.token && !flags.ca) throw new TypeError("--token needs --ca: it goes over TLS alone");
  return flags;
}

async function main(args: string[]): Promise<number> {
  const command = new Map([["call", call], ["stream", stream], ["many", many]]).get(args[0] ?? "");
  let flags: Flags;
  try {
    if (!command) throw new TypeError("usage: client call|stream|many --target ADDRESS [--flag value …]");
    flags = readFlags(args.slice(1));
  } catch (error) {
    console.error((error as Error).message);
    return 2;
  }
  const sidecar = new Sidecar(flags);
  const result = await command(sidecar, flags).catch((error: unknown) => ({
    error: statusName(error),
    called: false,
  }));
  sidecar.close();
  console.log(JSON.stringify(result));
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
