import { UserError } from '../../ir/errors.ts'
import { arrayOf, checkCount } from './h5-arrays.ts'
import { type Hdf5File, join } from './hdf5.ts'
import { asKeras2, type Writer } from './keras1-weights.ts'
import type { Layer, Topology } from './topology.ts'
import type { StoredWeight, WeightSource, WeightSpec } from './weights.ts'

/**
 * The arrays in a `.h5` file of Keras 1 to 3: one group for each layer of the outermost model, by its name, that lists
 * its arrays in the attribute `weight_names`. The arrays of a model inside the model are one flat list: first all that
 * training changes, then the others, each layer by layer.
 */
export function namedWeights(
  file: Hdf5File,
  topology: Topology,
  expectedOf: (layer: Layer) => readonly WeightSpec[] | undefined,
): WeightSource {
  const root = file.children('/').groups.includes('model_weights') ? 'model_weights' : '/'
  const found = new Map<Layer, readonly StoredWeight[]>()
  const writer = writerOf(file)
  const listOf = (layer: Layer): readonly StoredWeight[] => {
    const group = join(root, layer.name)
    return manyTexts(file, group, 'weight_names')
      .filter((name) => !/seed_generator/.test(name))
      .map((name) => arrayOf(file, join(group, name), layer.path))
  }
  for (const layer of topology.layers) {
    if (layer.inner) assign(layer, listOf(layer), found, expectedOf)
    else if (expectedOf(layer)?.length !== 0) found.set(layer, asKeras2(listOf(layer), layer, writer))
  }
  return {
    of(layer, expected) {
      if (expected.length === 0) return []
      const arrays = found.get(layer) ?? []
      if (arrays.length === 0)
        throw new UserError(
          `the file holds no weights for layer '${layer.path}' (${layer.className}); save the model again with model.save, not only its architecture`,
        )
      return checkCount(arrays, layer, expected)
    },
  }
}

/** Keras 2 and 3 note their version and engine, at the top or beside the weights. */
function writerOf(file: Hdf5File): Writer {
  const note = (name: string) => (file.texts('/', name) ?? file.texts('model_weights', name))?.[0]
  return { major: Number(/^\d+/.exec(note('keras_version') ?? '1')?.[0]), backend: note('backend') }
}

/** Long lists of texts are split over attributes `name0`, `name1`, ... */
export function manyTexts(file: Hdf5File, path: string, name: string): string[] {
  const whole = file.texts(path, name)
  if (whole) return whole
  const all: string[] = []
  for (let i = 0; ; i++) {
    const part = file.texts(path, `${name}${i}`)
    if (!part) return all
    all.push(...part)
  }
}

interface Slot {
  readonly layer: Layer
  readonly index: number
  readonly name: string
}

/** Shares the flat list of a nested model out among its layers: by order where the names agree, else by the names. */
function assign(
  model: Layer,
  arrays: readonly StoredWeight[],
  found: Map<Layer, readonly StoredWeight[]>,
  expectedOf: (layer: Layer) => readonly WeightSpec[] | undefined,
): void {
  const layers = leavesOf(model)
  const slots = layers.flatMap((layer) =>
    (expectedOf(layer) ?? []).map(({ name, trainable = true }, index) => ({
      layer,
      index,
      name,
      trained: trainable && layer.config.raw('trainable') !== false,
    })),
  )
  const inOrder: readonly Slot[] = [
    ...slots.filter(({ trained }) => trained),
    ...slots.filter(({ trained }) => !trained),
  ]
  const agree =
    inOrder.length === arrays.length && inOrder.every(({ name }, i) => isCalled(arrays[i]!.name, name))
  const shared = new Map(layers.map((layer) => [layer, [] as (StoredWeight | undefined)[]]))
  for (const [i, slot] of inOrder.entries())
    shared.get(slot.layer)![slot.index] = agree ? arrays[i] : byName(slot, arrays)
  for (const [layer, list] of shared)
    found.set(
      layer,
      list.filter((array) => array !== undefined),
    )
}

const leavesOf = (layer: Layer): Layer[] => (layer.inner ? layer.inner.layers.flatMap(leavesOf) : [layer])

/** `.../bn/gamma:0` is called `gamma`. */
const lastName = (path: string) => path.slice(path.lastIndexOf('/') + 1).replace(/(_\d+)?(:\d+)?$/, '')
const isCalled = (path: string, name: string) =>
  lastName(path) === name || lastName(path).endsWith(`_${name}`)

function byName({ layer, name }: Slot, arrays: readonly StoredWeight[]): StoredWeight | undefined {
  const fitting = arrays.filter(
    (array) => isCalled(array.name, name) && array.name.split('/').slice(0, -1).includes(layer.name),
  )
  if (fitting.length === 1) return fitting[0]
  throw new UserError(
    `${fitting.length} arrays of the file could be '${name}' of layer '${layer.path}'; save the model as .keras`,
  )
}
