import type { Finding, Place, Result, Severity } from '../result/result.ts'
import type { RuleInfo } from './rule-info.ts'

const levels: Readonly<Record<Severity, 'error' | 'warning' | 'note'>> = {
  error: 'error',
  warning: 'warning',
  info: 'note',
}

/** Name of the fingerprint in `partialFingerprints`; the version changes if what goes into it does. */
const fingerprintName = 'varshiftFinding/v1'

/**
 * The findings of a result as a SARIF 2.1.0 log: one run, the model as its only artifact, each way from a noise to a
 * norm as a code flow. Model files are binary, so regions are byte offsets; layers are logical locations. Rules that
 * found something but are missing from `rules` are listed by id alone.
 *
 * Source: OASIS, Static Analysis Results Interchange Format 2.1.0 plus errata 01.
 */
export function renderSarif(result: Result, rules: readonly RuleInfo[]): string {
  const known = new Map(rules.map((rule) => [rule.id, rule]))
  const ids = [...new Set([...rules.map(({ id }) => id), ...result.findings.map(({ rule }) => rule)])]
  const positions = new Map(ids.map((id, i) => [id, i]))
  const { model, tool, measurement, seed, suppressed, version } = result
  const log = {
    version: '2.1.0',
    $schema: 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json',
    runs: [
      {
        tool: {
          driver: {
            name: tool.name,
            version: tool.version,
            ...(/^\d+\.\d+\.\d+(?:[-+].*)?$/.test(tool.version) ? { semanticVersion: tool.version } : {}),
            rules: ids.map((id) => descriptor(id, known.get(id))),
          },
        },
        // One per model: scanners take two runs of one id in a log for the same analysis.
        automationDetails: { id: `${tool.name}/${result.command}/${artifactUri(model.path)}/` },
        invocations: [
          {
            executionSuccessful: true,
            ...(measurement?.partial
              ? {
                  toolExecutionNotifications: [
                    {
                      level: 'warning',
                      message: { text: 'The measurement was stopped before all samples were seen.' },
                    },
                  ],
                }
              : {}),
          },
        ],
        artifacts: [
          {
            location: { uri: artifactUri(model.path) },
            length: model.sizeBytes,
            roles: ['analysisTarget'],
            ...(model.sha256 ? { hashes: { 'sha-256': model.sha256 } } : {}),
          },
        ],
        results: result.findings.map((finding) =>
          sarifResult(finding, positions.get(finding.rule)!, model.path),
        ),
        properties: { resultVersion: version, suppressed, ...(seed === undefined ? {} : { seed }) },
      },
    ],
  }
  return `${JSON.stringify(log, undefined, 2)}\n`
}

function descriptor(id: string, rule: RuleInfo | undefined) {
  if (!rule) return { id }
  return {
    id,
    name: id.replace(/(?:^|-)([a-z0-9])/g, (_, first: string) => first.toUpperCase()),
    shortDescription: { text: rule.summary },
    fullDescription: { text: `${rule.summary} ${rule.help.text}` },
    help: { text: rule.help.text, ...(rule.help.markdown ? { markdown: rule.help.markdown } : {}) },
    defaultConfiguration: { level: levels[rule.severity] },
  }
}

function sarifResult(
  { rule, severity, message, at, path, data, fingerprint }: Finding,
  ruleIndex: number,
  file: string,
) {
  return {
    ruleId: rule,
    ruleIndex,
    level: levels[severity],
    message: { text: messageText(message) },
    locations: [location(at, file)],
    ...(path && path.length > 0 ? { codeFlows: [codeFlow(path, file)] } : {}),
    partialFingerprints: { [fingerprintName]: fingerprint },
    ...(Object.keys(data).length > 0 ? { properties: { data } } : {}),
  }
}

/** A finding about the file as a whole has the file alone as its location. */
function location(at: Place | undefined, file: string, message?: string) {
  const artifactLocation = { uri: artifactUri(file), index: 0 }
  const text = message === undefined ? {} : { message: { text: messageText(message) } }
  if (!at) return { physicalLocation: { artifactLocation }, ...text }
  const name = at.label === '' ? at.key : at.label
  return {
    physicalLocation: {
      artifactLocation,
      ...(at.byteOffset === undefined ? {} : { region: { byteOffset: at.byteOffset } }),
    },
    // Labels need not be unique; the key, the name that the file itself uses, is.
    logicalLocations: [
      {
        name,
        fullyQualifiedName: name,
        ...(at.key === name ? {} : { decoratedName: at.key }),
        kind: 'element',
      },
    ],
    ...text,
  }
}

function codeFlow(path: readonly Place[], file: string) {
  const label = ({ label, opType }: Place) => (opType ? `${label} (${opType})` : label) || '(unnamed)'
  return {
    message: { text: 'How the noise reaches the normalization.' },
    threadFlows: [
      {
        locations: path.map((place, i) => ({
          location: location(place, file, label(place)),
          executionOrder: i + 1,
          importance: i === 0 || i === path.length - 1 ? 'essential' : 'important',
        })),
      },
    ],
  }
}

/**
 * Plain text of a SARIF message: braces are doubled, as single ones mark placeholders, and a space parts what would
 * read as an embedded link, so that a layer's name cannot place a link in a viewer.
 */
function messageText(text: string): string {
  const plain = text.replace(/[{}]/g, '$&$&').replace(/\](?=\()/g, '] ')
  return plain === '' ? '(no message)' : plain
}

/** A path as a URI reference: relative stays relative, absolute becomes a file URI, all else is percent-encoded. */
export function artifactUri(path: string): string {
  const parts = path.replaceAll('\\', '/').split('/')
  const drive = /^[A-Za-z]:$/.test(parts[0] ?? '')
  const encoded = parts.map((part, i) =>
    drive && i === 0 ? part : encodeURIComponent(part.replace(/\p{Cs}/gu, '\ufffd')),
  )
  const joined = encoded.join('/')
  if (drive) return `file:///${joined}`
  if (joined.startsWith('//')) return `file:${joined}`
  if (joined.startsWith('/')) return `file://${joined}`
  return joined.replace(/^(?:\.\/)+/, '') || '.'
}
