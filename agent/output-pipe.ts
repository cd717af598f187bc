import { execFile } from "node:child_process";
import { constants, openSync, statSync } from "node:fs";
import { Socket } from "node:net";
import { promisify } from "node:util";

/** Lines from a child that may outlive us. */
export interface OutputPipe {
  /** Opens the writing end for a child; the caller closes it after the start. */
  openWriter(): number;
  close(): void;
}

const MAX_LINE_BYTES = 64 * 1024;

/**
 * A named pipe for the output of Envoy. Unlike an anonymous one it can be
 * found again: while there is no agent, Envoy's writes fail at once (it drops
 * those lines and serves on); the next agent opens the same pipe and reads what
 * the same Envoy writes from then on.
 */
export async function openOutputPipe(path: string, onLine: (line: string) => void): Promise<OutputPipe> {
  if (!isPipe(path)) await promisify(execFile)("mkfifo", ["-m", "600", path], { timeout: 10_000 });
  // Open for both directions: a child that ends is then no end of the pipe.
  const descriptor = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const reader = new Socket({ fd: descriptor, readable: true, writable: false });
  let pending = "";
  reader.setEncoding("utf8");
  reader.on("data", (chunk: string) => {
    const lines = (pending + chunk).split("\n");
    pending = (lines.pop() ?? "").slice(0, MAX_LINE_BYTES);
    for (const line of lines) if (line !== "") onLine(line);
  });
  reader.on("error", () => undefined);
  reader.unref();
  return {
    openWriter: () => openSync(path, constants.O_WRONLY),
    close: () => {
      reader.destroy();
    },
  };
}


function isPipe(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFIFO() ?? false;
}
