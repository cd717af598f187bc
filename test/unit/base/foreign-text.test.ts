import assert from "node:assert/strict";
import { foreignLines, foreignText } from "../../../base/foreign-text.ts";

/** Clears a terminal, moves its cursor, sets its title, hides what follows; and the same with C1. */
const ESCAPES = "vm-1\u001b[2J\u001b[1;1H\u001b]0;owned\u0007\u001b[8m\u009b2J\u007f";

describe("text of strangers", () => {
  it("loses what a terminal obeys, hides or turns around, and every line end", () => {
    assert.equal(foreignText(ESCAPES), "vm-1?[2J?[1;1H?]0;owned??[8m?2J?");
    assert.equal(foreignText("a\r\nb\u202ec\u200bd\u2028e\ud800"), "a??b?c?d?e?");
  });

  it("keeps letters of any script", () => {
    assert.equal(foreignText("grün 日本 ёж 🦔"), "grün 日本 ёж 🦔");
  });

  it("is cut to a length, also within a pair of surrogates", () => {
    assert.equal(foreignText("abc🦔", 4), "abc?");
    assert.equal(foreignLines("a\nb\nc", 3), "a\nb");
  });

  it("keeps its lines where it may have several", () => {
    assert.equal(foreignLines("a\n\tb\r\u001b[8m"), "a\n\tb??[8m");
  });
});
