import { type Edit, noiseEdits, tensorChanges } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import { type Graph, keyOf, labelOf, type Model } from '../../ir/model.ts'
import type { NoiseEdit, NoiseNode } from '../../ir/noise-edit.ts'
import type { Replacement } from './payload.ts'
import { overlap, type StoredTensor } from './storage.ts'

/** What `edits` put into the tensors that the file keeps. Throws a UserError for what the file has no place for. */
export function replacementsOf(
  edits: readonly Edit[],
  model: Model,
  stored: ReadonlyMap<string, StoredTensor>,
): Replacement[] {
  const noises = noiseEdits(edits)
  if (noises.length > 0)
    throw new UserError(
      `PyTorch keeps the network in your source, where noise has to be changed: ${noises.map((edit) => lineFor(edit, model.graph)).join('; ')}; then train and export again`,
    )
  return tensorChanges(model.graph, edits).map(({ value, tensor, split }) => {
    const view = stored.get(value)
    if (split || !view)
      throw new UserError(
        `cannot set '${value}'${split ? ` for '${labelOf(split.node)}' alone` : ''}: the program shares or computes it; give each layer a module of its own and export again`,
      )
    const name = sharerOf(value, stored)
    if (name !== undefined)
      throw new UserError(
        `cannot set '${value}': its memory is also that of '${name}'; export the model with a copy of each`,
      )
    return { view, tensor }
  })
}

/** Whether the file keeps the initializer in memory of its own. */
export const isStored = (value: string, stored: ReadonlyMap<string, StoredTensor>): boolean =>
  stored.has(value) && sharerOf(value, stored) === undefined

/** Another tensor that is a view of the same elements. */
function sharerOf(value: string, stored: ReadonlyMap<string, StoredTensor>): string | undefined {
  const view = stored.get(value)
  for (const [name, other] of stored) if (view && name !== value && overlap(view, other)) return name
  return undefined
}

/** What to write in the source in place of a noise. */
function lineFor(edit: NoiseEdit, graph: Graph): string {
  const node = graph.nodes.find((other) => keyOf(other) === edit.node)
  const label = node ? labelOf(node) : edit.node
  if (edit.kind === 'insert-noise') return `put ${moduleOf(edit.noise)} in front of \`${label}\``
  return edit.by
    ? `replace \`${label}\` by ${moduleOf(edit.by)}`
    : `replace \`${label}\` by \`torch.nn.Identity()\``
}

/** The noise as a line of PyTorch; what it has no module for is spelled out as a function of x in training. */
function moduleOf({ noise, parameter }: NoiseNode): string {
  const modules: Readonly<Record<string, string>> = {
    dropout: `torch.nn.Dropout(${parameter})`,
    'spatial-dropout': `torch.nn.Dropout2d(${parameter})`,
    'moment-preserving': `k * F.dropout(x, ${parameter}) + (1 - k) * c if self.training else x`,
    'alpha-dropout': `torch.nn.AlphaDropout(${parameter})`,
    uout: `x * (1 + ${parameter} * (2 * torch.rand_like(x) - 1)) if self.training else x`,
    gaussian: `x * (1 + ${parameter} * torch.randn_like(x)) if self.training else x`,
    'additive-gaussian': `x + ${parameter} * torch.randn_like(x) if self.training else x`,
  }
  const line = `\`${modules[noise] ?? `${noise}(${parameter})`}\``
  return noise === 'moment-preserving'
    ? `${line} (c and v: detached mean and variance of each channel of x, s: ${parameter} / (1 - ${parameter}), k: sqrt(v / (v + s * (v + c * c))))`
    : line
}
