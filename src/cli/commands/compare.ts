import { defineCommand } from '../define-command.ts'
import { exitCodes } from '../exit-codes.ts'
import { interruptible, unlessStopped } from '../interrupt.ts'
import { present, reportFiles } from '../present.ts'
import { dataSettings, ruleSettings, runSettings } from '../settings.ts'
import { dataOf, dataOptions, ruleOptions, runOptions } from '../work-options.ts'

/** Two models on the same data. */
export const compareCommand = defineCommand({
  name: 'compare',
  summary: 'Compare two models on the same data: shift, accuracy, loss and agreement.',
  about: 'Judge a repair on data that it was not made with.',
  usage: '<model> <other> --data <spec>',
  takes: { what: 'two model files', least: 2, most: 2 },
  settings: [...dataSettings, ...runSettings, ...ruleSettings, 'format'],
  flags: [
    ['-o, --output <file>', 'also write the result to a .json, .sarif, .html or .txt file'],
    ['--html <file>', 'also write an HTML report'],
  ],
  examples: [
    ['varshift compare model.onnx fixed.onnx --data test.npz', 'before and after'],
    ['varshift compare model.onnx fixed.onnx --data cifar10:data#test --html report.html', 'on a test set'],
  ],
  async run(context) {
    const { args, console, files } = context
    const [first, second] = args as [string, string]
    const data = dataOf(context, 'compare')
    const wanted = await reportFiles(context)
    const rules = await ruleOptions(context)
    const [{ openModel }, { compare }] = await Promise.all([
      import('../../formats/open-model.ts'),
      import('../../commands/compare.ts'),
    ])
    const [result, isStopped] = await interruptible(console, async (signal) => {
      const options = { data, ...rules, ...dataOptions(context), ...runOptions(context, signal) }
      const [a, b] = [await openModel(first, files), await openModel(second, files)]
      const result = await unlessStopped(signal, compare(a, b, options, files))
      return [result, signal.aborted] as const
    })
    if (!result) {
      console.error('varshift: stopped before both models were measured')
      return exitCodes.interrupted
    }
    await present(context, [result], wanted)
    return isStopped ? exitCodes.interrupted : exitCodes.fine
  },
})
