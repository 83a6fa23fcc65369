// Serves dist/ and the made-up API on one port, under the headers that the real server sends.

import { createServer, request as send } from "node:http";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { answer, Refused } from "./api.mjs";

const DIST = join(dirname(fileURLToPath(import.meta.url)), "../../dist");
const FILES = { "/": "index.html", "/app.js": "app.js", "/app.css": "app.css", "/favicon.svg": "favicon.svg", "/licenses.txt": "licenses.txt" };
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml", txt: "text/plain; charset=utf-8" };
const CSP = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/** A profile with nothing but the empty string in its table. */
const EMPTY_PPROF = Buffer.from([0x32, 0x00]);

/** Listens on loopback; port 0 takes a free one. `delayMs` holds every answer of the API back; with `api` a real server answers. */
export function startFake({ port = 0, machine, delayMs = 0, api: upstream = null }) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const rpc = /^\/querier\.v1\.QuerierService\/(\w+)$/.exec(pathname)?.[1];
    if (rpc && request.method === "POST") return setTimeout(() => (upstream ? proxy(new URL(pathname, upstream), request, response) : api(rpc, request, response, machine)), delayMs);
    const file = FILES[pathname];
    if (!file) return response.writeHead(404).end("not found\n");
    response.writeHead(200, { "Content-Type": TYPES[file.split(".").pop()], "Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff" });
    response.end(readFileSync(join(DIST, file)));
  });
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(server)));
}

function proxy(url, request, response) {
  const { host, origin, ...headers } = request.headers;
  const onward = send(url, { method: "POST", headers }, (answered) => {
    response.writeHead(answered.statusCode, answered.headers);
    answered.pipe(response);
  });
  // After the first byte there is no status left to send: the answer is cut.
  onward.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end(`${url.origin} does not answer\n`)));
  request.on("error", () => onward.destroy());
  request.pipe(onward);
}

/** The whole body; null when the page gave the question up (it asks anew on every zoom and on leaving). */
async function bodyOf(request) {
  const chunks = [];
  try {
    for await (const chunk of request) chunks.push(chunk);
  } catch {
    return null;
  }
  return Buffer.concat(chunks);
}

async function api(rpc, request, response, machine) {
  const body = await bodyOf(request);
  if (!body) return response.destroy();
  if (request.headers["content-type"] === "application/proto") return response.writeHead(200, { "Content-Type": "application/proto" }).end(EMPTY_PPROF);
  const send = (status, message) => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(message));
  try {
    send(200, answer(rpc, JSON.parse(body), machine));
  } catch (error) {
    if (error instanceof Refused) send(400, { code: error.code, message: error.message });
    else send(500, { code: "internal", message: String(error) });
  }
}
