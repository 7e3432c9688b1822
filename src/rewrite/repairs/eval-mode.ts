import type { Edit } from '../../ir/edit.ts'
import { UserError } from '../../ir/errors.ts'
import { keyOf, opsetOf } from '../../ir/model.ts'
import { usesOf } from '../../ir/uses.ts'
import { defineRepair } from './define-repair.ts'
import { replaceNoise } from './noise-nodes.ts'

/**
 * Has the file run in eval mode: every BatchNormalization normalises by its running statistics, and every noise that is
 * always on is switched off. Noise that one node stands for keeps its node and its parameter; noise that a few nodes
 * spell out gives way to the identity. What an input of the graph switches stays as it is.
 *
 * Source: ONNX operators BatchNormalization (training_mode, since opset 14) and Dropout (training_mode, since opset 12).
 */
export const evalMode = defineRepair({
  id: 'eval-mode',
  answers: ['train-mode-in-file'],
  preserves: 'both',
  needs: 'nothing',
  plan(context) {
    const { model, facts } = context
    if (model.holdsBothModes) return []
    if (model.format !== 'onnx' && model.format !== 'text')
      throw new UserError(
        `a ${model.format} file is switched to eval mode where it is made, not here; export the model in eval mode`,
      )
    const uses = usesOf(model.graph)
    const norms = facts.norms.filter(({ batchStatistics }) => batchStatistics)
    for (const { node, label } of norms)
      for (const output of node.outputs.slice(1))
        if (output && (uses.isOutput(output) || uses.consumers(output).length > 0))
          throw new UserError(
            `'${label}' also gives away its updated statistics ('${output}'), which eval mode has not; export the model in eval mode`,
          )
    const opset = opsetOf(model)
    return [
      ...norms.map(({ key }): Edit => ({ kind: 'set-eval-mode', node: key })),
      ...facts.noises
        .filter(({ active }) => active === 'always')
        .map((noise): Edit => {
          const last = noise.nodes.at(-1)!
          const hasSwitch = noise.nodes.length === 1 && (opset < 7 || last.inputs[2] !== undefined)
          if (hasSwitch) return { kind: 'set-eval-mode', node: keyOf(last) }
          return replaceNoise(context, noise, undefined)
        }),
    ]
  },
})
