/** The messages of proto/sidecar/v1/authorization.proto that a client sends and gets. */

export type Endpoint = "CHAT" | "FIM" | "EMBEDDINGS" | "MODERATION" | "OCR" | "TRANSCRIPTION";

export interface Principal {
  readonly id: string;
  readonly role: string;
  readonly workspace: string;
  readonly keyId?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** What the app knows better than the bytes of its request. */
export interface Estimate {
  inputTokens?: number;
  inputBytes?: number;
  maxOutputTokens?: number;
  choices?: number;
  pages?: number;
  audioSeconds?: number;
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

/** One limit as it stands. Amounts are requests, tokens or nano-USD, as the meter says. */
export interface BudgetState {
  readonly rule: string;
  readonly meter: string;
  readonly scope: string;
  readonly ceiling: bigint;
  readonly spent: bigint;
  readonly held: bigint;
  readonly remaining: bigint;
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
}

export interface SettleRequest {
  readonly usageJson?: string;
  readonly usage?: { inputTokens: number; outputTokens: number; pages: number; audioSeconds: number };
  readonly responseModel?: string;
  readonly outcome?: "OUTCOME_OK" | "OUTCOME_FAILED" | "OUTCOME_CANCELLED";
}

export interface Settlement {
  readonly chargedCostNanoUsd: bigint;
  readonly chargedTokens: bigint;
  readonly overrun: boolean;
}

/** A message as the wire gives it: int64 is text, so that none is rounded. */
export type Raw = any;

export function decision(raw: Raw): Decision {
  const wait = raw.retryAfter;
  return {
    allowed: raw.effect === "EFFECT_ALLOW",
    decisionId: raw.decisionId,
    holdId: raw.holdId,
    reasons: raw.reasons,
    budgets: raw.budgets.map(budgetState),
    retryAfterSeconds: wait ? Number(wait.seconds) + wait.nanos / 1e9 : undefined,
    resolvedModel: raw.resolvedModel,
    maxOutputTokens: Number(raw.maxOutputTokens),
    heldCostNanoUsd: BigInt(raw.heldCostNanoUsd),
  };
}

export function budgetState(raw: Raw): BudgetState {
  return {
    rule: raw.rule,
    meter: raw.meter,
    scope: raw.scope,
    ceiling: BigInt(raw.ceiling),
    spent: BigInt(raw.spent),
    held: BigInt(raw.held),
    remaining: BigInt(raw.remaining),
    unlimited: raw.unlimited,
  };
}

export function settlement(raw: Raw): Settlement {
  return {
    chargedCostNanoUsd: BigInt(raw.chargedCostNanoUsd),
    chargedTokens: BigInt(raw.chargedTokens),
    overrun: raw.overrun ?? false,
  };
}
