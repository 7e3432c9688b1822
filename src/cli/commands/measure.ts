import { defineCommand } from '../define-command.ts'
import { exitCodes } from '../exit-codes.ts'
import { interruptible } from '../interrupt.ts'
import { present, reportFiles } from '../present.ts'
import { dataSettings, ruleSettings, runSettings } from '../settings.ts'
import { dataOf, dataOptions, ruleOptions, runOptions } from '../work-options.ts'

/** What the layers of a model really see. */
export const measureCommand = defineCommand({
  name: 'measure',
  summary: 'Measure what every batch normalization sees at inference against what it stored.',
  about:
    'Runs the model once over the data in eval mode; on the first samples also in train mode and in sample mode (noise on, running statistics). The data should be like the training data; labels are used if there are any. Writing to a .json file also finds the statistics that a repair would store, so that `varshift fix --from` can do without the data: the file holds moments only, no samples.',
  usage: '<model> --data <spec>',
  takes: { what: 'one model file', least: 1, most: 1 },
  settings: [...dataSettings, ...runSettings, ...ruleSettings, 'format'],
  flags: [
    ['-o, --output <file>', 'also write the result to a .json, .sarif, .html or .txt file'],
    ['--html <file>', 'also write an HTML report'],
  ],
  examples: [
    ['varshift measure model.onnx --data images.npz', 'arrays named as the inputs of the model'],
    [
      'varshift measure model.onnx --data photos/ --image-size 224 --mean 0.5 --std 0.25',
      'a folder of pictures',
    ],
    ['varshift measure model.onnx --data images.npz -o shift.json', 'moments to take elsewhere'],
    [
      'varshift measure model.onnx --data shapes:count=1000 --html report.html',
      'made-up pictures, HTML report',
    ],
  ],
  async run(context) {
    const { args, console, files } = context
    const [path] = args as [string]
    const data = dataOf(context, 'measure')
    const wanted = await reportFiles(context)
    const rules = await ruleOptions(context)
    const [{ openModel }, { measure }] = await Promise.all([
      import('../../formats/open-model.ts'),
      import('../../commands/measure.ts'),
    ])
    const result = await interruptible(console, async (signal) =>
      measure(
        await openModel(path, files),
        {
          data,
          ...rules,
          ...dataOptions(context),
          ...runOptions(context, signal),
          statistics: wanted.some(({ form }) => form === 'json'),
        },
        files,
      ),
    )
    await present(context, [result], wanted)
    return result.measurement?.partial ? exitCodes.interrupted : exitCodes.fine
  },
})
