/**
 * How large a call may become, from the request that is about to be sent.
 *
 * A UTF-8 byte bounds a token of text. It bounds nothing of what Mistral fetches, decodes or
 * adds: images, audio, documents, and tools that run there.
 */
import type { Endpoint, Estimate } from "./contract.js";
import { Unbounded } from "./errors.js";
import { type Body, readRequest, type RequestSize } from "./request-reader.js";
import { snakeName } from "./request-shapes.js";

export type { Body };

const BY_BYTES: readonly Endpoint[] = ["CHAT", "FIM", "EMBEDDINGS", "MODERATION"];
/** Endpoints whose requests do not contain the length of the audio. */
const BY_TIME: readonly Endpoint[] = ["TRANSCRIPTION", "REALTIME"];
/** Members that are read even where the app has bounded the input itself. */
const MULTIPLIERS = ["maxTokens", "max_tokens", "n", "serviceTier", "service_tier"];

/** Return the bounds of a call: those given, completed from the request. */
export function estimate(
  endpoint: Endpoint,
  request: Body,
  given: Estimate = {},
  tokensPerAttachment?: number,
): Estimate {
  const made: Estimate = { ...given };
  if (BY_TIME.includes(endpoint) && !made.audioSeconds) {
    throw new Unbounded("audio is billed by time: give estimate: { audioSeconds }");
  }
  const byBytes = BY_BYTES.includes(endpoint) && !made.inputTokens && !made.inputBytes;
  let size: RequestSize;
  if (byBytes || endpoint === "OCR" || endpoint === "SPEECH") {
    size = readRequest(endpoint, request);
    checkKnown(size);
  } else {
    // The app has bounded what the request says, whatever that is.
    size = readRequest(undefined, Object.fromEntries(MULTIPLIERS.map((name) => [name, request[name]])));
  }
  if (byBytes) made.inputBytes = inputBytes(size, tokensPerAttachment);
  if (size.isAnnotated && !made.annotatedPages) {
    // Else the app has counted both kinds of pages.
    made.annotatedPages = made.pages || size.pages;
    made.pages = 0;
  } else if (!made.annotatedPages) {
    made.pages ||= size.pages;
  }
  if (endpoint === "OCR" && !made.pages && !made.annotatedPages) {
    throw new Unbounded("OCR is billed by the page: give estimate: { pages }");
  }
  made.characters ||= size.characters;
  if (endpoint === "SPEECH" && !made.characters) {
    throw new Unbounded("speech is billed by the character: give estimate: { characters }");
  }
  made.maxOutputTokens ||= size.maxOutputTokens;
  made.choices ||= size.choices;
  made.serviceTier ||= size.serviceTier;
  return made;
}

/** Name fields as Mistral's JSON does; the SDK has them in camel case. */
export function snakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCase);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, it]) => [snakeName(name), snakeCase(it)]));
}

function checkKnown(size: RequestSize): void {
  if (size.unknown.length) {
    throw new Unbounded(
      `${size.unknown[0]} has something that is not known here, which may cost more than its ` +
        "bytes: give estimate: { inputTokens }",
    );
  }
}

function inputBytes(size: RequestSize, tokensPerAttachment?: number): number {
  const attachments = size.attachments + size.tools.length;
  if (attachments && tokensPerAttachment === undefined) {
    throw new Unbounded(
      `of the request's parts, ${attachments} are not text: its bytes do not bound its ` +
        "tokens; give tokensPerAttachment, or estimate: { inputTokens }",
    );
  }
  return size.inputBytes + attachments * (tokensPerAttachment ?? 0);
}
