import { type Edit, type NoiseEdit, type NoiseNode, noiseEdits } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import { keyOf, labelOf, type Model } from '../../ir/model.ts'
import { placesIn } from '../json-places.ts'
import { isObject, type Json, type JsonObject } from './config.ts'
import { parseConfig } from './read-keras.ts'

/** Bytes `from` to `to` give way to others. */
export interface Patch {
  readonly from: number
  readonly to: number
  readonly bytes: Uint8Array
}

/** `bytes` with the patches applied, as chunks. */
export function patched(bytes: Uint8Array, patches: readonly Patch[]): Uint8Array[] {
  const chunks: Uint8Array[] = []
  let at = 0
  for (const { from, to, bytes: part } of [...patches].sort((a, b) => a.from - b.from)) {
    chunks.push(bytes.subarray(at, from), part)
    at = to
  }
  chunks.push(bytes.subarray(at))
  return chunks.filter(({ length }) => length > 0)
}

type Path = readonly (string | number)[]

/** Classes whose layer is the noise and nothing else. */
const noiseClasses = new Set([
  'Dropout',
  'SpatialDropout1D',
  'SpatialDropout2D',
  'SpatialDropout3D',
  'GaussianDropout',
  'GaussianNoise',
  'AlphaDropout',
  'Uout',
  'MomentPreservingDropout',
])

/** Settings of those classes, which mean nothing to the layer that takes the place. */
const noiseSettings = ['rate', 'p', 'noise_shape', 'seed', 'stddev', 'sigma', 'data_format', 'beta', 'axis']

/**
 * What `edits` change in the JSON text `bytes`, in which the configuration of `model` lies at `root`. A noise keeps its
 * layer's name and place: its class and settings change, to the identity where it is taken away. A noise that is put
 * in becomes a layer of its own. `dialect` tells how classes from outside Keras are named. Throws a UserError for noise
 * that is no layer.
 */
export function configPatches(
  bytes: Uint8Array,
  root: Path,
  model: Model,
  edits: readonly Edit[],
  dialect: 'keras3' | 'keras2' | 'tfjs',
): Patch[] {
  const wanted = noiseEdits(edits)
  if (wanted.length === 0) return []
  const json = parseConfig(new TextDecoder().decode(bytes)) as Json
  const layers = layersIn(valueAt(json, root), root, '')
  const labels = new Map(model.graph.nodes.map((node) => [keyOf(node), labelOf(node)]))
  const changed = new Map<string, { path: Path; layer: JsonObject; before: JsonObject[] }>()
  const entryOf = (label: string) => {
    const found = layers.get(label)
    if (!found)
      throw new UserError(`'${label}' is no layer of its own in the file, so its noise cannot be changed`)
    const entry = changed.get(label) ?? { ...found, before: [] }
    changed.set(label, entry)
    return entry
  }
  const replacements = new Map<string, NoiseNode | undefined>()
  for (const edit of wanted) {
    const label = labels.get(edit.node)
    if (label === undefined)
      throw new UserError(`cannot edit node '${edit.node}': the model has no node with that output`)
    const entry = entryOf(label)
    if (edit.kind === 'insert-noise') insert(edit, entry, layers, dialect)
    else {
      const by = JSON.stringify(edit.by ?? null)
      if (replacements.has(label) && JSON.stringify(replacements.get(label) ?? null) !== by)
        throw new UserError(`layer '${label}' is applied several times and cannot become different noises`)
      replacements.set(label, edit.by)
      entry.layer = replaced(entry.layer, label, edit.by, dialect)
    }
  }
  return [...changed.values()].map(({ path, layer, before }) => {
    const { start, end } = placeAt(bytes, path)
    const text = [...before, layer].map((part) => JSON.stringify(part)).join(', ')
    return { from: start, to: end, bytes: new TextEncoder().encode(text) }
  })
}

const valueAt = (json: Json, path: Path): Json | undefined =>
  path.reduce<Json | undefined>(
    (value, key) => (value as Record<string | number, Json> | null | undefined)?.[key],
    json,
  )

function placeAt(bytes: Uint8Array, path: Path) {
  let place = { start: bytes.indexOf(0x7b), end: bytes.length }
  for (const key of path) place = placesIn(bytes, place).get(key)!
  return place
}

/** The layers of a model and of those inside, by their label: `outer/inner`. */
function layersIn(
  config: Json | undefined,
  path: Path,
  prefix: string,
  found = new Map<string, { path: Path; layer: JsonObject }>(),
): Map<string, { path: Path; layer: JsonObject }> {
  const stated = isObject(config) ? config.config : undefined
  const list = Array.isArray(stated) ? stated : isObject(stated) ? stated.layers : undefined
  const inside = Array.isArray(stated) ? [...path, 'config'] : [...path, 'config', 'layers']
  for (const [i, layer] of (Array.isArray(list) ? list : []).entries()) {
    if (!isObject(layer)) continue
    const own = isObject(layer.config) ? layer.config.name : undefined
    const name = typeof layer.name === 'string' ? layer.name : own
    if (typeof name !== 'string') continue
    found.set(prefix + name, { path: [...inside, i], layer })
    layersIn(layer, [...inside, i], `${prefix}${name}/`, found)
  }
  return found
}

