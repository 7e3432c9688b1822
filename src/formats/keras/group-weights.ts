import { UserError } from '../../ir/errors.ts'
import { arrayOf, checkCount } from './h5-arrays.ts'
import { type Hdf5File, join } from './hdf5.ts'
import type { Layer, Topology } from './topology.ts'
import type { StoredWeight, WeightSource, WeightSpec } from './weights.ts'

/** A group of the file: its arrays in order, and what lies below. */
interface Group {
  /** Path of the group itself; undefined for a folder that only other names imply. */
  path: string | undefined
  readonly children: Map<string, Group>
  /** The layer that it belongs to, which Keras 3.13 and later note. */
  layer: string | undefined
}

/**
 * The arrays in `model.weights.h5` of a `.keras` file. Groups are named by class and number
 * (`layers/batch_normalization_4`), in the order of the layers, and not by layer; a layer may bear the name of another
 * one's group. So layers are matched by the name that the group notes, if all do, else by their order within the class.
 */
export function groupWeights(
  file: Hdf5File,
  topology: Topology,
  expectedOf: (layer: Layer) => readonly WeightSpec[] | undefined,
): WeightSource {
  const found = new Map<Layer, readonly StoredWeight[]>()
  match(readTree(file), topology)

  function match(model: Group | undefined, { layers }: Topology): void {
    const container = model?.children.get('layers') ?? model?.children.get('_layer_checkpoint_dependencies')
    const byClass = new Map<string, Layer[]>()
    for (const layer of layers) {
      // Layers without arrays may lack a group, or have an empty one.
      if (!layer.inner && expectedOf(layer)?.length === 0) continue
      const name = snakeCase(layer.statedClass)
      byClass.set(name, [...(byClass.get(name) ?? []), layer])
    }
    for (const [name, same] of byClass) {
      const groups = groupsOf(container, name)
      const isNamed = groups.length > 0 && groups.every(({ layer }) => layer !== undefined)
      for (const [i, layer] of same.entries()) {
        const noted = isNamed ? groups.filter((group) => group.layer === layer.name) : []
        const group = noted.length === 1 ? noted[0] : groups[i]
        if (layer.inner) match(group, layer.inner)
        else if (group) found.set(layer, arraysBelow(file, group, layer.path))
      }
    }
  }

  return {
    of(layer, expected) {
      if (expected.length === 0) return []
      const arrays = found.get(layer)
      if (!arrays)
        throw new UserError(
          `the file holds no weights for layer '${layer.path}' (${layer.className}); save the model again with model.save`,
        )
      return checkCount(arrays, layer, expected)
    },
  }
}

/** Groups of one class with arrays in them, in the order of their numbers. */
function groupsOf(container: Group | undefined, name: string): Group[] {
  const numbered = [...(container?.children ?? [])].flatMap(([key, group]) => {
    if (key === name) return [{ number: 0, group }]
    const rest = key.startsWith(`${name}_`) ? key.slice(name.length + 1) : ''
    return /^\d{1,9}$/.test(rest) ? [{ number: Number(rest), group }] : []
  })
  return numbered
    .sort((a, b) => a.number - b.number)
    .map(({ group }) => group)
    .filter(holdsArrays)
}

function holdsArrays(group: Group): boolean {
  for (const [name, child] of group.children)
    if (name === 'vars' ? child.children.size > 0 : name !== 'seed_generator' && holdsArrays(child))
      return true
  return false
}

/** Order in which Keras makes the parts of a layer; others follow by name. */
const parts = ['cell', 'forward_layer', 'backward_layer', 'layer']

function arraysBelow(file: Hdf5File, group: Group, layer: string): StoredWeight[] {
  const own = [...(group.children.get('vars')?.children ?? [])]
    .sort(([a], [b]) => Number(a) - Number(b))
    .flatMap(([, array]) => (array.path === undefined ? [] : [arrayOf(file, array.path, layer)]))
  const rank = (name: string) => (parts.includes(name) ? parts.indexOf(name) : parts.length)
  const below = [...group.children]
    .filter(([name]) => name !== 'vars' && name !== 'seed_generator')
    .sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1))
    .flatMap(([, child]) => arraysBelow(file, child, layer))
  return [...own, ...below]
}

const maxDepth = 64

/** The groups of the file as a tree. Windows wrote whole paths with backslashes as one name. */
function readTree(file: Hdf5File): Group {
  const make = (): Group => ({ path: undefined, children: new Map(), layer: undefined })
  const root = make()
  const at = (from: Group, name: string): Group => {
    let group = from
    for (const part of name.split('\\').filter((part) => part !== '')) {
      const next = group.children.get(part) ?? make()
      group.children.set(part, next)
      group = next
    }
    return group
  }
  const walk = (path: string, group: Group, depth: number) => {
    if (depth > maxDepth) throw new UserError('the weights lie deeper than in any model; the file is damaged')
    group.path = path
    const { groups, arrays } = file.children(path)
    for (const name of arrays) at(group, name).path = join(path, name)
    for (const name of groups) {
      if (path === '/' && name === 'optimizer') continue
      const child = at(group, name)
      walk(join(path, name), child, depth + 1)
      if (name === 'vars' || name.endsWith('\\vars'))
        at(group, name.slice(0, -5)).layer ??= file.texts(join(path, name), 'name')?.[0]
    }
  }
  walk('/', root, 0)
  return root
}

/** `BatchNormalization` -> `batch_normalization`, as Keras names groups. */
export function snakeCase(className: string): string {
  return className
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase()
}
