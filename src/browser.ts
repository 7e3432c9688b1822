/**
 * varshift for the browser: the same jobs on files that are held in memory.
 *
 *   import { readModel, check, measure } from 'varshift'
 *
 *   const files = memoryFiles(new Map([['model.onnx', bytes], ['images.npz', images]]))
 *   const model = await readModel('model.onnx', files)
 *   const shift = await measure(model, { data: 'images.npz' }, files)
 */
export { check } from './commands/check.ts'
export { checkDistilled } from './commands/check-distilled.ts'
export { compare } from './commands/compare.ts'
export { fix } from './commands/fix.ts'
export type { Fixed } from './commands/fixed.ts'
export { measure } from './commands/measure.ts'
export type {
  CheckOptions,
  DataOptions,
  FixOptions,
  MeasureOptions,
  NetworkChoice,
  RunOptions,
  TrainCommandOptions,
} from './commands/options.ts'
export { type Trained, train } from './commands/train.ts'
export { openDataset as openData } from './data/open.ts'
export { type ShapesOptions, shapes } from './data/shapes.ts'
export type { ModelFile } from './formats/define-format.ts'
export { layerTexts } from './formats/layer-texts.ts'
export { encodeModel as toOnnx } from './formats/onnx/index.ts'
export { openModel as readModel } from './formats/open-model.ts'
export { UserError } from './ir/errors.ts'
export { Tensor } from './ir/tensor.ts'
export * as layers from './models/layers.ts'
export { type BuildOptions, Network, network } from './models/network.ts'
export { networkFamilies, parseNetwork } from './models/networks/index.ts'
export type { Files } from './platform/files.ts'
export { memoryFiles } from './platform/web.ts'
export { renderHtml } from './report/html.ts'
export { type Result, resultSchema } from './result/result.ts'
export { rules } from './rules/index.ts'
export { createSession, type Session, type SessionOptions } from './runtime/session.ts'
export {
  type TrainEvent,
  type TrainerOptions,
  type Training,
  type TrainSummary,
  trainer,
} from './train/trainer.ts'
export { version } from './version.ts'
