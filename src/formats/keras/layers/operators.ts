import type { LayerValue } from '../layer-builder.ts'
import { defineLayer, type LayerCall, type LayerDefinition } from './define-layer.ts'
import { together } from './merge.ts'

/** Python operators on Keras tensors, which become layers that take tensors and plain numbers. */
function binary(opType: string): LayerDefinition {
  return defineLayer({
    classNames: [],
    emit(call) {
      const { build, opaque } = call
      const operands = operandsOf(call)
      if (!operands) return opaque('its arguments are not understood')
      const values = operands.filter((operand): operand is LayerValue => typeof operand !== 'number')
      const { names, shape, channelsSecond } = together(build, values)
      const { dataType } = values[0]!
      let next = 0
      const inputs = operands.map((operand) =>
        typeof operand === 'number' ? build.scalar(operand, dataType) : names[next++]!,
      )
      return { name: build.op(opType, inputs), shape, channelsSecond, dataType }
    },
  })
}

/** Two operands, at least one of them a tensor. */
function operandsOf({ args, keywordInputs, kwargs, inputs }: LayerCall): (LayerValue | number)[] | undefined {
  const isValue = (value: unknown): value is LayerValue =>
    typeof value === 'object' &&
    value !== null &&
    inputs.concat(...keywordInputs.values()).includes(value as never)
  const named = ['x', 'x1', 'y', 'x2'].flatMap((key) => keywordInputs.get(key) ?? kwargs.get(key) ?? [])
  const operands = [...args, ...named].map((value) =>
    typeof value === 'number' || isValue(value) ? value : undefined,
  )
  if (operands.length !== 2 || !operands.every((operand) => operand !== undefined)) return undefined
  return operands.some((operand) => typeof operand !== 'number') ? operands : undefined
}

const opTypes = {
  Add: binary('Add'),
  Subtract: binary('Sub'),
  Multiply: binary('Mul'),
  Divide: binary('Div'),
  TrueDivide: binary('Div'),
  Maximum: binary('Max'),
  Minimum: binary('Min'),
  Power: binary('Pow'),
} as const

/** Names of the functions that Keras 2 writes for the same. */
const functions: Readonly<Record<string, keyof typeof opTypes>> = {
  'math.add': 'Add',
  '__operators__.add': 'Add',
  'math.subtract': 'Subtract',
  '__operators__.sub': 'Subtract',
  'math.multiply': 'Multiply',
  '__operators__.mul': 'Multiply',
  'math.divide': 'Divide',
  'math.truediv': 'Divide',
  'math.maximum': 'Maximum',
  'math.minimum': 'Minimum',
  'math.pow': 'Power',
}

/** What the operator of that name does; `className` of Keras 3, or the function of Keras 2's TFOpLambda. */
export function operatorOf(className: string, functionName: unknown): LayerDefinition | undefined {
  const name =
    typeof functionName === 'string' && Object.hasOwn(functions, functionName)
      ? functions[functionName]
      : className
  return name !== undefined && Object.hasOwn(opTypes, name)
    ? opTypes[name as keyof typeof opTypes]
    : undefined
}
