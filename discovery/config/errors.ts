import { CodedError, type CodedErrorOptions } from "../../base/coded-error.ts";

/** Every code of this room, with what it means and what to do about it (for docs/errors.md). */
export const configErrors = {
  MESH_CONFIG_DIRECTORY: "The configuration directory cannot be read: check that it exists and its permissions. What it said before stays in force.",
} as const;

export type ConfigErrorCode = keyof typeof configErrors;

export function configError(code: ConfigErrorCode, message: string, options: CodedErrorOptions = {}): CodedError {
  return new CodedError(code, message, options);
}
