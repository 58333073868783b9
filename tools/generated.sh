#!/usr/bin/env bash
# Runs every go:generate and fails where a file changes by it: then it was out
# of date. The files stay as generated, ready to be committed.
set -euo pipefail
cd "$(dirname "$0")/.."

# One line per file that git tracks or would: its hash and name.
files() {
  git ls-files -z --cached --others --exclude-standard | sort -zu |
    while IFS= read -r -d '' file; do
      if [ -f "$file" ]; then
        echo "$(git hash-object -- "$file") $file"
      fi
    done
}

before=$(files)
go generate ./...
if ! changed=$(diff <(echo "$before") <(files) | sed -n 's/^> [0-9a-f]* //p') || [ -n "$changed" ]; then
  echo "out of date, now generated anew:" >&2
  echo "$changed" >&2
  exit 1
fi
