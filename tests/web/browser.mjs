// A headless Chromium, over its pipe: the DevTools protocol without a port and without a library.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How long one thing may take, on a busy machine. */
const PATIENCE_MS = 120_000;

export class Browser {
  #process;
  #profile;
  #waiting = new Map();
  #count = 0;
  #rest = "";
  #listeners = [];

  constructor(program) {
    this.#profile = mkdtempSync(join(tmpdir(), "kettle-chromium-"));
    const args = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run", "--disable-gpu",
      "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
      `--user-data-dir=${this.#profile}`, "about:blank"];
    this.#process = spawn(program, args, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    this.#process.stdio[4].on("data", (data) => this.#read(data));
    this.#process.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the browser has ended"));
    });
  }

  #read(data) {
    const messages = (this.#rest + data).split("\0");
    this.#rest = messages.pop();
    for (const text of messages) {
      const message = JSON.parse(text);
      const call = this.#waiting.get(message.id);
      if (!call) {
        for (const listener of this.#listeners) listener(message);
        continue;
      }
      this.#waiting.delete(message.id);
      if (message.error) call.reject(new Error(`${call.method}: ${message.error.message}`));
      else call.resolve(message.result);
    }
  }

  /** Calls a method of the protocol. */
  send(method, params = {}, sessionId = undefined) {
    const id = ++this.#count;
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method}: no response`)), PATIENCE_MS);
      const settle = (use) => (value) => (clearTimeout(timer), use(value));
      this.#waiting.set(id, { method, resolve: settle(resolve), reject: settle(reject) });
    });
  }

  listen(listener) {
    this.#listeners.push(listener);
  }

  /** Opens an empty page. */
  async page() {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId);
    await page.prepare();
    return page;
  }

  async close() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    await this.send("Browser.close").catch(() => this.#process.kill());
    await ended;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

export class Page {
  #browser;
  #session;
  /** The addresses of all requests of the page and of its workers. */
  requests = [];
  /** What the page and its workers reported to the console. */
  console = [];

  constructor(browser, session) {
    this.#browser = browser;
    this.#session = session;
    browser.listen(({ method, params, sessionId }) => {
      if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
      if (method === "Log.entryAdded") this.console.push(params.entry.text);
      if (method === "Runtime.exceptionThrown") this.console.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
      // Requests of workers are those of sessions of their own.
      if (method === "Target.attachedToTarget" && sessionId === this.#session) {
        for (const enabled of ["Network.enable", "Log.enable", "Runtime.runIfWaitingForDebugger"]) {
          browser.send(enabled, {}, params.sessionId).catch(() => {});
        }
      }
    });
  }

  send(method, params) {
    return this.#browser.send(method, params, this.#session);
  }

  async prepare() {
    for (const domain of ["Page", "Network", "Log", "Runtime", "DOM"]) await this.send(`${domain}.enable`);
    const attach = { autoAttach: true, waitForDebuggerOnStart: true, flatten: true };
    await this.send("Target.setAutoAttach", attach);
  }

  async open(url) {
    await this.send("Page.navigate", { url });
    await this.until("document.readyState === 'complete'");
  }

  /** Returns the value of an expression. */
  async value(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
      userGesture: true,
    });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  /** Waits until an expression is true. */
  async until(expression) {
    const end = Date.now() + PATIENCE_MS;
    while (!(await this.value(expression).catch(() => false))) {
      if (Date.now() > end) throw new Error(`never: ${expression}; console: ${this.console.join("; ")}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Drops files on an element, as a person does. */
  async drop(selector, ...files) {
    const [x, y] = await this.value(`(() => {
      const element = document.querySelector(${JSON.stringify(selector)});
      element.scrollIntoView({ block: "center" });
      const { left, top, width, height } = element.getBoundingClientRect();
      return [left + width / 2, top + height / 2];
    })()`);
    const data = { items: [], files, dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) {
      await this.send("Input.dispatchDragEvent", { type, x, y, data });
    }
  }

  /** Chooses files in an input. */
  async choose(selector, ...files) {
    const { root } = await this.send("DOM.getDocument");
    const { nodeId } = await this.send("DOM.querySelector", { nodeId: root.nodeId, selector });
    await this.send("DOM.setFileInputFiles", { nodeId, files });
  }

  async press(key, code = key) {
    const text = key === "Enter" ? "\r" : key === " " ? " " : undefined;
    const number = { Tab: 9, Enter: 13, " ": 32 }[key];
    const common = { key, code, windowsVirtualKeyCode: number };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", text, ...common });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...common });
  }

  /** Returns a picture of the whole page, PNG. */
  async screenshot() {
    const { data } = await this.send("Page.captureScreenshot", { captureBeyondViewport: true });
    return Buffer.from(data, "base64");
  }
}
