// The browser's side of Improv, as installers use it: the SDK over a TCP connection that stands for the serial port.
// Usage: node browser.mjs NODE_MODULES PORT. Each line on standard input is {"do": METHOD, "with": [ARGUMENTS]}; each
// line on standard output is {"ok": RESULT} or {"error": TEXT}.
import { register } from "node:module";
import net from "node:net";
import path from "node:path";
import readline from "node:readline";
import { Duplex } from "node:stream";
import { pathToFileURL } from "node:url";

const [modules, port] = process.argv.slice(2);

// The SDK is written for bundlers: its files are modules that do not say so and import each other without endings.
const hooks = `
export async function resolve(name, context, next) {
  try { return await next(name, context); } catch (error) {
    if (!name.startsWith(".")) throw error;
    return next(name + ".js", context);
  }
}
export function load(url, context, next) {
  const format = url.includes("/improv-wifi-serial-sdk/") ? "module" : context.format;
  return next(url, { ...context, format });
}`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
const sdk = path.join(modules, "improv-wifi-serial-sdk", "dist", "serial.js");
const { ImprovSerial } = await import(pathToFileURL(sdk).href);

const socket = net.connect(Number(port), "127.0.0.1");
await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
const quiet = { log() {}, error() {}, debug() {} };
const client = new ImprovSerial(Duplex.toWeb(socket), quiet);

const doing = {
  initialize: async (timeout) => ({ info: await client.initialize(timeout), state: client.state, url: client.nextUrl }),
  provision: async (ssid, password) => {
    await client.provision(ssid, password);
    return { state: client.state, url: client.nextUrl };
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const wish = JSON.parse(line);
  let answer;
  try {
    const act = doing[wish.do] ?? ((...given) => client[wish.do](...given));
    answer = { ok: (await act(...wish.with)) ?? null };
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
