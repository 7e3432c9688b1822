import { dataFor } from '../commands/data.ts'
import { withWeights } from '../commands/measure.ts'
import { recalibrated } from '../commands/recalibrated.ts'
import type { Dataset } from '../data/dataset.ts'
import { fairPart } from '../data/fair-part.ts'
import { UserError } from '../ir/errors.ts'
import type { Model } from '../ir/model.ts'
import { measure } from '../measure/measure.ts'
import { type Network, parseNetwork } from '../models/index.ts'
import type { Files } from '../platform/files.ts'
import type { Budget } from '../result/study.ts'
import { trainer } from '../train/trainer.ts'
import type { Cell, CellContext, Experiment, Outcome, Parameters } from './define-study.ts'
import { pictures, shapeOf } from './pictures.ts'

/** How a classifier of pictures is trained; together with the network's own parameters it makes a cell. */
export type Recipe = {
  readonly images: number
  readonly testImages: number
  readonly halvings: number
  readonly epochs: number
  readonly batchSize: number
  readonly optimizer: string
  readonly learningRate: number
  readonly schedule: string
  readonly augment: boolean
  readonly seed: number
}

/**
 * Recipes by budget. The small ones reach a useful accuracy in few steps; `paper` is that of the paper's networks
 * (Li et al. defer to a public recipe: SGD, 0.1, batch 128, weight decay 1e-4, crops and flips), in 164 epochs.
 */
export function recipeFor(budget: Budget, seed: number): Recipe {
  const quick = {
    batchSize: 64,
    optimizer: 'adamw:weight-decay=0.001',
    learningRate: 3e-3,
    schedule: 'one-cycle',
    augment: false,
    seed,
  }
  switch (budget) {
    case 'smoke':
      return { ...quick, images: 512, testImages: 256, halvings: 2, epochs: 1 }
    case 'small':
      return { ...quick, images: 5000, testImages: 2000, halvings: 1, epochs: 6 }
    case 'paper':
      return {
        images: 50_000,
        testImages: 10_000,
        halvings: 0,
        epochs: 164,
        batchSize: 128,
        optimizer: 'sgd:momentum=0.9,weight-decay=0.0001',
        learningRate: 0.1,
        schedule: 'step:at=0.5/0.75',
        augment: true,
        seed,
      }
  }
}

/** Seeds of a study by budget. */
export const seedsFor = (budget: Budget, small = 3): readonly number[] =>
  Array.from({ length: { smoke: 1, small, paper: 5 }[budget] }, (_, i) => i + 1)

export const families = ['PreResNet', 'ResNeXt', 'WRN', 'DenseNet'] as const
export type Family = (typeof families)[number]

/** The paper's four families, in sizes that a budget can train. */
export const familiesFor = (budget: Budget): Readonly<Record<Family, string>> =>
  budget === 'paper'
    ? {
        PreResNet: 'preresnet-164-bottleneck',
        ResNeXt: 'resnext-29-8x64',
        WRN: 'wrn-28-10',
        DenseNet: 'densenet-bc-100-12',
      }
    : {
        PreResNet: 'preresnet-11-bottleneck',
        ResNeXt: 'resnext-11-4x8-16',
        WRN: 'wrn-10-2',
        DenseNet: 'densenet-bc-22-8',
      }

/** Makes a network for pictures of any shape. */
export type Build = (options: {
  readonly input: readonly number[]
  readonly classes: number
  readonly seed: number
}) => Network

export interface Trained {
  readonly model: Model
  readonly train: Dataset
  readonly test: Dataset
  /** Training loss of each epoch. */
  readonly losses: readonly number[]
}

/** Trains a network, built for the pictures' shape, by the recipe. */
export async function trainClassifier(build: Build, recipe: Recipe, context: CellContext): Promise<Trained> {
  const { halvings, images, testImages, seed, epochs, batchSize, learningRate, optimizer, schedule } = recipe
  const train = await pictures('train', { samples: images, halvings }, context)
  const test = await pictures('test', { samples: testImages, halvings }, context)
  const { model } = build({ input: shapeOf(train), classes: 10, seed })
  const run = await trainer(model, {
    data: train,
    epochs,
    batchSize,
    learningRate,
    optimizer,
    schedule,
    seed,
    threads: context.threads,
    signal: context.signal,
    ...(recipe.augment ? { augment: { crop: 4, flip: true } } : {}),
  })
  const losses: number[] = []
  for await (const event of run) if (event.type === 'epoch') losses.push(event.train.loss ?? Number.NaN)
  context.signal.throwIfAborted()
  return { model: run.model(), train, test, losses }
}

/** The network of that name with that noise, for pictures of any size. */
export const namedBuilder =
  (name: string, noise: string, value: number, placement: string): Build =>
  (options) =>
    parseNetwork(name).build({
      ...options,
      ...(noise === 'none' ? {} : { noise: { kind: noise, value }, placement }),
    })

