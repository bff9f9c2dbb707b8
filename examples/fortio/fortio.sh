#!/bin/sh
exec /usr/bin/node /app/fortio/fortio.mjs "$@"
