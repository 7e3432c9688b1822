import { GraphBuilder } from '../ir/builder.ts'
import { isOnnxDomain, type LocalFunction, type Node } from '../ir/model.ts'
import { parseModel, printFunction } from '../ir/text.ts'
import { noiseUnit } from './noises/index.ts'

/** Domain of the noises that a file defines itself, as local functions. */
export const noiseDomain = 'varshift'

/** Noises that one node stands for: `y = opType(x, parameter, training_mode)`, as ONNX's Dropout since opset 12. */
const calls: Readonly<Record<string, { readonly opType: string; readonly domain: string }>> = {
  dropout: { opType: 'Dropout', domain: '' },
  gaussian: { opType: 'GaussianDropout', domain: noiseDomain },
  'moment-preserving': { opType: 'MomentPreservingDropout', domain: noiseDomain },
  uout: { opType: 'Uout', domain: noiseDomain },
}

const kinds = new Map(
  Object.entries(calls).map(([kind, { domain, opType }]) => [`${domain}:${opType}`, kind]),
)

/** Names of the operators of `noiseDomain`. */
export const noiseOperators: readonly string[] = Object.values(calls).flatMap(({ opType, domain }) =>
  domain === noiseDomain ? [opType] : [],
)

/** How a node for that noise is spelled; undefined if there is none. */
export const noiseCall = (kind: string) => calls[kind]

/** Id of the noise that the node stands for; undefined if it is none. */
export const noiseOfCall = (node: Node): string | undefined =>
  kinds.get(`${isOnnxDomain(node.domain) ? '' : node.domain}:${node.opType}`)

/** From this opset on Dropout takes its ratio as an input. */
const dropoutInputs = 12

/**
 * The function that gives a node of `noiseDomain` its meaning in any runtime, for a float32 x:
 *
 *   y = x + parameter (noise of parameter 1 on x - x)   in training mode
 *   y = x                                               else
 *
 * which is the noise itself for kinds whose perturbation is proportional to their parameter; others say how it is made
 * (`emitWith`). The noise is drawn anew at each run. Undefined for an operator that is none of these,
 * or that the opset cannot express.
 */
export function noiseFunction(opType: string, opset: number): LocalFunction | undefined {
  const kind = kinds.get(`${noiseDomain}:${opType}`)
  if (kind === undefined) return undefined
  const unit = noiseUnit(kind)
  if (unit.emitWith && opset < dropoutInputs) return undefined
  const { name } = unit.parameter
  const base = parseModel(
    `<opset_import: ["": ${opset}]> noisy (float32 x, float32 ${name}, bool training_mode) => () { }`,
  )
  const build = new GraphBuilder(base)
  const change = () => build.sub(unit.emit(build, 'x', { value: 1, seed: 0 }), 'x')
  const noisy = unit.emitWith ? unit.emitWith(build, 'x', name) : build.add('x', build.mul(change(), name))
  const branch = (graphName: string, output: string, nodes: readonly Node[]) => ({
    name: graphName,
    inputs: [],
    outputs: [{ name: output, type: undefined }],
    types: new Map(),
    nodes,
    initializers: graphName === 'noisy' ? build.initializers : new Map(),
  })
  const plain = (node: Omit<Node, 'name' | 'domain'>): Node => ({ name: '', domain: '', ...node })
  return {
    domain: noiseDomain,
    name: opType,
    inputs: ['x', name, 'training_mode'],
    outputs: ['y'],
    attributes: [],
    defaults: new Map(),
    opsets: new Map([['', opset]]),
    nodes: [
      plain({
        opType: 'If',
        inputs: ['training_mode'],
        outputs: ['y'],
        attributes: new Map([
          ['then_branch', { type: 'graph', value: branch('noisy', noisy, build.nodes.map(unseeded)) }],
          [
            'else_branch',
            {
              type: 'graph',
              value: branch('quiet', 'quiet_x', [
                plain({ opType: 'Identity', inputs: ['x'], outputs: ['quiet_x'], attributes: new Map() }),
              ]),
            },
          ],
        ]),
      }),
    ],
  }
}

/** With a seed, all calls of a function would draw the same. */
const unseeded = (node: Node): Node => ({
  ...node,
  attributes: new Map([...node.attributes].filter(([name]) => name !== 'seed')),
})

/** Whether the function of a file is one of these to the letter, so that a call of it is the noise it is named after. */
export function isNoiseFunction(f: LocalFunction): boolean {
  if (f.domain !== noiseDomain) return false
  const own = noiseFunction(f.name, f.opsets.get('') ?? f.opsets.get('ai.onnx') ?? 0)
  return own !== undefined && printFunction(own) === printFunction(f)
}
