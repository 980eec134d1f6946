/**
 * `const mistral = guard(new Mistral(…), sidecar, principal)`: the SDK, within the budget.
 *
 * It sends the max_tokens that the sidecar gave, and settles with the usage of each response.
 * Parts of the SDK whose spend is not bounded are left out.
 */
import type { Mistral } from "@mistralai/mistralai";
import { transformToChatCompletionRequest } from "@mistralai/mistralai/extra/structChat.js";
import { estimate } from "./bounds.js";
import type { CallRequest, SidecarClient } from "./sidecar-client.js";
import type { Call } from "./call.js";
import type { Endpoint, Estimate, Principal } from "./contract.js";
import { Denied, Unguarded } from "./errors.js";
import { fallback, type FallbackOptions } from "./fallback.js";

export interface GuardOptions extends FallbackOptions {
  /** The most that one image, sound or document in messages may take; else it is Unbounded. */
  readonly tokensPerAttachment?: number;
  /** The most pages of a document for OCR, where its request does not name them. */
  readonly pagesPerDocument?: number;
  /** The region behind a proxy, such as "eu". */
  readonly region?: string;
}

/** The parts of the SDK that are guarded, and those that spend nothing. */
export interface GuardedMistral extends Pick<Mistral, "models" | "files"> {
  readonly chat: Pick<Mistral["chat"], "complete" | "stream" | "parse" | "parseStream">;
  readonly fim: Pick<Mistral["fim"], "complete" | "stream">;
  readonly embeddings: Pick<Mistral["embeddings"], "create">;
  readonly ocr: Pick<Mistral["ocr"], "process">;
}

type Request = Record<string, unknown>;
type Url = string | URL | null | undefined;
type SendOptions = { retries?: { strategy: string }; serverURL?: Url };
type Send = (request: Request, options?: SendOptions) => Promise<unknown>;

const GUARDED: Record<string, { endpoint: Endpoint; whole: string[]; streams: string[] }> = {
  chat: { endpoint: "CHAT", whole: ["complete", "parse"], streams: ["stream", "parseStream"] },
  fim: { endpoint: "FIM", whole: ["complete"], streams: ["stream"] },
  embeddings: { endpoint: "EMBEDDINGS", whole: ["create"], streams: [] },
  ocr: { endpoint: "OCR", whole: ["process"], streams: [] },
};
/** Methods that send a JSON schema for the Zod type in their request. */
const PARSES: readonly string[] = ["parse", "parseStream"];
/** Parts of the SDK that spend nothing, and what a promise or a printer looks for. */
const FREE: readonly (string | symbol)[] = ["models", "files", "then", "toJSON", "constructor"];

/**
 * Return a client that asks before each call of chat, fim, embeddings and ocr. Each throws
 * what SidecarClient.authorize throws; any other part that may spend throws Unguarded. The given client
 * stays as it is. The types say the same: what throws Unguarded does not compile. The region is
 * that of the client's server; a different one given here is a TypeError, and so are options of
 * `whenDenied` that contradict each other.
 */
export function guard(
  client: Mistral,
  sidecar: SidecarClient,
  principal: Principal,
  options: GuardOptions = {},
): GuardedMistral {
  regionOf(client._baseURL, options.region);
  const instead = fallback(options);
  const ask = async (endpoint: Endpoint, request: Request, server: Url): Promise<Call> => {
    const given: Estimate = { region: regionOf(server ?? client._baseURL, options.region) };
    if (endpoint === "OCR") given.pages = hasPages(request["pages"]) ? 0 : (options.pagesPerDocument ?? 0);
    // Measured once: what is authorized instead has the bounds of the same request.
    const bounds = estimate(endpoint, request, given, options.tokensPerAttachment);
    const wanted: CallRequest = { principal, model: String(request["model"]), endpoint, estimate: bounds };
    try {
      return await sidecar.authorize(wanted);
    } catch (error) {
      const fitting = error instanceof Denied ? instead(wanted, error) : undefined;
      if (!fitting) throw error;
      return sidecar.authorize(fitting);
    }
  };

  const guarded = (part: object, name: string, method: string): Send | undefined => {
    const { endpoint, whole, streams } = GUARDED[name]!;
    if (!whole.includes(method) && !streams.includes(method)) return undefined;
    return async (request, sdkOptions) => {
      // What is sent is measured; the SDK itself takes the type, and parses the response with it.
      const sent = PARSES.includes(method) ? transformToChatCompletionRequest(request as never) : request;
      const call = await ask(endpoint, sent as Request, sdkOptions?.serverURL);
      const authorized = { ...request, model: call.model };
      const bounded = call.maxTokens ? { ...authorized, maxTokens: call.maxTokens } : authorized;
      try {
        const response = await (part as Record<string, Send>)[method]!(bounded, sdkOptions);
        return whole.includes(method) ? call.used(response) : observed(response as never, call);
      } catch (error) {
        // The SDK may have retried: the last error does not show what earlier attempts did.
        const retries = sdkOptions?.retries ?? client._options.retryConfig;
        if (retries && retries.strategy !== "none") call.end(error);
        else call.failed(error);
        throw error;
      }
    };
  };

  return new Proxy(client, {
    get(target, name) {
      const part: unknown = Reflect.get(target, name, target);
      if (FREE.includes(name) || typeof name === "symbol") return part;
      if (!(name in GUARDED)) throw unguarded(name);
      return new Proxy(part as object, {
        get(_, method) {
          if (FREE.includes(method) || typeof method === "symbol") return Reflect.get(part as object, method);
          const send = guarded(part as object, name, method);
          if (!send) throw unguarded(`${name}.${method}`);
          return send;
        },
      });
    },
  });
}

/**
 * Pass a stream on, and settle with the usage of the chunk that has it, which is the last.
 * Ended before that, by the app or by an error, it is charged as it was held.
 */
function observed<T>(stream: ReadableStream<T>, call: Call): ReadableStream<T> {
  const reader = stream.getReader();
  return new ReadableStream<T>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (done) {
            call.end();
            controller.close();
          } else {
            call.observe(value);
            controller.enqueue(value);
          }
        } catch (error) {
          call.end(error);
          controller.error(error);
        }
      },
      async cancel(reason) {
        call.leave();
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 }, // a chunk is read when the app wants it
  );
}

/** The region of one of Mistral's servers, else the given one; throws if they differ. */
function regionOf(server: Url, given = ""): string {
  const host = server ? new URL(server).hostname : "";
  const region = /^api\.([a-z]+)\.mistral\.ai$/.exec(host)?.[1] ?? "";
  if (region && given && given !== region) {
    throw new TypeError(`the client's server is in ${region}, and region is ${given}`);
  }
  return region || given;
}

function unguarded(what: string): Unguarded {
  return new Unguarded(
    `${what} is not guarded: call it on the client itself, within sidecar.guard()`,
  );
}

function hasPages(pages: unknown): boolean {
  return Array.isArray(pages) ? pages.length > 0 : Boolean(pages);
}
