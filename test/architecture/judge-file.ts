import { EMPTY_WORDS, MAX_LINES, NAMES_WITH_REASON } from "../../architecture.ts";
import type { SourceFile } from "./source-file.ts";

/** Everything about a file's shape and name that the rules forbid; empty when it keeps them. */
export function judgeFile(file: SourceFile): readonly string[] {
  return [
    ...(file.lines > MAX_LINES ? [`${file.path}: ${file.lines} lines, at most ${MAX_LINES}: it does more than one thing`] : []),
    ...(file.hasDefaultExport && !file.path.endsWith(".d.ts") ? [`${file.path}: export default: an export has one name everywhere`] : []),
    ...(file.isBarrel ? [`${file.path}: a barrel: import from the file that has it`] : []),
    ...file.silencedTests.map((line) => `${file.path}:${line}: .only or .skip silences tests`),
    ...judgeName(file.path),
  ];
}

function judgeName(path: string): readonly string[] {
  return path.split("/").flatMap((segment) => {
    const name = segment.replace(/(?:\.test|\.d)?\.ts$/, "");
    if (!/^[a-z0-9]+(?:[-.][a-z0-9]+)*$/.test(name)) return [`${path}: ${segment} is not in kebab-case`];
    if (name === "index") return [`${path}: index says nothing: name the file after its main export`];
    const word = name.split("-").find((each) => EMPTY_WORDS.includes(each));
    return word === undefined || Object.hasOwn(NAMES_WITH_REASON, name) ? [] : [`${path}: "${word}" names no content`];
  });
}
