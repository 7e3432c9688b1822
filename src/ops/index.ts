import { isOnnxDomain, type Node } from '../ir/model.ts'
import * as activation from './activation.ts'
import * as arithmetic from './arithmetic.ts'
import * as attention from './attention.ts'
import * as blocked from './blocked/index.ts'
import * as constant from './constant.ts'
import * as controlFlow from './control-flow.ts'
import * as conv from './conv.ts'
import type { Op } from './define-op.ts'
import * as dropout from './dropout.ts'
import * as join from './join.ts'
import * as math from './math.ts'
import * as matrix from './matrix.ts'
import * as normalization from './normalization.ts'
import * as pool from './pool.ts'
import * as recurrent from './recurrent.ts'
import * as reduce from './reduce.ts'
import * as reshape from './reshape.ts'

export type * from './define-op.ts'

const modules: readonly Readonly<Record<string, unknown>>[] = [
  activation,
  arithmetic,
  attention,
  blocked,
  constant,
  controlFlow,
  conv,
  dropout,
  join,
  math,
  matrix,
  normalization,
  pool,
  recurrent,
  reduce,
  reshape,
]

const isOp = (exported: unknown): exported is Op =>
  typeof exported === 'object' && exported !== null && 'opTypes' in exported && 'inferTypes' in exported

/** Every operator that varshift understands. */
export const ops: readonly Op[] = modules.flatMap((module) => Object.values(module).filter(isOp))

const table = new Map(
  ops.flatMap((op) => op.opTypes.map((opType) => [`${op.domain}:${opType}`, op] as const)),
)

/** Stands for operators that nobody described: anything may happen in them. */
export const unknownOp: Op = {
  opTypes: [],
  domain: '',
  inputs: [],
  role: undefined,
  flow: ({ node }) => node.inputs.map(() => 'nonlinear'),
  inferTypes: () => [],
  moments: () => [],
  momentsBefore: () => undefined,
  gradient: () => undefined,
  samples: [],
  gradientSamples: [],
}

/** What the operator of `node` means. */
export const opOf = (node: Node): Op =>
  table.get(`${isOnnxDomain(node.domain) ? '' : node.domain}:${node.opType}`) ?? unknownOp
