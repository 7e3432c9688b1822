import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineCommand } from '../define-command.ts'
import { exitCodes } from '../exit-codes.ts'
import { interruptible } from '../interrupt.ts'
import { present } from '../present.ts'
import { render } from '../render.ts'
import { runSettings } from '../settings.ts'
import { runOptions } from '../work-options.ts'
import { checkWritable, writeText } from '../write.ts'

/** A small pre-activation ResNet with Dropout 0.5 before BatchNormalization; beside src and dist alike. */
const modelPath = relative('', fileURLToPath(new URL('../../../assets/demo.onnx', import.meta.url)))

const defaultReport = 'varshift-demo.html'

/** The whole journey. */
export const demoCommand = defineCommand({
  name: 'demo',
  summary: 'Check, repair and compare a small network that comes along, on made-up pictures.',
  about: `Prints what each step finds and writes an HTML report of the repair to ${defaultReport}.`,
  usage: '',
  takes: { what: 'no arguments', least: 0, most: 0 },
  settings: [...runSettings, 'format'],
  flags: [['--html <file>', `write the HTML report here (default: ${defaultReport})`]],
  examples: [['varshift demo', 'before and after']],
  async run(context) {
    const { console, files, flags } = context
    const html = typeof flags.html === 'string' ? flags.html : defaultReport
    await checkWritable(html, [modelPath], files)
    const { demo } = await import('../../commands/demo.ts')
    const done = await interruptible(console, async (signal) => {
      const found = await demo(modelPath, runOptions(context, signal), files).catch((error: unknown) => {
        if (signal.aborted) return undefined
        throw error
      })
      return signal.aborted ? undefined : found
    })
    if (!done) {
      console.error('varshift: stopped')
      return exitCodes.interrupted
    }
    const { check, fixed, compare } = done
    await writeText(html, await render([fixed.result], 'html', console), files)
    await present(context, [check, fixed.result, compare], [])
    console.note(`wrote ${html}`)
    return exitCodes.fine
  },
})
