/**
 * How large a call may become, from the request that is about to be sent.
 *
 * A UTF-8 byte bounds a token of text. It bounds nothing of what Mistral fetches, decodes or
 * adds: images, audio, documents, and tools that run there.
 */
import type { Endpoint, Estimate } from "./contract.js";
import { Unbounded } from "./errors.js";

const CHUNKS_OF_TEXT: readonly unknown[] = ["text", "thinking", "reference"];
const TOOLS_OF_THE_APP: readonly unknown[] = [undefined, "function"];
const BY_BYTES: readonly Endpoint[] = ["CHAT", "FIM", "EMBEDDINGS", "MODERATION"];
/** Endpoints whose requests do not contain the length of the audio. */
const BY_TIME: readonly Endpoint[] = ["TRANSCRIPTION", "REALTIME"];
/** Options of OCR by which pages are annotated, which has a price of its own. */
const ANNOTATIONS = ["documentAnnotationFormat", "bboxAnnotationFormat"];
/** Options by which Mistral adds a prompt of its own, and a bound on its bytes. */
const PROMPTS_OF_MISTRAL = ["safe_prompt", "prompt_mode"];
const MISTRALS_PROMPT_BYTES = 4096;

export type Body = Readonly<Record<string, unknown>>;

/** Return the bounds of a call: those given, completed from the request. */
export function estimate(
  endpoint: Endpoint,
  request: Body,
  given: Estimate = {},
  tokensPerAttachment?: number,
): Estimate {
  const made: Estimate = { ...given };
  const annotates = endpoint === "OCR" && ANNOTATIONS.some((option) => request[option]);
  if (annotates && !made.annotatedPages) {
    // Else the app has counted both kinds of pages.
    made.annotatedPages = made.pages ?? 0;
    made.pages = 0;
  }
  if (endpoint === "OCR" && !made.pages && !made.annotatedPages) {
    throw new Unbounded("OCR is billed by the page: give estimate: { pages }");
  }
  if (endpoint === "SPEECH" && !made.characters) {
    const text = request["input"];
    made.characters = typeof text === "string" ? [...text].length : 0;
    if (!made.characters) {
      throw new Unbounded("speech is billed by the character: give estimate: { characters }");
    }
  }
  if (BY_TIME.includes(endpoint) && !made.audioSeconds) {
    throw new Unbounded("audio is billed by time: give estimate: { audioSeconds }");
  }
  if (BY_BYTES.includes(endpoint) && !made.inputTokens && !made.inputBytes) {
    const { bytes, attachments } = measure(request);
    if (attachments && tokensPerAttachment === undefined) {
      throw new Unbounded(
        `of the request's parts, ${attachments} are not text: its bytes do not bound its ` +
          "tokens; give tokensPerAttachment, or estimate: { inputTokens }",
      );
    }
    made.inputBytes = bytes + attachments * (tokensPerAttachment ?? 0);
  }
  made.maxOutputTokens ||= count(request["maxTokens"]);
  made.choices ||= count(request["n"]);
  const tier = request["serviceTier"];
  made.serviceTier ||= typeof tier === "string" ? tier : "";
  return made;
}

/** Return the UTF-8 bytes of a request without attachments, and the number of attachments. */
export function measure(request: Body): { bytes: number; attachments: number } {
  const body = snakeCase(JSON.parse(JSON.stringify(request))) as Record<string, unknown>;
  let attachments = takeOut(body, "tools", TOOLS_OF_THE_APP);
  const messages = Array.isArray(body["messages"]) ? body["messages"] : [];
  for (const message of messages) attachments += takeOut(message, "content", CHUNKS_OF_TEXT);
  const prompts = PROMPTS_OF_MISTRAL.filter((option) => body[option]).length;
  const bytes = Buffer.byteLength(JSON.stringify(body)) + prompts * MISTRALS_PROMPT_BYTES;
  return { bytes, attachments };
}

/** Name fields as Mistral's JSON does; the SDK has them in camel case. */
export function snakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCase);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, it]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    snakeCase(it),
  ]);
  return Object.fromEntries(entries);
}

/** Remove the entries of unknown types from a list; return how many were removed. */
function takeOut(holder: Record<string, unknown>, name: string, known: readonly unknown[]): number {
  const entries = holder?.[name];
  if (!Array.isArray(entries)) return 0;
  const kept = entries.filter((entry) => typeof entry === "object" && known.includes(entry?.type));
  holder[name] = kept;
  return entries.length - kept.length;
}

function count(value: unknown): number {
  return typeof value === "number" && value > 0 ? value : 0;
}
