/** The connection to the sidecar: a Unix socket or TCP, TLS, and the app's credentials. */
import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { Raw } from "./contract.js";
import { Refused } from "./errors.js";

const PROTO = fileURLToPath(new URL("../../proto/authorization.proto", import.meta.url));
const { AuthorizationService } = (
  grpc.loadPackageDefinition(
    loadSync(PROTO, { longs: String, enums: String, defaults: true, arrays: true }),
  ) as Raw
).sidecar.v1;

const OPTIONS = {
  "grpc.enable_retries": 0, // retry.ts does it, with a bound for each attempt
  // A sidecar that restarts is found again soon; gRPC would wait for up to two minutes.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 5_000,
};

export interface Files {
  /** The CA file; with it the connection uses TLS. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  /** The file of a bearer token, read for each request. */
  readonly tokenFile?: string;
}

/** A gRPC channel, opened again when the files of its certificates have changed. */
export class Connection {
  #client: Raw;
  #version = "";
  #closed = false;

  constructor(
    private readonly address: string,
    private readonly files: Files,
  ) {
    if (!files.caFile && !isLocal(address)) {
      throw new TypeError(`${address} is not on this host: give caFile, for TLS`);
    }
  }

  /** Call an RPC once. Rejects with gRPC's error, or Refused if a file cannot be read. */
  call(method: string, request: object, timeoutMs: number, signal?: AbortSignal): Promise<Raw> {
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + timeoutMs };
      const answer = (error: unknown, message: Raw) => {
        signal?.removeEventListener("abort", cancel);
        if (error) reject(error);
        else resolve(message);
      };
      const call = this.#open()[method](request, this.#metadata(), options, answer);
      const cancel = () => call.cancel();
      signal?.addEventListener("abort", cancel);
    });
  }

  /** Whether the last attempt to connect failed, and none has succeeded since. */
  isDown(): boolean {
    const state = this.#client?.getChannel().getConnectivityState(false);
    return state === grpc.connectivityState.TRANSIENT_FAILURE;
  }

  /** Close the channel; calls in flight end without a response. */
  close(): void {
    this.#closed = true;
    this.#client?.close();
  }

  #open(): Raw {
    if (this.#closed) throw new Refused("CLOSED", "the client is closed");
    const { caFile, certFile, keyFile } = this.files;
    const files = [caFile, keyFile, certFile];
    const version = readable(() =>
      files.map((file) => (file ? statSync(file).mtimeMs : 0)).join(),
    );
    if (!this.#client || version !== this.#version) {
      // A channel that is closed lets its calls end first.
      this.#client?.close();
      const [ca, key, certificate] = files.map((file) => (file ? readable(() => readFileSync(file)) : null));
      const credentials = ca
        ? usable(() => grpc.credentials.createSsl(ca, key, certificate))
        : grpc.credentials.createInsecure();
      this.#client = new AuthorizationService(this.address, credentials, OPTIONS);
      this.#version = version;
    }
    return this.#client;
  }

  /** Read the token file each time, since Kubernetes replaces it before it expires. */
  #metadata(): grpc.Metadata {
    const metadata = new grpc.Metadata();
    const file = this.files.tokenFile;
    if (file) {
      const token = readable(() => readFileSync(file, "ascii").trim());
      metadata.set("authorization", `Bearer ${token}`);
    }
    return metadata;
  }
}

/** Whether a gRPC address is on this host. */
export function isLocal(address: string): boolean {
  if (address.startsWith("unix:")) return true;
  const host = address.replace(/:\d+$/, "").replace(/^dns:\/*/, "").replace(/^\[|\]$/g, "");
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

function readable<T>(read: () => T): T {
  return attempt(read, "FILE_UNREADABLE");
}

/** While one file of a pair is replaced before the other, they do not belong together. */
function usable<T>(open: () => T): T {
  return attempt(open, "CERTIFICATES_UNUSABLE");
}

function attempt<T>(work: () => T, code: string): T {
  try {
    return work();
  } catch (error) {
    throw new Refused(code, (error as NodeJS.ErrnoException).code ?? "");
  }
}
