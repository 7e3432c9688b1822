import type { GraphBuilder } from '../ir/builder.ts'
import type { SettingDefinitions, SettingsOf } from './settings.ts'

/** One parameter in one step, as values of a graph. */
export interface UpdateContext {
  readonly build: GraphBuilder
  readonly parameter: string
  readonly gradient: string
  /** The optimizer's memory for this parameter, by name; each in the shape of the parameter, zeros at first. */
  readonly state: Readonly<Record<string, string>>
  /** What `scalars` gives for this step, each as a scalar. */
  readonly scalars: Readonly<Record<string, string>>
  /** Whether weight decay is on for this parameter. */
  readonly decays: boolean
}

export interface Updated {
  readonly parameter: string
  readonly state: Readonly<Record<string, string>>
}

export interface OptimizerDefinition<Settings extends SettingDefinitions> {
  readonly id: string
  readonly settings: Settings
  /** Names of what it remembers for each parameter. */
  readonly state: (settings: SettingsOf<Settings>) => readonly string[]
  /** Numbers that change with the step (counted from 1) and the learning rate, in float64. */
  readonly scalars: (
    settings: SettingsOf<Settings>,
    step: number,
    learningRate: number,
  ) => Readonly<Record<string, number>>
  readonly emit: (context: UpdateContext, settings: SettingsOf<Settings>) => Updated
}

/** How parameters move along their gradients. */
export interface OptimizerUnit {
  readonly id: string
  readonly settings: SettingDefinitions
  state(settings: Readonly<Record<string, unknown>>): readonly string[]
  scalars(
    settings: Readonly<Record<string, unknown>>,
    step: number,
    learningRate: number,
  ): Readonly<Record<string, number>>
  emit(context: UpdateContext, settings: Readonly<Record<string, unknown>>): Updated
}

export const defineOptimizer = <const Settings extends SettingDefinitions>(
  definition: OptimizerDefinition<Settings>,
): OptimizerUnit => definition as unknown as OptimizerUnit
