import type { Facts } from '../../analysis/facts.ts'
import type { Edit } from '../../ir/edit.ts'
import type { Model } from '../../ir/model.ts'

/** Mean and biased variance that a norm should store, C numbers each. */
export interface TargetStatistics {
  readonly mean: Float64Array
  readonly variance: Float64Array
}

/** What a person chose; a repair reads what concerns it. */
export interface RepairChoices {
  /** Parameter of the new noise: dropped share, half-width beta or standard deviation sigma. */
  readonly parameter?: number | undefined
  /** Choose each parameter so that the layers that it reaches shift by this predicted ratio, above 1. */
  readonly targetRatio?: number | undefined
  /** Where the one Dropout goes: in front of the last weight layer, or of the global pooling before it. */
  readonly position?: 'before-classifier' | 'before-global-pool' | undefined
}

export interface RepairContext {
  readonly model: Model
  readonly facts: Facts
  /** By key of the norm; empty for a repair that needs none. */
  readonly statistics: ReadonlyMap<string, TargetStatistics>
  /**
   * For statistics of inputs that were made to match the stored ones: what norms see on these inputs with the noise on,
   * so that a repair can tell where they do match.
   */
  readonly seen?: ReadonlyMap<string, TargetStatistics>
  readonly choices: RepairChoices
}

export interface Repair<E extends Edit = Edit> {
  /** An imperative. */
  readonly id: string
  /** Ids of the rules whose findings it mends. */
  readonly answers: readonly string[]
  /** Which mode's outputs it leaves as they were. */
  readonly preserves: 'both' | 'inference' | 'training' | 'neither'
  /** What makes it whole. A repair that needs training changes the noise that the weights were trained with. */
  readonly needs: 'nothing' | 'data' | 'training'
  /** Name of the parameter of the noise that it puts in, where a person may choose it. */
  readonly parameter?: 'ratio' | 'beta' | 'sigma'
  /** Throws a UserError with the reason and the node where it cannot be done. No edits: there is nothing to mend. */
  plan(context: RepairContext): E[]
}

export const defineRepair = <E extends Edit = Edit>(repair: Repair<E>): Repair<E> => repair
