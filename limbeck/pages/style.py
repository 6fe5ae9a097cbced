"""The style of every page: light and dark, paper and phone, colours fit for the colour-blind."""

__all__ = ["STYLE"]

# All text has a contrast of at least 4.5 to 1 on its ground, all marks 3 to 1, in both modes.
_LIGHT = """
--ground:#fff;--panel:#f6f7f9;--ink:#1b1f24;--faint:#57606a;--rule:#d5dae0;--grid:#e6e9ed;
--mark:#fff1b8;--c0:#2563b8;--c1:#c2570c;--c2:#0f7b6c;--c3:#9b3d9b;--c4:#7d6200;--c5:#5b6470;
""".replace("\n", "")
_DARK = """
--ground:#14171b;--panel:#1c2127;--ink:#e8eaed;--faint:#a3acb7;--rule:#3a424c;--grid:#2a3038;
--mark:#5a4a08;--c0:#6ea8ff;--c1:#ff9d5c;--c2:#4fd0b8;--c3:#e08be0;--c4:#d9bb4a;--c5:#a5aeb9;
""".replace("\n", "")

STYLE = f"""
:root{{{_LIGHT}color-scheme:light dark}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0 auto;padding:1.5rem clamp(.75rem,3vw,2rem) 3rem;max-width:72rem;
background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
h1{{font-size:1.6rem;line-height:1.2;margin:0 0 .4rem;overflow-wrap:anywhere}}
h2{{font-size:1.2rem;margin:2.4rem 0 .6rem;padding-top:.7rem;border-top:1px solid var(--rule)}}
h3{{font-size:1rem;margin:1.4rem 0 .4rem}}
p{{margin:.4rem 0 .8rem;max-width:46rem}}
.lead{{color:var(--faint)}}
.facts{{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:1rem 0}}
.facts dt{{font-size:.8rem;color:var(--faint)}}
.facts dd{{margin:0;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}}
nav{{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.9rem}}
a{{color:var(--c0)}}
.row{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));
gap:1.2rem;align-items:start;margin:.8rem 0}}
.chart{{margin:0;padding:.9rem 1rem .6rem;background:var(--panel);border-radius:.5rem;
max-width:36rem}}
.chart figcaption strong{{display:block}}
.chart figcaption span{{display:block;font-size:.88rem;color:var(--faint);margin:.1rem 0 .5rem}}
.chart>svg{{display:block;width:100%;height:auto;overflow:visible}}
svg text{{font:12px system-ui,sans-serif;fill:var(--faint);font-variant-numeric:tabular-nums}}
svg text.name{{fill:var(--ink)}}
@media (max-width:34rem){{svg text{{font-size:16px}}.chart{{padding:.8rem .7rem .5rem}}}}
.axis{{stroke:var(--faint);stroke-width:1}}
.grid{{stroke:var(--grid);stroke-width:1}}
svg text.value{{fill:var(--ink)}}
.s0{{--c:var(--c0)}}.s1{{--c:var(--c1)}}.s2{{--c:var(--c2)}}
.s3{{--c:var(--c3)}}.s4{{--c:var(--c4)}}.s5{{--c:var(--c5)}}
.line{{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}}
.d1{{stroke-dasharray:7 4}}.d2{{stroke-dasharray:2 3}}
.mark{{fill:var(--c);stroke:var(--panel);stroke-width:1}}
.band{{fill:var(--c);opacity:.16}}
.column{{fill:var(--c)}}
.legend{{display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:.1rem 0 .5rem;padding:0;list-style:none;
font-size:.85rem}}
.legend li{{display:flex;align-items:center;gap:.4rem}}
.swatch{{width:26px;height:12px;flex:none}}
details{{font-size:.85rem;margin-top:.4rem}}
summary{{color:var(--faint);cursor:pointer;width:max-content}}
.scroll{{overflow-x:auto;margin:.6rem 0}}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{{
outline:2px solid var(--c0);outline-offset:2px}}
table{{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}}
caption{{text-align:left;color:var(--faint);padding-bottom:.3rem}}
caption span{{display:inline-block;position:sticky;left:0;max-width:min(46rem,100vw - 2rem)}}
details caption{{display:none}}
th,td{{text-align:left;padding:.28rem .9rem .28rem 0;border-bottom:1px solid var(--grid);
vertical-align:top}}
thead th{{border-bottom:1px solid var(--rule);color:var(--faint);font-weight:600;
vertical-align:bottom}}
tbody th{{font-weight:600}}
tbody th,td{{white-space:nowrap}}
td.long{{white-space:normal;min-width:15rem}}
.number{{text-align:right}}
.notes{{padding-left:1.2rem;max-width:46rem}}
.record{{margin:1rem 0 1.6rem}}
.record blockquote{{margin:.3rem 0;padding:.6rem .9rem;background:var(--panel);border-radius:.5rem;
overflow-wrap:anywhere}}
.record mark{{background:var(--mark);color:inherit;padding:.05rem .2rem;border-radius:.2rem;
text-decoration:underline}}
.record .key{{font-size:.8rem;color:var(--faint);overflow-wrap:anywhere}}
.guess{{display:inline-block;margin:0 .5rem .15rem 0;padding:0 .35rem;background:var(--panel);
border-radius:.25rem}}
.guess small{{color:var(--faint)}}
.right{{font-weight:700;text-decoration:underline}}
code{{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}}
footer{{margin-top:3rem;font-size:.82rem;color:var(--faint);overflow-wrap:anywhere}}
@media print{{body{{max-width:none;padding:0;font-size:11pt}}nav,details{{display:none}}
.chart{{break-inside:avoid;border:1px solid var(--rule);background:none}}
.row{{grid-template-columns:1fr 1fr;gap:.6rem}}
h2,h3{{break-after:avoid}}tr,.record{{break-inside:avoid}}
.scroll{{overflow:visible}}
*{{-webkit-print-color-adjust:exact;print-color-adjust:exact}}}}
"""
