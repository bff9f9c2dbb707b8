#!/bin/sh
# What the images of the Python httpbin are started with.
exec /usr/bin/node /app/httpbin/server.mjs "$@"
