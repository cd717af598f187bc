import { Argument, type Command } from "commander";
import type { CliContext } from "../context.ts";

const SHELLS = ["bash", "zsh"] as const;

/** `ironmesh completion SHELL`: prints what the shell sources. */
export function addCompletion(program: Command, context: CliContext): void {
  program
    .command("completion")
    .description("print the completion script of a shell")
    .addArgument(new Argument("<shell>", "shell").choices(SHELLS))
    .addHelpText("after", "\nExample:\n  source <(ironmesh completion bash)")
    .action((shell: (typeof SHELLS)[number]) => context.print(completionScript(program, shell)));
}

/** One case per command path: its subcommands, argument choices and options. */
export function completionScript(program: Command, shell: (typeof SHELLS)[number]): string {
  const cases = paths(program, []).map(([path, words]) => `    "${path.join(" ")}") words="${words.join(" ")}" ;;`);
  const script = [
    "_ironmesh() {",
    '  local path="" word words="" index',
    "  for ((index = 1; index < COMP_CWORD; index++)); do",
    '    word="${COMP_WORDS[index]}"',
    '    case "$word" in -*) continue ;; esac',
    '    case " $(_ironmesh_words "$path") " in *" $word "*) path="${path:+$path }$word" ;; esac',
    "  done",
    '  COMPREPLY=($(compgen -W "$(_ironmesh_words "$path")" -- "${COMP_WORDS[COMP_CWORD]}"))',
    "}",
    "_ironmesh_words() {",
    '  local words=""',
    '  case "$1" in',
    ...cases,
    "  esac",
    '  printf "%s" "$words"',
    "}",
    "complete -F _ironmesh ironmesh",
  ];
  const preamble = shell === "zsh" ? ["autoload -U +X bashcompinit && bashcompinit"] : [];
  return [...preamble, ...script].join("\n");
}

function paths(command: Command, path: readonly string[]): [path: readonly string[], words: string[]][] {
  const choices = command.registeredArguments.flatMap((argument) => argument.argChoices ?? []);
  const options = command.options.flatMap((option) => option.long ?? []);
  const words = [...command.commands.map((inner) => inner.name()), ...choices, ...options];
  return [[path, words], ...command.commands.flatMap((inner) => paths(inner, [...path, inner.name()]))];
}
