/**
 * The style sheet of the report. Meaning has fixed colours: vermilion for noise and the shift it leaves ("before"), blue
 * for what was repaired ("after"), purple to green for less to more variance at inference, of equal lightness at either
 * side of 1 so that they stay apart for colour-blind readers. Contrast of text is at least 4.5 in both themes.
 */
const light = {
  bg: '#f7f7f4',
  panel: '#ffffff',
  ink: '#1b1f24',
  soft: '#545d68',
  line: '#dcdfe3',
  grid: '#e9ebee',
  before: '#c2480c',
  after: '#0b6aa8',
  good: '#1a7a46',
  warn: '#8f5600',
  bad: '#b3261e',
  edge: '#b9c0c8',
  node: '#79828d',
  heat: [
    '#562182',
    '#7846a9',
    '#9b74c5',
    '#bda4dd',
    '#e1d5f1',
    '#f2f4f5',
    '#c9e4c5',
    '#90c08b',
    '#5a9c53',
    '#33742d',
    '#1d4f19',
  ],
  lost: '#8a929c',
}

const dark: typeof light = {
  bg: '#15181c',
  panel: '#1c2025',
  ink: '#e7e9ec',
  soft: '#a3acb8',
  line: '#343a42',
  grid: '#2a2f36',
  before: '#f08c4e',
  after: '#5cb3ea',
  good: '#5fc08a',
  warn: '#e0ac4e',
  bad: '#f2877d',
  edge: '#4b535d',
  node: '#8b95a1',
  heat: [
    '#dec3fe',
    '#c099ed',
    '#a074d0',
    '#7c58a3',
    '#56436c',
    '#313336',
    '#3a5537',
    '#487a43',
    '#5d9f56',
    '#7ac372',
    '#a3e59c',
  ],
  lost: '#737c87',
}

function variables({ heat, ...rest }: typeof light): string {
  return [...Object.entries(rest), ...heat.map((colour, i) => [`heat-${i}`, colour])]
    .map(([name, value]) => `--${name}:${value}`)
    .join(';')
}

const heatClasses = light.heat
  .map((_, i) => `.h${i}{fill:var(--heat-${i})}.b${i}{background:var(--heat-${i})}`)
  .join('')