/** Keras writes where a class comes from beside it. */
function classOf(className: string, dialect: 'keras3' | 'keras2' | 'tfjs'): JsonObject {
  const isOwn = className === 'Uout' || className === 'MomentPreservingDropout'
  if (dialect === 'keras3')
    return {
      module: isOwn ? null : 'keras.layers',
      class_name: className,
      registered_name: isOwn ? `varshift>${className}` : null,
    }
  return { class_name: isOwn && dialect === 'keras2' ? `varshift>${className}` : className }
}

/** The class and the settings of a layer for the noise. */
function layerFor(noise: NoiseNode | undefined): { className: string; settings: JsonObject } {
  if (!noise) return { className: 'Activation', settings: { activation: 'linear' } }
  const { parameter } = noise
  switch (noise.noise) {
    case 'dropout':
      return { className: 'Dropout', settings: { rate: parameter } }
    case 'gaussian': {
      // Keras states the share that a Dropout of the same variance would drop.
      const variance = parameter * parameter
      return { className: 'GaussianDropout', settings: { rate: variance / (1 + variance) } }
    }
    case 'uout':
      return { className: 'Uout', settings: { beta: parameter } }
    case 'moment-preserving':
      return { className: 'MomentPreservingDropout', settings: { rate: parameter } }
    default:
      throw new UserError(`no layer of Keras stands for the noise '${noise.noise}'`)
  }
}

function replaced(
  layer: JsonObject,
  label: string,
  by: NoiseNode | undefined,
  dialect: 'keras3' | 'keras2' | 'tfjs',
): JsonObject {
  const stated = String(layer.class_name)
  if (!noiseClasses.has(stated.slice(stated.lastIndexOf('>') + 1)))
    throw new UserError(
      `the noise of '${label}' is a setting of a ${stated} layer, not a layer; change it where the model is made`,
    )
  const { className, settings } = layerFor(by)
  const config = Object.entries(isObject(layer.config) ? layer.config : {}).filter(
    ([key]) => !noiseSettings.includes(key),
  )
  return {
    ...layer,
    ...classOf(className, dialect),
    config: { ...Object.fromEntries(config), ...settings },
  }
}

/** A layer in front of another, which then reads what that makes. */
function insert(
  { noise, node }: Extract<NoiseEdit, { kind: 'insert-noise' }>,
  entry: { layer: JsonObject; before: JsonObject[] },
  layers: ReadonlyMap<string, { layer: JsonObject }>,
  dialect: 'keras3' | 'keras2' | 'tfjs',
): void {
  const taken = new Set([...layers.values()].map(({ layer }) => nameOf(layer)))
  let name = noise.label.replace(/[^\w.-]/g, '_')
  while (taken.has(name) || entry.before.some((layer) => nameOf(layer) === name)) name += '_'
  const { className, settings } = layerFor(noise)
  const config = { name, trainable: true, ...settings }
  const { inbound_nodes: inbound } = entry.layer
  if (inbound === undefined) {
    // In a Sequential model every layer reads the one before it.
    entry.before.push({ ...classOf(className, dialect), config })
    return
  }
  const [call, ...others] = Array.isArray(inbound) ? inbound : []
  const isNew = isObject(call)
  const args = isNew ? call.args : call
  if (others.length > 0 || !Array.isArray(args) || args.length !== 1)
    throw new UserError(
      `a noise cannot be put in front of '${nameOf(entry.layer) ?? node}', which is applied several times or takes several inputs; change the model where it is made`,
    )
  entry.before.push({ ...classOf(className, dialect), config, name, inbound_nodes: inbound })
  entry.layer = {
    ...entry.layer,
    inbound_nodes: [isNew ? { ...call, args: [fromLayer(args[0], name)] } : [[name, 0, 0, {}]]],
  }
}

const nameOf = ({ name, config }: JsonObject): Json | undefined =>
  name ?? (isObject(config) ? config.name : undefined)

/** Keras 3's reference to a tensor, with another origin. */
function fromLayer(tensor: Json | undefined, name: string): Json {
  if (!isObject(tensor) || !isObject(tensor.config))
    throw new UserError('the inputs of a layer are not understood; change the model where it is made')
  return { ...tensor, config: { ...tensor.config, keras_history: [name, 0, 0] } }
}
