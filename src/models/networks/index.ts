import { UserError } from '../../ir/errors.ts'
import type { NamedFamily, NamedNetwork } from '../define-network.ts'
import { mlp } from './mlp.ts'
import { preResNet } from './preresnet.ts'
import { convNet, vgg } from './vgg.ts'

/** Every family of networks. */
export const networkFamilies: readonly NamedFamily[] = [convNet, mlp, preResNet, vgg]

/** The network called `name`, such as `preresnet-20`. Throws a UserError that lists what there is. */
export function parseNetwork(name: string): NamedNetwork {
  for (const family of networkFamilies) {
    const found = family.named(name)
    if (found) return found
  }
  const forms = networkFamilies.map(({ form }) => form)
  throw new UserError(`there is no network '${name}'; there are ${forms.join(', ')}`)
}
