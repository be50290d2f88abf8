# SPDX-License-Identifier: Apache-2.0
"""How do the two pages look? One style sheet, for light and dark, wide and narrow, screen and paper.

Colours by subject are the variables --namespaces, --cgroups, ...; a class of that name sets --c.
STYLE_HASH names it in the page's policy; tests/unit/test_page.py says what it must be.
"""

from __future__ import annotations

STYLE = """
:root{--bg:#f6f7f9;--card:#fff;--host:#eceff4;--ink:#1b2330;--dim:#5b6675;--line:#d4dae3;--soft:#e9edf2;--focus:#1663d6;
--namespaces:#6a45c9;--cgroups:#b4540a;--mounts:#1566c8;--devices:#0b7a75;--security:#c02f36;--process:#3d7a1c;--hooks:#ad2f87;
--runtime:#66707f;--pad:.75rem;--lane:clamp(17rem,30vw,25rem);--gap:1.25rem;--bars:32%}
@media(prefers-color-scheme:dark){:root{--bg:#10151c;--card:#1a212b;--host:#141a22;--ink:#e4e9f0;--dim:#98a4b3;--line:#333e4c;
--soft:#252e3a;--focus:#78b1ff;--namespaces:#a68bfa;--cgroups:#f0a04e;--mounts:#5ea8ff;--devices:#3fc4b5;--security:#ff7f78;
--process:#83cb5e;--hooks:#f07fca;--runtime:#96a1b0}}
*{box-sizing:border-box}
html{color-scheme:light dark;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","Liberation Sans","DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
body{max-width:92rem;margin:0 auto;padding:2rem 1.5rem 3rem}
code,.n,dd{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace}
ol,dl,dd,h1,h2,h3,p,fieldset{margin:0;padding:0;border:0;list-style:none}
header p,h2,h3,legend,dt{color:var(--dim);font-weight:600;font-size:.8rem;letter-spacing:.01em}
h1{font-size:1.65rem;line-height:1.25;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere;margin:.1rem 0 1rem}
header dl{display:flex;flex-wrap:wrap;gap:.5rem 2.25rem}
header dd{font:600 1.05rem/1.4 inherit;font-family:inherit;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.failed{margin-top:1rem;padding:.6rem .8rem;border-left:4px solid var(--security);background:var(--card);overflow-wrap:anywhere}
fieldset{display:flex;flex-wrap:wrap;gap:.4rem;margin:1.5rem 0 1rem}
legend{padding:0;margin-bottom:.4rem}
label{display:inline-flex;align-items:center;gap:.45rem;padding:.22rem .7rem .22rem .55rem;border:1px solid var(--line);
border-radius:2rem;background:var(--card);font-size:.87rem;cursor:pointer}
label small{color:var(--dim);font-size:.8rem;font-variant-numeric:tabular-nums}
label input{position:absolute;opacity:0;pointer-events:none}
label i{width:.75rem;height:.75rem;border-radius:50%;border:2px solid var(--c)}
label:has(input:checked) i{background:var(--c)}
label:has(input:not(:checked)){color:var(--dim);text-decoration:line-through}
:focus-visible,label:has(:focus-visible){outline:2px solid var(--focus);outline-offset:1px}
.namespaces{--c:var(--namespaces)}.cgroups{--c:var(--cgroups)}.mounts{--c:var(--mounts)}.devices{--c:var(--devices)}
.security{--c:var(--security)}.process{--c:var(--process)}.hooks{--c:var(--hooks)}.runtime{--c:var(--runtime)}
body:has(#show-namespaces:not(:checked)) main .namespaces,body:has(#show-cgroups:not(:checked)) main .cgroups,
body:has(#show-mounts:not(:checked)) main .mounts,body:has(#show-devices:not(:checked)) main .devices,
body:has(#show-security:not(:checked)) main .security,body:has(#show-process:not(:checked)) main .process,
body:has(#show-hooks:not(:checked)) main .hooks,body:has(#show-runtime:not(:checked)) main .runtime{display:none}
summary{cursor:pointer;list-style:none;border-radius:4px}
summary::-webkit-details-marker{display:none}
summary:hover{background:var(--soft)}
summary strong{font-weight:600}
summary b{color:var(--dim);font-weight:400;font-size:.78rem;text-align:right;font-variant-numeric:tabular-nums}
summary code{color:var(--dim);font-size:.78rem;overflow-wrap:anywhere}
details:not([open])>summary span{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;overflow:hidden}
summary span{overflow-wrap:anywhere}
details>dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.1rem 1rem;margin:.2rem 0 .6rem 2.6rem;
padding:.5rem .75rem;border-left:2px solid var(--c);background:var(--soft);border-radius:0 4px 4px 0;font-size:.8rem}
details>dl dt{grid-column:1;max-width:11rem;overflow-wrap:anywhere}
details>dl dd{grid-column:2;overflow-wrap:anywhere}
footer{margin-top:1.25rem;color:var(--dim);font-size:.85rem}
h2{padding:.1rem 0 .4rem;font-size:1rem;color:var(--ink)}
h2 small,h3 small{font-weight:400;font-size:.85rem;color:var(--dim)}
.plan{background:var(--host);border:1px solid var(--line);border-radius:12px;padding:var(--pad) 1rem 1rem}
.plan summary{display:grid;grid-template-columns:1.9rem minmax(0,1fr) minmax(0,auto);column-gap:.6rem;align-items:baseline;
padding:.16rem .5rem .16rem 0}
.plan summary span{border-left:3px solid var(--c);padding-left:.6rem}
.plan summary code{max-width:14rem;text-align:right}
.in0>.box{margin-left:calc(var(--lane) + var(--gap))}
.box{margin:.35rem 0;padding:var(--pad);border:1px solid var(--namespaces);border-radius:9px;
background:color-mix(in srgb,var(--card) 90%,var(--namespaces) 3%)}
.in0>.box{margin-top:.75rem}
.box>h3{padding:0 0 .35rem;font-size:.85rem}
h3 em{display:inline-block;font-style:normal;color:var(--namespaces);border:1px solid var(--namespaces);border-radius:2rem;
padding:0 .55rem;margin:0 0 .15rem .2rem;font-size:.78rem}
.box .host{--back:0px;width:var(--lane);margin:.2rem 0 .2rem calc(0px - var(--lane) - var(--gap) - var(--back));
background:var(--card);border:1px solid var(--line);border-radius:6px}
.box .host::after{content:"";position:absolute;top:1rem;left:100%;width:calc(var(--gap) + var(--back));border-top:1px dashed var(--runtime)}
.box .host{position:relative}
.box .host summary{grid-template-columns:1.9rem minmax(0,1fr)}
.box .host summary code{grid-column:2;max-width:none;text-align:left;padding-left:.8rem}
.plan .in1>.host{--back:calc(1*(var(--pad) + 1px))}
.plan .in2>.host{--back:calc(2*(var(--pad) + 1px))}
.plan .in3>.host{--back:calc(3*(var(--pad) + 1px))}
.plan .in4>.host{--back:calc(4*(var(--pad) + 1px))}
.plan .in5>.host{--back:calc(5*(var(--pad) + 1px))}
.plan .in6>.host{--back:calc(6*(var(--pad) + 1px))}
.plan .in7>.host{--back:calc(7*(var(--pad) + 1px))}
.plan .in8>.host{--back:calc(8*(var(--pad) + 1px))}
.plan .in9>.host{--back:calc(9*(var(--pad) + 1px))}
.sync summary{border-top:1px dashed var(--runtime);border-radius:0;margin-top:.3rem;padding-top:.35rem}
.sync strong{color:var(--dim);font-weight:400}
figure{margin:0 0 1.25rem;padding:1rem 1rem .4rem;background:var(--card);border:1px solid var(--line);border-radius:12px;display:flex}
figcaption{flex:none;width:5.5rem;color:var(--dim);font-size:.85rem;font-weight:600}
figcaption span{display:block;height:28px;line-height:20px}
figcaption span:nth-child(2){margin-top:8px}
svg{display:block;width:100%;overflow:visible}figure>svg{flex:1;min-width:0}
rect{fill:var(--c);stroke:var(--card);stroke-width:.5px}
.all{fill:none;stroke:var(--ink);stroke-width:1px}
line{stroke:var(--line);stroke-width:1px}
.zoom{stroke:var(--ink);stroke-dasharray:2 3}
svg text{fill:var(--dim);font-size:.75rem;font-variant-numeric:tabular-nums;transform:translate(3px)}
svg .on{fill:var(--card)}
.rows,.columns{background:var(--card);border:1px solid var(--line);padding:.35rem 1rem}
.columns{position:sticky;top:0;z-index:1;display:grid;border-radius:12px 12px 0 0;border-bottom:0;color:var(--dim);font-weight:600;
font-size:.85rem;align-items:end}
.columns svg{height:1.1em;font-weight:400}
.columns,.trace summary{grid-template-columns:1.9rem minmax(0,2fr) minmax(0,6fr) minmax(0,3.4fr) 4rem var(--bars);column-gap:.75rem}
.columns :first-child{grid-column:2}.columns span:nth-child(-n+2){padding-left:.8rem}.columns :nth-child(4){text-align:right}
.rows{position:relative;border-radius:0 0 12px 12px}
.trace summary{display:grid;align-items:baseline;padding:.14rem 0;position:relative}
.trace summary span{grid-column:2/4;border-left:3px solid var(--c);padding-left:.6rem}
.trace .init summary span{grid-column:3}
.trace summary code{grid-column:4}
.trace summary small{grid-column:5;text-align:right;font-variant-numeric:tabular-nums;font-size:.85rem}
.trace summary svg{grid-column:6;height:.8rem;align-self:center}
.trace summary rect{stroke:var(--c);stroke-width:1.5px}
.trace details:not([open])>summary>:is(span,code){display:block;white-space:nowrap;text-overflow:ellipsis;overflow:hidden}
.grid{position:absolute;top:0;right:1rem;width:calc((100% - 2rem)*.32);height:100%;pointer-events:none}
@media(max-width:60rem){body{padding:1.25rem .75rem}:root{--pad:.5rem}.in0>.box{margin-left:0}
.box .host{width:auto;margin-left:0;background:var(--host)}.box .host::after{display:none}
.plan summary{grid-template-columns:1.9rem minmax(0,1fr)}.plan summary code{grid-column:2;text-align:left;padding-left:.8rem}
.columns{display:none}.trace summary{grid-template-columns:1.9rem minmax(0,1fr) 4rem}.trace summary span,.trace .init summary span{grid-column:2}
.trace .init summary span{margin-left:1rem}svg .on{display:none}
.trace summary code{grid-column:2;grid-row:2;padding-left:.8rem}.trace .init summary code{padding-left:1.8rem}
.trace summary small{grid-column:3;grid-row:1}.trace summary svg{grid-column:1/-1;height:.5rem}.rows{border-radius:12px}.grid{display:none}
figure{padding:.75rem}figcaption{width:5rem}}
@media print{:root{--bg:#fff;--host:#fff;--soft:#fff}body{padding:0;max-width:none}html{font-size:8.5pt}.columns{position:static}
details:not([open])>summary>:is(span,code){display:block!important;white-space:normal!important}
li{break-inside:avoid}.box{break-inside:auto}fieldset label{border:0;padding:0 .6rem 0 0}label i{background:var(--c)}footer{display:none}
rect,label i,.plan summary span{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

STYLE_HASH = "sha256-rKIDTeNK9v4kVpkDqWFXb++TXrVPym9tduK4O/0HwBU="
