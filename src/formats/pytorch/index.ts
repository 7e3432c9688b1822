export { pt2 } from './pt2.ts'
export { safetensors } from './safetensors.ts'
export { stateDict } from './state-dict.ts'
