import type { Model } from '../ir/model.ts'
import type { Facts } from './facts.ts'
import { typesOf } from './infer-types.ts'
import { nestedOf } from './nested.ts'
import { noisePaths } from './noise-paths.ts'
import { noisesOf } from './noises.ts'
import { normsOf } from './norms.ts'
import { predictions } from './predict.ts'

const memo = new WeakMap<Model, Facts>()

/**
 * The facts of a model, without running it. Local functions are to be inlined first: nothing here looks into them.
 * Each part is computed when first asked for and kept for as long as the model lives.
 */
export function factsOf(model: Model): Facts {
  const known = memo.get(model)
  if (known) return known
  const facts: Facts = lazily<Facts>({
    noises: () => noisesOf(model),
    norms: () => normsOf(model),
    nested: () => nestedOf(model),
    paths: () => [...facts.pathsTo.values()].flat(),
    pathsTo: () => noisePaths(model, facts.noises, facts.norms),
    predictions: () => predictions(model, facts),
    types: () => typesOf(model),
  })
  memo.set(model, facts)
  return facts
}

function lazily<T extends object>(parts: { readonly [K in keyof T]: () => T[K] }): T {
  const facts = {} as T
  for (const name of Object.keys(parts) as (keyof T)[])
    Object.defineProperty(facts, name, {
      enumerable: true,
      configurable: true,
      get() {
        const value = parts[name]()
        Object.defineProperty(facts, name, { enumerable: true, value })
        return value
      },
    })
  return facts
}
