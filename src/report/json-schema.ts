import { z } from 'zod'
import { resultSchema } from '../result/result.ts'
import { resultVersion } from '../result/version.ts'

/** Where the published schema lies in the repository and the package: one file per major version of the result. */
export const resultSchemaPath = `schema/result-${resultVersion.split('.')[0]}.json`

/**
 * The JSON schema (draft 2020-12) of the result JSON, as text. The file at `resultSchemaPath` holds it; the golden
 * tests fail when the two differ, and `UPDATE_GOLDEN=1 npx vitest run test/golden` writes it anew.
 */
export function renderResultSchema(): string {
  const { $schema, ...schema } = z.toJSONSchema(resultSchema, { target: 'draft-2020-12', io: 'input' })
  const head = {
    $schema,
    title: 'varshift result',
    description: `What a varshift command found, version ${resultVersion}. A number that is not finite is null. Fields may be added, so readers ignore those they do not know.`,
  }
  return `${JSON.stringify({ ...head, ...schema }, undefined, 2)}\n`
}
