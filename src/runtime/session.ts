import './no-telemetry.ts'
import * as ort from '#onnxruntime'
import { encodeInMemory } from '../formats/onnx/write.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { aligned, type DataType, dataTypes, Tensor } from '../ir/tensor.ts'
import { canSpareCopies, runWithoutCopies, withoutCopies } from './uncopied.ts'

/** Where models run. */
export const devices = ['cpu', 'webgpu', 'cuda'] as const
export type Device = (typeof devices)[number]

export interface SessionOptions {
  /** Threads within one operator; 0 (default) lets ONNX Runtime take one per core. */
  readonly threads?: number | undefined
  /** Default: cpu. */
  readonly device?: Device | undefined
  /** Named in messages when ONNX Runtime refuses the model. */
  readonly name?: string | undefined
  /** The session is run with `fetches` only (opset 11 or newer): spares ONNX Runtime for Node a copy of every result. */
  readonly writesInPlace?: boolean | undefined
  /** A file to write the model to as ONNX Runtime has optimised it for this machine. */
  readonly optimisedTo?: string | undefined
  /** The model was written so: it is taken as it is. */
  readonly isOptimised?: boolean | undefined
}

/** A model that is ready to run. */
export interface Session {
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /**
   * Runs the model once; outputs are in memory of their own. With `fetches`, results are written into the memory of
   * those tensors (of the type and shape of the outputs, and none of them among the feeds), and only they are computed.
   */
  run(
    feeds: ReadonlyMap<string, Tensor>,
    fetches?: ReadonlyMap<string, Tensor>,
  ): Promise<ReadonlyMap<string, Tensor>>
  release(): Promise<void>
}

/**
 * Prepares a model, or an ONNX file (its bytes), for running. Throws a UserError if it, or the device, cannot be.
 * A model may be larger than 2 GiB, a file not.
 */
export async function createSession(
  model: Model | Uint8Array,
  options: SessionOptions = {},
): Promise<Session> {
  const { threads = 0, device = 'cpu', name = 'the model', writesInPlace = false } = options
  const { optimisedTo, isOptimised = false } = options
  const sparesCopies = writesInPlace && (await canSpareCopies())
  const { bytes, externalData } =
    model instanceof Uint8Array ? { bytes: model, externalData: [] } : encodeInMemory(model)
  let session: ort.InferenceSession
  try {
    session = await ort.InferenceSession.create(sparesCopies ? withoutCopies(bytes) : bytes, {
      ...(externalData.length > 0 ? { externalData } : {}),
      executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
      ...(threads > 0 ? { intraOpNumThreads: threads } : {}),
      ...(optimisedTo === undefined ? {} : { optimizedModelFilePath: optimisedTo }),
      ...(isOptimised ? { graphOptimizationLevel: 'disabled' } : {}),
      // Of version 1.30: it folds padding by zeros into a max pool, which pads by minus infinity.
      extra: { optimization: { disable_specified_optimizers: 'Pad_Fusion' } },
      // Planning memory ahead keeps what the first run took beside the plan: twice as much.
      enableMemPattern: false,
      // Warnings are for whoever wrote the exporter; errors come back as exceptions.
      logSeverityLevel: 3,
    })
  } catch (error) {
    if (device !== 'cpu' && isAbsent(device, error)) throw new UserError(`${absence[device]}; use the CPU`)
    throw new UserError(`ONNX Runtime cannot load ${name}: ${oneLine(error)}`)
  }
  return {
    inputs: session.inputNames,
    outputs: session.outputNames,
    async run(feeds, fetches) {
      const fed = viewsOf(feeds)
      let fetched: ort.InferenceSession.ReturnType
      try {
        if (fetches && sparesCopies) {
          await runWithoutCopies(session, fed, viewsOf(fetches))
          return fetches
        }
        if (fetches) fetched = await session.run(fed, takesMemory ? viewsOf(fetches) : [...fetches.keys()])
        else fetched = await session.run(fed)
      } catch (error) {
        throw new UserError(`ONNX Runtime failed while running ${name}: ${oneLine(error)}`)
      }
      if (fetches) {
        if (!takesMemory)
          for (const [output, tensor] of fetches)
            tensor.bytes.set(fromRuntime(fetched[output] as ort.Tensor).bytes)
        return fetches
      }
      return new Map(
        session.outputNames.flatMap((output) => {
          const value = fetched[output]
          return value instanceof ort.Tensor ? [[output, fromRuntime(value)] as const] : []
        }),
      )
    },
    release: () => session.release(),
  }
}

/** The browser's engine computes in memory of its own, so results are copied from there. */
const takesMemory = ort.env.versions.node !== undefined

function viewsOf(tensors: ReadonlyMap<string, Tensor>): Record<string, ort.Tensor> {
  const views: Record<string, ort.Tensor> = {}
  for (const [name, tensor] of tensors) views[name] = toRuntime(tensor)
  return views
}

/** Of ONNX Runtime, here. */
export const runtimeVersion: string =
  ort.env.versions.node !== undefined
    ? `onnxruntime-node ${ort.env.versions.node}`
    : `onnxruntime-web ${ort.env.versions.web ?? ort.env.versions.common}`

const absence = {
  webgpu:
    'there is no WebGPU adapter here: no graphics card with a driver (Vulkan, Metal or Direct3D 12) was found',
  cuda: "ONNX Runtime's package for Node comes without CUDA, or CUDA is not installed here",
} as const

const isAbsent = (device: Exclude<Device, 'cpu'>, error: unknown) =>
  (device === 'webgpu' ? /adapter|backend not found/i : /CUDA|backend not found/i).test(oneLine(error))

const oneLine = (error: unknown) => (error as Error).message.replace(/\s+/g, ' ').trim()

const views = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
} as const

function toRuntime(tensor: Tensor): ort.Tensor {
  if (tensor.strings) return new ort.Tensor('string', [...tensor.strings], tensor.dims)
  const View = views[tensor.dataType as keyof typeof views]
  if (!View) throw new UserError(`ONNX Runtime takes no input of type ${tensor.dataType}`)
  const bytes = aligned(tensor.bytes, View.BYTES_PER_ELEMENT)
  const data = new View(bytes.buffer as ArrayBuffer, bytes.byteOffset, tensor.size)
  return new ort.Tensor(tensor.dataType as 'float32', data as Float32Array, tensor.dims)
}

function fromRuntime(tensor: ort.Tensor): Tensor {
  const dataType = tensor.type as DataType
  if (dataType === 'string')
    return new Tensor('string', tensor.dims, new Uint8Array(), tensor.data as string[])
  const { buffer, byteOffset } = tensor.data as Float32Array
  const length = (tensor.size * dataTypes[dataType].bits) / 8
  return new Tensor(dataType, tensor.dims, new Uint8Array(buffer as ArrayBuffer, byteOffset, length))
}
