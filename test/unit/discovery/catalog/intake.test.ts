import assert from "node:assert/strict";
import fc from "fast-check";
import { type Arrival, createIntake, type Intake } from "../../../../discovery/catalog/intake.ts";
import { createManualClock } from "../../../support/manual-clock.ts";
import { foreignService } from "../../../support/plain-registry.ts";
import { createSlices } from "../../../support/push-slices.ts";

const PACE = { atOnce: 2, atATime: 2 };

/** A word that a registry says of a service: what it is tied by, and which word it is. */
interface Word {
  readonly ties: readonly string[];
  readonly version: number;
}

describe("services on their way into the catalog", () => {
  let slices: ReturnType<typeof createSlices>;
  let intake: Intake;
  /** What was taken, one entry for each turn. */
  let turns: Arrival[][];
  /** As the registries have it. */
  let told: Map<string, Word>;

  beforeEach(() => {
    slices = createSlices(createManualClock());
    turns = [];
    told = new Map();
    intake = createIntake({
      clock: slices.clock,
      pace: PACE,
      tiesOf: (_registry, { aliases }) => (aliases.includes("*") ? undefined : aliases),
      onTaken: (arrivals) => turns.push([...arrivals]),
    });
  });
  afterEach(() => intake.close());

  const serviceOf = ({ ties, version }: Word) => foreignService("shop", `v${version}`, { aliases: ties });
  const tell = (words: Readonly<Record<string, Word | undefined>>, takesTurns = true): void => {
    const arrivals = Object.entries(words).map(([id, word]): Arrival => {
      const known = told.get(id);
      if (word === undefined) told.delete(id);
      else told.set(id, word);
      return { id, registry: "east", precedence: 0, before: known && serviceOf(known), after: word && serviceOf(word) };
    });
    intake.take(arrivals, takesTurns);
  };
  const alone = (version = 1): Word => ({ ties: [], version });
  const many = (...ids: string[]): Record<string, Word> => Object.fromEntries(ids.map((id) => [id, alone()]));
  const takenIds = (): string[][] => turns.map((arrivals) => arrivals.map(({ id }) => id));
  const runAll = (): void => {
    while (slices.runOne());
  };

  it("go in at once where they are few", () => {
    tell(many("a", "b"));
    assert.deepEqual(takenIds(), [["a", "b"]]);
    assert.equal(slices.isWaiting(), false);
  });

  it("take turns where they are many, in the order in which they came", () => {
    tell(many("a", "b", "c", "d", "e"));
    assert.deepEqual(takenIds(), [["a", "b"]]);
    slices.runOne();
    assert.deepEqual([...intake.waiting().keys()], ["e"]);
    runAll();
    assert.deepEqual(takenIds(), [["a", "b"], ["c", "d"], ["e"]]);
  });

  it("go in at once, however many, where they may not take turns", () => {
    tell(many("a", "b", "c", "d", "e"), false);
    assert.deepEqual(takenIds(), [["a", "b", "c", "d", "e"]]);
  });

  it("do not wait for others where they are few, and have the newest word", () => {
    tell(many("a", "b", "c", "d", "e", "f"));
    tell({ f: alone(2), a: alone(2) });
    assert.deepEqual(takenIds().at(-1), ["f", "a"]);
    assert.deepEqual(turns.at(-1)?.map(({ before, after }) => [before?.name, after?.name]), [[undefined, "v2"], ["v1", "v2"]]);
    runAll();
    assert.deepEqual(takenIds().slice(2), [["c", "d"], ["e"]]);
  });

  it("never go in where they went before their turn came", () => {
    tell(many("a", "b", "c", "d", "e"));
    tell({ d: undefined });
    assert.equal(turns.length, 1);
    runAll();
    assert.deepEqual(takenIds().flat(), ["a", "b", "c", "e"]);
  });

  it("go out by what the catalog has, whatever was said in between", () => {
    tell(many("a"));
    tell({ ...many("b", "c", "d"), a: alone(2) });
    tell({ a: undefined });
    assert.deepEqual(turns.at(-1)?.map(({ id, before, after }) => [id, before?.name, after]), [["a", "v1", undefined]]);
  });

  it("go in together where they are tied, also by others, and by what they were", () => {
    tell({ old: { ties: ["x"], version: 1 } });
    tell({ ...many("a", "b", "c", "d"), e: { ties: ["x", "y"], version: 1 }, f: { ties: ["y"], version: 1 } });
    tell({ old: { ties: [], version: 2 } });
    assert.deepEqual(takenIds().at(-1)?.sort(), ["e", "f", "old"]);
    runAll();
    assert.deepEqual(takenIds().slice(3), [["c", "d"]]);
  });

  it("all go in at once where one of them may be tied to anything", () => {
    tell({ ...many("a", "b", "c"), wild: { ties: ["*"], version: 1 }, ...many("d", "e") });
    assert.deepEqual(takenIds(), [["a", "b", "c", "wild", "d", "e"]]);
    tell(many("f", "g", "h", "i"));
    assert.equal(intake.waiting().size, 2);
    tell({ wild: undefined });
    assert.deepEqual(takenIds().at(-1), ["h", "i", "wild"]);
    assert.equal(intake.waiting().size, 0);
  });

  it("go in now where somebody needs them, and not at all once it is closed", () => {
    tell(many("a", "b", "c", "d", "e"));
    intake.finish();
    assert.equal(takenIds().flat().length, 5);
    tell(many("f", "g", "h", "i"));
    intake.close();
    runAll();
    assert.equal(takenIds().flat().length, 7);
  });

  it("end where the registries are, each word at most once, and with it all that is tied, whatever comes meanwhile (property)", () => {
    const id = fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h");
    const word = fc.option(fc.record({ ties: fc.uniqueArray(fc.constantFrom("u", "v", "x", "y", "z"), { maxLength: 2 }), version: fc.nat(1_000) }), { nil: undefined, freq: 3 });
    const event = fc.oneof(
      fc.record({ do: fc.constant("tell" as const), words: fc.dictionary(id, word, { maxKeys: 8, noNullPrototype: true }), takesTurns: fc.boolean() }),
      fc.record({ do: fc.constant("turn" as const) }),
      fc.record({ do: fc.constant("finish" as const) }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 30 }), (events) => {
        const own = createSlices(createManualClock());
        slices = own;
        told = new Map();
        /** As the catalog has it. */
        const shown = new Map<string, Word>();
        intake = createIntake({
          clock: own.clock,
          pace: PACE,
          tiesOf: (_registry, { aliases }) => aliases,
          onTaken(arrivals) {
            const taken = new Set(arrivals.map((arrival) => arrival.id));
            assert.equal(taken.size, arrivals.length, "once in a turn");
            const ties = new Set<string>();
            for (const { id: one, before, after } of arrivals) {
              for (const tie of [...(before?.aliases ?? []), ...(after?.aliases ?? [])]) ties.add(tie);
              assert.deepEqual(before?.name, nameOf(shown.get(one)), "by what is shown");
              assert.deepEqual(after?.name, nameOf(told.get(one)), "the newest word");
              const next = told.get(one);
              if (next === undefined) shown.delete(one);
              else shown.set(one, next);
            }
            for (const [one, { before, after }] of intake.waiting()) {
              for (const tie of [...(before?.aliases ?? []), ...(after?.aliases ?? [])]) assert.ok(!ties.has(tie), `${one} is tied by ${tie}`);
            }
          },
        });
        for (const one of events) {
          if (one.do === "turn") own.runOne();
          else if (one.do === "finish") intake.finish();
          else tell(Object.fromEntries(Object.entries(one.words).filter(([key, next]) => next !== undefined || told.has(key))), one.takesTurns);
          if (one.do === "finish") assert.equal(intake.waiting().size, 0);
          for (const waiting of intake.waiting().keys()) assert.ok(own.isWaiting(), `${waiting} has its turn`);
        }
        runAll();
        assert.deepEqual([...shown].sort(byKey), [...told].sort(byKey));
      }),
      { numRuns: 500 },
    );
  });
});

function nameOf(word: Word | undefined): string | undefined {
  return word && `v${word.version}`;
}

function byKey([left]: readonly [string, unknown], [right]: readonly [string, unknown]): number {
  return left < right ? -1 : 1;
}
