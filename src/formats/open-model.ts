import { UserError } from '../ir/errors.ts'
import type { Files } from '../platform/files.ts'
import { memoryParts, type Parts } from '../platform/parts.ts'
import { isZip, memberNames } from '../platform/zip.ts'
import type { Format, ModelFile } from './define-format.ts'
import { keras, kerasH5 } from './keras/index.ts'
import { onnx } from './onnx/onnx.ts'
import { pt2, safetensors, stateDict } from './pytorch/index.ts'
import { tfjs } from './tfjs/tfjs.ts'

/** All formats, in the order in which they are tried: the last knows its files least surely. */
export const formats: readonly Format[] = [keras, kerasH5, pt2, stateDict, safetensors, tfjs, onnx]

const ascii = (bytes: Uint8Array, from: number, to: number) =>
  String.fromCharCode(...bytes.subarray(from, to))

/** Whether a zip file has a member whose name fits. */
const holds = (member: RegExp) => (head: Uint8Array, file: Parts) =>
  isZip(head) && memberNames(file).some((name) => member.test(name))

/** The beginning of a file, from which most formats can be told. */
const headBytes = 512

/** What a file that is no model probably is, and what to do. */
const lookalikes: readonly { test(head: Uint8Array, file: Parts): boolean; message: string }[] = [
  { test: (b) => b.length === 0, message: 'the file is empty; fetch or save it again' },
  {
    test: (b) => ascii(b, 0, 40).startsWith('version https://git-lfs'),
    message: 'this is a Git LFS pointer, not the model itself; run `git lfs pull` and try again',
  },
  {
    test: (b) => /^\s*(<!doctype|<html|<\?xml|<head)/i.test(ascii(b, 0, 64)),
    message: 'this is a web page, not a model; download the file itself (the "raw" link)',
  },
  {
    test: holds(/(^|\/)(constants\.pkl|code\/.*\.py)$/),
    message:
      'this is a TorchScript archive, whose code is never run; export the module anew with `torch.export.save(torch.export.export(model, (example,)), "model.pt2")`',
  },
  {
    test: holds(/(^|\/)data\/aotinductor\//),
    message: 'this is a package compiled by AOTInductor; give the .pt2 file that torch.export.save wrote',
  },
  {
    test: (b) => ascii(b, 257, 262) === 'ustar',
    message:
      'this is a tar archive (the first releases of PyTorch wrote such files); in Python save `torch.save(torch.load(FILE, weights_only=True), NEW)`, or unpack it first',
  },
  { test: holds(/\.npy$/), message: 'this is a NumPy archive: data, not a model; give it with --data' },
  { test: holds(/\.onnx$/), message: 'this is a zip archive around an ONNX file; unpack it first' },
  {
    test: isZip,
    message:
      'this is a zip archive, but none that Keras or PyTorch write; unpack it first, or export the model to ONNX',
  },
  { test: (b) => b[0] === 0x1f && b[1] === 0x8b, message: 'this is a gzip archive; unpack it first' },
  {
    test: (b) => ascii(b, 4, 8) === 'ORTM',
    message: 'this is an ORT-format model; give the ONNX file that it was made from',
  },
  {
    test: (b) => ascii(b, 4, 8) === 'TFL3',
    message: 'this is a TensorFlow Lite model; give the ONNX or Keras original',
  },
  {
    test: (b) => b[0] === 0x80 && b[1]! <= 5,
    message:
      'this is a Python pickle (PyTorch before 1.6 wrote such files too), which is never opened; in Python save `torch.save(torch.load(FILE, weights_only=True), NEW)`, or export the model with `torch.export.save` or to ONNX',
  },
  {
    test: (b) => b.subarray(0, 256).every((byte) => (byte >= 32 && byte < 127) || (byte >= 9 && byte <= 13)),
    message: 'this is a text file, not a model; give the model file itself (of TensorFlow.js the model.json)',
  },
]

/** The model in the file at `path`. Throws a UserError that says what the file is instead, or where it is damaged. */
export async function openModel(path: string, files: Files): Promise<ModelFile> {
  const file = files.parts(path)
  const format = formatOf(file, path)
  if (format.readsParts || !files.readWithHash) {
    const sha256 = await files.hash?.(path)
    return { ...(await readAs(format, file, path, files)), sha256 }
  }
  const { bytes, sha256 } = await files.readWithHash(path)
  return { ...(await readAs(format, memoryParts(bytes), path, files)), sha256 }
}

/** The same from bytes that are already in memory; `path` names them in messages and locates external data. */
export async function readModelBytes(bytes: Uint8Array, path: string, files: Files): Promise<ModelFile> {
  const file = memoryParts(bytes)
  return readAs(formatOf(file, path), file, path, files)
}

function formatOf(file: Parts, path: string): Format {
  const head = file.read(0, Math.min(headBytes, file.sizeBytes))
  const format = formats.find(({ detect }) => detect(head, file))
  const lookalike = !format || format === onnx ? lookalikes.find(({ test }) => test(head, file)) : undefined
  if (lookalike) throw new UserError(`${path}: ${lookalike.message}`)
  if (format) return format
  throw new UserError(
    `${path}: not a model that varshift reads (${formats.map(({ name }) => name).join(', ')}); its first bytes are ${[...head.subarray(0, 4)].map((b) => b.toString(16).padStart(2, '0')).join(' ')}`,
  )
}

async function readAs(format: Format, file: Parts, path: string, files: Files): Promise<ModelFile> {
  try {
    return await format.read(file, path, files)
  } catch (error) {
    if (error instanceof UserError && !error.message.startsWith(path))
      throw new UserError(`${path}: ${error.message}`)
    throw error
  }
}
