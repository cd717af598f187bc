import packageJson from "../package.json" with { type: "json" };

/** Of this program, as the package says it. */
export const VERSION: string = packageJson.version;
