import { UserError } from '../../ir/errors.ts'
import { Archive } from '../../platform/archive.ts'
import { isZip, memberNames } from '../../platform/zip.ts'
import { defineFormat } from '../define-format.ts'
import { isStored, replacementsOf } from './edits.ts'
import { readPayload } from './payload.ts'
import { parseProgram } from './program.ts'
import { translate } from './translate.ts'

/** The member that holds the program: of newer releases in a folder of models, of older ones at the top. */
const programMember = /^(?:(.*\/)?models\/([^/]+)|serialized_exported_program)\.json$/

/**
 * What torch.export.save writes, PyTorch 2.4 and up: the program as JSON, its tensors raw or in a zip of torch.save.
 *
 * Repairs set buffers: their bytes inside the archive change, every other member stays as it was. PyTorch's running
 * variance is unbiased when training updates it and ONNX's is biased; both use what is stored as it is at inference, so
 * the numbers are the same. `num_batches_tracked` stays.
 * Source: torch/export/pt2_archive and torch/_export/serde of PyTorch 2.13.
 */
export const pt2 = defineFormat({
  id: 'pt2',
  name: 'PyTorch export (.pt2)',
  support: {
    reads: 'archives of torch.export, PyTorch 2.4 and up',
    runs: 'all but operators without a counterpart',
    repairs: 'running statistics; for noise the lines to change in Python',
    writes: 'the buffers that changed, every other member as it was',
  },
  readsParts: true,
  detect: (head, file) => isZip(head) && memberNames(file).some((member) => programMember.test(member)),
  async read(file, path) {
    const archive = await Archive.open(file, 'the archive')
    const models = [...archive.entries.keys()].filter((member) => programMember.test(member))
    const [member] = models
    if (models.length > 1)
      throw new UserError(
        `the archive holds ${models.length} programs (${models.join(', ')}), expected one; export each into a file of its own`,
      )
    if (member === undefined)
      throw new UserError(
        'the archive holds no program (models/NAME.json), although its list of members names one; it is damaged: export the model again',
      )
    const [, root = '', name = 'model'] = programMember.exec(member)!
    const program = parseProgram(archive.text(member), member)
    const payload = await readPayload(archive, name, root)
    const { model, stored, notes } = translate(program, payload)
    return {
      path,
      sizeBytes: file.sizeBytes,
      model,
      notes,
      companions: [],
      stores: (initializer) => isStored(initializer, stored),
      write: (edits) => archive.write(payload.replace(replacementsOf(edits, model, stored))),
    }
  },
})
