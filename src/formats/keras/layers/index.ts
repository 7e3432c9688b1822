import type { Layer } from '../topology.ts'
import { activationLayers } from './activation.ts'
import { convLayers } from './conv.ts'
import type { LayerDefinition } from './define-layer.ts'
import { denseLayers } from './dense.ts'
import { mergeLayers } from './merge.ts'
import { noiseLayers } from './noise.ts'
import { normalizationLayers } from './normalization.ts'
import { operatorOf } from './operators.ts'
import { poolLayers } from './pool.ts'
import { maskOperators, preprocessingLayers } from './preprocessing.ts'
import { recurrentLayers } from './recurrent.ts'
import { shapeLayers } from './shape.ts'

/** Every family of Keras layers that varshift knows. */
const families: readonly (readonly LayerDefinition[])[] = [
  activationLayers,
  convLayers,
  denseLayers,
  mergeLayers,
  noiseLayers,
  normalizationLayers,
  poolLayers,
  preprocessingLayers,
  recurrentLayers,
  shapeLayers,
]

const byClass = new Map(
  families.flat().flatMap((definition) => definition.classNames.map((name) => [name, definition] as const)),
)

/**
 * What the class of `layer` means; undefined for custom layers. `args` are those of the application at hand: Python's
 * operators on tensors may bear the names of layers (`Add`), and take plain numbers too.
 */
export const definitionOf = (
  { className, module, config }: Layer,
  args: readonly unknown[] = [],
): LayerDefinition | undefined => {
  const isOperator =
    className === 'TFOpLambda' || /^keras\.(src\.)?ops/.test(module ?? '') || args.some(Number.isFinite)
  const operator = operatorOf(className, config.raw('function'))
  return isOperator ? (operator ?? maskOperators.get(className)) : (byClass.get(className) ?? operator)
}

/** Every class of layers that varshift knows. */
export const knownClasses = (): readonly string[] => [...byClass.keys()].sort()
