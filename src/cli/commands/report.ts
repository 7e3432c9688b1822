import { defineCommand } from '../define-command.ts'
import { exitCodes } from '../exit-codes.ts'
import { present, reportFiles } from '../present.ts'
import { presentStudy, studyIn } from '../present-study.ts'
import { readJson, resultsIn } from '../result-file.ts'

/** A result in another form. */
export const reportCommand = defineCommand({
  name: 'report',
  summary: 'Show a result that was written as JSON: in the terminal, as HTML or as SARIF.',
  about: 'Needs neither the model nor the data. Also takes the result of a study.',
  usage: '<result.json>',
  takes: { what: 'one result file', least: 1, most: 1 },
  settings: ['format'],
  flags: [
    ['-o, --output <file>', 'also write the result to a .json, .sarif, .html or .txt file'],
    ['--html <file>', 'also write an HTML report'],
  ],
  examples: [
    ['varshift report shift.json', 'in the terminal'],
    ['varshift report shift.json --html report.html', 'to look at in a browser'],
    ['varshift report shift.json --format sarif', 'for code scanning'],
  ],
  async run(context) {
    const [path] = context.args as [string]
    const wanted = await reportFiles(context)
    const contents = await readJson(path, context.files)
    const study = await studyIn(contents, path)
    if (study) await presentStudy(context, study, wanted)
    else await present(context, await resultsIn(contents, path), wanted)
    return exitCodes.fine
  },
})
