/**
 * varshift for Node: why a network behaves differently in train and in eval mode, which layers cause it, and a
 * repaired file.
 *
 *   import { readModel, check, measure, fix, save } from 'varshift'
 *
 *   const model = await readModel('model.onnx')
 *   const findings = check(model).findings
 *   const shift = await measure(model, { data: 'images.npz' })
 *   const fixed = await fix(model, { data: 'images.npz' })
 *   if (fixed.chunks) await save(model, fixed.edits, 'fixed.onnx')
 *
 *   const training = await trainer(parseNetwork('preresnet-20').build(), { data: 'cifar10:DIR', epochs: 20 })
 *   for await (const event of training) if (event.type === 'epoch') console.log(event)
 */
import { checkDistilled as checkModelDistilled } from './commands/check-distilled.ts'
import { compare as compareModels } from './commands/compare.ts'
import { fix as fixModel } from './commands/fix.ts'
import type { Fixed } from './commands/fixed.ts'
import { measure as measureModel } from './commands/measure.ts'
import type {
  CheckOptions,
  FixOptions,
  MeasureOptions,
  NetworkChoice,
  RunOptions,
  TrainCommandOptions,
} from './commands/options.ts'
import { save as saveModel } from './commands/save.ts'
import { type Trained, train as trainModel } from './commands/train.ts'
import type { Dataset } from './data/dataset.ts'
import { type OpenOptions, openDataset } from './data/open.ts'
import type { ModelFile } from './formats/define-format.ts'
import { openModel } from './formats/open-model.ts'
import type { Edit } from './ir/edit.ts'
import type { Model } from './ir/model.ts'
import { nodeFiles } from './platform/node.ts'
import type { Result } from './result/result.ts'
import { trainer as startTrainer, type TrainerOptions, type Training } from './train/trainer.ts'

export { type Differentiated, type Differentiation, withGradients } from './autodiff/with-gradients.ts'
export type { Config } from './cli/config.ts'
export { check } from './commands/check.ts'
export type { Fixed } from './commands/fixed.ts'
export type {
  CheckOptions,
  DataOptions,
  FixOptions,
  MeasureOptions,
  NetworkChoice,
  RunOptions,
  TrainCommandOptions,
} from './commands/options.ts'
export type { Trained } from './commands/train.ts'
export type { Batch, Dataset, Field } from './data/dataset.ts'
export { type ShapesOptions, shapes } from './data/shapes.ts'
export type { ModelFile } from './formats/define-format.ts'
export { layerTexts } from './formats/layer-texts.ts'
export { encodeModel as toOnnx } from './formats/onnx/index.ts'
export type { Edit, SetEvalMode, SetRunningStatistics, SetTensor } from './ir/edit.ts'
export { UserError } from './ir/errors.ts'
export type { Graph, Model, Node } from './ir/model.ts'
export { Tensor } from './ir/tensor.ts'
export { parseModel, printModel } from './ir/text.ts'
export * as layers from './models/layers.ts'
export { type BuildOptions, Network, network } from './models/network.ts'
export { networkFamilies, parseNetwork } from './models/networks/index.ts'
export { renderHtml } from './report/html.ts'
export { renderSarif } from './report/sarif.ts'
export { renderTerminal } from './report/terminal.ts'
export { type Finding, type Layer, type Measurement, type Result, resultSchema } from './result/result.ts'
export { type TrainingGraph, type TrainingOptions, toTraining } from './rewrite/modes/training.ts'
export { bindDimensions, bindShapes } from './rewrite/passes/bind-shapes.ts'
export { raiseOpset } from './rewrite/passes/raise-opset.ts'
export { rules } from './rules/index.ts'
export { createSession, type Session, type SessionOptions } from './runtime/session.ts'
export type { TrainEvent, TrainerOptions, Training, TrainSummary } from './train/trainer.ts'
export { version } from './version.ts'

/**
 * Reads the model file at `path`; its format is told from its bytes. Nothing in it is executed, and nothing outside
 * its folder is read. Throws a UserError that says what the file is instead, or where it is damaged.
 */
export const readModel = (path: string): Promise<ModelFile> => openModel(path, nodeFiles)

/** Opens samples: an .npz or .npy file, IDX, CIFAR binaries, a folder of class folders, or `shapes:...`. */
export const openData = (spec: string, options?: OpenOptions): Promise<Dataset> =>
  openDataset(spec, nodeFiles, options)

/**
 * `check`, but predictions that would be estimates are measured on inputs that are distilled from the model: no data
 * either, but the model is run, for some seconds to a minute.
 */
export const checkDistilled = (file: ModelFile, options: CheckOptions & RunOptions = {}): Promise<Result> =>
  checkModelDistilled(file, options, nodeFiles)

/**
 * What the layers of the model see in eval mode on the data, against what they stored, and how the outputs of train,
 * eval and sample mode differ. Throws a UserError if the data does not fit the model.
 */
export const measure = (file: ModelFile, options: MeasureOptions): Promise<Result> =>
  measureModel(file, options, nodeFiles)

/**
 * Re-estimates all running statistics with the noise off and measures whether that helped; the file is not touched.
 * `chunks` is the repaired file if the repair is worth keeping.
 */
export const fix = (file: ModelFile, options: FixOptions): Promise<Fixed> =>
  fixModel(file, options, nodeFiles)

/**
 * Trains a model from a file, or a network by its name, and tells how that went; the file is not touched. To be written
 * by `save(trained.file, trained.edits, 'trained.onnx')`.
 */
export const train = (source: ModelFile | NetworkChoice, options: TrainCommandOptions): Promise<Trained> =>
  trainModel(source, options, nodeFiles)

/**
 * A training run to iterate over, event by event: of a model, a file that was read, or a network that was built.
 * Throws a UserError, here or while it runs, if model, data, loss and device do not fit together.
 */
export const trainer = (
  model: Model | { readonly model: Model },
  options: TrainerOptions,
): Promise<Training> => startTrainer(model, options, nodeFiles)

/** Two models on the same data, side by side. */
export const compare = (a: ModelFile, b: ModelFile, options: MeasureOptions): Promise<Result> =>
  compareModels(a, b, options, nodeFiles)

/** Writes the file with `edits` applied, and the files beside it that it needs: all of them or nothing. */
export const save = (
  file: ModelFile,
  edits: readonly Edit[],
  output: string,
  options?: { inPlace?: boolean },
): Promise<void> => saveModel(file, edits, output, nodeFiles, options)
