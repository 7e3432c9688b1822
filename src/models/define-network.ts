import { UserError } from '../ir/errors.ts'
import type { Layer, Value } from './construction.ts'
import { noise, sequential } from './layers.ts'
import { type Network, network, type Outputs } from './network.ts'

/**
 * Where a network has its noise:
 *
 * - `before-norm`       directly before the last norm of every block ("a" in Li et al., arXiv:1801.05134);
 * - `before-weight`     directly before the last weight layer of every block ("b" there);
 * - `head-before-pool`  after the last norm and activation, before global pooling;
 * - `head-after-pool`   directly before the last weight layer of the network, after the last norm;
 * - `none`.
 */
export const placements = [
  'none',
  'before-norm',
  'before-weight',
  'head-before-pool',
  'head-after-pool',
] as const
export type Placement = (typeof placements)[number]

/** Other names that the field has for placements. */
const aliases: Readonly<Record<string, Placement>> = {
  a: 'before-norm',
  b: 'before-weight',
  'last-weight-layer-of-branch': 'before-weight',
  'after-last-norm': 'head-after-pool',
}

/** The placement of that name. Throws a UserError that lists them. */
export function placementNamed(name: string): Placement {
  const found = placements.find((placement) => placement === name) ?? aliases[name]
  if (!found)
    throw new UserError(
      `there is no placement '${name}'; there are ${placements.join(', ')} (and ${Object.keys(aliases).join(', ')})`,
    )
  return found
}

export interface NetworkOptions {
  /** Shape of one sample: channels, then positions. Default: what the network was made for. */
  readonly input?: readonly number[] | undefined
  /** Number of outputs of a classifier. */
  readonly classes?: number | undefined
  /** Id of a noise and value of its parameter. */
  readonly noise?: { readonly kind: string; readonly value: number } | undefined
  /** Where the noise goes, a placement or another name of one (default none). */
  readonly placement?: string | undefined
  /** Of the initial parameters (default 0). */
  readonly seed?: number | undefined
}

/** A layer called `dropout` if the network has noise at that place, else nothing: `...noiseAt('before-norm')`. */
export type NoiseAt = (place: Placement) => Readonly<Record<string, Layer>>

interface Context {
  readonly classes: number
  readonly input: readonly number[]
  readonly noiseAt: NoiseAt
}

/** A family of networks. */
export interface NetworkDefinition<Settings> {
  readonly id: string
  /** How members are called: 'preresnet-DEPTH'. */
  readonly form: string
  /** Names that are well known. */
  readonly examples: readonly string[]
  /** The settings of the member of that name, undefined if it is not of this family. Throws a UserError if there is no such member. */
  readonly parse: (name: string) => Settings | undefined
  /** What the member was made for. */
  readonly input: (settings: Settings) => readonly number[]
  readonly classes: (settings: Settings) => number
  /** Placements that the family has, besides `none`. */
  readonly placements: readonly Placement[]
  readonly layers: (settings: Settings, context: Context) => { forward(x: Value): Value | Outputs }
}

/** A network by its name, ready to be built. */
export interface NamedNetwork {
  readonly name: string
  /** Where it can have noise. */
  readonly placements: readonly Placement[]
  /** Throws a UserError if the options make no network. */
  build(options?: NetworkOptions): Network
}

export interface NamedFamily {
  readonly id: string
  readonly form: string
  readonly examples: readonly string[]
  /** The member of that name; undefined if it is not of this family. Throws a UserError if there is no such member. */
  named(name: string): NamedNetwork | undefined
}

export interface NetworkFamily<Settings> extends NamedFamily {
  /** The member with these settings. Throws a UserError if they or the options make no network. */
  build(settings: Settings, options?: NetworkOptions): Network
}

export function defineNetwork<Settings>(definition: NetworkDefinition<Settings>): NetworkFamily<Settings> {
  const { id, form, examples, placements, parse } = definition
  const family: NetworkFamily<Settings> = {
    id,
    form,
    examples,
    named: (name) => {
      const settings = parse(name)
      return settings === undefined
        ? undefined
        : { name, placements, build: (options) => family.build(settings, options) }
    },
    build(settings, options = {}) {
      const { input = definition.input(settings), classes = definition.classes(settings), seed = 0 } = options
      const { noise: wanted } = options
      const placement = placementNamed(options.placement ?? 'none')
      if (!Number.isInteger(classes) || classes < 1)
        throw new UserError(`${id}: classes must be a whole number above 0, got ${classes}`)
      if (placement !== 'none' && !placements.includes(placement))
        throw new UserError(`${id} has no place '${placement}' for noise; it has ${placements.join(', ')}`)
      if ((placement === 'none') !== (wanted === undefined))
        throw new UserError(
          wanted
            ? `${id}: noise '${wanted.kind}' needs a placement: ${placements.join(', ')}`
            : `${id}: placement '${placement}' needs a noise, such as dropout`,
        )
      const noiseAt: NoiseAt = (place) =>
        wanted && place === placement ? { dropout: noise(wanted.kind, wanted.value) } : {}
      return network(definition.layers(settings, { classes, input, noiseAt }), { input, seed, name: id })
    },
  }
  return family
}

/** Blocks of each of three stages of a network of `depth` weight layers, `layersPerBlock` of them for each block of a stage. */
export function blocksPerStage(id: string, depth: number, layersPerBlock: number, others: number): number {
  const blocks = (depth - others) / layersPerBlock
  if (Number.isInteger(blocks) && blocks >= 1) return blocks
  const near = [Math.floor(blocks), Math.ceil(blocks)].map((n) => Math.max(1, n) * layersPerBlock + others)
  throw new UserError(
    `${id}: there is no depth ${depth}; depths are ${layersPerBlock} n + ${others}, such as ${[...new Set(near)].join(' or ')}`,
  )
}

/** Blocks in a row, named 0, 1, ...: only the first changes the shape. */
export const stageOf = (blocks: number, block: (isFirst: boolean) => Layer): Layer =>
  sequential(Array.from({ length: blocks }, (_, i) => block(i === 0)))
