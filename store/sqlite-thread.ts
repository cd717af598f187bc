// The entry of the thread that owns the SQLite connection: started by sqlite.ts only.
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";

import { CodedError, messageOf } from "../base/coded-error.ts";
import type { StoreErrorCode } from "./errors.ts";
import { openDatabase } from "./sqlite-database.ts";
import type { SqliteDatabase } from "./sqlite-database.ts";
import type { SqliteMessage, SqliteOptions, SqliteReply, SqliteRequest } from "./sqlite-messages.ts";

/** Requests that share one write to the disk. */
const maxBatch = 256;
/** How soon a watch sees what another process wrote. */
const foreignWritesIntervalMs = 200;

interface Watcher {
  readonly prefix: string;
  position: number;
}

function serve(port: MessagePort, database: SqliteDatabase): void {
  const watchers = new Map<number, Watcher>();
  let version = database.version();
  let poll: NodeJS.Timeout | undefined;

  function say(reply: SqliteReply): void {
    port.postMessage(reply);
  }

  function runBatch(requests: readonly SqliteRequest[]): void {
    if (requests.length === 0) return;
    try {
      const answers = database.run(requests);
      for (const [index, { id }] of requests.entries()) say({ type: "answer", id, answer: answers[index] });
    } catch (failure) {
      for (const { id } of requests) say({ type: "failure", id, message: messageOf(failure) });
    }
  }

  function tell(watchId: number, watcher: Watcher): void {
    try {
      const { events, revision } = database.changesSince(watcher.prefix, watcher.position);
      watcher.position = revision;
      for (const event of events) {
        say({ type: "event", watchId, event });
        if (event.type === "resync") watchers.delete(watchId);
      }
    } catch (failure) {
      watchers.delete(watchId);
      say({ type: "watch-failed", watchId, message: messageOf(failure) });
    }
  }

  function tellAll(): void {
    for (const [watchId, watcher] of watchers) tell(watchId, watcher);
    clearTimeout(poll);
    poll = watchers.size === 0 ? undefined : setTimeout(lookForForeignWrites, foreignWritesIntervalMs);
  }

  function lookForForeignWrites(): void {
    const current = database.version();
    if (current === version) poll = setTimeout(lookForForeignWrites, foreignWritesIntervalMs);
    else {
      version = current;
      tellAll();
    }
  }

  function take(messages: readonly SqliteMessage[]): void {
    runBatch(messages.filter((message) => message.type === "get" || message.type === "list" || message.type === "txn"));
    for (const message of messages) {
      if (message.type === "watch") watchers.set(message.watchId, { prefix: message.prefix, position: message.fromRevision });
      else if (message.type === "unwatch") watchers.delete(message.watchId);
    }
    if (messages.some((message) => message.type === "txn" || message.type === "watch")) tellAll();
    if (messages.some((message) => message.type === "close")) {
      clearTimeout(poll);
      database.close();
      port.close();
    }
  }

  port.on("message", (first: SqliteMessage) => {
    const batch = [first];
    while (batch.length < maxBatch) {
      const next = receiveMessageOnPort(port);
      if (next === undefined) break;
      batch.push(next.message);
    }
    take(batch);
  });
  say({ type: "opened" });
}

function start(port: MessagePort, options: SqliteOptions): void {
  try {
    serve(port, openDatabase(options));
  } catch (failure) {
    if (!(failure instanceof CodedError)) throw failure;
    port.postMessage({ type: "open-failed", code: failure.code as StoreErrorCode, message: failure.message } satisfies SqliteReply);
    port.close();
  }
}

if (parentPort === null) throw new Error("this file is the entry of a worker thread");
start(parentPort, workerData as SqliteOptions);
