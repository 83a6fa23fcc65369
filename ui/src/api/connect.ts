// One call of the Connect protocol in JSON on the page's own origin; errors carry the server's own words.

const SERVICE = "/querier.v1.QuerierService/";

export class ApiError extends Error {
  constructor(
    message: string,
    /** The Connect code ("invalid_argument") or "unreachable". */
    readonly code: string,
  ) {
    super(message);
  }
}

export async function call<T>(rpc: string, body: object, signal: AbortSignal): Promise<T> {
  const response = await send(rpc, "application/json", JSON.stringify(body), signal);
  return (await response.json()) as T;
}

/** The same call in protobuf, for what is saved as it comes. */
export async function callProto(rpc: string, body: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<ArrayBuffer> {
  const response = await send(rpc, "application/proto", body, signal);
  return response.arrayBuffer();
}

async function send(rpc: string, type: string, body: string | Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(SERVICE + rpc, {
      method: "POST",
      headers: { "Content-Type": type, "Connect-Protocol-Version": "1" },
      body,
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError("the server does not answer; is pilotlight still running?", "unreachable");
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    const { code, message } = JSON.parse(text) as { code?: string; message?: string };
    return new ApiError(message || text, code || String(response.status));
  } catch {
    return new ApiError(text.slice(0, 300) || `the server answered ${response.status}`, String(response.status));
  }
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
