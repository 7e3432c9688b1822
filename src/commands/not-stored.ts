import type { ModelFile } from '../formats/define-format.ts'
import { parametersOf } from '../train/parameters.ts'

/** Parameters that the file has no place for (Keras leaves out scales of 1): training has to leave them as they are. */
export const parametersNotStored = ({ model, stores }: ModelFile): string[] =>
  parametersOf(model)
    .map(({ value }) => value)
    .filter((value) => stores?.(value) === false)
