import { readFileSync } from 'node:fs'
import { readModelBytes } from '../src/formats/open-model.ts'
import { memoryFiles } from '../src/platform/web.ts'
for (const p of process.argv.slice(2)) {
  const t = performance.now()
  const r = await readModelBytes(readFileSync(p), 'm', memoryFiles(new Map())).then((f) => 'read ' + f.model.graph.nodes.length, (e) => e.message.slice(0, 300))
  console.log(p, Math.round(performance.now() - t), r)
}
