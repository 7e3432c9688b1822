import { UserError } from '../../ir/errors.ts'
import { defineCommand } from '../define-command.ts'
import { exitCodes } from '../exit-codes.ts'

/** The text of layers that a repaired model may hold. */
export const layerCommand = defineCommand({
  name: 'layer',
  summary: 'Print the layers Uout and MomentPreservingDropout for Keras or TensorFlow.js.',
  about:
    'Neither framework has them built in. A program that loads a model with such a layer imports the file that this prints: it registers them. They do nothing at inference.',
  usage: '<framework>',
  takes: { what: 'keras or tfjs', least: 1, most: 1 },
  settings: [],
  flags: [],
  examples: [
    ['varshift layer keras > varshift_layers.py', 'for Keras 2 and 3'],
    ['varshift layer tfjs > varshift-layers.js', 'for TensorFlow.js'],
  ],
  async run({ args, console }) {
    const { layerTexts } = await import('../../formats/layer-texts.ts')
    const [framework = ''] = args
    if (framework !== 'keras' && framework !== 'tfjs')
      throw new UserError(`there are no layers for '${framework}'; give keras or tfjs`)
    console.out(layerTexts[framework])
    return exitCodes.fine
  },
})
