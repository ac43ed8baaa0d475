#!/bin/sh
# Put onnxruntime-web into node_modules beside the page, or below DIR: fetch.sh [DIR]. Needs npm; about 150 MB.
set -e
folder=${1:-$(dirname "$0")}
command -v npm > /dev/null || { echo 'error: npm is not installed' >&2; exit 2; }
npm install --prefix "$folder" --no-save --no-audit --no-fund --ignore-scripts onnxruntime-web@1.30.0
