export { tfjs } from './tfjs.ts'
