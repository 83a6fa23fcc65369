// `npm run dev`: the built page over made-up data. --port N, --big N (frames of one more service), --empty, --delay MS;
// --api URL takes the data of a running server.

import { bigService, machine } from "./fake/data.mjs";
import { startFake } from "./fake/server.mjs";

const option = (name) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? null : process.argv[at + 1];
};
const services = process.argv.includes("--empty") ? [] : machine();
if (option("big")) services.push(bigService(Number(option("big"))));
const server = await startFake({ port: Number(option("port") ?? 4130), machine: services, delayMs: Number(option("delay") ?? 0), api: option("api") });
console.log(`http://localhost:${server.address().port}/`);
