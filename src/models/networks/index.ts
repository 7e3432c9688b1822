import { UserError } from '../../ir/errors.ts'
import type { NamedFamily, NamedNetwork } from '../define-network.ts'
import { autoencoder } from './autoencoder.ts'
import { denseNet } from './densenet.ts'
import { mlp } from './mlp.ts'
import { preResNet } from './preresnet.ts'
import { resNet, resNeXt } from './resnext.ts'
import { convNet, vgg } from './vgg.ts'
import { wideResNet } from './wide-resnet.ts'

/** Every family of networks. */
export const networkFamilies: readonly NamedFamily[] = [
  autoencoder,
  convNet,
  denseNet,
  mlp,
  preResNet,
  resNet,
  resNeXt,
  vgg,
  wideResNet,
]

/** The network called `name`, such as `preresnet-20`. Throws a UserError that lists what there is. */
export function parseNetwork(name: string): NamedNetwork {
  for (const family of networkFamilies) {
    const found = family.named(name)
    if (found) return found
  }
  const forms = networkFamilies.map(({ form }) => form)
  throw new UserError(`there is no network '${name}'; there are ${forms.join(', ')}`)
}

export { autoencoder, convNet, denseNet, mlp, preResNet, resNet, resNeXt, vgg, wideResNet }
