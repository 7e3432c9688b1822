export { onnx } from './onnx.ts'
export { readModel } from './read.ts'
export { concat } from './wire.ts'
export { applyToFile, encodeModel } from './write.ts'