export const style = `
:root{color-scheme:light;${variables(light)}}
@media (prefers-color-scheme:dark){:root:not([data-theme=light]){color-scheme:dark;${variables(dark)}}}
:root[data-theme=dark]{color-scheme:dark;${variables(dark)}}
@media print{:root,:root[data-theme=dark]{color-scheme:light;${variables(light)}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,.top{max-width:1128px;margin:0 auto;padding:0 20px}
code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.92em}
a{color:var(--after);text-underline-offset:2px}
a:focus-visible,button:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--after);outline-offset:2px}
.skip{position:absolute;left:-999px}
.skip:focus{left:12px;top:8px;background:var(--panel);padding:6px 10px;z-index:9}
.top{padding-top:22px;padding-bottom:4px}
.kicker{display:flex;gap:12px;align-items:center;margin:0;color:var(--soft)}
.kicker b{color:var(--ink);font-weight:600}
.kicker .file{overflow-wrap:anywhere}
.kicker button{margin-left:auto;flex:none}
button.theme{font:inherit;font-size:13px;color:var(--soft);background:none;border:1px solid var(--line);border-radius:6px;padding:3px 10px;cursor:pointer}
button.theme:hover{color:var(--ink);border-color:var(--soft)}
h1{font-size:clamp(21px,3.2vw,30px);line-height:1.25;font-weight:650;letter-spacing:-.012em;margin:18px 0 20px;max-width:38em;text-wrap:balance;overflow-wrap:anywhere}
h1::before{content:"";display:block;width:44px;height:4px;border-radius:2px;margin-bottom:14px;background:var(--after)}
.good h1::before{background:var(--good)}.warning h1::before{background:var(--warn)}.bad h1::before{background:var(--bad)}
h2{font-size:19px;line-height:1.3;font-weight:650;margin:0 0 4px;letter-spacing:-.005em}
h3{font-size:15px;font-weight:650;margin:0}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:1px;background:var(--panel);border:1px solid var(--line);border-radius:10px;overflow:hidden;margin:0 0 18px}
.facts>div{box-shadow:0 0 0 1px var(--line);padding:13px 16px 12px;min-width:0}
.facts dt{font-size:12.5px;color:var(--soft)}
.facts dd{margin:0}
.facts .value{font-size:20px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
.facts .value span{white-space:nowrap}.facts .value .from{color:var(--before)}.facts .value .to{color:var(--after)}.facts .arrow{color:var(--soft);font-weight:400;padding:0 .12em}
.facts .detail{font-size:12.5px;color:var(--soft);overflow-wrap:anywhere}
nav{margin:0 0 6px;font-size:13.5px}
nav a{text-decoration:none}nav a:hover{text-decoration:underline}
nav ul{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:0;padding:0}
section{background:var(--panel);border:1px solid var(--line);border-radius:10px;padding:20px 22px 22px;margin:16px 0;min-width:0}
.lead{color:var(--soft);margin:0 0 14px;max-width:78ch}
.notes{border-left:3px solid var(--warn);padding:2px 0 2px 14px;margin:16px 2px;list-style:none;color:var(--ink)}
.notes li{margin:3px 0;overflow-wrap:anywhere}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:0 0 12px;padding:0;font-size:13px;color:var(--soft)}
.legend li{display:flex;align-items:center;gap:7px}
.legend .key{width:22px;height:13px;flex:none}
svg{display:block}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
svg.figure,svg.outline{width:100%;height:auto;overflow:visible}
svg.defs{position:absolute}
svg.narrow{display:none}
svg.narrow text{font-size:11.5px}
.grid line{stroke:var(--grid)}.grid line.unit{stroke:var(--soft);stroke-width:1}
.series .curve{fill:none;stroke-width:1.3;opacity:.55}
.series .interval{fill:none;stroke-width:1.2;opacity:.8}
.before .curve,.before .interval{stroke:var(--before)}.before circle,.before .lost{fill:var(--before)}
.after .curve,.after .interval{stroke:var(--after)}.after circle,.after .lost{fill:var(--after)}
.series circle.first{fill:var(--before)}
.predicted{fill:none;stroke:var(--before);stroke-width:1.3}
.noise .direct{fill:var(--before)}.noise .linear{fill:var(--panel);stroke:var(--before);stroke-width:1.2}
svg .call{fill:var(--ink);font-weight:600;paint-order:stroke;stroke:var(--panel);stroke-width:4px;stroke-linejoin:round}
svg .strip-title,svg .axis-title{fill:var(--soft)}
.frame{fill:none;stroke:var(--line)}
.cursor{stroke:var(--ink);stroke-width:1;opacity:0;pointer-events:none}
${heatClasses}
.hx{fill:var(--lost)}.hn{fill:var(--panel)}
.ratio-key{display:grid;grid-template-columns:auto auto;justify-content:space-between;gap:5px 10px;font-size:12.5px;color:var(--soft);margin:14px 0 0;max-width:480px}
.swatches{grid-column:1/-1;display:flex;padding-bottom:18px}
.swatches i{flex:1;height:14px;position:relative;font-style:normal;border:solid var(--line);border-width:1px 0}
.swatches i:first-child{border-left-width:1px;border-radius:3px 0 0 3px}.swatches i:last-child{border-right-width:1px;border-radius:0 3px 3px 0}
.swatches b{position:absolute;right:0;top:15px;transform:translateX(50%);font-weight:400;font-size:11px;font-variant-numeric:tabular-nums}
.edge{fill:none;stroke:var(--edge);stroke-width:1.2}
.edge.marked{stroke:var(--before);stroke-width:2.6;stroke-linecap:round}
.gap rect{fill:var(--panel)}
.n-noise{fill:var(--before)}
.n-norm{stroke:var(--node);stroke-width:1}.n-norm.on{stroke:var(--before);stroke-width:2}
.n-weight{fill:var(--panel);stroke:var(--node);stroke-width:1.3}.n-weight.on{stroke:var(--before)}
.n-merge circle{fill:var(--panel);stroke:var(--node);stroke-width:1.1}.n-merge path{stroke:var(--node);stroke-width:1.2}
.n-merge.on circle,.n-merge.on path{stroke:var(--before)}
.n-pool{fill:var(--node)}.n-small{fill:var(--node)}.n-small.on,.n-pool.on{fill:var(--before)}.n-end{fill:var(--ink)}
svg .n-index{font-size:9.5px}svg.narrow .n-index{font-size:9px}svg .n-name{font-size:11px}
.scroll{overflow-x:auto;margin:0 -22px;padding:0 22px}
.scroll.tall{max-height:76vh;overflow-y:auto;margin:0;padding:0}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
tbody td,tbody th{vertical-align:top}.mode th,.mode td{padding-left:8px;padding-right:8px}.mode tbody th{max-width:9.5em;white-space:normal}.mode th:first-child{padding-left:0}.mode th:last-child,.mode td:last-child{padding-right:0}.mode tbody:last-child>*>*{border-bottom:0}.mode tbody tr:not(:last-child)>td{border-bottom:0;padding-bottom:2px}.mode tbody tr+tr>td{padding-top:2px}.mode small{display:block;font-weight:400;font-size:12px;color:var(--soft)}
th,td{padding:5px 10px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}
th{font-weight:600;font-size:12.5px;color:var(--soft);vertical-align:bottom;border-bottom-color:var(--line)}
th:first-child{padding-left:0}
th.text,td.text,tbody th{text-align:left}
tbody th{font-weight:500;font-size:13.5px;color:var(--ink);border-bottom-color:var(--grid);max-width:22em;overflow:hidden;text-overflow:ellipsis}
tbody:last-child tr:last-child>*{border-bottom:0}
.tall thead th{position:sticky;top:0;background:var(--panel);z-index:2;box-shadow:inset 0 -1px var(--line)}
.tall thead tr.groups th{top:0}.tall thead tr.groups+tr th{top:28px}
.tall tbody th,.tall thead th:first-child{position:sticky;left:0;background:var(--panel);z-index:1}.tall thead th:first-child{z-index:3}
.groups th{text-align:center;border-bottom:0;height:28px;padding-bottom:0}
.side-before{color:var(--before)}.side-after{color:var(--after)}
tbody tr:hover>*{background:var(--bg)}
tr:target>*{background:var(--bg);box-shadow:inset 0 2px var(--after),inset 0 -2px var(--after)}
td small{display:block;font-size:12px;color:var(--soft)}td .low{color:var(--soft)}
td.strong{color:var(--bad);font-weight:600}td.shifted{color:var(--warn);font-weight:600}td.steady{color:var(--good)}td.unclear{color:var(--soft)}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-align:inherit}
th button:hover{color:var(--ink)}
th button{position:relative}th button::after{content:"";position:absolute;left:100%;padding-left:1px}
th[aria-sort=ascending] button::after{content:"↑"}th[aria-sort=descending] button::after{content:"↓"}
.nf{color:var(--bad);font-style:italic}
.swatch{display:inline-block;width:9px;height:9px;border-radius:2px;margin-right:6px;border:1px solid var(--line)}
.split{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1.25fr);gap:8px 32px;align-items:start}
.split.modes{grid-template-columns:minmax(0,1fr) minmax(0,2.1fr)}
.split>*{min-width:0}
.figure-small{width:100%;max-width:440px;height:auto}
h2+dl.pairs,h2+.split{margin-top:10px}
dl.pairs{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:5px 18px;margin:0}
dl.pairs dt{color:var(--soft)}dl.pairs dd{margin:0;overflow-wrap:anywhere}
.badge{display:inline-block;font-size:12px;font-weight:600;line-height:1.5;padding:0 8px;border-radius:9px;border:1px solid currentColor;white-space:nowrap}
.badge.error,.badge.bad{color:var(--bad)}.badge.warning{color:var(--warn)}.badge.info,.badge.neutral{color:var(--after)}.badge.good{color:var(--good)}
.rule{border-top:1px solid var(--grid);padding-top:16px;margin-top:16px}
.rule:first-of-type{border-top:0;padding-top:6px;margin-top:0}
.rule header{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline}
.rule .count{color:var(--soft);font-size:13px}
.rule p{margin:4px 0 8px;max-width:82ch}
.next{list-style:none;margin:6px 0 0;padding:0}.next li{padding:3px 0;overflow-wrap:anywhere}.next span{color:var(--soft)}
.rule .help{color:var(--soft)}
.found{list-style:none;margin:8px 0 0;padding:0}
.found>li{padding:9px 0;border-top:1px dashed var(--grid);overflow-wrap:anywhere}
.found>li:first-child{border-top:0}
.found .where{font-size:13px;color:var(--soft);margin-left:10px}
.found .message{margin:2px 0 0}
.path{display:flex;flex-wrap:wrap;align-items:center;gap:5px 0;list-style:none;margin:7px 0 2px;padding:0;font-size:13px}
.path li{display:flex;align-items:center;max-width:100%}
.path li+li::before{content:"→";color:var(--soft);padding:0 7px}
.path .step{border:1px solid var(--line);border-radius:5px;padding:1px 8px;min-width:0;overflow-wrap:anywhere}
.path .step small{color:var(--soft);font-size:12px;margin-left:5px}
.path .noise{border-color:var(--before);border-style:dashed}.path .norm{border-color:var(--before);border-width:2px}
details>summary{cursor:pointer;color:var(--after);font-size:14px;padding:6px 0;width:fit-content}
footer{max-width:1128px;margin:0 auto;padding:4px 22px 40px;color:var(--soft);font-size:13px}
.tip{position:fixed;z-index:10;pointer-events:none;background:var(--panel);border:1px solid var(--line);border-radius:8px;box-shadow:0 4px 18px #0003;padding:9px 12px;font-size:12.5px;width:max-content;max-width:300px;font-variant-numeric:tabular-nums}
.tip b{display:block;overflow-wrap:anywhere;margin-bottom:3px}
.tip dl{display:grid;grid-template-columns:auto auto;gap:1px 14px;margin:0}.tip dt{color:var(--soft)}.tip dd{margin:0;text-align:right}
[hidden]{display:none!important}
@media (max-width:680px){
body{font-size:15px}
main,.top{padding-left:12px;padding-right:12px}
section{padding:16px 14px 18px;margin:12px 0}
.scroll{margin:0 -14px;padding:0 14px}.scroll.tall{margin:0;padding:0}.tall tbody th{max-width:10em}
svg.wide{display:none}svg.narrow{display:block}
.facts{grid-template-columns:1fr 1fr}.facts>div{padding:10px 12px}.facts .value{font-size:16.5px}
.split,.split.modes{grid-template-columns:minmax(0,1fr)}
dl.pairs{grid-template-columns:minmax(0,1fr);gap:0}dl.pairs dd{margin-bottom:8px}
}
@media print{
body{background:#fff;font-size:11px}section{break-inside:avoid-page;border-color:#ccc;padding:10px 0;border-width:1px 0 0;border-radius:0}
section.long{break-inside:auto}.scroll,.scroll.tall{overflow:visible;max-height:none}nav,button.theme,.cursor{display:none}
table,tbody th{font-size:9.5px}th{font-size:9px}td small,.mode small{font-size:8.5px}th,td{padding:2px 5px}.more,.tip{display:none}.legend,.ratio-key,.facts dt,.facts .detail{font-size:10px}.split,.split.modes{grid-template-columns:minmax(0,1fr)}.lead,.rule p{max-width:none}h1{font-size:20px}.tall thead th,.tall tbody th{position:static}
details::details-content{display:block;content-visibility:visible}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
`
