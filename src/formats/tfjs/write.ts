import { UserError } from '../../ir/errors.ts'
import type { Companion } from '../define-format.ts'
import { placesIn } from '../json-places.ts'
import { type Patch, patched } from '../keras/edit-config.ts'
import { type PlacedWeight, packed, type Shard, type ShardedWeights } from './weights.ts'

/** A weight and its new contents, little-endian float32. */
export interface WeightChange {
  readonly weight: PlacedWeight
  readonly contents: Uint8Array
}

/**
 * The model.json `bytes`, and the shards that change, with new contents for some weights. A weight whose quantisation
 * cannot hold its new contents exactly becomes plain float32, which is said in its entry of the manifest; everything
 * else stays byte for byte.
 */
export function writeWeights(
  bytes: Uint8Array,
  weights: ShardedWeights,
  changes: readonly WeightChange[],
  topology: readonly Patch[] = [],
): { chunks: Uint8Array[]; companions: Companion[] } {
  const patches = new Map<Shard, Patch[]>()
  const widened: PlacedWeight[] = []
  for (const { weight, contents } of changes) {
    if (weight.dataType !== 'float32')
      throw new UserError(
        `weight '${weight.name}' is of type ${weight.dataType} and cannot be set to other numbers; convert the model with float32 weights`,
      )
    const stored = packed(contents, weight)
    if (!stored) widened.push(weight)
    const parts = weights.parts(weight.offset, weight.sizeBytes)
    for (const [i, { shard, from, to, at }] of parts.entries()) {
      // A weight that grows does so in the shard where it begins.
      const part = stored ? stored.subarray(at, at + to - from) : i === 0 ? contents : new Uint8Array()
      patches.set(shard, [...(patches.get(shard) ?? []), { from, to, bytes: part }])
    }
  }
  const companions = [...patches].map(([shard, list]) => ({
    name: shard.name,
    chunks: patched(weights.bytesOf(shard), list),
  }))
  const entries = [...topology, ...withoutQuantization(bytes, widened)]
  return { chunks: entries.length === 0 ? [bytes] : patched(bytes, entries), companions }
}

function withoutQuantization(bytes: Uint8Array, widened: readonly PlacedWeight[]): Patch[] {
  if (widened.length === 0) return []
  const manifest = placesIn(bytes, placesIn(bytes).get('weightsManifest'))
  const groups = new Map<number, ReturnType<typeof placesIn>>()
  return widened.map(({ group, index }): Patch => {
    const weights = groups.get(group) ?? placesIn(bytes, placesIn(bytes, manifest.get(group)).get('weights'))
    groups.set(group, weights)
    const members = placesIn(bytes, weights.get(index))
    const { memberStart, end, separatorEnd, separatorStart } = members.get('quantization')!
    // With the comma behind it, or before it where it comes last.
    return separatorEnd === undefined
      ? { from: separatorStart ?? memberStart, to: end, bytes: new Uint8Array() }
      : { from: memberStart, to: separatorEnd, bytes: new Uint8Array() }
  })
}
