import * as activation from './activation.ts'
import * as arithmetic from './arithmetic.ts'
import * as attention from './attention.ts'
import * as conv from './conv.ts'
import * as create from './create.ts'
import type { AtenUnit } from './define-aten.ts'
import * as dropout from './dropout.ts'
import * as matrix from './matrix.ts'
import * as normalization from './normalization.ts'
import * as pool from './pool.ts'
import * as reduce from './reduce.ts'
import * as resize from './resize.ts'
import * as shape from './shape.ts'
import * as symbolic from './symbolic.ts'

const modules: readonly Readonly<Record<string, unknown>>[] = [
  activation,
  arithmetic,
  attention,
  conv,
  create,
  dropout,
  matrix,
  normalization,
  pool,
  reduce,
  resize,
  shape,
  symbolic,
]

const isUnit = (exported: unknown): exported is AtenUnit =>
  typeof exported === 'object' && exported !== null && 'target' in exported && 'emit' in exported

/** Every operator of PyTorch that has a counterpart in ONNX, by its name. */
export const atenUnits: ReadonlyMap<string, AtenUnit> = new Map(
  modules
    .flatMap((module) => Object.values(module).filter(isUnit))
    .flatMap((unit) => [unit.target].flat().map((target): [string, AtenUnit] => [target, unit])),
)
