import { attributesOf } from '../../ir/builder.ts'
import { UserError } from '../../ir/errors.ts'
import type { Model, Node, ValueInfo } from '../../ir/model.ts'
import { Tensor } from '../../ir/tensor.ts'
import { isSameView, type StoredTensor, tensorOf, viewOf } from './storage.ts'
import type { Translated } from './translate.ts'

/** Where a state dictionary has no graph, and what to do for one. */
export const withoutGraph =
  'A state dictionary has no graph: only the statistics that it stores can be judged. Export the whole model with `torch.export.save(torch.export.export(model, (example,)), "model.pt2")` to measure and repair it; statistics that were measured there can be written into this file with `varshift fix STATE --from shift.json -o FIXED`'

const running = /^(.*)(?:^|\.)running_mean$/

/**
 * The batch normalizations of a state dictionary, each by itself between an input and an output of its own: what their
 * statistics say needs no graph. They are found by the names that PyTorch gives their tensors, and go by their prefix,
 * which is the module's path.
 */
export function normsOfState(tensors: ReadonlyMap<string, StoredTensor>, format: string): Translated {
  const stored = new Map<string, StoredTensor>()
  const initializers = new Map<string, Tensor>()
  const nodes: Node[] = []
  const inputs: ValueInfo[] = []
  const outputs: ValueInfo[] = []
  const names = new Map<string, string>()
  const keep = (name: string): string | undefined => {
    const view = tensors.get(name)
    if (!view) return undefined
    viewOf(view)
    const key = `${view.storage.key} ${view.offset}`
    const known = names.get(key)
    if (known !== undefined && isSameView(stored.get(known)!, view)) return known
    names.set(key, name)
    stored.set(name, view)
    initializers.set(name, tensorOf(view))
    return name
  }
  for (const [name, view] of tensors) {
    const prefix = running.exec(name)?.[1]
    if (prefix === undefined || view.sizes.length !== 1) continue
    const path = prefix || 'the module'
    const of = (part: string) => (prefix ? `${prefix}.${part}` : part)
    const [channels = 0] = view.sizes
    const fits = (part: string) => String(tensors.get(of(part))?.sizes) === String(channels)
    if (!fits('running_var')) continue
    const constant = (value: number) => {
      const made = `${path} ${value === 1 ? 'scale' : 'shift'}`
      initializers.set(made, Tensor.of(view.dataType, [channels], new Float64Array(channels).fill(value)))
      return made
    }
    const input = `${path} input`
    const type = { dataType: view.dataType, shape: ['N', channels] }
    inputs.push({ name: input, type })
    outputs.push({ name: path, type })
    nodes.push({
      name: path,
      opType: 'BatchNormalization',
      domain: '',
      inputs: [
        input,
        fits('weight') ? keep(of('weight'))! : constant(1),
        fits('bias') ? keep(of('bias'))! : constant(0),
        keep(name)!,
        keep(of('running_var'))!,
      ],
      outputs: [path],
      attributes: attributesOf({}),
      origin: { label: path },
    })
  }
  if (nodes.length === 0)
    throw new UserError(
      `it holds ${tensors.size} tensors but no running statistics of batch normalizations, so nothing can be said of it; export the whole model with \`torch.export.save(torch.export.export(model, (example,)), "model.pt2")\``,
    )
  const model: Model = {
    format,
    irVersion: 8,
    opsets: new Map([['', 18]]),
    graph: { name: 'state', nodes, inputs, outputs, initializers, types: new Map() },
    functions: [],
    producer: 'PyTorch',
  }
  return { model, stored }
}
