/**
 * Loaded into npm before it runs on the machine's own Node. npm silently leaves
 * out optional packages whose `engines` do not fit the Node that it runs on, and
 * the native parts of our tools are such packages; but they run on the Node that
 * comes with the project, so by that one npm is to judge them.
 */
"use strict";

const { optionalDependencies } = require("../package.json");

Object.defineProperty(process, "version", { value: `v${optionalDependencies[`node-linux-${process.arch}`]}` });
