// The page of a book.
import { escapeHtml } from '../shared/serve.mjs'

const star = (on) => `<span class="${on ? 'on' : 'off'}">${on ? '★' : '☆'}</span>`

function rating(r) {
  if (!r) return ''
  if (r.error) return `<p class="note">${escapeHtml(r.error)}</p>`
  const color = r.color === 'red' ? 'red' : 'black'
  return `<p class="stars ${color}" title="${r.stars} of 5" role="img" aria-label="${r.stars} of 5 stars">${[1, 2, 3, 4, 5].map((i) => star(i <= r.stars)).join('')}</p>`
}

const FACTS = [
  ['type', 'Type'],
  ['pages', 'Pages'],
  ['publisher', 'Publisher'],
  ['language', 'Language'],
  ['ISBN-10', 'ISBN-10'],
  ['ISBN-13', 'ISBN-13'],
]

function facts({ status, body }) {
  if (status !== 200) return `<h2>Error fetching product details!</h2><p class="note">${escapeHtml(body.error)}</p>`
  return `<dl>${FACTS.map(([key, label]) => `<dt>${label}</dt><dd>${escapeHtml(body[key])}</dd>`).join('')}</dl>`
}

function opinions({ status, body }) {
  if (status !== 200) return `<h2>Error fetching product reviews!</h2><p class="note">${escapeHtml(body.error)}</p>`
  const quotes = body.reviews.map(
    (r) =>
      `<blockquote>${rating(r.rating)}<p>${escapeHtml(r.text)}</p><footer>&mdash; ${escapeHtml(r.reviewer)}</footer></blockquote>`,
  )
  return `<div class="quotes">${quotes.join('')}</div>
<p class="served">Reviews served by: <code>${escapeHtml(body.podname)}</code>${body.clustername && body.clustername !== 'null' ? ` on cluster <code>${escapeHtml(body.clustername)}</code>` : ''}</p>`
}

export function page({ product, details, reviews, user }) {
  const year = details.body.year ? `, ${escapeHtml(details.body.year)}` : ''
  const sign = user
    ? `<span>Hello, <b>${escapeHtml(user)}</b></span> <a class="button" href="/logout">Sign out</a>`
    : `<form method="post" action="/login"><input name="username" placeholder="User name" aria-label="User name" required><input name="passwd" type="password" placeholder="Password" aria-label="Password"><button class="button">Sign in</button></form>`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Simple Bookstore App</title>
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<header><a class="brand" href="/productpage">BookInfo Sample</a><nav>${sign}</nav></header>
<main>
<section class="book">
<div class="cover" aria-hidden="true"><i>The</i><b>Comedy</b><i>of</i><b>Errors</b><em>W. Shakespeare</em></div>
<div>
<h1>${escapeHtml(product.title)}</h1>
<p class="by">${escapeHtml(details.body.author ?? '')}${year}</p>
<p>${product.descriptionHtml}</p>
<h2>Book Details</h2>
${facts(details)}
</div>
</section>
<section>
<h2>Book Reviews</h2>
${opinions(reviews)}
</section>
</main>
</body>
</html>
`
}
