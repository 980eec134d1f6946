/** The reader of Mistral's requests: what a body says about the size of its call. */
import type { Endpoint } from "./contract.js";
import { Unbounded } from "./errors.js";
import { type Findings, SHAPES, snakeName } from "./request-shapes.js";

/** The contract's bounds on a count and on `choices`. */
const MAX_COUNT = 1_000_000_000;
const MAX_CHOICES = 128;
/** Options by which Mistral adds a prompt of its own: more bytes than that is known to have. */
const SAFE_PROMPT_BYTES = 512;
const PROMPT_MODE_BYTES = 4096;

export type Body = Readonly<Record<string, unknown>>;

/** The size of a call, as far as its body says it; a count is 0 where it does not. */
export interface RequestSize {
  /** The UTF-8 bytes of the JSON without attachments, and of Mistral's own prompts. */
  readonly inputBytes: number;
  /** Images, audio and documents in messages. */
  readonly attachments: number;
  /** Where tools are that run at Mistral. */
  readonly tools: readonly string[];
  /** Where members or types are that are not known here. */
  readonly unknown: readonly string[];
  readonly maxOutputTokens: number;
  readonly choices: number;
  readonly serviceTier: string;
  readonly pages: number;
  readonly isAnnotated: boolean;
  readonly characters: number;
}

/** Read a request. Throws Unbounded for a member that is not as Mistral's API has it. */
export function readRequest(endpoint: Endpoint | undefined, request: Body): RequestSize {
  const sent = asSent(request);
  const found: Findings = { attachments: [], tools: [], unknown: [], malformed: [] };
  if (endpoint) SHAPES[endpoint]?.(sent, "", found);
  if (found.malformed[0]) throw new Unbounded(found.malformed[0]);
  const body: Body = Object.fromEntries(Object.entries(sent).map(([name, it]) => [snakeName(name), it]));
  const safe = body["safe_prompt"] ?? false;
  if (typeof safe !== "boolean") throw new Unbounded("safe_prompt is not a boolean");
  const prompts = (safe ? SAFE_PROMPT_BYTES : 0) + (body["prompt_mode"] ? PROMPT_MODE_BYTES : 0);
  const attached = found.attachments.reduce((sum: number, it) => sum + bytes(it), 0);
  return {
    inputBytes: bytes(sent) - attached + prompts,
    attachments: found.attachments.length,
    tools: found.tools,
    unknown: found.unknown,
    maxOutputTokens: count(body, "max_tokens", MAX_COUNT),
    choices: count(body, "n", MAX_CHOICES),
    serviceTier: text(body, "service_tier"),
    pages: endpoint === "OCR" ? pagesOf(body["pages"]) : 0,
    isAnnotated: ["document_annotation_format", "bbox_annotation_format"].some((name) => body[name] != null),
    characters: endpoint === "SPEECH" ? [...text(body, "input")].length : 0,
  };
}

function asSent(request: Body): Body {
  try {
    return JSON.parse(JSON.stringify(request)) as Body;
  } catch (error) {
    if (error instanceof RangeError) throw new Unbounded("the request is nested too deeply");
    throw error;
  }
}

/** The size as JSON with spaces, which is how a model may get it, and with the API's names. */
function bytes(value: unknown): number {
  if (Array.isArray(value)) {
    return value.reduce((sum: number, it) => sum + bytes(it), 2) + separators(value.length);
  }
  if (typeof value !== "object" || value === null) return Buffer.byteLength(JSON.stringify(value));
  const entries = Object.entries(value);
  return entries.reduce((sum, [name, it]) => sum + bytes(snakeName(name)) + 2 + bytes(it), 2) + separators(entries.length);
}

function separators(entries: number): number {
  return 2 * Math.max(0, entries - 1);
}

/** Return a count of at least 1; 0 if it is missing. */
function count(body: Body, name: string, most: number): number {
  const value = body[name] ?? undefined;
  if (value === undefined) return 0;
  if (typeof value !== "number" || !Number.isInteger(value)) throw new Unbounded(`${name} is not a whole number`);
  if (value < 1 || value > most) throw new Unbounded(`${name} is not between 1 and ${most}`);
  return value;
}

function text(body: Body, name: string): string {
  const value = body[name] ?? "";
  if (typeof value !== "string") throw new Unbounded(`${name} is not a string`);
  return value;
}

/** The number of pages in a list, or in ranges such as "0,2-4"; 0 means all. */
function pagesOf(pages: unknown): number {
  let count: number;
  if (pages === undefined || pages === null) return 0;
  if (typeof pages === "string") {
    count = pages.split(",").reduce((sum, range) => sum + pagesOfRange(range), 0);
  } else if (Array.isArray(pages) && pages.every((it) => Number.isInteger(it) && it >= 0)) {
    count = pages.length;
  } else {
    throw new Unbounded("pages is not a list of page numbers");
  }
  if (count > MAX_COUNT) throw new Unbounded(`pages has more than ${MAX_COUNT} pages`);
  return count;
}

function pagesOfRange(range: string): number {
  const found = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(range.trim());
  const [first, last] = found ? [Number(found[1]), Number(found[2] ?? found[1])] : [1, 0];
  if (last! < first!) throw new Unbounded("pages is not a list of page numbers");
  return last! - first! + 1;
}
