export { type Layer, type Step, Value } from './construction.ts'
export {
  type NamedFamily,
  type NamedNetwork,
  type NetworkFamily,
  type NetworkOptions,
  type Placement,
  placementNamed,
  placements,
} from './define-network.ts'
export * from './layers.ts'
export { type BuildOptions, Network, network, type Outputs } from './network.ts'
export * from './networks/index.ts'
