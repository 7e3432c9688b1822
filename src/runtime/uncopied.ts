import './no-telemetry.ts'
import * as ort from '#onnxruntime'
import * as schema from '../formats/onnx/schema.ts'
import { concat, MessageWriter } from '../formats/onnx/wire.ts'
import { encodeModel } from '../formats/onnx/write.ts'
import { parseModel } from '../ir/text.ts'

/**
 * onnxruntime-node (1.30) copies every result into a new array, also one that it has written into memory of the caller:
 * for a step of training all parameters and what the optimizer remembers. It converts results in the order of the
 * model's outputs, after it has computed all of them, and throws when it meets one that is no tensor. So a model whose
 * first output is an empty sequence computes everything and copies nothing.
 */
const nothing = 'nothing_to_copy'

/** The error that stands for a run without copies. */
const isDone = (error: unknown) =>
  /^Non tensor type is temporarily not supported/.test((error as Error).message)

/** The model (the bytes of its file) with such an output in front of its own: protobuf merges what it reads of one field. */
export function withoutCopies(model: Uint8Array): Uint8Array {
  const { graph, node, valueInfo } = schema
  const added = new MessageWriter().message(schema.model.graph, (out) => {
    out.message(graph.node, (inner) =>
      inner.string(node.output, nothing).string(node.opType, 'SequenceEmpty'),
    )
    out.message(graph.output, (inner) => {
      inner
        .string(valueInfo.name, nothing)
        .message(valueInfo.type, (type) =>
          type.message(schema.type.sequence, (sequence) =>
            sequence.message(schema.sequenceType.elementType, (element) =>
              element.message(schema.type.tensor, (tensor) => tensor.int(schema.tensorType.elementType, 1)),
            ),
          ),
        )
    })
  })
  return concat([...added.finish(), model])
}

/** Runs a session of such a model; `fetches` are written. */
export async function runWithoutCopies(
  session: ort.InferenceSession,
  feeds: Record<string, ort.Tensor>,
  fetches: Record<string, ort.Tensor>,
): Promise<void> {
  try {
    await session.run(feeds, { [nothing]: null, ...fetches })
  } catch (error) {
    if (!isDone(error)) throw error
  }
}

let found: Promise<boolean> | undefined

/** Whether this version of ONNX Runtime behaves as described; found by trying, once. */
export function canSpareCopies(): Promise<boolean> {
  found ??= probe().catch(() => false)
  return found
}

async function probe(): Promise<boolean> {
  if (ort.env.versions.node === undefined) return false
  const model = parseModel(
    '<ir_version: 8, opset_import: ["": 17]> probe (float32[2] x) => (float32[2] y, float32[2] z) { y = Add(x, x) z = Mul(y, y) }',
  )
  const session = await ort.InferenceSession.create(withoutCopies(encodeModel(model)))
  const tensor = (...values: number[]) => new ort.Tensor('float32', Float32Array.from(values), [2])
  const [y, z] = [tensor(0, 0), tensor(0, 0)]
  await runWithoutCopies(session, { x: tensor(3, 4) }, { y, z })
  await session.release()
  return [...y.data, ...z.data].join() === '6,8,36,64'
}
