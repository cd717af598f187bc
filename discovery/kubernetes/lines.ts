import { kubernetesFailure } from "./failure.ts";

const NEWLINE = 0x0a;

/** The lines of a stream, without a last one that is not finished. Throws `MESH_REGISTRY_MALFORMED` for one that is too long. */
export async function* readLines(stream: AsyncIterable<Buffer>, maxBytes: number, onChunk: () => void): AsyncGenerator<string> {
  let pending: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    onChunk();
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      pending.push(chunk.subarray(start, end));
      const line = Buffer.concat(pending).toString();
      pending = [];
      bytes = 0;
      start = end + 1;
      if (line.trim() !== "") yield line;
    }
    if (start === chunk.length) continue;
    pending.push(chunk.subarray(start));
    bytes += chunk.length - start;
    if (bytes > maxBytes) throw kubernetesFailure("MESH_REGISTRY_MALFORMED", `an event is longer than ${maxBytes} bytes`);
  }
}
