import { UserError } from '../../ir/errors.ts'
import { Archive } from '../../platform/archive.ts'
import { isZip, memberNames } from '../../platform/zip.ts'
import { defineFormat } from '../define-format.ts'
import { replacementsOf } from './edits.ts'
import { inMembers } from './payload.ts'
import { normsOfState, withoutGraph } from './state.ts'
import { dictionariesOf, isTorchScript, isTorchZip, readTorchZip } from './torch-zip.ts'

/**
 * What torch.save writes of a state dictionary, or of a checkpoint that holds one: a zip file of a pickle and raw
 * tensors, PyTorch 1.6 and up. The pickle is read by an allow-list and never executed.
 * Source: torch/serialization.py.
 */
export const stateDict = defineFormat({
  id: 'state-dict',
  name: 'PyTorch state dictionary (.pt, .pth)',
  support: {
    reads: 'tensors of a state dictionary, without running the pickle',
    runs: 'no: it holds no graph',
    repairs: 'running statistics that were found elsewhere (`fix --from`)',
    writes: 'the statistics that changed, all else as it was',
  },
  readsParts: true,
  detect(head, file) {
    if (!isZip(head)) return false
    const members = memberNames(file)
    return isTorchZip(members) && !isTorchScript(members)
  },
  async read(file, path) {
    const archive = await Archive.open(file, 'the archive')
    const { value } = readTorchZip(archive, 'the archive')
    const dictionaries = dictionariesOf(value)
    const norms = dictionaries.filter(({ tensors }) =>
      [...tensors.keys()].some((name) => name.endsWith('running_var')),
    )
    // A checkpoint may hold averaged weights beside the model's own: the first of the largest is taken.
    const [state] = [...(norms.length > 0 ? norms : dictionaries)].sort(
      (a, b) => b.tensors.size - a.tensors.size,
    )
    if (!state)
      throw new UserError(
        'the pickle holds no dictionary of tensors; save `model.state_dict()`, or export the whole model with `torch.export.save(torch.export.export(model, (example,)), "model.pt2")`',
      )
    const { model, stored } = normsOfState(state.tensors, 'state-dict')
    const payload = inMembers(archive, state.tensors)
    return {
      path,
      sizeBytes: file.sizeBytes,
      model,
      withoutGraph,
      notes:
        norms.length > 1
          ? [
              `of ${norms.length} state dictionaries with batch normalizations in the file, '${state.path}' is judged`,
            ]
          : undefined,
      companions: [],
      write: (edits) => archive.write(payload.replace(replacementsOf(edits, model, stored))),
    }
  },
})