/** Cells hold their data in memory: nothing is opened by name. */
export const noFiles = new Proxy({} as Files, {
  get(_, method) {
    throw new UserError(`a cell of a study opens no files (${String(method)})`)
  },
})

/** Data in the form that the model takes. */
export const dataOf = (model: Model, data: Dataset) => dataFor(model, { data }, noFiles)

export type Scores = {
  readonly errorPercent: number
  readonly loss: number
}

/** Error and cross entropy in eval mode. */
export async function scoresOf(
  model: Model,
  data: Dataset,
  { threads, signal }: CellContext,
): Promise<Scores> {
  const { batches } = await dataOf(model, data)
  const { measurement } = await measure(model, batches, { threads, signal, modeSamples: 0 })
  const { accuracy, loss } = measurement.modes.eval
  if (accuracy === undefined || loss === undefined || measurement.partial)
    throw new UserError('the model could not be scored on the study’s data')
  return { errorPercent: 100 * (1 - accuracy), loss }
}

export type Shift = {
  /** Shift ratio of each norm, in graph order, on training data. */
  readonly ratios: readonly number[]
  readonly meanRatio: number
  readonly largestRatio: number
  /** Accuracy on training data in train and in eval mode, in percent. */
  readonly trainModePercent: number
  readonly evalModePercent: number
  /** Mean of d cos^2 of the weights in front of norms. */
  readonly dCos2: number
}

/** Samples that shifts are measured on. */
const shiftSamples = 1000

/** What layers see in eval mode on training data against what they stored. */
export async function shiftOf(
  model: Model,
  train: Dataset,
  { threads, signal }: CellContext,
): Promise<Shift> {
  const { batches, trainingBatches } = await dataOf(model, fairPart(train, shiftSamples))
  const { measurement } = await measure(model, batches, { threads, signal, modeData: trainingBatches })
  const { layers, modes } = withWeights(model, measurement)
  const ratios = layers.map(({ shiftRatio }) => shiftRatio)
  const dCos2 = layers.flatMap((layer) => layer.dCos2 ?? [])
  const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / values.length
  return {
    ratios,
    meanRatio: mean(ratios),
    largestRatio: Math.max(...ratios),
    trainModePercent: 100 * (modes.train?.accuracy ?? Number.NaN),
    evalModePercent: 100 * (modes.eval.accuracy ?? Number.NaN),
    dCos2: mean(dCos2),
  }
}

/** The model with its statistics re-estimated with the noise off on `samples` training pictures, without labels. */
export async function recalibratedOn(
  model: Model,
  train: Dataset,
  samples: number,
  { threads, signal }: CellContext,
): Promise<Model> {
  const data = await dataOf(model, fairPart(train, samples))
  return (await recalibrated(model, data, { threads, signal, modeSamples: 0 })).model
}

/** A classifier with noise somewhere, as a cell: everything that determines it. */
export type ClassifierCell = Recipe & {
  readonly network: string
  readonly noise: string
  readonly value: number
  readonly placement: string
}

export type ClassifierOutcome = Scores &
  Shift & {
    /** The same network with its statistics re-estimated with the noise off, on `recalibrationSamples` pictures. */
    readonly recalibratedErrorPercent: number
    readonly recalibratedLoss: number
    readonly losses: readonly number[]
  }

/** Unlabelled training pictures that statistics are re-estimated on. */
const recalibrationSamples = 1000

/** Trains the cell's network and looks at it in every way that a table of the paper asks for. */
export const classifier: Experiment<ClassifierCell, ClassifierOutcome> = {
  id: 'classifier',
  version: 1,
  async run(cell, context) {
    const build = namedBuilder(cell.network, cell.noise, cell.value, cell.placement)
    const { model, train, test, losses } = await trainClassifier(build, cell, context)
    const repaired = await recalibratedOn(model, train, recalibrationSamples, context)
    const after = await scoresOf(repaired, test, context)
    return {
      ...(await scoresOf(model, test, context)),
      ...(await shiftOf(model, train, context)),
      recalibratedErrorPercent: after.errorPercent,
      recalibratedLoss: after.loss,
      losses,
    }
  },
}

/** Every family of the paper, every noise given, every seed. */
export const classifierGrid = (
  budget: Budget,
  noises: readonly { readonly noise: string; readonly value: number; readonly placement: string }[],
  { seeds = seedsFor(budget) }: { readonly seeds?: readonly number[] } = {},
): ClassifierCell[] =>
  Object.values(familiesFor(budget)).flatMap((network) =>
    noises.flatMap((noise) => seeds.map((seed) => ({ network, ...noise, ...recipeFor(budget, seed) }))),
  )

/** The outcomes of the cells that match, over seeds. */
export function outcomesOf<P extends Parameters, O extends Outcome>(
  cells: readonly Cell<P, O>[],
  match: Partial<P>,
): O[] {
  return cells.flatMap(({ parameters, outcome }) =>
    outcome && Object.entries(match).every(([name, value]) => parameters[name] === value) ? [outcome] : [],
  )
}
