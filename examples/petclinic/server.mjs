// petclinic: owners and their pets, out of MySQL when SPRING_PROFILES_ACTIVE is mysql, else out of memory.
import os from 'node:os'
import { escapeHtml, json, serve } from '../shared/serve.mjs'
import { OWNERS, VETS } from './data.mjs'
import { openDatabase } from './database.mjs'

const version = process.env.PETCLINIC_VERSION ?? '1.0.0.RELEASE'
const onMysql = (process.env.SPRING_PROFILES_ACTIVE ?? '').split(',').includes('mysql')
const store = onMysql
  ? openDatabase(process.env)
  : { owners: async () => OWNERS, vets: async () => VETS, name: 'memory' }

const page = (title, body) => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>PetClinic :: ${title}</title>
<style>
 body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#24331f;background:#f4f7f1}
 header{background:#34502b;color:#fff;padding:.8rem 2rem;display:flex;gap:2rem;align-items:baseline}
 header b{font-size:1.3rem} header a{color:#d5e8c8;text-decoration:none}
 main{max-width:60rem;margin:2rem auto;padding:0 2rem}
 table{border-collapse:collapse;width:100%;background:#fff;box-shadow:0 1px 3px #0002}
 td,th{padding:.5rem .8rem;text-align:left;border-bottom:1px solid #e3eadd}
 footer{max-width:60rem;margin:auto;padding:0 2rem 2rem;color:#6c7a64;font-size:.85rem}
</style></head>
<body><header><b>PetClinic</b> <a href="/">Home</a> <a href="/owners">Owners</a> <a href="/vets">Veterinarians</a></header>
<main>${body}</main>
<footer>version ${escapeHtml(version)} &middot; pod ${escapeHtml(os.hostname())} &middot; data in ${escapeHtml(store.name)}</footer></body></html>
`
const table = (heads, rows) =>
  `<table><tr>${heads.map((h) => `<th>${h}</th>`).join('')}</tr>${rows
    .map((r) => `<tr>${r.map((c) => `<td>${escapeHtml(c)}</td>`).join('')}</tr>`)
    .join('')}</table>`
const html = (response, code, text) =>
  response.writeHead(code, { 'Content-Type': 'text/html; charset=utf-8' }).end(text)

serve(
  8080,
  async (request, response) => {
    const url = new URL(request.url, 'http://petclinic')
    try {
      switch (url.pathname) {
        case '/':
          return html(
            response,
            200,
            page(
              'Welcome',
              `<h1>Welcome</h1><p>A clinic for cats, dogs and a hamster. This is version ${escapeHtml(version)}.</p>`,
            ),
          )
        case '/version':
          return response.writeHead(200, { 'Content-Type': 'text/plain' }).end(`${version}\n`)
        case '/actuator/health':
          return json(response, 200, { status: 'UP' })
        case '/owners': {
          const wanted = (url.searchParams.get('lastName') ?? '').toLowerCase()
          const owners = (await store.owners()).filter((o) => o.lastName.toLowerCase().startsWith(wanted))
          const rows = owners.map((o) => [
            `${o.firstName} ${o.lastName}`,
            o.address,
            o.city,
            o.telephone,
            o.pets.join(', '),
          ])
          return html(
            response,
            200,
            page('Owners', `<h1>Owners</h1>${table(['Name', 'Address', 'City', 'Telephone', 'Pets'], rows)}`),
          )
        }
        case '/vets': {
          const rows = (await store.vets()).map((v) => [
            `${v.firstName} ${v.lastName}`,
            v.specialties.join(', ') || 'none',
          ])
          return html(
            response,
            200,
            page('Veterinarians', `<h1>Veterinarians</h1>${table(['Name', 'Specialties'], rows)}`),
          )
        }
        default:
          return html(response, 404, page('Not found', '<h1>Not found</h1>'))
      }
    } catch (error) {
      console.error(`${url.pathname}: ${error.message}`)
      return html(response, 500, page('Error', `<h1>Something happened…</h1><p>${escapeHtml(error.message)}</p>`))
    }
  },
  `petclinic ${version} listening on port 8080, data in ${store.name}`,
)
