#!/usr/bin/env bash
# Packs the client, installs it in a fresh project, and runs and type-checks what its README shows.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
package=$(npm pack --silent)
trap 'rm -rf "$here/$package" "$project"' EXIT
project=$(mktemp -d)
cd "$project"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund "$here/$package"
sed -n '/^```ts whole$/,/^```$/p' "$here/README.md" | sed '1d;$d' >example.mts
"$here/node_modules/.bin/tsc" --strict --target es2022 --module nodenext --types node --typeRoots "$here/node_modules/@types" example.mts
node example.mjs
