import type { Nested, Noise, NoisePath, Norm } from '../analysis/facts.ts'
import { keyOf, labelOf, type Node } from '../ir/model.ts'
import type { Place } from '../result/result.ts'

/** Where in the file a node, norm or noise is. */
export function placeOf(found: Node | Norm | Noise | Nested): Place {
  if ('opType' in found) return place(found, labelOf(found))
  if ('node' in found) return place(found.node, found.label)
  return { ...place(found.nodes.at(-1)!, found.label), key: found.key }
}

function place(node: Node, label: string): Place {
  const byteOffset = node.origin?.byteOffset
  return {
    label,
    key: keyOf(node),
    opType: node.opType,
    ...(byteOffset === undefined ? {} : { byteOffset }),
  }
}

/** A way node by node, its noise and norm included. */
export const placesOf = ({ noise, steps, norm }: NoisePath): Place[] => [noise, ...steps, norm].map(placeOf)
