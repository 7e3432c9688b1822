/**
 * Holds src/ to the law of imports (docs/architecture.md): a room imports rooms on lower floors only, never sideways;
 * only `runtime` imports ONNX Runtime; only `platform` and the doors touch Node or browser APIs. Also: every source
 * file has a kebab-case name, and every unit of an index is listed in it.
 *
 *   npx jiti scripts/check-house.ts
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const source = fileURLToPath(new URL('../src', import.meta.url))

const floors: Readonly<Record<string, number>> = {
  ir: 0,
  result: 0,
  platform: 1,
  ops: 1,
  formats: 2,
  data: 2,
  analysis: 2,
  rewrite: 3,
  runtime: 3,
  autodiff: 3,
  measure: 4,
  models: 4,
  train: 5,
  rules: 5,
  commands: 6,
  studies: 7,
  report: 7,
}
/** What opens the house to people and programs; may import every room. */
const doors = ['cli', 'index.ts', 'browser.ts', 'version.ts']

const problems: string[] = []
const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((path) =>
  path.endsWith('.ts'),
)

for (const path of files) {
  const [room = ''] = path.split(/[\\/]/)
  const isDoor = doors.includes(room)
  const isTest = path.endsWith('.test.ts')
  if (!isDoor && !(room in floors))
    problems.push(
      `${path}: '${room}' is no room of the house; add it to the floors in scripts/check-house.ts`,
    )
  if (!/^[a-z0-9/.-]+$/.test(path.replaceAll('\\', '/'))) problems.push(`${path}: file names are kebab-case`)
  const text = readFileSync(join(source, path), 'utf8')
  for (const [, , imported = ''] of text.matchAll(
    /(?:^|\n)\s*(?:import|export)\b[^'"\n;]*?(?:\{[^}]*\}[^'"\n;]*?)?(from\s*)?['"]([^'"]+)['"]/g,
  ))
    check(imported)
  for (const [, imported = ''] of text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g)) check(imported)

  function check(imported: string): void {
    if (!imported.startsWith('.')) {
      if (/onnxruntime/.test(imported) && room !== 'runtime' && !isTest)
        problems.push(`${path}: only runtime imports ${imported}`)
      if ((imported.startsWith('node:') || imported === 'sharp') && room !== 'platform' && !isDoor && !isTest)
        problems.push(`${path}: only platform and the doors import ${imported}`)
      return
    }
    const target = relative(source, normalize(join(source, dirname(path), imported)))
    const [other = ''] = target.split(/[\\/]/)
    if (isTest || isDoor || other === room || other === 'version.ts') return
    const floor = floors[room]
    const below = floors[other]
    if (floor === undefined || below === undefined || below >= floor)
      problems.push(`${path}: ${room} (floor ${floor}) may not import ${other} (floor ${below})`)
  }
}

/** Folders whose index lists every unit beside it, and what defines a unit. */
const indexes = [
  { folder: 'rules', define: 'defineRule' },
  { folder: 'studies', define: 'defineStudy' },
  { folder: 'ops', define: 'defineOp' },
  { folder: 'ops/noises', define: 'defineNoise' },
]
for (const { folder, define } of indexes) {
  const index = readFileSync(join(source, folder, 'index.ts'), 'utf8')
  for (const name of readdirSync(join(source, folder))) {
    if (
      !name.endsWith('.ts') ||
      name.endsWith('.test.ts') ||
      name === 'index.ts' ||
      name.startsWith('define-')
    )
      continue
    const isUnit = new RegExp(`export const [a-zA-Z0-9]+ = ${define}[(<]`).test(
      readFileSync(join(source, folder, name), 'utf8'),
    )
    if (isUnit && !index.includes(`./${name}`))
      problems.push(`${folder}/${name}: not listed in ${folder}/index.ts`)
  }
}

for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
console.log(`${files.length} files keep the law of imports`)
