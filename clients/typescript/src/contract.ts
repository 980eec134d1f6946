/** The messages of proto/sidecar/v1/authorization.proto that a client sends and gets. */

export type Endpoint =
  | "CHAT"
  | "FIM"
  | "EMBEDDINGS"
  | "MODERATION"
  | "OCR"
  | "TRANSCRIPTION"
  | "SPEECH"
  | "REALTIME";

export interface Principal {
  readonly id: string;
  readonly role: string;
  readonly workspace: string;
  readonly keyId?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** The app's own bounds of the call, which replace those from the request's bytes. */
export interface Estimate {
  inputTokens?: number;
  inputBytes?: number;
  maxOutputTokens?: number;
  choices?: number;
  pages?: number;
  /** Pages with document or bbox annotations, which have a price of their own. */
  annotatedPages?: number;
  audioSeconds?: number;
  characters?: number;
  /** The most calls of tools that are billed by the call, by the tool's name. */
  toolCalls?: Readonly<Record<string, number>>;
  serviceTier?: string;
  batch?: boolean;
  region?: string;
}

export interface AuthorizeRequest {
  readonly requestId: string;
  readonly principal: Principal;
  readonly model: string;
  readonly endpoint: `ENDPOINT_${Endpoint}`;
  readonly estimate: Estimate;
  readonly holdTtl?: { readonly seconds: number };
}

export interface Reason {
  readonly code: string;
  readonly message: string;
  readonly rule: string;
  readonly httpStatus: number;
}

/** What an app should know of a call that is allowed, such as that its model retires. */
export interface Warning {
  readonly code: string;
  readonly message: string;
}

/**
 * One limit as it stands. Amounts are requests, tokens or nano-USD, as the meter says; in JSON
 * they are decimal text, so that none is rounded. An unlimited one has neither ceiling nor
 * remaining: a minimum over what is left has to skip it.
 */
export interface BudgetState {
  readonly rule: string;
  readonly meter: string;
  readonly scope: string;
  readonly ceiling?: bigint;
  readonly spent: bigint;
  readonly held: bigint;
  readonly remaining?: bigint;
  readonly unlimited: boolean;
}

export interface Decision {
  readonly allowed: boolean;
  readonly decisionId: string;
  readonly holdId: string;
  readonly reasons: readonly Reason[];
  readonly budgets: readonly BudgetState[];
  readonly retryAfterSeconds: number | undefined;
  readonly resolvedModel: string;
  readonly maxOutputTokens: number;
  readonly heldCostNanoUsd: bigint;
  /** The most output tokens with which a denied call would be allowed now; 0 if none are known. */
  readonly fittingMaxOutputTokens: number;
  /** Other models with which it would be allowed now, by id, the lowest cost first. */
  readonly fittingModels: readonly string[];
  readonly warnings: readonly Warning[];
}

export interface Usage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly pages: number;
  readonly annotatedPages: number;
  readonly audioSeconds: number;
  readonly characters: number;
  readonly toolCalls: Readonly<Record<string, number>>;
}

export interface SettleRequest {
  readonly usageJson?: string;
  readonly usage?: Usage;
  readonly responseModel?: string;
  readonly outcome?: "OUTCOME_OK" | "OUTCOME_FAILED" | "OUTCOME_CANCELLED";
}

export interface Settlement {
  readonly chargedCostNanoUsd: bigint;
  readonly chargedTokens: bigint;
  readonly overrun: boolean;
  /** The usage was reported, and no count in it understood: it was charged as held. */
  readonly unrecognizedUsage: boolean;
}

/** A message as it is received: int64 is text, so that it is not rounded. */
export type Raw = any;

export function decision(raw: Raw): Decision {
  const wait = raw.retryAfter;
  return asJson({
    allowed: raw.effect === "EFFECT_ALLOW",
    decisionId: raw.decisionId,
    holdId: raw.holdId,
    reasons: raw.reasons,
    budgets: raw.budgets.map(budgetState),
    retryAfterSeconds: wait ? Number(wait.seconds) + wait.nanos / 1e9 : undefined,
    resolvedModel: raw.resolvedModel,
    maxOutputTokens: Number(raw.maxOutputTokens),
    heldCostNanoUsd: BigInt(raw.heldCostNanoUsd),
    fittingMaxOutputTokens: Number(raw.fittingMaxOutputTokens),
    fittingModels: raw.fittingModels,
    warnings: raw.warnings,
  });
}

export function budgetState(raw: Raw): BudgetState {
  const { rule, meter, scope, unlimited } = raw;
  const left = { ceiling: BigInt(raw.ceiling), remaining: BigInt(raw.remaining) };
  return asJson({
    rule,
    meter,
    scope,
    ...(unlimited ? {} : left),
    spent: BigInt(raw.spent),
    held: BigInt(raw.held),
    unlimited,
  });
}

export function settlement(raw: Raw): Settlement {
  return asJson({
    chargedCostNanoUsd: BigInt(raw.chargedCostNanoUsd),
    chargedTokens: BigInt(raw.chargedTokens),
    overrun: raw.overrun ?? false,
    unrecognizedUsage: raw.unrecognizedUsage ?? false,
  });
}

/**
 * Let JSON.stringify take an object with bigints, also within others: they become decimal text.
 * Not enumerable, so that it is no field: neither printed, nor compared, nor cloned.
 */
function asJson<T extends object>(value: T): T {
  const toJSON = (): object =>
    Object.fromEntries(
      Object.entries(value).map(([name, it]) => [name, typeof it === "bigint" ? `${it}` : it]),
    );
  return Object.defineProperty(value, "toJSON", { value: toJSON });
}
