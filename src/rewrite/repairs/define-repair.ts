import type { Facts } from '../../analysis/facts.ts'
import type { SetRunningStatistics } from '../../ir/edit.ts'

/** Mean and biased variance that a norm should store, C numbers each. */
export interface TargetStatistics {
  readonly mean: Float64Array
  readonly variance: Float64Array
}

export interface RepairContext {
  readonly facts: Facts
  /** By key of the norm. */
  readonly statistics: ReadonlyMap<string, TargetStatistics>
}

export interface Repair {
  /** An imperative. */
  readonly id: string
  /** Ids of the rules whose findings it mends. */
  readonly answers: readonly string[]
  /** Which mode's outputs it leaves as they were. */
  readonly preserves: 'both' | 'inference' | 'training' | 'neither'
  readonly needs: 'nothing' | 'data' | 'training'
  plan(context: RepairContext): SetRunningStatistics[]
}

export const defineRepair = (repair: Repair): Repair => repair
